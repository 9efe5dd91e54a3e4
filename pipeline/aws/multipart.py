"""Large objects: sent in parts, several at a time, and gone on with where a kill or a dead network cut them off."""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_plus

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.aws.answers import Answer
from pipeline.aws.body import body_of, part_size_of, ranges, refuse_changed
from pipeline.aws.checksum import as_text, combine_crc64nvme, crc64nvme_value
from pipeline.aws.engine import OWNER, Engine, Put
from pipeline.aws.errors import DENIED, NOT_OFFERED, client_status, code_of, translate, translated
from pipeline.aws.journal import Journal, Noted, Record
from pipeline.aws.window import Budget, Window
from pipeline.drop import DROP_ID
from pipeline.names import printable
from pipeline.ports import CancelledError, ChangedError, Content, LaterError, NeverError, RelayError, TakenError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

_GONE, _REFUSED = "NoSuchUpload", 400
_SKEW_SECONDS = 900
"""By which S3 lets clocks differ."""
_HOPE_SECONDS = 7 * 86_400.0
"""After which nobody looks any more for what a store does not list."""
_HOPELESS = (TakenError, NeverError, ChangedError, CancelledError)
"""After these nothing goes on with the parts that are there."""


class Multipart:
    """The multipart uploads of one bucket."""

    def __init__(
        self, client: "S3Client", engine: Engine, bucket: str, journal: Journal, budget: Budget, extra: dict[str, Any]
    ) -> None:
        """`extra`: what CreateMultipartUpload carries beside the program's own, in botocore's names."""
        self._client, self._engine, self._bucket, self._journal = client, engine, bucket, journal
        self._budget, self._extra = budget, extra
        self._endpoint = str(client.meta.endpoint_url)
        self._owner: Any = {name: value for name, value in extra.items() if name == OWNER}

    def upload(
        self,
        content: Content,
        key: str,
        metadata: Mapping[str, str],
        condition: Mapping[str, str],
        cancelled: Callable[[], bool],
    ) -> Answer:
        """Send an object in parts. What can be gone on with stays noted; anything else is aborted.

        `condition`: IfNoneMatch or IfMatch of the completion, the moment that counts.
        """
        what = f"PUT s3://{self._bucket}/{printable(key)}"
        size, drop_id = content.size, metadata.get(DROP_ID, "")
        wanted = Record(
            self._bucket,
            key,
            "",
            drop_id,
            content.crc64nvme,
            size,
            part_size_of(size),
            self._endpoint,
            time.time(),
        )
        with self._upload_of(wanted, lambda: self._create(content, key, metadata, what)) as (noted, goes_on):
            try:
                with translated(what):
                    there = self._parts_there(noted.record) if goes_on else {}
                    parts = self._send(noted.record, there, content, cancelled, what)
                    answer = self._complete(noted.record, parts, condition)
            except _HOPELESS:
                self._abort(noted)
                raise
            except LaterError as error:
                if code_of(error.__cause__) == _GONE:
                    noted.forget()  # completed, and the answer was lost; or aborted by somebody else
                elif goes_on and client_status(error) == _REFUSED:
                    self._abort(noted)  # whatever it is: it is begun anew
                raise
            noted.forget()
            return answer

    def abandon(self, older_than: float) -> int:
        """Abort the uploads that were cut off and are so many seconds old; how many."""
        oldest = time.time() - older_than
        return sum(map(self._abort, self._journal.cut_off(lambda it: self._is_here(it) and it.created <= oldest)))

    def give_up(self, key: str) -> None:
        """Abort what was cut off under a key that is taken: by another, or by its own completion, unheard."""
        for noted in self._journal.cut_off(lambda it: self._is_here(it) and it.key == key):
            self._abort(noted)

    @contextlib.contextmanager
    def _upload_of(self, wanted: Record, begin: Callable[[], str]) -> Iterator[tuple[Noted, bool]]:
        """The upload of this very drop that was cut off, or a new one; and whether it goes on."""
        with contextlib.ExitStack() as held:
            earlier = self._cut_off(wanted, held)
            yield (earlier, True) if earlier else (self._begun(wanted, begin, held), False)

    def _is_here(self, record: Record) -> bool:
        """Whether an upload is in this bucket; records of earlier programs do not say where their bucket is."""
        return record.bucket == self._bucket and record.endpoint in ("", self._endpoint)

    def _cut_off(self, wanted: Record, held: contextlib.ExitStack) -> Noted | None:
        """What was cut off of this very drop; whatever else was under this key, of this file before or another's."""
        records = self._journal.cut_off(lambda it: self._is_here(it) and it.key == wanted.key)
        for noted in held.enter_context(contextlib.closing(records)):
            if wanted.drop_id and noted.record.upload_id and noted.record.is_of(wanted):
                return noted
            self._abort(noted)
        return None

    def _begun(self, wanted: Record, begin: Callable[[], str], held: contextlib.ExitStack) -> Noted:
        """Noted twice: killed between S3's answer and its record, nobody would know that there is an upload."""
        with self._journal.written(wanted) as intent:
            try:
                record = dataclasses.replace(wanted, upload_id=begin())
            except RelayError as error:
                if 0 < client_status(error) < 500:  # S3 has said that there is none
                    intent.forget()
                raise
            try:
                noted = held.enter_context(self._journal.written(record))
            except OSError:  # it could not be noted
                if self._abort_upload(record):
                    intent.forget()
                raise
            intent.forget()
            return noted

    def _create(self, content: Content, key: str, metadata: Mapping[str, str], what: str) -> str:
        with translated(what):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                ContentType=content.content_type,
                Metadata=dict(metadata),
                ChecksumAlgorithm="CRC64NVME",
                ChecksumType="FULL_OBJECT",
                **self._extra,
            )
        if not answer.get("UploadId"):
            raise LaterError(f"{what}: the store began an upload in parts and gave it no id")
        return answer["UploadId"]

    def _send(
        self,
        record: Record,
        there: Mapping[int, Mapping[str, Any]],
        content: Content,
        cancelled: Callable[[], bool],
        what: str,
    ) -> list[dict[str, int | str]]:
        """Every part that is not there yet, read in order; number and ETag of all."""
        whole = 0

        def begin(number: int, offset: int, size: int) -> Future[Answer]:
            nonlocal whole
            body = body_of(content.fd, offset, size)
            checksum = crc64nvme_value(body)
            whole = combine_crc64nvme(whole, checksum, size)
            put = Put(record.key, body, as_text(checksum), upload_id=record.upload_id, part=number)
            return _sent_before(put, there.get(number)) or self._engine.put(put)

        window: Window[Answer] = Window(self._budget, cancelled, what, record.size)
        with window:
            for number, offset, size in ranges(record.size):
                window.submit(size, functools.partial(begin, number, offset, size))
            answers = window.results()
        # Before it is complete: what is stored under the key would have to be replaced.
        refuse_changed(as_text(whole), content, what)
        return [{"PartNumber": number, "ETag": answer.etag} for number, answer in enumerate(answers, 1)]

    def _parts_there(self, record: Record) -> dict[int, Mapping[str, Any]]:
        """The parts that S3 has of an upload that goes on."""
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._bucket, Key=record.key, UploadId=record.upload_id, **self._owner
        )
        return {part["PartNumber"]: cast(Any, part) for page in pages for part in page.get("Parts", [])}

    def _complete(self, record: Record, parts: list[dict[str, int | str]], condition: Mapping[str, str]) -> Answer:
        answer = self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=record.key,
            UploadId=record.upload_id,
            MultipartUpload={"Parts": cast(Any, parts)},
            **self._owner,
            **cast(Any, condition),
        )
        return Answer.of_botocore(cast(Any, answer))

    def _abort(self, noted: Noted) -> bool:
        """Whether the upload is gone: aborted now or before, or completed. One that is not stays noted."""
        record = noted.record
        gone = self._abort_upload(record) if record.upload_id else self._abort_unnoted(record)
        if gone:
            noted.forget()
        return gone

    def _abort_unnoted(self, intent: Record) -> bool:
        """Abort what was begun under a key at that time, and never went on; whether nothing is left to be done.

        Nothing says whose an upload is, and other machines may send to this key: what has a part, or is of another
        time, is somebody's. One whose first part is still on its way is begun anew by its sender.
        """
        try:
            left = [record for record in self._begun_with(intent) if not self._is_others(record)]
        except (ClientError, BotoCoreError) as error:
            problem = translate(error, f"look for the multipart upload of s3://{self._bucket}/{printable(intent.key)}")
            log.warning("a multipart upload may be left: %s", problem)
            hopeless = time.time() - intent.created > _HOPE_SECONDS
            return hopeless or code_of(error) in DENIED | NOT_OFFERED
        return not [record for record in left if not self._abort_upload(record)]

    def _is_others(self, record: Record) -> bool:
        """Whether it went on, or is gone."""
        try:
            return bool(self._parts_there(record))
        except ClientError as error:
            if code_of(error) == _GONE:
                return True
            raise

    def _begun_with(self, intent: Record) -> list[Record]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=intent.key, EncodingType="url", **self._owner
        )
        known = self._journal.ids()
        return [
            dataclasses.replace(intent, upload_id=upload["UploadId"])
            for page in pages
            for upload in page.get("Uploads", [])
            if _is_of(intent.key, upload) and _is_of_that_time(upload, intent) and upload["UploadId"] not in known
        ]

    def _abort_upload(self, record: Record) -> bool:
        try:
            self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=record.key, UploadId=record.upload_id, **self._owner
            )
        except (ClientError, BotoCoreError) as error:
            if code_of(error) == _GONE:
                return True
            problem = translate(error, f"abort the multipart upload of s3://{self._bucket}/{printable(record.key)}")
            log.warning("a multipart upload stays for now: %s", problem)
            return False
        return True


def _is_of(key: str, upload: Mapping[str, Any]) -> bool:
    """Whether it is of the key itself. Some stores encode keys as they are asked to, not all that do say so.

    No other key that begins with this one is read as it either way.
    """
    return key in (upload["Key"], unquote_plus(upload["Key"]))


def _is_of_that_time(upload: Mapping[str, Any], intent: Record) -> bool:
    """Not every store says when an upload began."""
    begun = upload["Initiated"].timestamp() if "Initiated" in upload else intent.created
    return bool(abs(begun - intent.created) <= _SKEW_SECONDS)


def _sent_before(put: Put, there: Mapping[str, Any] | None) -> Future[Answer] | None:
    """The answer to a part that S3 has; None where what it has is not known to be these very bytes."""
    if there is None or there.get("Size") != len(put.body):
        return None
    etag = there["ETag"].strip('"')
    checksum = there.get("ChecksumCRC64NVME")
    if checksum is None and etag != hashlib.md5(put.body, usedforsecurity=False).hexdigest():
        return None
    if checksum not in (None, put.crc64nvme):
        return None
    future: Future[Answer] = Future()
    future.set_result(Answer(etag))
    return future
