"""Good messages in a flood of hostile ones: those arrive, these end in the dead letters, and nothing else happens."""

import contextlib
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import bench_servers
from tests.chaos import counted, hostile
from tests.chaos.hostile import BUCKET, EVIL, FOLDER, OBJECTS, Hostile
from tests.chaos.relay import Relay, wait_for
from tests.servers import Server, make_bucket

_SECRET = "CANARY+secret/of/the/flood"  # it must be found nowhere
_RECEIVES = 2
"""After which the queue itself gives up a message."""
REQUESTS = 2
"""To S3, for one message that is received once, about an object of less than 8 MiB."""
_AT_ONCE = 200_000
"""Bytes of bodies in one batch."""
_SECONDS = 300.0


@dataclass
class Outcome:
    """What a run found; all of `violations` must be empty."""

    hostile: int
    good: int
    arrived: float = 0.0
    """Seconds until the last good file was there."""
    drained: float = 0.0
    cpu: float = 0.0
    """Seconds of all processes of the program."""
    requests: int = 0
    """To S3."""
    rows: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        head = "| hostile | good | good arrived | all ended | CPU a message | requests to S3 | violations |"
        cpu = 1000 * self.cpu / (self.hostile + self.good)
        row = f"| {self.hostile:,} | {self.good} | {self.arrived:.1f} s | {self.drained:.1f} s | {cpu:.1f} ms |"
        row += f" {self.requests:,} | {len(self.violations)} |"
        rows = ", ".join(f"{row} {count:,}" for row, count in sorted(self.rows.items()))
        return "\n".join([head, "|" + "---|" * 7, row, rows, *self.violations[:20]])


def run(folder: Path, *, hostile_messages: int, good: int, seed: int) -> Outcome:
    """Send both, mixed, to a program in Mode 2, whose S3 and SQS note what they are asked."""
    sent = list(itertools.islice(hostile.messages(), hostile_messages))
    outcome = Outcome(len(sent), good, rows=Counter(message.row for message in sent))
    with _servers(folder) as (store, queue):
        queues = _prepare(store, queue, sent, good, seed)
        relay = _relay(folder, store, queue)
        outside = _plant(folder, relay)
        asked = len(counted.seen(store.folder / "requests"))
        try:
            _run(relay, queues, outcome)
        finally:
            relay.end()
        requests = counted.seen(store.folder / "requests")[asked:]
        outcome.requests = len(requests)
        dead = list(queues.take_dead())
    outcome.violations += _judge_files(relay, outside, good) + _judge_log(relay)
    outcome.violations += _judge_dead(sent, dead) + _judge_requests(sent, requests)
    return outcome


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    for name in ("sink", "sqs"):
        (folder / name).mkdir()
    log = "--requests"
    with (
        bench_servers.start("tests.chaos.counted", folder / "sink", "sink", log, f"{folder}/sink/requests") as store,
        bench_servers.start("tests.chaos.counted", folder / "sqs", "sqs", log, f"{folder}/sqs/requests") as queue,
    ):
        yield store, queue


