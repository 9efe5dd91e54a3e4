"""What S3 and the way to it may do to one transfer, by both engines: nothing half is stored, nothing half arrives."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

import aws_util
from pipeline.aws.body import PART_SIZE
from pipeline.aws.store import MULTIPART_FROM
from pipeline.ports import LaterError, TakenError
from tests.contract import reach
from tests.contract.test_store import DROP, ENGINES, Served, Shelf, _parts_sent, _served
from tests.proxy import Fault, Proxy, Request, Script, answer, error, proxy

BIG = MULTIPART_FROM + 1
"""In three parts."""
CHECKSUM = "x-amz-checksum-crc64nvme"
COMPLETE = ("POST", "uploadId=")
TRIES = 4

Result = TypeVar("Result")


@dataclass
class Line:
    """A bucket of the test's own on moto, seen through the network."""

    near: Served
    """The same without the network."""
    far: Served
    network: Proxy

    def put(self, data: bytes, key: str = "in/a") -> Any:
        """As an uploader: what is to be tried later is, a few times."""
        return _in_the_end(lambda: self.far.put(key, data))

    def get(self, size: int, key: str = "in/a") -> bytes:
        return _in_the_end(lambda: self.far.get(key, size=size))

    def asked(self, method: str, part: str) -> int:
        return sum(request.method == method and part in request.path for request in self.network.seen)

    def is_clean(self) -> bool:
        """Nothing is left of uploads in parts."""
        return (self.near.multipart_uploads(), self.near.journal) == ([], [])


def _in_the_end(work: Callable[[], Result]) -> Result:
    for _ in range(TRIES):
        with contextlib.suppress(LaterError):
            return work()
    return work()


@pytest.fixture(params=ENGINES)
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    near = _served(f"moto {request.param}", request, tmp_path)
    with proxy(near.server.port) as network:
        far = near.over(network.endpoint)
        network.seen.clear()
        yield Line(near, far, network)
        far.store.close()


# Answers


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
def test_a_busy_store_is_asked_again(line: Line, status: int, code: str) -> None:
    """B1. Once it is not busy any more it stores the object, once."""
    line.network.fault = Script(("PUT", "in/a", [error(status, code)] * 2))
    line.put(b"12345")
    assert line.near.get("in/a") == b"12345"
    assert line.asked("PUT", "in/a") == 3


@pytest.mark.parametrize("size", [5, BIG])
def test_another_writer_at_the_same_instant(line: Line, size: int) -> None:
    """B10. S3 answers 409 to one of two conditional writes that meet: it is asked again, at the completion too."""
    conflict = error(409, "ConditionalRequestConflict")
    line.network.fault = Script(("PUT", "in/a", [conflict] if size == 5 else []), (*COMPLETE, [conflict]))
    assert line.put(bytes(size)).size == size
    assert line.near.get("in/a") == bytes(size)
    assert line.is_clean()


def test_a_completion_that_fails_with_200(line: Line) -> None:
    """B8. An error in the body of a success is an error; the parts are there, and none is sent again."""
    failed = Fault(answer=answer(200, b"<Error><Code>InternalError</Code><Message>no</Message></Error>"))
    line.network.fault = Script((*COMPLETE, itertools.repeat(failed)))
    with pytest.raises(LaterError, match="InternalError"):
        line.far.put("in/a", bytes(BIG))
    assert line.near.store.look("in/a") is None
    line.network.seen.clear()
    line.network.fault = Script((*COMPLETE, [failed]))
    assert line.put(bytes(BIG)).size == BIG
    assert _parts_sent(line.network) == set()
    assert line.asked(*COMPLETE) == 2
    assert line.near.get("in/a") == bytes(BIG)
    assert line.is_clean()


@pytest.mark.parametrize("fault", [Fault(answer=answer(200, b"<html>")), Fault(cut_answer=20, end="close")])
def test_a_completion_whose_answer_cannot_be_read(line: Line, fault: Fault) -> None:
    """B8. It is no success either: tried later, and the parts are not sent again."""
    line.network.fault = Script((*COMPLETE, itertools.repeat(fault)))
    with pytest.raises((LaterError, TakenError)):
        line.far.put("in/a", bytes(BIG))
    line.network.seen.clear()
    line.network.fault = lambda _request: None
    with contextlib.suppress(TakenError):
        line.far.put("in/a", bytes(BIG))
    assert _parts_sent(line.network) == set()
    assert line.near.get("in/a") == bytes(BIG)
    assert line.is_clean()


