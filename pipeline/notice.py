"""The announcement of a file: `Notice` ↔ message body and attributes, for every shape that is accepted.

The queue is untrusted: whatever does not read as exactly one of the known shapes raises UnreadableError.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from pipeline.drop import Origin, format_time
from pipeline.names import NameRefusedError, decode_path, encode_path
from pipeline.ports import Message, StoredObject

BODY_LIMIT = 262_144
"""Bytes of a message read at all: what SQS carried before August 2025 and every known producer stays below."""

FORMATS = ("key", "s3-event")
_APPLICATION = "folder-relay"
_ATTRIBUTES = ("bucket", "path", "size", "crc64nvme", "drop_id", "mtime", "etag", "version_id")
_ATTRIBUTE_LIMIT = 4096  # a path of 1,062 bytes, percent-encoded, has 3,186
_SIZE_LIMIT = 50 * 1024**4  # S3's largest object is 50 TiB (Amazon S3 User Guide, quotas, 2025)
# What XML 1.0 cannot carry and SQS therefore refuses (SendMessage, "valid characters").
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class UnreadableError(ValueError):
    """A message that announces nothing we know; the text says what is wrong with it."""


@dataclass(frozen=True)
class Notice:
    """One object, announced. Only `bucket` and `key` are always known; the rest is what the producer said."""

    bucket: str
    key: str
    path: str | None = None
    size: int | None = None
    crc64nvme: str | None = None
    drop_id: str | None = None
    mtime: str | None = None
    """ISO 8601, UTC."""
    etag: str | None = None
    version_id: str | None = None
    sequencer: str | None = None
    """Hexadecimal, to be right-padded before it is compared."""


@dataclass(frozen=True)
class Event:
    """What an s3-event says besides the notice: where and when the object was created, and by which request."""

    region: str
    time: str
    """ISO 8601, UTC, with milliseconds."""
    request_id: str = ""
    multipart: bool = False


def encode(notice: Notice, form: str, event: Event) -> Message:
    """The message that announces `notice` in `form`, one of FORMATS."""
    if form == "key" and not _bare_key_is_safe(notice.key):
        form = "s3-event"
    body = notice.key if form == "key" else _event_body(notice, event)
    attributes: dict[str, str | int | None] = {
        "bucket": notice.bucket,
        "path": None if notice.path is None else encode_path(notice.path),
        "size": notice.size,
        "crc64nvme": notice.crc64nvme,
        "drop_id": notice.drop_id,
        "mtime": notice.mtime,
        "etag": notice.etag,
        "version_id": notice.version_id,
        "format": form,
    }
    # A FIFO queue keeps the order within a folder, and with it that of the versions of one name; their keys may differ
    # in more than the name.
    place = notice.key if notice.path is None else encode_path(notice.path)
    group = hashlib.sha256(place.rpartition("/")[0].encode()).hexdigest()
    return Message(body, {name: value for name, value in attributes.items() if value not in (None, "")}, group)


def announce(stored: StoredObject, bucket: str, origin: Origin, form: str, *, region: str, now_ns: int) -> Message:
    """The message that tells of an object of ours, at a time in nanoseconds since the epoch."""
    notice = Notice(
        bucket,
        stored.key,
        path=origin.path,
        size=stored.size,
        crc64nvme=origin.crc64nvme,
        drop_id=origin.drop_id,
        mtime=None if origin.mtime_ns is None else format_time(origin.mtime_ns),
        etag=stored.etag,
        version_id=stored.version_id,
        sequencer=f"{now_ns:016X}",
    )
    when = f"{format_time(now_ns)[:23]}Z"
    return encode(notice, form, Event(region, when, stored.request_id, stored.multipart))


def decode(body: str, attributes: Mapping[str, str], bucket: str) -> list[Notice]:
    """What a message announces; an empty list is a message to acknowledge (a test event, a removal).

    `bucket` is assumed where the message, a bare key, names none. Raises UnreadableError.
    """
    if len(body.encode("utf-8", "surrogatepass")) > BODY_LIMIT:
        raise UnreadableError(f"the body has more than {BODY_LIMIT} bytes")
    if attributes.get("format") == "key" or not body.lstrip().startswith("{"):
        return [_with_attributes(Notice(attributes.get("bucket", bucket), body), attributes)]
    notices = _from_object(_json_object(body))
    if attributes.get("format") == "s3-event" and len(notices) == 1:
        return [_with_attributes(notices[0], attributes)]
    return notices


def _bare_key_is_safe(key: str) -> bool:
    return not key.lstrip().startswith("{") and not _NOT_XML.search(key)


def _event_body(notice: Notice, event: Event) -> str:
    entity: dict[str, Any] = {"key": quote_plus(notice.key, safe="/"), "size": notice.size or 0}
    entity["eTag"] = notice.etag or ""
    if notice.version_id:
        entity["versionId"] = notice.version_id
    entity["sequencer"] = notice.sequencer or "00"
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": event.region,
        "eventTime": event.time,
        "eventName": f"ObjectCreated:{'CompleteMultipartUpload' if event.multipart else 'Put'}",
        "userIdentity": {"principalId": _APPLICATION},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": event.request_id or "-", "x-amz-id-2": "-"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": _APPLICATION,
            "bucket": {
                "name": notice.bucket,
                "ownerIdentity": {"principalId": "-"},
                "arn": f"arn:aws:s3:::{notice.bucket}",
            },
            "object": entity,
        },
    }
    return json.dumps({"Records": [record]}, separators=(",", ":"))


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


def _from_object(value: dict[str, Any]) -> list[Notice]:
    if value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
        return _from_object(_json_object(value["Message"]))
    if value.get("Event") == "s3:TestEvent":
        return []
    if "detail-type" in value:
        return _from_eventbridge(value)
    records = value.get("Records")
    if not isinstance(records, list) or not records:
        raise UnreadableError("neither a key nor an S3 event, SNS notification or EventBridge event")
    return [notice for record in records for notice in _from_record(record)]


def _from_record(record: Any) -> list[Notice]:
    if not isinstance(record, dict) or record.get("eventSource") not in ("aws:s3", "minio:s3"):
        raise UnreadableError("a record that is not an S3 event")
    name = _text(record, "eventName").removeprefix("s3:")
    if not name.startswith("ObjectCreated:"):
        return []
    s3 = _mapping(record, "s3")
    entity = _mapping(s3, "object")
    try:
        key = unquote_plus(_text(entity, "key"), errors="strict")
    except UnicodeDecodeError:
        raise UnreadableError("the key is not UTF-8") from None
    return [_notice_of(_text(_mapping(s3, "bucket"), "name"), key, entity, "eTag", "versionId")]


def _from_eventbridge(value: dict[str, Any]) -> list[Notice]:
    kind = _text(value, "detail-type")
    if not kind.startswith("Object "):  # S3's own all do: Object Deleted, Object Restore Completed, …
        raise UnreadableError("an EventBridge event that is not of S3")
    if kind != "Object Created":
        return []
    detail = _mapping(value, "detail")
    entity = _mapping(detail, "object")
    # EventBridge does not encode keys: unquoting here would turn `a+b` into another file.
    return [_notice_of(_text(_mapping(detail, "bucket"), "name"), _text(entity, "key"), entity, "etag", "version-id")]


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
    ours = [attributes[name] for name in _ATTRIBUTES if name in attributes]
    if any(len(value) > _ATTRIBUTE_LIMIT or not (value.isascii() and value.isprintable()) for value in ours):
        raise UnreadableError("an attribute is not short printable ASCII")
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
    return Notice(
        notice.bucket,
        notice.key,
        path=decoded,
        size=notice.size if size is None else _size(int(size)),
        crc64nvme=attributes.get("crc64nvme"),
        drop_id=attributes.get("drop_id"),
        mtime=attributes.get("mtime"),
        etag=attributes.get("etag", notice.etag),
        version_id=attributes.get("version_id", notice.version_id),
        sequencer=notice.sequencer,
    )


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
    return _text(value, name) if value.get(name) not in (None, "") else None


def _size(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _SIZE_LIMIT:
        raise UnreadableError("size is not a number of bytes")
    return value
