"""What the store makes of answers that no server under test would give."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.aws import downloads
from pipeline.aws.answers import Answer
from pipeline.aws.checksum import crc64nvme_of
from pipeline.aws.engine import Get, Put
from pipeline.aws.store import S3Store
from pipeline.ports import Content, LaterError

BODIES = {"first": b"a" * 20, "second": b"b" * 20}


class Bucket:
    """An engine and a client that know one object, which is replaced when `replaced` is set."""

    name = "test"

    def __init__(self) -> None:
        self.etag = "first"
        self.replaced_after = 0
        self.sends = 20
        """Bytes of a range, at most."""
        self.reports = ""

    def put(self, put: Put) -> Future[Answer]:
        return _done(Answer("etag", crc64nvme=self.reports or put.crc64nvme))

    def get(self, get: Get, write: Callable[[bytes, int], None]) -> Future[Answer]:
        if get.if_match not in ("", self.etag):
            future: Future[Answer] = Future()
            future.set_exception(ClientError({"Error": {"Code": "PreconditionFailed"}}, "GetObject"))
            return future
        write(BODIES[self.etag][get.start : get.end + 1][: self.sends], get.start)
        answer = Answer(self.etag, 20)
        self.replaced_after -= 1
        if self.replaced_after == 0:
            self.etag = "second"
        return _done(answer)

    def head_object(self, **_: Any) -> dict[str, Any]:
        return {"ETag": f'"{self.etag}"', "ContentLength": 20}

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def _done(answer: Answer) -> Future[Answer]:
    future: Future[Answer] = Future()
    future.set_result(answer)
    return future


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def store(bucket: Bucket, tmp_path: Path) -> Iterator[S3Store]:
    events = SimpleNamespace(register_first=lambda *_: None)
    meta = SimpleNamespace(endpoint_url="http://x", events=events)
    client: Any = SimpleNamespace(head_object=bucket.head_object, meta=meta)
    made = S3Store(client, bucket, "bucket", tmp_path / "journal")
    yield made
    made.close()


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def test_a_store_that_reports_another_checksum(store: S3Store, bucket: Bucket, fd: int) -> None:
    """What it keeps is not what was sent: nobody is told of it, and it is tried again."""
    content = Content(fd, 4, crc64nvme_of(b"body"), body=b"body")
    assert store.upload(content, "a", {}).etag == "etag"
    bucket.reports = crc64nvme_of(b"b0dy")
    with pytest.raises(LaterError, match="reports checksum"):
        store.upload(content, "a", {})


@pytest.mark.parametrize("replaced_after", [1, 2, 3])
def test_ranges_are_of_one_object(
    store: S3Store, bucket: Bucket, fd: int, monkeypatch: pytest.MonkeyPatch, replaced_after: int
) -> None:
    """Replaced between two of them, it is tried again rather than pieced together."""
    for name in ("PART_SIZE", "part_size_of"):
        monkeypatch.setattr(downloads, name, 8 if name == "PART_SIZE" else lambda _size: 8)
    bucket.replaced_after = replaced_after
    if replaced_after == 3:  # after the last
        store.download("a", fd, size=20)
        assert os.pread(fd, 100, 0) == BODIES["first"]
        return
    with pytest.raises(LaterError, match="replaced while it was downloaded"):
        store.download("a", fd, size=20)


def test_half_a_range_is_none(store: S3Store, bucket: Bucket, fd: int) -> None:
    """An answer that ends early, and well for whoever reads it: what is missing would be a hole in the file."""
    for ask in (store.download, lambda *where, **more: store.begin_download(*where, version_id=None, **more).result()):
        bucket.sends = 19
        with pytest.raises(LaterError, match="19 of 20 bytes"):
            ask("a", fd, size=20)
        bucket.sends = 20
        ask("a", fd, size=20)
