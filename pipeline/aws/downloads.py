"""Objects on their way into a file: one range after the other, several at a time, all of one and the same object."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from pipeline.aws.answers import Answer
from pipeline.aws.body import PART_SIZE, part_size_of
from pipeline.aws.engine import Engine, Get, then
from pipeline.aws.errors import NO_RANGE, code_of, stop_if, translated
from pipeline.aws.evidence import Evidence
from pipeline.aws.window import Budget, Window
from pipeline.names import printable
from pipeline.ports import ChangedError, LaterError, NeverError, PausedError, StoredObject, TakenError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


def anything(_size: int) -> None:
    """An object of any size may come."""


class Downloads:
    """The downloads of one bucket. Safe to use from several threads."""

    def __init__(self, client: "S3Client", engine: Engine, bucket: str, budget: Budget, owner: dict[str, Any]) -> None:
        """`owner`: the arguments that name the bucket's expected owner, if any."""
        self._client, self._engine, self._bucket, self._budget, self._owner = client, engine, bucket, budget, owner
        self._evidence = Evidence(self._read)

    def get(
        self,
        key: str,
        fd: int,
        size: int | None,
        version_id: str | None,
        *,
        admit: Callable[[int], None] = anything,
        cancelled: Callable[[], bool] = bool,
    ) -> StoredObject:
        """See ports.ObjectStore.download."""
        try:
            return self._get_all(key, fd, size, version_id, admit, cancelled)
        except PausedError as error:
            raise self._evidence.refusal(error, self._what(key)) from error.__cause__

    def _get_all(
        self,
        key: str,
        fd: int,
        size: int | None,
        version_id: str | None,
        admit: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> StoredObject:
        what = self._what(key)
        stop_if(cancelled(), what)
        # Not known, or none: a range of nothing is refused. Or much: no room is held for it at anybody's word.
        if not size or size > PART_SIZE:
            with translated(what):
                head = self._head(key, version_id)
            _refuse_resized(what, head.length, size)
            if not head.length:
                return head.stored(key)
            size = head.length
        admit(size)
        first = self._get_first(Get(key, 0, min(size, PART_SIZE) - 1, version_id or ""), fd, size, cancelled)
        self._get_rest(key, first, version_id, fd, cancelled)
        return first.stored(key)

    def begin_small(self, key: str, fd: int, size: int, version_id: str | None) -> Future[StoredObject]:
        """One request, for no more bytes than there should be; ChangedError if the object has another size."""
        what = self._what(key)

        def check(answer: Answer) -> StoredObject:
            _refuse_resized(what, answer.length, size)
            return answer.stored(key)

        future = then(self._get(Get(key, 0, size - 1, version_id or ""), fd, bool), check, what)
        return self._evidence.judged(future, what)

    def _read(self, get: Get) -> Future[Answer]:
        """See whether it comes."""
        return then(self._engine.get(get, lambda _data, _offset: None), lambda answer: answer, self._what(get.key))

    def _get_first(self, get: Get, fd: int, size: int, cancelled: Callable[[], bool]) -> Answer:
        """The range that tells how large the object is now; ChangedError if that is not `size`."""
        what = self._what(get.key)
        try:
            with self._budget.taken(PART_SIZE, cancelled, what):
                first = self._get(get, fd, cancelled).result()
        except NeverError as error:
            if code_of(error.__cause__) != NO_RANGE:
                raise
            raise ChangedError(f"{what}: it is empty, and should have {size} bytes") from error
        _refuse_resized(what, first.length, size)
        return first

    def _get(self, get: Get, fd: int, cancelled: Callable[[], bool]) -> Future[Answer]:
        """One range into the file; LaterError if it ended early."""
        arrived, what = 0, self._what(get.key)

        def write(data: bytes, offset: int) -> None:
            nonlocal arrived
            stop_if(cancelled(), what)
            if offset + len(data) > get.end + 1:
                raise LaterError(f"{what}: the store sends more than it was asked for")
            _write(fd, data, offset)
            arrived += len(data)

        def check(answer: Answer) -> Answer:
            wanted = min(get.end + 1, answer.length) - get.start
            if arrived != wanted:
                raise LaterError(f"{what}: {arrived} of {wanted} bytes arrived")
            self._evidence.note(get)
            return answer

        return then(self._engine.get(get, write), check, what)

    def _get_rest(
        self, key: str, first: Answer, version_id: str | None, fd: int, cancelled: Callable[[], bool]
    ) -> None:
        """The ranges after the first; LaterError if the object is another by then."""
        what = self._what(key)
        window: Window[Answer] = Window(self._budget, cancelled, what, first.length)
        try:
            with window:
                step = part_size_of(first.length)
                for start in range(PART_SIZE, first.length, step):
                    end = min(start + step, first.length) - 1
                    get = Get(key, start, end, version_id or "", first.etag)
                    window.submit(end - start + 1, functools.partial(self._get, get, fd, cancelled))
                window.results()
        except TakenError as error:
            raise LaterError(f"{what}: replaced while it was downloaded") from error

    def _head(self, key: str, version_id: str | None) -> Answer:
        version: Any = {"VersionId": version_id} if version_id else {}
        answer: Any = self._client.head_object(Bucket=self._bucket, Key=key, **version, **self._owner)
        return Answer.of_botocore(answer)

    def _what(self, key: str) -> str:
        return f"GET s3://{self._bucket}/{printable(key)}"


def _refuse_resized(what: str, length: int, size: int | None) -> None:
    if size is not None and length != size:
        raise ChangedError(f"{what}: it has {length} bytes, not {size}")


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