def test_a_completion_whose_answer_is_lost(line: Line) -> None:
    """B9. Asked again S3 knows no such upload: the next try looks, and finds its own object."""
    line.network.fault = Script((*COMPLETE, [Fault(lose=True), error(404, "NoSuchUpload")]))
    with pytest.raises(LaterError, match="NoSuchUpload"):
        line.far.put("in/a", bytes(BIG))
    line.network.seen.clear()
    with pytest.raises(TakenError):
        line.far.put("in/a", bytes(BIG))
    assert _parts_sent(line.network) == set()
    seen = line.far.store.look("in/a")
    assert seen is not None
    assert (seen.size, seen.metadata) == (BIG, DROP)
    assert line.is_clean()


def test_a_part_that_is_refused_for_ever(line: Line) -> None:
    """B19. The second try gives the upload up, so that a later one begins anew; nothing is left of it."""
    line.network.fault = Script(("PUT", "partNumber=3", itertools.repeat(error(400, "InvalidPart"))))
    for uploads in (1, 0):
        with pytest.raises(LaterError, match="InvalidPart"):
            line.far.put("in/a", bytes(BIG))
        assert len(line.near.multipart_uploads()) == uploads
    line.network.fault = lambda _request: None
    line.put(bytes(BIG))
    assert line.near.get("in/a") == bytes(BIG)
    assert line.is_clean()


# Checksums and headers


def test_a_store_that_says_another_checksum(line: Line) -> None:
    """B7. Of the object it has just stored: it is not believed to be ours, and tried later."""
    line.network.fault = lambda _request: Fault(say=((CHECKSUM, "AAAAAAAAAAA="),))
    with pytest.raises(LaterError, match="checksum AAAAAAAAAAA="):
        line.far.put("in/a", b"12345")


@pytest.mark.parametrize("size", [5, BIG])
def test_a_store_that_says_no_checksum(line: Line, size: int) -> None:
    """B7, B20. Ours, in the object's metadata, is what the receiver compares."""
    line.network.fault = lambda _request: Fault(say=((CHECKSUM, ""),))
    assert line.far.put("in/a", bytes(size)).size == size
    assert line.far.get("in/a", size=size) == bytes(size)


