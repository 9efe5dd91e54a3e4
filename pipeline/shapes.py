"""What a message announces, in every shape that is accepted: our own two, S3 events of AWS and MinIO, also in
notifications of SNS, and events of EventBridge.

The queue is untrusted: whatever does not read as exactly one of the known shapes raises UnreadableError.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from pipeline.drop import is_drop_id
from pipeline.names import KEY_LIMIT, NameRefusedError, decode_path
from pipeline.notice import Notice

BODY_LIMIT = 262_144
"""Bytes of a message read at all: what SQS carried before August 2025 and every known producer stays below (one record
has 8 KiB at most, in whatever envelope). The worst of that size costs 25 ms to read, of SQS's 1 MiB 100 ms."""

TEST_EVENT = "s3:TestEvent"
"""What S3 sends once to a queue that it is told to notify."""

_ATTRIBUTES = ("bucket", "path", "size", "crc64nvme", "drop_id", "mtime", "etag", "version_id")
_ATTRIBUTE_LIMIT = 4096  # a path of 1,062 bytes, percent-encoded, has 3,186
_TOKEN_LIMIT = 1024  # bytes of a version id (Amazon S3 User Guide, "How S3 Versioning works"); an ETag is shorter
_RECORDS_LIMIT = 100
"""Records of one message: S3 puts one in, and each costs requests, again whenever one of them fails."""
_SIZE_LIMIT = 50 * 1024**4  # S3's largest object is 50 TiB (Amazon S3 User Guide, quotas, 2025)
_HEX = re.compile("[0-9A-Fa-f]+")


class UnreadableError(ValueError):
    """A message that announces nothing we know; the text says what is wrong with it."""


class Announced(NamedTuple):
    """What one message says."""

    notices: list[Notice]
    others: list[str]
    """Names of its events of which no file comes: the bucket's test event, a removal."""


def read(body: str, attributes: Mapping[str, str], bucket: str) -> Announced:
    """What a message announces; one without notices is only to be acknowledged.

    `bucket` is assumed where the message, a bare key, names none. Raises UnreadableError.
    """
    if len(body.encode("utf-8", "surrogatepass")) > BODY_LIMIT:
        raise UnreadableError(f"the body has more than {BODY_LIMIT} bytes")
    if attributes.get("format") == "key" or not body.lstrip().startswith("{"):
        return Announced([_with_attributes(Notice(attributes.get("bucket", bucket), body), attributes)], [])
    notices, others = _from_object(_json_object(body))
    if attributes.get("format") == "s3-event" and len(notices) == 1:
        notices = [_with_attributes(notices[0], attributes)]
    return Announced(newest(notices), others)


def newest(notices: Sequence[Notice]) -> list[Notice]:
    """Without those that a later record of the same object has overtaken; one without a sequencer stays as it is."""
    ordered = sorted((notice for notice in notices if _order(notice)), key=_order)
    last = {(notice.bucket, notice.key, notice.version_id): notice for notice in ordered}
    return [
        notice
        for notice in notices
        if not _order(notice) or last[notice.bucket, notice.key, notice.version_id] is notice
    ]


