"""One bucket: what travels goes through a transfer engine, everything else through botocore.

Content is read by position from one descriptor that the caller checked, compared with its checksum in memory, and sent
from there. What arrives is written by position, range by range, all of them of one and the same object.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from pipeline.aws import listing
from pipeline.aws.answers import Answer
from pipeline.aws.body import PART_SIZE, body_of, refuse_changed
from pipeline.aws.checksum import crc64nvme_of
from pipeline.aws.downloads import Downloads, anything
from pipeline.aws.engine import OWNER, Engine, Put, then
from pipeline.aws.errors import code_of, kind_of, status_of, stop_if, translated
from pipeline.aws.journal import Journal
from pipeline.aws.multipart import Multipart
from pipeline.aws.window import Budget
from pipeline.names import printable
from pipeline.ports import Content, LaterError, Listed, MissingError, NeverError, StoredObject, TakenError
from pipeline.threads import Pool

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MULTIPART_FROM = 2 * PART_SIZE
"""Objects of this size and more go up in parts."""
_BUDGET = 6 * PART_SIZE
"""Of a process, for all transfers that have a thread; the small ones beside them are at most 64 of 256 KiB."""
_THREADS = 8
"""For what was begun and turned out to need more than one request."""


class S3Store:
    """See ports.ObjectStore. Safe to use from several threads."""

    def __init__(
        self,
        client: "S3Client",
        engine: Engine,
        bucket: str,
        journal: Path,
        *,
        conditional: bool = True,
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """`journal`: where the records of multipart uploads lie; `conditional`: If-None-Match is honoured.

        `extra`: what CreateMultipartUpload carries beside the program's own, in botocore's names.
        """
        self._client, self._engine, self.bucket, self._conditional = client, engine, bucket, conditional
        self._owner: Any = {name: value for name, value in extra.items() if name == OWNER}
        self._budget = budget = Budget(_BUDGET)
        self._multipart = Multipart(client, engine, bucket, Journal(journal), budget, dict(extra))
        self._downloads = Downloads(client, engine, bucket, budget, self._owner)
        self._pool = Pool(_THREADS, "store")

    @property
    def engine(self) -> str:
        """The transfer engine's name."""
        return self._engine.name

    def upload(
        self,
        content: Content,
        key: str,
        metadata: Mapping[str, str],
        *,
        replaces: str | None = None,
        cancelled: Callable[[], bool] = bool,
    ) -> StoredObject:
        """See ports.ObjectStore."""
        what = self._what("PUT", key)
        stop_if(cancelled(), what)
        _refuse_unsendable(key, metadata, what)
        try:
            # Large objects ask before they travel; a store that ignores If-None-Match is asked for every object.
            if content.size >= MULTIPART_FROM or not self._conditional:
                self._look_first(key, replaces, what)
            if content.size < MULTIPART_FROM:
                with self._budget.taken(content.size, cancelled, what):
                    return self._put(content, key, metadata, replaces).result()
            condition = self._condition(replaces)
            answer = self._multipart.upload(content, key, metadata, condition, cancelled)
            return _stored(key, content, metadata, answer)
        except TakenError as error:
            if content.size >= MULTIPART_FROM:
                self._multipart.give_up(key)
            if replaces is not None and self.look(key) is None:  # some stores answer this, too, with 412
                raise MissingError(f"{error}; nothing is there any more") from error
            raise

    def begin_upload(self, content: Content, key: str, metadata: Mapping[str, str]) -> Future[StoredObject]:
        """See ports.ObjectStore."""
        if content.size < MULTIPART_FROM and self._conditional:
            _refuse_unsendable(key, metadata, self._what("PUT", key))
            return self._put(content, key, metadata, None)
        return self._pool.submit(self.upload, content, key, metadata)

    def look(self, key: str, version_id: str | None = None) -> StoredObject | None:
        """See ports.ObjectStore."""
        version: Any = {"VersionId": version_id} if version_id else {}
        with translated(self._what("HEAD", key)):
            try:
                answer: Any = self._client.head_object(Bucket=self.bucket, Key=key, **version, **self._owner)
            except ClientError as error:
                # HEAD has no body: a missing key and a missing bucket look alike; the PUT that follows tells.
                if kind_of(code_of(error), status_of(error)) is MissingError:
                    return None
                if code_of(error).isdecimal():  # the bare status: LIST has a body that names the reason
                    self._client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1, **self._owner)
                raise
        return Answer.of_botocore(answer).stored(key)

    def download(
        self,
        key: str,
        fd: int,
        *,
        size: int | None = None,
        version_id: str | None = None,
        admit: Callable[[int], None] = anything,
        cancelled: Callable[[], bool] = bool,
    ) -> StoredObject:
        """See ports.ObjectStore."""
        return self._downloads.get(key, fd, size, version_id, admit=admit, cancelled=cancelled)

    def begin_download(self, key: str, fd: int, *, size: int | None, version_id: str | None) -> Future[StoredObject]:
        """See ports.ObjectStore."""
        if size and size <= PART_SIZE:
            return self._downloads.begin_small(key, fd, size, version_id)
        return self._pool.submit(self._downloads.get, key, fd, size, version_id)

    def keys(self, prefix: str) -> Iterator[str]:
        """See ports.ObjectStore."""
        return (found.key for found in self.listed(prefix))

    def listed(self, prefix: str, *, versions: bool = False) -> Iterator[Listed]:
        """See ports.ObjectStore."""
        pages = listing.versions if versions else listing.objects
        with translated(self._what("LIST", prefix)):
            yield from pages(self._client, {"Bucket": self.bucket, "Prefix": prefix, **self._owner})

    def delete(self, key: str, version_id: str | None = None) -> None:
        """See ports.ObjectStore."""
        version: Any = {"VersionId": version_id} if version_id else {}
        with contextlib.suppress(MissingError), translated(self._what("DELETE", key)):
            self._client.delete_object(Bucket=self.bucket, Key=key, **version, **self._owner)

    def abandon_uploads(self, older_than: float) -> int:
        """Abort the multipart uploads, so many seconds old, whose process is gone; how many."""
        return self._multipart.abandon(older_than)

    def cancel(self) -> None:
        """See ports.ObjectStore."""
        self._engine.cancel()

    def close(self) -> None:
        """Give threads and connections back."""
        self._engine.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _put(
        self, content: Content, key: str, metadata: Mapping[str, str], replaces: str | None
    ) -> Future[StoredObject]:
        what = self._what("PUT", key)
        body = content.body
        if body is None:
            body = body_of(content.fd, 0, content.size)
            refuse_changed(crc64nvme_of(body), content, what)
        condition = self._condition(replaces)
        put = Put(
            key,
            body,
            content.crc64nvme,
            content.content_type,
            metadata,
            condition.get("IfNoneMatch", ""),
            condition.get("IfMatch", ""),
        )
        return then(self._engine.put(put), lambda answer: _stored(key, content, metadata, answer), what)

    def _what(self, verb: str, key: str) -> str:
        return f"{verb} s3://{self.bucket}/{printable(key)}"

    def _condition(self, replaces: str | None) -> dict[str, str]:
        if not self._conditional:
            return {}
        return {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}

    def _look_first(self, key: str, replaces: str | None, what: str) -> None:
        found = self.look(key)
        if replaces is None and found is not None:
            raise TakenError(f"{what}: the key holds an object")
        if replaces is not None and (found is None or found.etag != replaces):
            raise TakenError(f"{what}: the key does not hold the object that was to be replaced")


def _stored(key: str, content: Content, metadata: Mapping[str, str], answer: Answer) -> StoredObject:
    if answer.crc64nvme not in (None, content.crc64nvme):
        raise LaterError(f"PUT {key!r}: the store reports checksum {answer.crc64nvme}, not {content.crc64nvme}")
    return answer.stored(key, size=content.size, metadata=metadata)


def _refuse_unsendable(key: str, metadata: Mapping[str, str], what: str) -> None:
    """NeverError for what is no request: the bucket itself, or a text that would be more than one header."""
    if not key:
        raise NeverError(f"{what}: an object has a key")
    if not all(value.isascii() and value.isprintable() for value in metadata.values()):
        raise NeverError(f"{what}: metadata that is no header: {metadata}")
