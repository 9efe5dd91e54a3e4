"""After each run: is everything where it has to be? Asked of the server and the disk, not of the client."""

import contextlib
import http.client
import json
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.corpus import Corpus
from bench.failure import RunError

_OWN = ".relay"
"""The program's own folder, and what its keys begin with."""
_LOOKED_AT = 200
"""Objects whose content is compared, of those whose store gives no MD5."""


def objects(s3: Any, bucket: str, prefix: str, corpus: Corpus, count: int) -> None:
    """Every object by its name and size, and the content of some; RunError names what is wrong."""
    found = dict(_listed(s3, bucket, prefix))
    names = corpus.names()[:count]
    missing, surplus = set(names) - found.keys(), found.keys() - set(names)
    wrong = [name for name in names if name in found and found[name] != corpus.size]
    if missing or surplus or wrong:
        raise RunError(f"objects: {_some(missing)} missing, {_some(surplus)} too many, {_some(wrong)} of another size")
    if corpus.size <= 1024 * 1024:
        _contents(s3, bucket, prefix, corpus, random.sample(names, min(count, _LOOKED_AT)))


def files(folder: Path, corpus: Corpus, count: int) -> None:
    """Every file by its name and all of its bytes; RunError names what is wrong."""
    found = {path.name: path for path in folder.iterdir() if path.name != _OWN}
    names = set(corpus.names()[:count])
    if found.keys() != names:
        raise RunError(f"files: {_some(names - found.keys())} missing, {_some(found.keys() - names)} too many")
    wrong = [name for name, path in found.items() if corpus.differs(path)]
    if wrong:
        raise RunError(f"files: {_some(wrong)} with other content")


def moved(relay_watch: Path, queued: Path, uploaded: Path, names: list[str]) -> None:
    """Every file is in UploadedToS3, and none anywhere else."""
    left = [path.name for folder in (relay_watch, queued) for path in folder.iterdir() if path.name != _OWN]
    found = {path.name for path in uploaded.iterdir()}
    if left or found != set(names):
        raise RunError(f"folders: {_some(left)} not moved, {_some(set(names) - found)} not in UploadedToS3")


def messages(url: str, queue: str, keys: list[str]) -> list[dict[str, Any]]:
    """Take every message from a queue: there must be exactly one for each key, which is its body."""
    taken = drain(url, queue)
    bodies = [message["Body"] for message in taken]
    if sorted(bodies) != sorted(keys):
        lacking = set(keys) - set(bodies)
        raise RunError(f"messages: {len(bodies)} of {len(keys)}; {_some(lacking)} missing")
    return taken


def left(wire: http.client.HTTPConnection, queue: str) -> int:
    """How many messages a queue holds, visible, in flight, or delayed."""
    answer = post(wire, "GetQueueAttributes", {"QueueUrl": _of(queue), "AttributeNames": ["All"]})["Attributes"]
    return sum(int(value) for key, value in answer.items() if key.startswith("ApproximateNumber"))


def drain(url: str, queue: str) -> list[dict[str, Any]]:
    """Take all that can be received, and leave the queue empty."""
    with connection(url) as wire:
        ask = {"QueueUrl": _of(queue), "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}
        ask |= {"MessageAttributeNames": ["All"], "VisibilityTimeout": 3600}
        taken: list[dict[str, Any]] = []
        while found := post(wire, "ReceiveMessage", ask).get("Messages"):
            taken += found
        post(wire, "PurgeQueue", {"QueueUrl": _of(queue)})
    return taken


def fill(url: str, queue: str, taken: list[dict[str, Any]]) -> None:
    """Send messages that were taken from another queue."""
    with connection(url) as wire:
        for start in range(0, len(taken), 10):
            entries = [
                {"Id": str(at), "MessageBody": each["Body"], "MessageAttributes": each.get("MessageAttributes", {})}
                for at, each in enumerate(taken[start : start + 10])
            ]
            answer = post(wire, "SendMessageBatch", {"QueueUrl": _of(queue), "Entries": entries})
            if answer.get("Failed"):
                raise RunError(f"the queue refused messages: {answer['Failed'][:1]}")


@contextlib.contextmanager
def connection(url: str) -> Iterator[http.client.HTTPConnection]:
    """One connection; the calls of boto3 would take longer than the run they check."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as wire:
        yield wire


def post(wire: http.client.HTTPConnection, action: str, call: dict[str, Any]) -> dict[str, Any]:
    """One call of SQS's JSON protocol."""
    headers = {"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0"}
    wire.request("POST", "/", json.dumps(call), headers)
    answer = wire.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RunError(f"{action}: {answer.status} {body[:300]!r}")
    return dict(json.loads(body or b"{}"))


def _of(queue: str) -> str:
    return f"http://queue/000000000000/{queue}"  # the server looks at the last part


def _listed(s3: Any, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        for entry in page.get("Contents", []):
            name = entry["Key"].removeprefix(f"{prefix}/")
            if not name.startswith(f"{_OWN}/"):  # the program's probe of a store
                yield name, entry["Size"]


def _contents(s3: Any, bucket: str, prefix: str, corpus: Corpus, names: list[str]) -> None:
    def differs(name: str) -> bool:
        data = s3.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read()
        return bool(data != (corpus.folder / name).read_bytes())

    with ThreadPoolExecutor(8) as pool:
        wrong = [name for name, bad in zip(names, pool.map(differs, names), strict=True) if bad]
    if wrong:
        raise RunError(f"objects: {_some(wrong)} with other content")


def _some(names: Iterable[str]) -> str:
    """How many, and the first three."""
    every = sorted(names)
    return f"{len(every)} ({', '.join(every[:3])})" if every else "none"
