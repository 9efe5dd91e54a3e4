"""The classic transfer engine: botocore's own requests, one connection for each thread that calls it.

boto3's `upload_file` is not used: it refuses `If-None-Match`, and it opens the path again for every part, so that a
file replaced meanwhile is spliced. Here one descriptor, checked by the caller, is read from first byte to last.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.aws.checksum import crc64nvme_of
from pipeline.aws.errors import stop_if, translated
from pipeline.folders import lock
from pipeline.names import printable
from pipeline.ports import Content, LaterError, MissingError, RelayError, StoredObject, TakenError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

PART_SIZE = 8 * 1024 * 1024
"""Bytes of a part, and of what one thread holds in memory; S3 asks for at least 5 MiB."""
MULTIPART_FROM = 4 * PART_SIZE
"""Objects of this size and more go up in parts."""
PART_LIMIT = 10_000
"""Parts of one upload (Amazon S3 User Guide, "Multipart upload limits")."""
_CHUNK = 1024 * 1024


def never() -> bool:
    """The answer of a caller that does not cancel."""
    return False


class ClassicStore:
    """One bucket through botocore. Safe to use from several threads."""

    def __init__(self, client: "S3Client", bucket: str, journal: Path, *, conditional: bool = True) -> None:
        """`journal`: where the ids of multipart uploads under way lie; `conditional`: If-None-Match is honoured."""
        self._client, self.bucket, self._journal, self._conditional = client, bucket, journal, conditional
        journal.mkdir(mode=0o700, parents=True, exist_ok=True)

    def upload(
        self,
        content: Content,
        key: str,
        metadata: Mapping[str, str],
        *,
        replaces: str | None = None,
        cancelled: Callable[[], bool] = never,
    ) -> StoredObject:
        """See ports.ObjectStore."""
        stop_if(cancelled(), self._what("PUT", key))
        if content.size < MULTIPART_FROM:
            return self._put(content, key, metadata, replaces)
        return self._put_parts(content, key, metadata, replaces, cancelled)

    def look(self, key: str) -> StoredObject | None:
        """See ports.ObjectStore."""
        with translated(self._what("HEAD", key)):
            try:
                answer = self._client.head_object(Bucket=self.bucket, Key=key)
            except self._client.exceptions.ClientError as error:
                # HEAD has no body: a missing key and a missing bucket look alike; the PUT that follows tells.
                if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                    return None
                raise
        return _stored(key, answer)

    def download(
        self, key: str, fd: int, *, version_id: str | None = None, cancelled: Callable[[], bool] = never
    ) -> StoredObject:
        """See ports.ObjectStore."""
        what = self._what("GET", key)
        stop_if(cancelled(), what)
        version = {"VersionId": version_id} if version_id else {}
        with translated(what):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **version)  # type: ignore[arg-type]  # optional argument
            with contextlib.closing(answer["Body"]) as body:
                length = self._copy(body.iter_chunks(_CHUNK), fd, cancelled, what)
        if length != answer["ContentLength"]:
            raise LaterError(f"{what}: {length} of {answer['ContentLength']} bytes arrived")
        return _stored(key, answer)

    def keys(self, prefix: str) -> Iterator[str]:
        """See ports.ObjectStore."""
        with translated(self._what("LIST", prefix)):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield entry["Key"]

    def abandon_uploads(self) -> int:
        """Abort the multipart uploads that a kill left in this bucket; how many. Those of living processes stay."""
        return sum(self._abandon(record) for record in sorted(self._journal.glob("*.json")))

    def _put(self, content: Content, key: str, metadata: Mapping[str, str], replaces: str | None) -> StoredObject:
        what = self._what("PUT", key)
        if not self._conditional:
            self._look_first(key, replaces, what)
        body = os.pread(content.fd, content.size, 0)
        with translated(what):
            answer = self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentLength=content.size,
                ContentType=content.content_type,
                Metadata=dict(metadata),
                ChecksumCRC64NVME=content.crc64nvme,
                **self._condition(replaces),
            )
        return _put_result(key, content, answer, metadata, multipart=False)

    def _put_parts(
        self,
        content: Content,
        key: str,
        metadata: Mapping[str, str],
        replaces: str | None,
        cancelled: Callable[[], bool],
    ) -> StoredObject:
        what = self._what("PUT", key)
        self._look_first(key, replaces, what)
        with translated(what), self._upload_id(content, key, metadata) as upload:
            parts = []
            for number, offset, size in _ranges(content.size):
                stop_if(cancelled(), what)
                body = os.pread(content.fd, size, offset)
                answer = self._client.upload_part(
                    Bucket=self.bucket,
                    Key=key,
                    UploadId=upload,
                    PartNumber=number,
                    Body=body,
                    ChecksumCRC64NVME=crc64nvme_of(body),
                )
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            done = self._client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]  # the stub wants its own TypedDict
                **self._condition(replaces),
            )
        return _put_result(key, content, done, metadata, multipart=True)

    def _what(self, verb: str, key: str) -> str:
        return f"{verb} s3://{self.bucket}/{printable(key)}"

    def _condition(self, replaces: str | None) -> dict[str, Any]:
        if not self._conditional:
            return {}
        return {"IfMatch": f'"{replaces}"'} if replaces else {"IfNoneMatch": "*"}

    def _look_first(self, key: str, replaces: str | None, what: str) -> None:
        """Large objects ask before they travel; a store that ignores If-None-Match is asked for every object."""
        found = self.look(key)
        if replaces is None and found is not None:
            raise TakenError(f"{what}: the key holds an object")
        if replaces is not None and (found is None or found.etag != replaces):
            raise TakenError(f"{what}: the key no longer holds the object that was to be replaced")

    def _copy(self, chunks: Iterator[bytes], fd: int, cancelled: Callable[[], bool], what: str) -> int:
        offset = 0
        for chunk in chunks:
            stop_if(cancelled(), what)
            view = memoryview(chunk)
            while view:
                written = os.pwrite(fd, view, offset)
                offset += written
                view = view[written:]
        return offset

    @contextlib.contextmanager
    def _upload_id(self, content: Content, key: str, metadata: Mapping[str, str]) -> Iterator[str]:
        """A multipart upload, noted durably before its first part and aborted unless it is completed."""
        name = metadata.get("drop_id") or f"upload-{os.getpid()}-{content.fd}"
        record = self._journal / f"{name}.json"
        with record.open("w", encoding="utf-8") as file:
            lock(file.fileno())  # held while the upload lives: abandon_uploads leaves it alone
            upload = self._client.create_multipart_upload(
                Bucket=self.bucket,
                Key=key,
                ContentType=content.content_type,
                Metadata=dict(metadata),
                ChecksumAlgorithm="CRC64NVME",
                ChecksumType="FULL_OBJECT",
            )["UploadId"]
            json.dump({"bucket": self.bucket, "key": key, "upload_id": upload, "drop_id": name}, file)
            file.flush()
            os.fsync(file.fileno())
            try:
                yield upload
            except BaseException:
                self._abort(key, upload)
                raise
            finally:
                record.unlink(missing_ok=True)

    def _abandon(self, record: Path) -> int:
        with contextlib.suppress(FileNotFoundError), record.open("r+", encoding="utf-8") as file:
            if not lock(file.fileno()):
                return 0
            try:
                noted = json.load(file)
            except ValueError:  # killed before the id was written: the upload, if any, was never used
                noted = {}
            if noted.get("bucket", self.bucket) != self.bucket:
                return 0
            if noted:
                self._abort(noted["key"], noted["upload_id"])
            record.unlink(missing_ok=True)
            return 1
        return 0

    def _abort(self, key: str, upload: str) -> None:
        try:
            with translated(self._what("abort the multipart upload of", key)):
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)
        except MissingError:
            return  # completed or aborted before
        except RelayError as error:
            log.warning("a multipart upload stays behind, let a lifecycle rule remove it: %s", error)


def _ranges(size: int) -> Iterator[tuple[int, int, int]]:
    """(part number, offset, bytes) of each part; parts grow where PART_LIMIT of them would not do."""
    part = max(PART_SIZE, -(-size // PART_LIMIT))
    for number, offset in enumerate(range(0, size, part), 1):
        yield number, offset, min(part, size - offset)


def _stored(key: str, answer: Mapping[str, Any]) -> StoredObject:
    return StoredObject(
        key,
        size=answer["ContentLength"],
        etag=answer["ETag"].strip('"'),
        version_id=answer.get("VersionId"),
        metadata={name.lower(): value for name, value in answer.get("Metadata", {}).items()},
        request_id=answer.get("ResponseMetadata", {}).get("RequestId", ""),
    )


def _put_result(
    key: str, content: Content, answer: Mapping[str, Any], metadata: Mapping[str, str], *, multipart: bool
) -> StoredObject:
    returned = answer.get("ChecksumCRC64NVME")
    # A composite checksum (of the parts' checksums) says nothing about the whole; some stores answer it all the same.
    if returned and answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and returned != content.crc64nvme:
        raise LaterError(f"PUT {key!r}: the store reports checksum {returned}, the file has {content.crc64nvme}")
    return StoredObject(
        key,
        size=content.size,
        etag=answer["ETag"].strip('"'),
        version_id=answer.get("VersionId"),
        metadata=metadata,
        request_id=answer.get("ResponseMetadata", {}).get("RequestId", ""),
        multipart=multipart,
    )
