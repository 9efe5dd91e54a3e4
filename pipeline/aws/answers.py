"""What S3 answers, in the one form that both transfer engines give it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from pipeline.ports import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_METADATA = "x-amz-meta-"


@dataclass(frozen=True)
class Answer:
    """The headers of a successful answer that anybody asks for."""

    etag: str
    """Without quotes."""
    length: int = 0
    """Bytes of the whole object, of which a part may have been asked."""
    version_id: str | None = None
    crc64nvme: str | None = None
    """Of the whole object; None where the store keeps none, or one of the parts' checksums."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    modified: int | None = None
    """Seconds since the epoch."""

    @classmethod
    def of_botocore(cls, answer: Mapping[str, Any]) -> Self:
        """From what a client's method returns."""
        whole = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        return cls(
            answer.get("ETag", "").strip('"'),
            _whole_length(answer.get("ContentRange", ""), answer.get("ContentLength", 0)),
            answer.get("VersionId"),
            answer.get("ChecksumCRC64NVME") if whole else None,
            {name.lower(): value for name, value in answer.get("Metadata", {}).items()},
            answer.get("ResponseMetadata", {}).get("RequestId", ""),
            _seconds(answer.get("LastModified")),
        )

    @classmethod
    def of_headers(cls, headers: Sequence[tuple[str, str]]) -> Self:
        """From the headers of an answer."""
        known = {name.lower(): value for name, value in headers}
        whole = known.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT"
        return cls(
            known.get("etag", "").strip('"'),
            _whole_length(known.get("content-range", ""), int(known.get("content-length", 0))),
            known.get("x-amz-version-id"),
            known.get("x-amz-checksum-crc64nvme") if whole else None,
            {name.removeprefix(_METADATA): value for name, value in known.items() if name.startswith(_METADATA)},
            known.get("x-amz-request-id", ""),
            _seconds(_date(known.get("last-modified", ""))),
        )

    def stored(self, key: str, *, size: int | None = None, metadata: Mapping[str, str] | None = None) -> StoredObject:
        """What the store knows of the object; an upload's answer says neither its size nor its metadata."""
        return StoredObject(
            key,
            size=self.length if size is None else size,
            etag=self.etag,
            version_id=self.version_id,
            metadata=self.metadata if metadata is None else metadata,
            request_id=self.request_id,
            multipart="-" in self.etag,  # the number of parts follows it
            modified=self.modified,
        )


def leave_out_keys(client: "S3Client") -> None:
    """Read what S3 says of an upload without its key, which it repeats even if no XML may hold it.

    It does not ask how to encode it there, as a listing does. A parser refuses the whole answer, and botocore takes
    that for one that was cut off, to be tried again: for ever.
    """
    for operation in ("CreateMultipartUpload", "CompleteMultipartUpload", "ListParts"):
        # With this wildcard it is called before botocore's own, which looks whether the answer is whole.
        client.meta.events.register_first(f"before-parse.*.{operation}", _drop_key)


def _drop_key(response_dict: dict[str, Any], **_: object) -> None:
    response_dict["body"] = re.sub(rb"<(Key|Location)>[^<]*</\1>", b"", response_dict["body"])


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:  # there is none, or it cannot be read
        return None


def _whole_length(content_range: str, length: int) -> int:
    """`Content-Range: bytes 0-9/100` speaks of 100 bytes; without one the body is the whole. -1 if it does not say."""
    if not content_range:
        return length
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", content_range)
    return int(found.group(1)) if found else -1