def _order(notice: Notice) -> str:
    """What sorts the records of one object; "" if nothing does.

    Sequencers of different lengths are padded with zeros on the right before they are compared (Amazon S3 User Guide,
    "Event message structure"): as texts they sort so without these.
    """
    sequencer = notice.sequencer or ""
    return sequencer.upper().rstrip("0") or "0" if _HEX.fullmatch(sequencer) else ""


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON that can be read: {type(error).__name__}: {error}") from None
    if not isinstance(value, dict):
        raise UnreadableError("the JSON is not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return result


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _from_object(value: dict[str, Any]) -> Announced:
    if value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
        return _from_object(_json_object(value["Message"]))
    if value.get("Event") == TEST_EVENT:
        return Announced([], [TEST_EVENT])
    if "detail-type" in value:
        return _sorted_out([_from_eventbridge(value)])
    records = value.get("Records")
    if not isinstance(records, list) or not records:
        raise UnreadableError("neither a key nor an S3 event, SNS notification or EventBridge event")
    if len(records) > _RECORDS_LIMIT:
        raise UnreadableError(f"more than {_RECORDS_LIMIT} records")
    # What stands there twice is asked for once.
    return _sorted_out(list(dict.fromkeys(map(_from_record, records))))


def _sorted_out(found: Sequence[Notice | str]) -> Announced:
    return Announced(
        [item for item in found if isinstance(item, Notice)], [item for item in found if isinstance(item, str)]
    )


def _from_record(record: Any) -> Notice | str:
    """The object, or the name of an event of which no file comes."""
    if not isinstance(record, dict) or record.get("eventSource") not in ("aws:s3", "minio:s3"):
        raise UnreadableError("a record that is not an S3 event")
    version = record.get("eventVersion", "2.0")
    if not isinstance(version, str) or not version.startswith("2."):  # another one may mean something else by a key
        raise UnreadableError("an S3 event of another version than 2")
    name = _text(record, "eventName").removeprefix("s3:")
    if not name.startswith("ObjectCreated:"):
        return name
    s3 = _mapping(record, "s3")
    entity = _mapping(s3, "object")
    if len(quoted := _text(entity, "key")) > 3 * KEY_LIMIT:
        raise UnreadableError("the key is too long")
    try:
        key = unquote_plus(quoted, errors="strict")
    except UnicodeDecodeError:
        raise UnreadableError("the key is not UTF-8") from None
    return _notice_of(_text(_mapping(s3, "bucket"), "name"), key, entity, "eTag", "versionId")


def _from_eventbridge(value: dict[str, Any]) -> Notice | str:
    kind = _text(value, "detail-type")
    if not kind.startswith("Object "):  # S3's own all do: Object Deleted, Object Restore Completed, …
        raise UnreadableError("an EventBridge event that is not of S3")
    if kind != "Object Created":
        return kind
    detail = _mapping(value, "detail")
    entity = _mapping(detail, "object")
    # EventBridge does not encode keys: unquoting here would turn `a+b` into another file.
    return _notice_of(_text(_mapping(detail, "bucket"), "name"), _text(entity, "key"), entity, "etag", "version-id")


def _notice_of(bucket: str, key: str, entity: dict[str, Any], etag: str, version: str) -> Notice:
    return Notice(
        bucket,
        key,
        size=_size(entity.get("size")),
        etag=_optional(entity, etag),
        version_id=_optional(entity, version),
        sequencer=_optional(entity, "sequencer"),
    )


def _with_attributes(notice: Notice, attributes: Mapping[str, str]) -> Notice:
    _refuse_odd(attributes)
    if attributes.get("bucket", notice.bucket) != notice.bucket:
        raise UnreadableError("body and attributes name different buckets")
    size = attributes.get("size")
    if size is not None and not (size.isascii() and size.isdigit() and len(size) < 16):
        raise UnreadableError("the attribute size is not a number of bytes")
    path = attributes.get("path")
    try:
        decoded = None if path is None else decode_path(path)
    except NameRefusedError:
        raise UnreadableError("the attribute path cannot be read") from None
    return replace(
        notice,
        path=decoded,
        size=notice.size if size is None else _size(int(size)),
        crc64nvme=attributes.get("crc64nvme"),
        drop_id=attributes.get("drop_id"),
        mtime=attributes.get("mtime"),
        etag=attributes.get("etag", notice.etag),
        version_id=attributes.get("version_id", notice.version_id),
    )


def _refuse_odd(attributes: Mapping[str, str]) -> None:
    if not all(_is_plain(attributes.get(name, ""), _ATTRIBUTE_LIMIT) for name in _ATTRIBUTES):
        raise UnreadableError("an attribute is not short printable ASCII")
    if "drop_id" in attributes and not is_drop_id(attributes["drop_id"]):
        raise UnreadableError("the attribute drop_id is none")


def _mapping(value: dict[str, Any], name: str) -> dict[str, Any]:
    inner = value.get(name)
    if not isinstance(inner, dict):
        raise UnreadableError(f"{name} is missing or not an object")
    return inner


def _text(value: dict[str, Any], name: str) -> str:
    inner = value.get(name)
    if not isinstance(inner, str) or not inner:
        raise UnreadableError(f"{name} is missing or not a text")
    return inner


def _optional(value: dict[str, Any], name: str) -> str | None:
    """What S3 makes up itself, such as a version id: it goes into requests, and is never odd."""
    text = _text(value, name) if value.get(name) not in (None, "") else None
    if not _is_plain(text or "", _TOKEN_LIMIT):
        raise UnreadableError(f"{name} is not short printable ASCII")
    return text


def _is_plain(text: str, limit: int) -> bool:
    return len(text) <= limit and text.isascii() and text.isprintable()


def _size(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _SIZE_LIMIT:
        raise UnreadableError("size is not a number of bytes")
    return value
