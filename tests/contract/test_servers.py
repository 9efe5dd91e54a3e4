"""What the program relies on in S3 and SQS, held against every server it is tested with, and where these differ."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from awscrt.checksums import crc64nvme  # type: ignore[import-untyped]
from botocore.exceptions import ClientError, EndpointConnectionError

from tests import conftest
from tests.conftest import Start
from tests.servers import MotoServer, Server, make_bucket, ministack, moto, seaweedfs

S3 = ["moto", "seaweed", "ministack"]
SQS = ["moto", "ministack"]
PART = 5 * 1024 * 1024  # the smallest part S3 takes, the last one apart
DROP = {"drop-id": "OJSXA33SOQ", "path": "a%20b/%C3%A9.csv", "size": "11", "mtime": "1700000000.123456789"}


def crc(body: bytes) -> str:
    """CRC64NVME as S3's headers carry it."""
    return base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode()


def refusal(call: Callable[..., Any], *values: Any, **named: Any) -> tuple[str, int]:
    """The error code and HTTP status with which the call is refused."""
    with pytest.raises(ClientError) as caught:
        call(*values, **named)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


@dataclass
class Bucket:
    """An empty bucket of the test's own."""

    s3: Any
    name: str

    def put(self, key: str, body: bytes, **more: Any) -> Any:
        return self.s3.put_object(Bucket=self.name, Key=key, Body=body, **more)

    def get(self, key: str, **more: Any) -> Any:
        return self.s3.get_object(Bucket=self.name, Key=key, **more)

    def read(self, key: str) -> bytes:
        return bytes(self.get(key)["Body"].read())

    def put_parts(self, key: str, *parts: bytes, **complete: Any) -> Any:
        """As the program does: a checksum for each part, none for the whole, which ministack would refuse."""
        upload = self.s3.create_multipart_upload(
            Bucket=self.name, Key=key, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT", Metadata=DROP
        )
        ids = {"Bucket": self.name, "Key": key, "UploadId": upload["UploadId"]}
        done = []
        for number, part in enumerate(parts, 1):
            answer = self.s3.upload_part(**ids, PartNumber=number, Body=part, ChecksumCRC64NVME=crc(part))
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
        return self.s3.complete_multipart_upload(**ids, MultipartUpload={"Parts": done}, **complete)

    def list(self, **more: Any) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, **more)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]


@dataclass
class Queue:
    """An empty queue of the test's own, whose messages stay hidden for a minute once received."""

    sqs: Any
    url: str

    def send(self, body: str, **more: Any) -> Any:
        return self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **more)

    def receive(self, most: int = 10) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return list(answer.get("Messages", []))  # an empty answer has no such key

    def hide(self, receipt: str, seconds: int) -> None:
        self.sqs.change_message_visibility(QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=seconds)

    def taken_over(self) -> tuple[str, str]:
        """One message, given back and received again: the stale receipt and the valid one."""
        self.send("drop")
        stale = self.receive(1)[0]["ReceiptHandle"]
        self.hide(stale, 0)
        return stale, self.receive(1)[0]["ReceiptHandle"]


@pytest.fixture(params=S3)
def s3_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bucket(s3_name: str, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    server: Server = request.getfixturevalue(f"{s3_name}_server")
    name = f"test-{uuid.uuid4().hex}"
    make_bucket(server, name)
    s3 = server.client("s3")
    yield Bucket(s3, name)
    s3.close()


@pytest.fixture(params=SQS)
def sqs_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def queue(sqs_name: str, request: pytest.FixtureRequest) -> Iterator[Queue]:
    server: Server = request.getfixturevalue(f"{sqs_name}_server")
    sqs = server.client("sqs")
    name = f"test-{uuid.uuid4().hex}"
    yield Queue(sqs, sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "60"})["QueueUrl"])
    sqs.close()


# S3