class _Queues:
    """The queue and its dead letters."""

    def __init__(self, server: Server) -> None:
        self._sqs = server.client("sqs")
        self._dead = self._sqs.create_queue(QueueName="relay-dlq")["QueueUrl"]
        policy = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:0:relay-dlq", "maxReceiveCount": str(_RECEIVES)}
        attributes = {"RedrivePolicy": json.dumps(policy)}
        self.url = self._sqs.create_queue(QueueName="relay", Attributes=attributes)["QueueUrl"]

    def send(self, messages: Sequence[Hostile]) -> None:
        """Several with one call, each with its number as an attribute."""
        batch: list[dict[str, Any]] = []
        for number, message in enumerate(messages):
            attributes = {"n": str(number), **message.attributes}
            texts = {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()}
            batch.append({"Id": str(number), "MessageBody": message.body, "MessageAttributes": texts})
            if len(batch) == 10 or sum(len(entry["MessageBody"]) for entry in batch) > _AT_ONCE:
                self._send(batch)
                batch = []
        if batch:
            self._send(batch)

    def _send(self, batch: list[dict[str, Any]]) -> None:
        assert "Failed" not in self._sqs.send_message_batch(QueueUrl=self.url, Entries=batch)

    def is_empty(self) -> bool:
        """Whether nothing is there, in flight or delayed."""
        answer = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return not any(int(value) for name, value in answer.items() if name.startswith("ApproximateNumber"))

    def take_dead(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Body and attributes of each dead letter."""
        asked = {"QueueUrl": self._dead, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        while found := self._sqs.receive_message(**asked).get("Messages"):
            for message in found:
                said = message.get("MessageAttributes", {})
                yield message["Body"], {name: item["StringValue"] for name, item in said.items()}


def _prepare(store: Server, queue: Server, sent: list[Hostile], good: int, seed: int) -> _Queues:
    """Objects, and all messages in one order that follows from the seed; hostile ones keep their numbers."""
    make_bucket(store, BUCKET)
    s3 = store.client("s3")
    for name, metadata in OBJECTS.items():
        s3.put_object(Bucket=BUCKET, Key=f"{FOLDER}/{name}", Body=EVIL, Metadata=metadata)
    s3.put_object(Bucket=BUCKET, Key="other/bait", Body=EVIL)
    welcome = []
    for number in range(good):
        key = f"{FOLDER}/{_good(number)}"
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"%d" % number)
        welcome.append(Hostile("", hostile.event(key, size=len(str(number))) if number % 2 else key, key=key))
    queues, numbers = _Queues(queue), list(range(len(sent) + good))
    random.Random(seed).shuffle(numbers)
    sent += welcome
    sent[:] = [sent[number] for number in numbers]
    queues.send(sent)
    return queues


def _good(number: int) -> str:
    """Every fourth below a name that is a link to somewhere else."""
    return f"{'link' if number % 4 == 0 else 'good'}/{number}"


def _relay(folder: Path, store: Server, queue: Server) -> Relay:
    keys = {
        "aws_endpoint_url": queue.endpoint,
        "aws_endpoint_url_s3": store.endpoint,
        "aws_access_key_id": "bench",
        "aws_secret_key": _SECRET,
        "aws_s3_folder": FOLDER,
        "visibilitySeconds": 30,
    }
    return Relay(folder / "relay", mode=2, keys=keys)


def _plant(folder: Path, relay: Relay) -> Path:
    """A folder outside, and links to it under names that files are to get."""
    outside = folder / "outside"
    (outside / "d").mkdir(parents=True)
    relay.downloaded.mkdir(parents=True)
    (relay.downloaded / "link").symlink_to(outside)
    (relay.downloaded / "good").mkdir()
    (relay.downloaded / "good/1").symlink_to(outside / "file")
    return outside


def _run(relay: Relay, queues: _Queues, outcome: Outcome) -> None:
    relay.start()
    started = time.monotonic()
    wait_for(lambda: len(_arrived(relay)) >= outcome.good, _SECONDS, "the good files")
    outcome.arrived = time.monotonic() - started
    wait_for(queues.is_empty, _SECONDS, "an empty queue")
    outcome.drained = time.monotonic() - started
    outcome.cpu = sum(map(_cpu, relay.children()))
    if code := relay.stop():
        outcome.violations.append(f"exit code {code}")


def _arrived(relay: Relay) -> dict[str, bytes]:
    found = (item for item in relay.downloaded.rglob("*") if ".relay" not in item.parts)
    return {f"{item.relative_to(relay.downloaded)}": item.read_bytes() for item in found if _is_file(item)}


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _cpu(pid: int) -> float:
    """Seconds so far; 0 once it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _judge_files(relay: Relay, outside: Path, good: int) -> list[str]:
    expected = Counter(b"%d" % number for number in range(good))
    contents = Counter(_arrived(relay).values())
    found = [f"LOST: {content!r}" for content in expected - contents]
    found += [f"INVENTED: {content[:80]!r}" for content in contents - expected]
    found += [f"OUTSIDE: {item}" for item in outside.rglob("*") if item != outside / "d"]
    found += [f"ESCAPED: {item}" for item in outside.parent.rglob("*escaped*")]
    found += [f"LEFT: {item}" for item in (relay.downloaded / ".relay/incoming").iterdir()]
    return found + [f"KEPT: {item}" for item in (relay.state / "FailedMessages").iterdir()]


def _judge_log(relay: Relay) -> list[str]:
    lines = relay.log.read_text(encoding="utf-8").split("\n") + relay.console.read_text(encoding="utf-8").split("\n")
    found = [f"NOT PRINTABLE: {line!a}" for line in lines if not line.isprintable()]
    found += [f"ERROR: {line}" for line in lines if "Traceback" in line or "an error of the program" in line]
    return found + [f"SECRET: {line}" for line in lines if _SECRET in line]


def _judge_dead(sent: list[Hostile], dead: list[tuple[str, dict[str, str]]]) -> list[str]:
    """Each hostile message is there once, whole, with its reason unless only the queue could end it."""
    wanted = {str(number): message for number, message in enumerate(sent) if message.row}
    times = Counter(said["n"] for _, said in dead)
    found = [f"DELETED: {message.row} {message.body[:80]}" for n, message in wanted.items() if not times[n]]
    found += [f"GOOD ONE BURIED: {sent[int(n)].body[:80]}" for n in times if n not in wanted]
    found += [f"{times[n]} TIMES: {sent[int(n)].body[:80]}" for n in times if times[n] > 1]
    for body, said in dead:
        message = wanted.get(said["n"])
        if message and (body != message.body or bool(said.get("reason")) == message.comes_again):
            found.append(f"REASON: {message.row} {said.get('reason')!r} {message.body[:80]}")
    return found + [f"SECRET: {said['n']}" for _, said in dead if _SECRET in str(said)]


def _judge_requests(sent: list[Hostile], requests: list[counted.Seen]) -> list[str]:
    """Only for keys below the folder that may be asked for, and no more of them than REQUESTS says."""
    allowed: Counter[str] = Counter()
    for message in sent:
        key = message.key or (message.body if message.comes_again else "")
        allowed[f"/{BUCKET}/{key}"] += REQUESTS * (_RECEIVES if message.comes_again else 1) if key else 0
    asked = Counter(seen.path for seen in requests if seen.path.count("/") > 1)
    found = [f"ASKED: {path} {asked[path]} times, not {allowed[path]}" for path in asked if asked[path] > allowed[path]]
    return found + [f"NOT A GET: {seen}" for seen in requests if seen.method not in ("GET", "HEAD")]
