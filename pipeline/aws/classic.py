"""The classic transfer engine: botocore's own requests, one connection for each thread that calls it.

boto3's `upload_file` is not used: it refuses `If-None-Match`, and it opens the path again for every part, so that a
file replaced meanwhile is spliced. Here one descriptor, checked by the caller, is read from first byte to last.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.aws.body import PART_SIZE, body_of, checksum_of, ranges
from pipeline.aws.checksum import Crc64Nvme
from pipeline.aws.errors import code_of, kind_of, status_of, stop_if, translate, translated
from pipeline.aws.journal import Journal
from pipeline.names import printable
from pipeline.ports import Content, LaterError, MissingError, StoredObject, TakenError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

MULTIPART_FROM = 4 * PART_SIZE
"""Objects of this size and more go up in parts."""
_CHUNK = 1024 * 1024


class ClassicStore:
    """One bucket through botocore. Safe to use from several threads."""

    def __init__(self, client: "S3Client", bucket: str, journal: Path, *, conditional: bool = True) -> None:
        """`journal`: where the ids of multipart uploads under way lie; `conditional`: If-None-Match is honoured."""
        self._client, self.bucket, self._conditional = client, bucket, conditional
        self._journal = Journal(journal, bucket, self._abort)

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
        stop_if(cancelled(), self._what("PUT", key))
        try:
            if content.size < MULTIPART_FROM:
                return self._put(content, key, metadata, replaces)
            return self._put_parts(content, key, metadata, replaces, cancelled)
        except TakenError as error:
            if replaces is not None and self.look(key) is None:  # some stores answer this, too, with 412
                raise MissingError(f"{error}; nothing is there any more") from error
            raise

    def look(self, key: str) -> StoredObject | None:
        """See ports.ObjectStore."""
        with translated(self._what("HEAD", key)):
            try:
                answer = self._client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                # HEAD has no body: a missing key and a missing bucket look alike; the PUT that follows tells.
                if kind_of(code_of(error), status_of(error)) is MissingError:
                    return None
                if code_of(error).isdecimal():  # the bare status: LIST has a body that names the reason
                    self._client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
                raise
        return _stored(key, answer)

    def download(
        self, key: str, fd: int, *, version_id: str | None = None, cancelled: Callable[[], bool] = bool
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

    def delete(self, key: str, version_id: str | None = None) -> None:
        """See ports.ObjectStore."""
        version = {"VersionId": version_id} if version_id else {}
        with contextlib.suppress(MissingError), translated(self._what("DELETE", key)):
            self._client.delete_object(Bucket=self.bucket, Key=key, **version)  # type: ignore[arg-type]  # optional argument

    def abandon_uploads(self) -> int:
        """Abort the multipart uploads that a kill left in this bucket; how many. Those of living processes stay."""
        return self._journal.abandon()

    def _put(self, content: Content, key: str, metadata: Mapping[str, str], replaces: str | None) -> StoredObject:
        what = self._what("PUT", key)
        if not self._conditional:
            self._look_first(key, replaces, what)
        body = body_of(content.fd, 0, content.size)
        _refuse_changed(checksum_of(body), content, what)
        with translated(what):
            answer = self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=cast(Any, body),
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
        self.abandon_uploads()  # an earlier try's, if the network broke and it could not be aborted then
        with translated(what):
            upload = self._create(content, key, metadata)
            with self._journal.noted(key, upload):
                parts = self._send_parts(content, key, upload, cancelled)
                done = self._client.complete_multipart_upload(
                    Bucket=self.bucket,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": cast(Any, parts)},
                    **self._condition(replaces),
                )
        return _put_result(key, content, done, metadata, multipart=True)

    def _create(self, content: Content, key: str, metadata: Mapping[str, str]) -> str:
        return self._client.create_multipart_upload(
            Bucket=self.bucket,
            Key=key,
            ContentType=content.content_type,
            Metadata=dict(metadata),
            ChecksumAlgorithm="CRC64NVME",
            ChecksumType="FULL_OBJECT",
        )["UploadId"]

    def _send_parts(
        self, content: Content, key: str, upload: str, cancelled: Callable[[], bool]
    ) -> list[dict[str, int | str]]:
        what, whole = self._what("PUT", key), Crc64Nvme()
        parts: list[dict[str, int | str]] = []
        for number, offset, size in ranges(content.size):
            stop_if(cancelled(), what)
            body = body_of(content.fd, offset, size)
            answer = self._client.upload_part(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=cast(Any, body),
                ChecksumCRC64NVME=str(checksum_of(body, whole)),
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        # Before it is complete: what is stored under the key would have to be replaced.
        _refuse_changed(whole, content, what)
        return parts

    def _what(self, verb: str, key: str) -> str:
        return f"{verb} s3://{self.bucket}/{printable(key)}"

    def _condition(self, replaces: str | None) -> dict[str, Any]:
        if not self._conditional:
            return {}
        return {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": f'"{replaces}"'}

    def _look_first(self, key: str, replaces: str | None, what: str) -> None:
        """Large objects ask before they travel; a store that ignores If-None-Match is asked for every object."""
        found = self.look(key)
        if replaces is None and found is not None:
            raise TakenError(f"{what}: the key holds an object")
        if replaces is not None and (found is None or found.etag != replaces):
            raise TakenError(f"{what}: the key does not hold the object that was to be replaced")

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

    def _abort(self, key: str, upload: str) -> bool:
        """Whether the upload is gone: aborted now or before, or completed."""
        try:
            self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)
        except (ClientError, BotoCoreError) as error:
            if code_of(error) == "NoSuchUpload":
                return True
            problem = translate(error, self._what("abort the multipart upload of", key))
            log.warning("a multipart upload stays for now: %s", problem)
            return False
        return True


def _refuse_changed(read: Crc64Nvme, content: Content, what: str) -> None:
    """LaterError if what was read is not what the caller computed the checksum of."""
    if str(read) != content.crc64nvme:
        raise LaterError(f"{what}: the file changed while it was uploaded")


def _stored(key: str, answer: Mapping[str, Any]) -> StoredObject:
    return StoredObject(
        key,
        size=answer["ContentLength"],
        etag=answer["ETag"].strip('"'),
        multipart="-" in answer["ETag"],  # the number of parts follows it
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