def test_if_none_match_keeps_the_first_object(bucket: Bucket) -> None:
    """A PUT with If-None-Match: * writes a new key; on an existing one it answers 412 and changes nothing."""
    bucket.put("a", b"first", IfNoneMatch="*", ChecksumCRC64NVME=crc(b"first"))
    assert refusal(bucket.put, "a", b"second", IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert bucket.read("a") == b"first"


def test_if_none_match_has_one_winner(bucket: Bucket) -> None:
    """Of eight PUTs of one key at once with If-None-Match: * exactly one succeeds, and its body is the one kept."""

    def put(body: bytes) -> str:
        try:
            bucket.put("a", body, IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "stored"

    bodies = [bytes([n]) for n in range(8)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        results = list(pool.map(put, bodies))
    assert Counter(results) == {"stored": 1, "PreconditionFailed": 7}
    assert bucket.read("a") == bodies[results.index("stored")]


def test_multipart_with_if_none_match(bucket: Bucket) -> None:
    """A multipart upload joins its parts in order; Complete with If-None-Match: * on an existing key answers 412."""
    first, last = os.urandom(PART), b"last"
    bucket.put_parts("a", first, last, IfNoneMatch="*")
    assert bucket.read("a") == first + last
    assert refusal(bucket.put_parts, "a", last, IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert bucket.read("a") == first + last


def test_complete_repeated_after_a_lost_answer(bucket: Bucket, s3_name: str) -> None:
    """Complete sent again succeeds, or with SeaweedFS answers 412; the object stays whole."""
    body = b"whole"
    upload = {"Bucket": bucket.name, "Key": "a"}
    upload["UploadId"] = bucket.s3.create_multipart_upload(**upload)["UploadId"]
    part = {"PartNumber": 1, "ETag": bucket.s3.upload_part(**upload, PartNumber=1, Body=body)["ETag"]}
    complete = {**upload, "MultipartUpload": {"Parts": [part]}, "IfNoneMatch": "*"}
    bucket.s3.complete_multipart_upload(**complete)
    if s3_name == "seaweed":
        assert refusal(bucket.s3.complete_multipart_upload, **complete) == ("PreconditionFailed", 412)
    else:
        bucket.s3.complete_multipart_upload(**complete)
    assert bucket.read("a") == body


def test_an_upload_outlives_its_failed_complete(bucket: Bucket) -> None:
    """After a Complete that answered 412 the upload is still listed: whoever started it has to abort it."""
    bucket.put("a", b"first")
    refusal(bucket.put_parts, "a", b"second", IfNoneMatch="*")
    (left,) = bucket.s3.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    upload = {"Bucket": bucket.name, "Key": "a", "UploadId": left["UploadId"]}
    bucket.s3.abort_multipart_upload(**upload)
    assert "Uploads" not in bucket.s3.list_multipart_uploads(Bucket=bucket.name)
    assert refusal(bucket.s3.list_parts, **upload) == ("NoSuchUpload", 404)


def test_wrong_checksum(bucket: Bucket, s3_name: str) -> None:
    """A body that is not what its CRC64NVME says is refused and not stored; only moto takes it."""
    if s3_name == "moto":
        bucket.put("a", b"damaged", ChecksumCRC64NVME=crc(b"original"))
        return
    assert refusal(bucket.put, "a", b"damaged", ChecksumCRC64NVME=crc(b"original")) == ("BadDigest", 400)
    assert bucket.list() == []


def test_stored_checksum(bucket: Bucket, s3_name: str) -> None:
    """HEAD tells the CRC64NVME that came with the PUT; only moto forgets it."""
    bucket.put("a", b"content", ChecksumCRC64NVME=crc(b"content"))
    head = bucket.s3.head_object(Bucket=bucket.name, Key="a", ChecksumMode="ENABLED")
    assert head.get("ChecksumCRC64NVME") == (None if s3_name == "moto" else crc(b"content"))


def test_checksum_of_a_multipart_upload(bucket: Bucket, s3_name: str) -> None:
    """The answer to Complete holds the whole file's CRC64NVME if it says FULL_OBJECT, and must not be compared else."""
    parts = os.urandom(PART), b"last"
    answer = bucket.put_parts("a", *parts)
    assert answer.get("ChecksumType") == {"moto": None, "seaweed": "FULL_OBJECT", "ministack": "COMPOSITE"}[s3_name]
    assert (answer.get("ChecksumCRC64NVME") == crc(b"".join(parts))) == (s3_name == "seaweed")


def test_metadata_comes_back(bucket: Bucket) -> None:
    """Metadata is the same on HEAD and GET after PUT and after a multipart upload; no Content-Encoding is added."""
    bucket.put("put", b"body", Metadata=DROP, ChecksumCRC64NVME=crc(b"body"))
    bucket.put_parts("parts", b"body")
    for key in ("put", "parts"):
        for answer in (bucket.get(key), bucket.s3.head_object(Bucket=bucket.name, Key=key)):
            assert answer["Metadata"] == DROP
            assert "ContentEncoding" not in answer


def test_if_match(bucket: Bucket) -> None:
    """If-Match with the current ETag replaces and reads; with an old one PUT, GET and HEAD answer 412."""
    old = bucket.put("a", b"1")["ETag"]
    new = bucket.put("a", b"2", IfMatch=old)["ETag"]
    assert refusal(bucket.put, "a", b"3", IfMatch=old) == ("PreconditionFailed", 412)
    assert refusal(bucket.get, "a", IfMatch=old) == ("PreconditionFailed", 412)
    assert refusal(bucket.s3.head_object, Bucket=bucket.name, Key="a", IfMatch=old) == ("412", 412)
    assert bucket.get("a", IfMatch=new)["Body"].read() == b"2"


def test_what_is_missing(bucket: Bucket) -> None:
    """GET names a missing key or bucket; HEAD has only the status for either."""
    s3, nowhere = bucket.s3, f"none-{uuid.uuid4().hex}"
    assert refusal(bucket.get, "none") == ("NoSuchKey", 404)
    assert refusal(s3.head_object, Bucket=bucket.name, Key="none") == ("404", 404)
    assert refusal(s3.get_object, Bucket=nowhere, Key="none") == ("NoSuchBucket", 404)
    assert refusal(s3.put_object, Bucket=nowhere, Key="none", Body=b"") == ("NoSuchBucket", 404)
    assert refusal(s3.list_objects_v2, Bucket=nowhere, MaxKeys=1) == ("NoSuchBucket", 404)
    assert refusal(s3.head_object, Bucket=nowhere, Key="none") == ("404", 404)
    assert refusal(s3.head_bucket, Bucket=nowhere) == ("404", 404)


ODD = [
    "space a",
    "plus+",
    "pct%41",
    "pct%2F",
    "trail ",
    " lead",
    "é",
    "e\u0301",
    "日本",
    "😀",
    "tab\t",
    "cr\r",
    "\x01",
    "\x7f",
]
ODD += ["&<>\"'", "?a=b", "#", "~!@$^()_-=,;:*[]{}|`", ".hidden", "case", "CASE", "n" * 255, "a", "a/b"]


def test_odd_keys(bucket: Bucket) -> None:
    """These keys are literal: each reads back its own body, and a listing in pages holds each once, in any order."""
    for key in ODD:
        bucket.put(f"k/{key}", key.encode())
    assert [bucket.read(f"k/{key}") for key in ODD] == [key.encode() for key in ODD]
    assert sorted(bucket.list(Prefix="k/", MaxKeys=7)) == sorted(f"k/{key}" for key in ODD)


@pytest.mark.parametrize("key", ["a//b", "a\\b", "/a/b"])
def test_keys_that_seaweedfs_folds(bucket: Bucket, s3_name: str, key: str) -> None:
    """A key with an empty component or a backslash is one of its own; SeaweedFS takes it for a/b and answers 412."""
    bucket.put("a/b", b"other")
    if s3_name == "seaweed":
        assert refusal(bucket.put, key, b"odd", IfNoneMatch="*") == ("PreconditionFailed", 412)
    else:
        bucket.put(key, b"odd", IfNoneMatch="*")
        assert sorted(bucket.list()) == sorted([key, "a/b"])
    assert bucket.read("a/b") == b"other"


def test_key_that_is_also_a_folder(bucket: Bucket, s3_name: str) -> None:
    """A file a beside a/b: for SeaweedFS If-None-Match fails on it with 412 though HEAD finds nothing there."""
    bucket.put("a/b", b"1", IfNoneMatch="*")
    if s3_name == "seaweed":
        assert refusal(bucket.put, "a", b"2", IfNoneMatch="*") == ("PreconditionFailed", 412)
        assert refusal(bucket.s3.head_object, Bucket=bucket.name, Key="a") == ("404", 404)
    else:
        bucket.put("a", b"2", IfNoneMatch="*")
        assert bucket.read("a") == b"2"
    assert bucket.read("a/b") == b"1"


@pytest.mark.parametrize("make", [seaweedfs, ministack])
def test_objects_survive_a_kill(start: Start, make: Callable[[Path], Server]) -> None:
    """What was acknowledged is there after SIGKILL and a new start on the same port, with metadata."""
    server = start(make)
    make_bucket(server, "drops")
    bucket = Bucket(server.client("s3", retries={"max_attempts": 0}), "drops")
    bucket.put("a", b"content", Metadata=DROP)
    server.kill()
    with pytest.raises(EndpointConnectionError):
        bucket.get("a")
    server.start()
    assert bucket.get("a")["Metadata"] == DROP
    assert bucket.read("a") == b"content"
    assert refusal(bucket.put, "a", b"", IfNoneMatch="*") == ("PreconditionFailed", 412)


# SQS


def test_missing_queue(queue: Queue) -> None:
    """GetQueueUrl of an unknown name and calls on a deleted queue answer NonExistentQueue."""
    gone = ("AWS.SimpleQueueService.NonExistentQueue", 400)
    assert refusal(queue.sqs.get_queue_url, QueueName=f"none-{uuid.uuid4().hex}") == gone
    queue.sqs.delete_queue(QueueUrl=queue.url)
    assert refusal(queue.receive) == gone
    assert refusal(queue.send, "drop") == gone


def test_create_queue_again(queue: Queue) -> None:
    """CreateQueue gives the existing queue, unless an attribute differs: QueueAlreadyExists."""
    name = queue.url.rpartition("/")[2]
    create = queue.sqs.create_queue
    assert create(QueueName=name, Attributes={"VisibilityTimeout": "60"})["QueueUrl"] == queue.url
    assert create(QueueName=name)["QueueUrl"] == queue.url
    assert refusal(create, QueueName=name, Attributes={"VisibilityTimeout": "61"}) == ("QueueAlreadyExists", 400)


def test_batch_with_attributes(queue: Queue) -> None:
    """Ten messages with ten attributes each go in one batch and come back equal, received once."""
    attributes = {f"a{n}": {"DataType": "String", "StringValue": f"a%20b {n}"} for n in range(9)}
    attributes["size"] = {"DataType": "Number", "StringValue": "12345678901"}
    bodies = [f"in/{n} é+%41\\日.csv" for n in range(10)]
    entries = [{"Id": str(n), "MessageBody": body, "MessageAttributes": attributes} for n, body in enumerate(bodies)]
    assert len(queue.sqs.send_message_batch(QueueUrl=queue.url, Entries=entries)["Successful"]) == 10
    received = queue.receive()
    assert sorted(message["Body"] for message in received) == sorted(bodies)
    assert all(message["MessageAttributes"] == attributes for message in received)
    assert all(message["Attributes"]["ApproximateReceiveCount"] == "1" for message in received)
    done = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(received)]
    longer = [{**entry, "VisibilityTimeout": 120} for entry in done]
    assert len(queue.sqs.change_message_visibility_batch(QueueUrl=queue.url, Entries=longer)["Successful"]) == 10
    assert len(queue.sqs.delete_message_batch(QueueUrl=queue.url, Entries=done)["Successful"]) == 10


def test_one_bad_receipt_in_a_batch(queue: Queue) -> None:
    """In a batch only the bad entry fails, as ReceiptHandleIsInvalid."""
    queue.send("drop")
    receipts = [queue.receive()[0]["ReceiptHandle"], "garbage"]
    entries = [{"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": 9} for n, receipt in enumerate(receipts)]
    answer = queue.sqs.change_message_visibility_batch(QueueUrl=queue.url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["0"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("1", "ReceiptHandleIsInvalid")]


def test_stale_receipt_extends_nothing(queue: Queue, sqs_name: str) -> None:
    """The receipt of an earlier receive no longer changes visibility; moto lets it take the message away."""
    stale, valid = queue.taken_over()
    if sqs_name == "moto":
        queue.hide(stale, 0)
        assert [message["Body"] for message in queue.receive()] == ["drop"]
    else:
        assert refusal(queue.hide, stale, 0) == ("ReceiptHandleIsInvalid", 400)
        queue.hide(valid, 60)


def test_stale_receipt_deletes_nothing(queue: Queue, sqs_name: str) -> None:
    """A delete with the receipt of an earlier receive is refused and leaves the message; moto deletes it."""
    stale, valid = queue.taken_over()
    if sqs_name == "moto":
        queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=stale)
        assert refusal(queue.hide, valid, 0) == ("ReceiptHandleIsInvalid", 400)
    else:
        refused = refusal(queue.sqs.delete_message, QueueUrl=queue.url, ReceiptHandle=stale)
        assert refused == ("ReceiptHandleIsInvalid", 400)
        queue.hide(valid, 0)
        assert [message["Body"] for message in queue.receive()] == ["drop"]


def test_receipt_of_a_deleted_message(queue: Queue, sqs_name: str) -> None:
    """Once deleted, visibility answers ReceiptHandleIsInvalid; a second delete is fine, but not for ministack."""
    queue.send("drop")
    receipt = queue.receive()[0]["ReceiptHandle"]
    delete = {"QueueUrl": queue.url, "ReceiptHandle": receipt}
    queue.sqs.delete_message(**delete)
    assert refusal(queue.hide, receipt, 9) == ("ReceiptHandleIsInvalid", 400)
    if sqs_name == "ministack":
        assert refusal(queue.sqs.delete_message, **delete) == ("ReceiptHandleIsInvalid", 400)
    else:
        queue.sqs.delete_message(**delete)


def test_control_characters(queue: Queue, sqs_name: str) -> None:
    """Tab and line ends are carried; other control characters are InvalidMessageContents, only moto takes them."""
    queue.send("a\tb\nc\rd")
    assert [message["Body"] for message in queue.receive()] == ["a\tb\nc\rd"]
    if sqs_name == "moto":
        queue.send("a\x01")
    else:
        assert refusal(queue.send, "a\x01") == ("InvalidMessageContents", 400)


def test_redrive(queue: Queue) -> None:
    """A message received maxReceiveCount times goes to the dead-letter queue, with its attributes."""
    asked = queue.sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["QueueArn"])
    redrive = json.dumps({"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": 2})
    made = queue.sqs.create_queue(
        QueueName=f"test-{uuid.uuid4().hex}",
        Attributes={
            "RedrivePolicy": redrive,
            "ReceiveMessageWaitTimeSeconds": "20",
            "MessageRetentionPeriod": "864000",
        },
    )
    source = Queue(queue.sqs, made["QueueUrl"])
    attributes = {"drop-id": {"DataType": "String", "StringValue": "OJSXA33SOQ"}}
    source.send("poison", MessageAttributes=attributes)
    for _ in range(2):
        source.hide(source.receive()[0]["ReceiptHandle"], 0)
    assert source.receive() == []
    assert [(message["Body"], message["MessageAttributes"]) for message in queue.receive()] == [("poison", attributes)]


def test_fifo_holds_a_group_together(queue: Queue) -> None:
    """While one message of a group is out, its followers wait; an equal deduplication id is accepted and dropped."""
    made = queue.sqs.create_queue(QueueName=f"test-{uuid.uuid4().hex}.fifo", Attributes={"FifoQueue": "true"})
    fifo = Queue(queue.sqs, made["QueueUrl"])
    for body in ("a1", "a2", "b1", "b1"):
        fifo.send(body, MessageGroupId=body[0], MessageDeduplicationId=body)
    (first,) = fifo.receive(1)
    assert [message["Body"] for message in fifo.receive()] == ["b1"]
    fifo.hide(first["ReceiptHandle"], 0)
    assert [message["Body"] for message in fifo.receive(1)] == ["a1"]


def test_ministack_serves_sqs_alone(start: Start) -> None:
    """ministack can be the queue beside another store."""
    sqs = start(ministack, services="sqs").client("sqs")
    queue = Queue(sqs, sqs.create_queue(QueueName="notices")["QueueUrl"])
    queue.send("drop")
    assert [message["Body"] for message in queue.receive()] == ["drop"]


# credentials


def test_wrong_credentials(start: Start, seaweed_server: Server) -> None:
    """A wrong secret and an unknown key have codes of their own, on HEAD only the status 403."""
    checked = start(moto)
    for server, good in ((checked, checked.require_auth()), (seaweed_server, seaweed_server.credentials)):
        for code, bad in (
            ("SignatureDoesNotMatch", good._replace(aws_secret_access_key="wrong")),
            ("InvalidAccessKeyId", good._replace(aws_access_key_id="AKIAUNKNOWN")),
        ):
            s3 = server.client("s3", bad)
            assert refusal(s3.list_objects_v2, Bucket="any", MaxKeys=1) == (code, 403)
            assert refusal(s3.head_bucket, Bucket="any") == ("403", 403)


def test_policy(start: Start) -> None:
    """moto refuses what the user's policy does not allow: AccessDenied on S3, on SQS no more than the status 403."""
    server = start(moto)
    make_bucket(server, "drops")
    url = server.client("sqs").create_queue(QueueName="notices")["QueueUrl"]
    reader = server.require_auth({"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"})
    bucket = Bucket(server.client("s3", reader), "drops")
    assert bucket.list() == []
    assert refusal(bucket.put, "a", b"") == ("AccessDenied", 403)
    assert refusal(Queue(server.client("sqs", reader), url).send, "drop") == ("403", 403)
    server.reset()
    assert refusal(bucket.list) == ("NoSuchBucket", 404)


# the servers and fixtures themselves

_ROOT = Path(__file__).parents[2]
_STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from tests.servers import moto
with moto(Path(sys.argv[1])) as server:
    print(server.port, flush=True)
    time.sleep(60)
"""


def listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_no_server_outlives_killed_tests(moto_server: MotoServer, tmp_path: Path) -> None:
    """When the process that started a server is killed, the kernel ends the server too."""
    command = [sys.executable, "-c", _STARTS_AND_WAITS, str(tmp_path)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        address = ("127.0.0.1", int(tests.stdout.readline()))
        assert listens(address)
        tests.kill()
    deadline = time.monotonic() + 10
    while listens(address) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not listens(address)


def test_no_developer_credentials() -> None:
    """No session finds credentials or a region in the environment of the tests."""
    session = boto3.session.Session()
    assert session.get_credentials() is None
    assert session.region_name is None


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
@pytest.mark.parametrize("make", [moto, seaweedfs, ministack])
def test_a_missing_server(
    make: Callable[[Path], Server], ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is not installed skips its tests at home and fails them where CI=true."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(conftest, "weed", lambda: None)
    with pytest.raises(outcome, match="not installed"):
        conftest.require(make)
