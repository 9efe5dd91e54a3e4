"""S3 events of ours as other programs read them: Powertools itself, and the rules of five more."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from aws_lambda_powertools.utilities.parser.models import S3Model, S3SqsEventNotificationModel
from aws_lambda_powertools.utilities.parser.models.s3 import S3Object
from pydantic import ValidationError

from pipeline.aws.checksum import crc64nvme_of
from pipeline.aws.store import MULTIPART_FROM
from pipeline.drop import Drop, Fingerprint, origin_of
from pipeline.names import NameRefusedError, key_for
from pipeline.notice import announce
from pipeline.ports import Content, Message, StoredObject
from pipeline.shapes import read
from tests.contract import reach
from tests.contract.readers import READERS, REGION, RefusedError
from tests.odd_names import names
from tests.servers import Server, make_bucket

BUCKET = "my-bucket"
NOW = 1_738_324_800_123_456_789
PATHS = [
    *(os.fsdecode(name) for row in names().values() for name in row),
    *("a b+c%20d", 'in"quotes"', "back\\slash\\n", "\x01\x1b[0m\n\r\t\x7f", "ñ/é/\U0001f600", "{", "}", "&=?#;"),
]


def event(path: str, **changes: Any) -> Message:
    """The message of a file, as an s3-event."""
    drop = Drop(path, Fingerprint(1, 5, NOW, 2), crc64nvme_of(b"12345"), key_for("in", path))
    told: dict[str, Any] = {"etag": "e1", "request_id": "REQUEST", "metadata": drop.metadata(), **changes}
    stored = StoredObject(drop.key.text, 5, **told)
    return announce(stored, BUCKET, origin_of(stored, BUCKET, "in"), "s3-event", region=REGION, now_ns=NOW)


def in_sqs(body: str) -> dict[str, Any]:
    """A message as Lambda hands it to a function."""
    system = {
        "ApproximateReceiveCount": "1",
        "SentTimestamp": "1738324800123",
        "SenderId": "AIDA",
        "ApproximateFirstReceiveTimestamp": "1738324800124",
    }
    record = {
        "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
        "receiptHandle": "AQEB",
        "body": body,
        "attributes": system,
        "messageAttributes": {},
        "md5OfBody": "0" * 32,
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:q",
        "awsRegion": REGION,
    }
    return {"Records": [record]}


def sent() -> list[tuple[str, Message]]:
    """Key and message of every path that has a key."""
    found = []
    for path in PATHS:
        try:
            found.append((key_for("in", path).text, event(path)))
        except NameRefusedError:
            continue  # too long for a key
    assert len(found) > 100
    return found


def object_of(record: Any) -> S3Object:
    """The object of a record; the model allows for events that have none."""
    found: S3Object | None = record.s3.object
    assert found is not None
    return found


def test_powertools_reads_every_event() -> None:
    """By itself and as a record of SQS: bucket, key, and all that the model asks for."""
    for key, message in sent():
        (record,) = S3Model.model_validate_json(message.body).Records
        (wrapped,) = S3SqsEventNotificationModel.model_validate(in_sqs(message.body)).Records
        assert isinstance(wrapped.body, S3Model)
        for found in (record, wrapped.body.Records[0]):
            entity = object_of(found)
            assert (found.s3.bucket.name, unquote_plus(entity.key)) == (BUCKET, key)
            assert (entity.size, entity.eTag, entity.sequencer) == (5, "e1", f"{NOW:016X}")
            assert found.responseElements.x_amz_request_id == "REQUEST"
            assert (found.eventName, found.awsRegion) == ("ObjectCreated:Put", REGION)
            assert found.eventTime.isoformat() == "2025-01-31T12:00:00.123000+00:00"


@pytest.mark.parametrize(
    ("version", "multipart", "name"), [(None, False, "Put"), ("v1", True, "CompleteMultipartUpload")]
)
def test_powertools_reads_versions_and_multipart_uploads(version: str | None, multipart: bool, name: str) -> None:
    """A version id where there is one, and how the object came to be."""
    message = event("a", version_id=version, multipart=multipart)
    (record,) = S3Model.model_validate_json(message.body).Records
    assert (record.eventName, object_of(record).versionId) == (f"ObjectCreated:{name}", version)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_finds_the_object(reader: str) -> None:
    """Bucket and exact key, over names of every kind; a key that is percent-quoted stays so."""
    for key, message in sent():
        assert READERS[reader](message.body) == [(BUCKET, key)]


def test_no_escape_of_json_is_in_a_key() -> None:
    """Nor anything but ASCII; and the key read back is the one that was stored."""
    for key, message in sent():
        (text,) = re.findall(r'"key":"([^"]*)"', message.body)
        assert re.fullmatch(r"[A-Za-z0-9_.~%+/-]+", text)
        assert message.body.isascii()
        assert [notice.key for notice in read(message.body, {}, BUCKET).notices] == [key]


# The rules are rules


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    """A good event with one thing wrong."""
    value = json.loads(event("a b").body)
    change(value["Records"][0])
    return json.dumps(value)


def without(name: str) -> str:
    return changed(lambda record: record.pop(name))


def having(**values: Any) -> str:
    return changed(lambda record: record.update(values))


def with_key(text: str) -> str:
    return changed(lambda record: record["s3"]["object"].update(key=text))


NO_EVENT = ["in/a", "[]", "{}", '{"Records":[]}', '{"Records":[1]}', having(s3={}), with_key("")]
BROKEN = {
    "filebeat": [*NO_EVENT, having(eventSource="minio:s3"), having(eventName="ObjectRemoved:Delete"), with_key("100%")],
    "vector": [
        *NO_EVENT,
        *(without(name) for name in ("eventVersion", "eventSource", "eventName", "awsRegion", "eventTime")),
        having(eventVersion="3.0"),
        having(awsRegion="us-east-1"),
        having(eventTime="yesterday"),
        having(eventName="ObjectCreated"),
        with_key("in/ñ"),  # json.dumps makes an escape of it
        with_key("in/%FF"),
        json.dumps({**json.loads(event("a").body), "Message": "", "Timestamp": ""}),
    ],
    "logstash": [*NO_EVENT, having(eventSource="minio:s3"), without("eventName"), having(eventName="ObjectRemoved:x")],
    "opentelemetry": [*NO_EVENT, without("eventSource"), having(eventName="ObjectCreated"), with_key("%zz")],
    "redpanda": [*NO_EVENT, without("s3"), with_key("%")],
}


@pytest.mark.parametrize(("reader", "body"), [(reader, body) for reader, bodies in BROKEN.items() for body in bodies])
def test_a_reader_refuses_a_broken_event(reader: str, body: str) -> None:
    with pytest.raises(RefusedError):
        READERS[reader](body)


NEEDED = ["eventVersion", "awsRegion", "eventTime", "userIdentity", "requestParameters", "responseElements"]
NEEDED_OF_OBJECT = ["key", "size", "eTag"]


def without_in_object(name: str) -> str:
    return changed(lambda record: record["s3"]["object"].pop(name))


@pytest.mark.parametrize(
    "body",
    [*map(without, NEEDED), *map(without_in_object, NEEDED_OF_OBJECT), having(eventSource="minio:s3"), *NO_EVENT[:3]],
)
def test_powertools_refuses_a_broken_event(body: str) -> None:
    """Every field that is said to be needed is."""
    S3Model.model_validate_json(having())
    with pytest.raises(ValidationError):
        S3Model.model_validate_json(body)
    with pytest.raises(ValidationError):
        S3SqsEventNotificationModel.model_validate(in_sqs(body))


# What the store says of an upload


@pytest.mark.parametrize("engine", ["crt", "classic"])
def test_an_event_tells_of_the_upload(engine: str, tmp_path: Path, ministack_server: Server) -> None:
    """Of a small file the PUT, of a large one the end of its multipart upload: by name, request id and ETag."""
    bucket = f"told-{engine}"
    make_bucket(ministack_server, bucket)
    aws = reach.aws(
        tmp_path, ministack_server.endpoint, ministack_server.credentials, bucket, aws_transfer_client=engine
    )
    store = aws.store(tmp_path / "multipart", 2, writes=True)
    ids = set()
    try:
        for size, name in ((5, "Put"), (MULTIPART_FROM, "CompleteMultipartUpload")):
            file = tmp_path / "file"
            file.write_bytes(content := b"x" * size)
            fd = os.open(file, os.O_RDONLY)
            stored = store.upload(Content(fd, size, crc64nvme_of(content)), f"in/{size}", {})
            os.close(fd)
            origin = origin_of(stored, bucket, "in")
            message = announce(stored, bucket, origin, "s3-event", region=aws.settings.aws_region, now_ns=NOW)
            (record,) = S3Model.model_validate_json(message.body).Records
            assert record.eventName == f"ObjectCreated:{name}"
            seen = ministack_server.client("s3").head_object(Bucket=bucket, Key=f"in/{size}")
            entity = object_of(record)
            assert (entity.eTag, entity.size) == (seen["ETag"].strip('"'), seen["ContentLength"])
            ids.add(record.responseElements.x_amz_request_id)
    finally:
        store.close()
    assert len(ids - {"-"}) == 2