def test_a_store_that_refuses_the_condition(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """B20. 501 to If-None-Match is said at the start; HEAD before each PUT keeps what a key holds."""

    def refuse(request: Request) -> Fault | None:
        return error(501, "NotImplemented") if "If-None-Match" in request.headers else None

    line.network.fault = refuse
    far = line.near.over(line.network.endpoint)
    assert "ignores If-None-Match" in caplog.text
    far.put("in/a", b"first")
    with pytest.raises(TakenError):
        far.put("in/a", b"second")
    assert line.near.get("in/a") == b"first"
    far.store.close()


def test_a_store_that_refuses_a_checksum(line: Line) -> None:
    """B20. It is never sent without one instead: it waits, and the error names what the store says."""

    def refuse(request: Request) -> Fault | None:
        known = {name.lower() for name in request.headers}
        return error(501, "NotImplemented") if CHECKSUM in known else None

    line.network.fault = refuse
    with pytest.raises(LaterError, match="NotImplemented"):
        line.far.put("in/a", b"12345")
    assert line.near.store.look("in/a") is None


def test_a_bucket_in_another_region(line: Line) -> None:
    """B14. S3 says where it lies, and everything is signed for that region, whether one sends or only receives."""

    def redirect(request: Request) -> Fault | None:
        signed = next(value for name, value in request.headers.items() if name.lower() == "authorization")
        return None if "/eu-west-1/" in signed else error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1")

    line.network.fault = redirect
    far = line.near.over(line.network.endpoint)
    far.put("in/a", b"12345")
    far.store.close()
    keys, bucket = far.server.credentials, far.store.bucket
    aws = reach.aws(far.folder, line.network.endpoint, keys, bucket, aws_transfer_client=far.store.engine)
    receiver = aws.store(far.folder / "journal", 2, writes=False)
    assert Shelf("receiver", receiver, far.folder).get("in/a", size=5) == b"12345"
    receiver.close()


# Connections that break


@pytest.mark.parametrize(("size", "cut"), [(1 << 20, 0), (1 << 20, 300_000), (BIG, 5_000_000)])
def test_a_request_that_breaks_off(line: Line, size: int, cut: int) -> None:
    """B3. It is sent again from its beginning, and what is stored is whole."""
    data = os.urandom(size)
    line.network.fault = Script(("PUT", "in/a", [Fault(cut_request=cut)]))
    line.put(data)
    assert line.near.get("in/a") == data
    assert line.is_clean()


@pytest.mark.parametrize("end", ["reset", "close"])
@pytest.mark.parametrize("size", [5, 1 << 20, BIG])
def test_an_answer_that_breaks_off(line: Line, size: int, end: str) -> None:
    """B5. A file that is shorter than its object never is a success, whichever of its ranges broke."""
    data = os.urandom(size)
    line.near.put("in/a", data)
    cut = Fault(cut_answer=min(size, PART_SIZE) - 1, end=end)  # type: ignore[arg-type]
    line.network.fault = Script(("GET", "in/a", [cut, None, cut]))
    assert line.get(size) == data


def test_one_object_has_all_ranges(line: Line) -> None:
    """B16. One that is replaced while it is downloaded is given up; the next try has the new one, whole."""
    old, new = bytes(BIG), os.urandom(BIG)
    line.near.put("in/a", old)
    asked = itertools.count()

    def replace(request: Request) -> None:
        if request.method == "GET" and "in/a" in request.path and next(asked) == 1:
            line.near.s3.put_object(Bucket=line.near.store.bucket, Key="in/a", Body=new)

    line.network.fault = replace
    with pytest.raises(LaterError, match="replaced while it was downloaded"):
        line.far.get("in/a", size=BIG)
    assert line.get(BIG) == new


def test_more_bytes_than_were_asked_for(line: Line) -> None:
    """B17. The download ends, and none of them is written."""
    endless = answer(206, bytes(3_000_000), {"ETag": '"e"', "Content-Range": "bytes 0-9/10"})
    line.network.fault = Script(("GET", "in/a", itertools.repeat(Fault(answer=endless))))
    path = line.far.folder / "arrived"
    with path.open("w+b") as file, pytest.raises(LaterError):
        line.far.store.download("in/a", file.fileno(), size=10)
    assert path.stat().st_size <= 10


# Slow and silent lines


def test_a_download_has_no_time_limit_while_bytes_come(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """B21. However long it takes: only silence ends it."""
    monkeypatch.setattr(aws_util, "_READ_SECONDS", 2)
    far = line.near.over(line.network.endpoint)
    line.near.put("in/a", data := os.urandom(60_000))
    line.network.fault = Script(("GET", "in/a", [Fault(rate=15_000)]))
    begun = time.monotonic()
    assert far.get("in/a", size=len(data)) == data
    assert time.monotonic() - begun > 2
    assert line.asked("GET", "in/a") == 1
    far.store.close()


def test_a_line_that_takes_nothing_for_a_while(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """B21. A line that is full is no dead one: what is being sent waits, for longer than a connection may take."""
    monkeypatch.setattr(aws_util, "_CONNECT_SECONDS", 1)
    far = line.near.over(line.network.endpoint)
    line.network.fault = Script(("PUT", "in/a", [Fault(delay=4)]))
    data = bytes(MULTIPART_FROM - 1)  # more than sockets hold
    far.put("in/a", data)
    assert line.asked("PUT", "in/a") == 1
    assert line.near.get("in/a") == data
    far.store.close()


def test_a_line_that_falls_silent(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """B5, B21. Within an answer: it is asked again, and what arrives is whole. `crt` waits 30 seconds."""
    monkeypatch.setattr(aws_util, "_READ_SECONDS", 1)
    far = line.near.over(line.network.endpoint)
    data = os.urandom(100_000)
    far.put("in/a", data)
    line.network.fault = Script(("GET", "in/a", [Fault(cut_answer=1000, end="stall")]))
    assert _in_the_end(lambda: far.get("in/a", size=len(data))) == data
    assert line.asked("GET", "in/a") == 2
    far.store.close()
