"""The announcement of a file: `Notice`, and the message that it is sent as; `shapes` is the way back."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from pipeline.drop import Origin, format_time
from pipeline.names import encode_path
from pipeline.ports import Message, StoredObject

FORMATS = ("key", "s3-event")
_APPLICATION = "folder-relay"
# What XML 1.0 cannot carry and SQS therefore refuses (SendMessage, "valid characters").
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
