"""What other programs ask of an S3 event on a queue: the rules by which each takes it, written down anew.

Each is a function from the body of a message to what it would fetch, (bucket, key); RefusedError where the program
deletes the message unread, tries it for ever, or passes over it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

Found = list[tuple[str, str]]
Reader = Callable[[str], Found]

REGION = "eu-west-1"
"""The one that Vector is configured for."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class RefusedError(ValueError):
    """The reader would not fetch the object."""


def filebeat(body: str) -> Found:
    """The input aws-s3: records of another kind are passed over, a message without any is deleted."""
    value = _object(body)
    if value.get("TopicArn"):
        value = _object(_text(value, "Message"))
    if value.get("Records") is None:
        raise RefusedError("Filebeat deletes a message without Records")
    created = [
        record
        for record in _records(value)
        if record.get("eventSource") == "aws:s3" and str(record.get("eventName")).startswith("ObjectCreated:")
    ]
    if not all(isinstance(record.get("awsRegion"), str) for record in created):
        raise RefusedError("Filebeat names the region in every document")
    return _found(created, _query_unescape)


def vector(body: str) -> Found:
    """The source aws_s3: a key is read without a copy, so that an escape of JSON inside it ends in an error loop."""
    value = _object(body)
    if "Message" in value and "Timestamp" in value:
        raise RefusedError("Vector takes it for a notification of SNS")
    for key in re.findall(r'"key":\s*("(?:[^"\\]|\\.)*")', body):
        if "\\" in key:
            raise RefusedError("Vector cannot read a key with an escape")
    records = _records(value)
    for record in records:
        if not re.fullmatch(r"2\.\d+", _text(record, "eventVersion")):
            raise RefusedError("Vector knows version 2")
        kind, colon, _ = _text(record, "eventName").partition(":")
        if not colon or kind != "ObjectCreated":
            raise RefusedError("Vector passes over it")
        if not _RFC_3339.fullmatch(time := _text(record, "eventTime")):
            raise RefusedError("Vector asks for RFC 3339")
        datetime.fromisoformat(time)
        _text(record, "eventSource")
        if _text(record, "awsRegion") != REGION:
            raise RefusedError("Vector compares the region")
    return _found(records, _strict)


def logstash(body: str) -> Found:
    """The input s3-sns-sqs; without Records it returns nothing, and the message comes again."""
    created = [
        record
        for record in _records(_object(body))
        if record.get("eventSource") == "aws:s3" and _text(record, "eventName").startswith("ObjectCreated")
    ]
    return _found(created, unquote_plus)


def opentelemetry(body: str) -> Found:
    """The receiver awss3: what has no Records has to be a notification of SNS."""
    value = _object(body)
    if not value.get("Records"):
        if value.get("Type") != "Notification":
            raise RefusedError("OpenTelemetry takes it for no notification")
        value = _object(_text(value, "Message"))
    created = [
        record
        for record in _records(value)
        if record.get("eventSource") == "aws:s3" and str(record.get("eventName")).startswith("ObjectCreated:")
    ]
    return _found(created, _query_unescape)


def redpanda(body: str) -> Found:
    """Redpanda Connect's aws_s3 with key_path Records.*.s3.object.key and bucket_path Records.*.s3.bucket.name."""
    return _found(_records(_object(body)), _query_unescape)


READERS: dict[str, Reader] = {
    reader.__name__: reader for reader in (filebeat, vector, logstash, opentelemetry, redpanda)
}


def _found(records: list[dict[str, Any]], unquoted: Callable[[str], str]) -> Found:
    if not records:
        raise RefusedError("it finds no object")
    return [
        (_text(_inner(record, "s3", "bucket"), "name"), unquoted(_text(_inner(record, "s3", "object"), "key")))
        for record in records
    ]


def _query_unescape(text: str) -> str:
    """Go's url.QueryUnescape, which refuses a lone percent sign."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise RefusedError(f"{text!r} is not quoted")
    return unquote_plus(text, errors="surrogateescape")


def _strict(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise RefusedError(f"{text!r} is not UTF-8") from None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise RefusedError("no JSON") from None
    if not isinstance(value, dict):
        raise RefusedError("no object")
    return value


def _records(value: dict[str, Any]) -> list[dict[str, Any]]:
    records = value.get("Records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RefusedError("no Records")
    return records


def _inner(value: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        value = value.get(name, {})
        if not isinstance(value, dict):
            raise RefusedError(f"{name} is no object")
    return value


def _text(value: dict[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise RefusedError(f"{name} is missing")
    return text
