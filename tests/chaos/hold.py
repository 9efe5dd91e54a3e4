"""A download that takes much longer than a message stays hidden: it is held all the time, and others flow."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.kills import files_in
from tests.chaos.relay import Relay, wait_for
from tests.proxy import Fault, Proxy, Request, proxy
from tests.servers import Server, make_bucket, ministack

_SIZE = 2 << 20
"""Large enough for a thread of its own, and one request: how often that is made is how often it was received."""
_SMALL = 20
_SLACK_SECONDS = 120.0


@dataclass
class Outcome:
    """What a run found; all of `violations` must be empty."""

    visibility: int
    seconds: float = 0.0
    """From the request for the large object until its file was there."""
    others: float = 0.0
    """Within which the small ones arrived meanwhile."""
    looks: int = 0
    """At the queue, which showed the message to nobody."""
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        head = "| visibility s | download s | others within s | looks at the queue | violations |"
        row = (
            f"| {self.visibility} | {self.seconds:.1f} | {self.others:.1f} | {self.looks:,} | {len(self.violations)} |"
        )
        return "\n".join([head, "|" + "---|" * 5, row, *self.violations[:20]])


def run(folder: Path, *, seconds: float, visibility: int) -> Outcome:
    """One large object, which takes so many seconds, and small ones behind it, through Mode 2."""
    outcome = Outcome(visibility)
    (folder / "server").mkdir()
    with (
        ministack(folder / "server") as server,
        proxy(server.port) as line,
    ):
        line.fault = lambda request: Fault(rate=_SIZE / seconds) if _is_slow(request) else None
        make_bucket(server, "relay")
        keys = {"aws_endpoint_url": server.endpoint, "aws_access_key_id": "test", "aws_secret_key": "test"}
        place = {"aws_endpoint_url_s3": line.endpoint, "visibilitySeconds": visibility}
        receiver = Relay(folder / "there", mode=2, keys={**keys, **place})
        try:
            expected = _send(folder / "first", keys, {"slow.bin": os.urandom(_SIZE)})
            receiver.start()
            wait_for(lambda: _asked(line) > 0, 60, "the large object is asked for")
            begun = time.monotonic()
            expected |= _pass(folder / "then", keys, server, receiver, outcome)
            _watch(server, receiver, line, begun + seconds + _SLACK_SECONDS, outcome)
            outcome.seconds = time.monotonic() - begun
            code = receiver.stop()
        finally:
            receiver.end()
        outcome.violations += _judge(server, receiver, line, expected) + ([] if code == 0 else [f"exit code {code}"])
    outcome.violations += [f"NOT SLOW: it took {outcome.seconds:.1f} s"] if outcome.seconds < 0.9 * seconds else []
    return outcome


def _pass(folder: Path, keys: dict[str, str], server: Server, receiver: Relay, outcome: Outcome) -> dict[str, bytes]:
    """Small files, which arrive while the large one is under way."""
    begun = time.monotonic()
    sent = _send(folder, keys, {f"{number}": b"%d" % number for number in range(_SMALL)})
    wait_for(lambda: len(_files(receiver)) == _SMALL, 60, "the small ones arrive")
    outcome.others = time.monotonic() - begun
    wait_for(lambda: _count(server) == (0, 1), 10, "one message is in hand, and no other is there")
    return sent


def _send(folder: Path, keys: dict[str, str], contents: dict[str, bytes]) -> dict[str, bytes]:
    """Through a program of its own, which ends; the contents."""
    sender = Relay(folder, mode=1, keys=keys, options=["--once"])
    sender.watch.mkdir(parents=True)
    for name, content in contents.items():
        (sender.watch / name).write_bytes(content)
    try:
        sender.start()
        assert sender.wait(60) == 0, sender.console.read_text()
    finally:
        sender.end()
    return contents


def _watch(server: Server, receiver: Relay, line: Proxy, until: float, outcome: Outcome) -> None:
    """Look at the queue until the large file is there: its message is in hand, and shown to nobody."""
    while not (receiver.downloaded / "slow.bin").exists() and _asked(line) == 1:
        assert time.monotonic() < until, "the large file did not arrive"
        visible, in_hand = _count(server)
        if visible or in_hand > 1:
            outcome.violations.append(f"SHOWN: {visible} visible, {in_hand} in hand")
        outcome.looks += 1
        time.sleep(0.2)  # a sample of what is true all the time


def _is_slow(request: Request) -> bool:
    return request.method == "GET" and "/slow.bin" in request.path


def _asked(line: Proxy) -> int:
    """How many requests for the large object have come."""
    return sum(map(_is_slow, line.seen))


def _count(server: Server) -> tuple[int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    sqs = server.client("sqs")
    url = sqs.get_queue_url(QueueName="relay")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def _files(receiver: Relay) -> dict[str, bytes]:
    """Name → content of what a person sees in DownloadedFromS3."""
    found = files_in(receiver.downloaded) if receiver.downloaded.exists() else []
    return {path.name: path.read_bytes() for path in found}


def _judge(server: Server, receiver: Relay, line: Proxy, expected: dict[str, bytes]) -> list[str]:
    there = _files(receiver)
    found = [f"LOST or CHANGED: {name}" for name, content in expected.items() if there.get(name) != content]
    found += [f"INVENTED: {name}" for name in there.keys() - expected.keys()]
    found += [f"RECEIVED AGAIN: asked for {_asked(line)} times" for _ in range(_asked(line) != 1)]
    left = _count(server)
    return found + [f"LEFT in the queue: {left}" for _ in range(left != (0, 0))]
