"""What goes wrong at the strict server when it is told to, and what has taken effect by then."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ResponseStreamingError

from pipeline.aws.errors import status_of
from tests.contract.test_strict_s3 import refusal
from tests.contract.test_strict_sqs import bodies, make, receive, visible
from tests.servers import ServerError, make_bucket
from tests.strict.process import StrictServer, strict

BODY = bytes(range(256)) * 40
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def strict_of_faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictServer]:
    with strict(tmp_path_factory.mktemp("strict"), seed="7") as it:
        make_bucket(it, "drops")
        yield it


@pytest.fixture
def server(strict_of_faults: StrictServer) -> Iterator[StrictServer]:
    """One that goes wrong, in one test."""
    yield strict_of_faults
    strict_of_faults.tell("faults", {})
    assert strict_of_faults.ask("faults") == {"rates": {}, "script": []}, "a fault was not for any request"


@pytest.fixture
def s3(strict_of_faults: StrictServer) -> Iterator[Any]:
    client = strict_of_faults.client("s3", retries={"total_max_attempts": 1})
    yield client
    client.close()


@pytest.fixture
def sqs(strict_of_faults: StrictServer) -> Iterator[Any]:
    client = strict_of_faults.client("sqs", retries={"total_max_attempts": 1})
    yield client
    client.close()


def faults(server: StrictServer) -> dict[str, int]:
    return dict(server.ask("counts")["faults"])


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        *(("put.503", False), ("put.500", False), ("s3.429", False), ("all.reset", False), ("put.reset_body", False)),
        ("put.lost_answer", True),
    ],
)
def test_a_put_goes_wrong_before_its_effect_or_after_it(
    server: StrictServer, s3: Any, fault: str, stored: bool
) -> None:
    """An error or a broken connection; the object is there only where it was the answer that was lost."""
    key, name = uuid.uuid4().hex, f"put.{fault.partition('.')[2]}"
    before = faults(server).get(name, 0)
    server.tell("script", [fault])
    with pytest.raises((ClientError, ConnectionClosedError)) as caught:
        s3.put_object(Bucket="drops", Key=key, Body=BODY)
    if fault.rpartition(".")[2].isdecimal():
        assert isinstance(caught.value, ClientError)
        assert status_of(caught.value) == int(fault.rpartition(".")[2])
    assert faults(server)[name] == before + 1
    if stored:
        assert s3.get_object(Bucket="drops", Key=key)["Body"].read() == BODY
    else:
        assert refusal(s3.get_object, Bucket="drops", Key=key) == "NoSuchKey"


def test_a_body_comes_damaged(server: StrictServer, s3: Any) -> None:
    """One bit is another, and the headers are those of the object; or the end is missing."""
    s3.put_object(Bucket="drops", Key="a", Body=BODY)
    server.tell("script", ["get.flip", "get.truncate"])
    answer = s3.get_object(Bucket="drops", Key="a")
    got = answer["Body"].read()
    assert (int.from_bytes(got, "big") ^ int.from_bytes(BODY, "big")).bit_count() == 1
    assert answer["ContentLength"] == len(BODY) == len(got)
    with pytest.raises((BotoCoreError, ResponseStreamingError)):
        s3.get_object(Bucket="drops", Key="a")["Body"].read()
    assert s3.get_object(Bucket="drops", Key="a")["Body"].read() == BODY


def test_a_completion_fails_with_status_200(server: StrictServer, s3: Any) -> None:
    """And has no effect; a conflict ends the upload, as S3 wants it begun anew."""
    upload = {"Bucket": "drops", "Key": uuid.uuid4().hex}
    named = {**upload, "UploadId": s3.create_multipart_upload(**upload)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**named, PartNumber=1, Body=BODY)["ETag"]}
    completion = {**named, "MultipartUpload": {"Parts": [part]}, "IfNoneMatch": "*"}
    server.tell("script", ["complete.200_error", "complete.409"])
    assert refusal(s3.complete_multipart_upload, **completion) == "InternalError"
    assert refusal(s3.head_object, **upload) == "404"
    assert refusal(s3.complete_multipart_upload, **completion) == "ConditionalRequestConflict"
    assert refusal(s3.complete_multipart_upload, **completion) == "NoSuchUpload"


def test_a_conflict_is_for_conditional_writes(server: StrictServer, s3: Any) -> None:
    """Others know none."""
    key = uuid.uuid4().hex
    server.tell("script", ["put.409"])
    assert refusal(s3.put_object, Bucket="drops", Key=key, IfNoneMatch="*") == "ConditionalRequestConflict"
    server.tell("script", ["put.409"])
    s3.put_object(Bucket="drops", Key=key)


def test_entries_of_a_batch_fail(server: StrictServer, sqs: Any) -> None:
    """One by one, as the server's fault: what failed has no effect."""
    url = make(sqs)
    server.tell("faults", {"send.partial": 0.5})
    entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(10)]
    accepted: list[str] = []
    failures = 0
    while not (accepted and failures):
        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
        assert not any(failed["SenderFault"] for failed in answer.get("Failed", []))
        accepted += [each["Id"] for each in answer.get("Successful", [])]
        failures += len(answer.get("Failed", []))
    assert visible(sqs, url) == len(accepted)


def test_a_message_comes_twice(server: StrictServer, sqs: Any) -> None:
    """At once, each with a receipt of its own: to delete one leaves the other."""
    url = make(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    server.tell("faults", {"receive.duplicate": 1})
    (one,) = receive(sqs, url, 1)
    server.tell("faults", {})
    (other,) = receive(sqs, url)
    assert one["MessageId"] == other["MessageId"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=other["ReceiptHandle"], VisibilityTimeout=0)
    assert bodies(sqs, url) == ["x"]


def test_a_deleted_message_comes_again(server: StrictServer, sqs: Any) -> None:
    """Once more, after a while."""
    url = make(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    (message,) = receive(sqs, url)
    server.tell("faults", {"delete.redeliver": 1})
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    server.tell("faults", {})
    server.tell("clock", {"advance": 6})
    (again,) = receive(sqs, url)
    assert again["MessageId"] == message["MessageId"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    server.tell("clock", {"advance": 6})
    assert receive(sqs, url) == []


def test_a_receive_brings_nothing_or_another_order(server: StrictServer, sqs: Any) -> None:
    """Though all messages are there."""
    url = make(sqs)
    sent = [str(number) for number in range(10)]
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": body, "MessageBody": body} for body in sent])
    server.tell("script", ["receive.empty"])
    assert receive(sqs, url) == []
    server.tell("faults", {"receive.shuffle": 1})
    found = [bodies(sqs, url, VisibilityTimeout=0) for _ in range(20)]
    assert all(sorted(each) == sent for each in found)
    assert any(each != sent for each in found)


def test_an_answer_is_late(server: StrictServer, sqs: Any) -> None:
    """By up to so many seconds."""
    server.tell("latency", {"seconds": 0.2})
    server.tell("faults", {"sqs.latency": 1})
    before = faults(server).get("queue.latency", 0)
    sqs.list_queues()
    assert faults(server)["queue.latency"] == before + 1


def test_a_server_is_down(server: StrictServer, sqs: Any) -> None:
    """Whoever is connected is cut off, long polls too, and nobody else comes through; then it serves again."""
    url = make(sqs)
    with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as idle:
        server.ask("counts")  # by now it has been accepted
        server.tell("down", {"seconds": 600})
        with contextlib.suppress(ConnectionResetError):
            assert idle.recv(1) == b""
    with pytest.raises(ConnectionClosedError):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    server.tell("down", {"seconds": 0})
    assert visible(sqs, url) == 0


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("faults", {"put.flip": 0.1}),
        ("faults", {"get.flip": 1.1}),
        ("faults", {"get.flip": "often"}),
        ("script", ["put.503", "get.nothing"]),
        ("clock", {"advance": "1 h"}),
        ("limits", {"queue": "none", "in_flight": 1}),
        ("weather", {}),
    ],
)
def test_what_is_not_understood_is_refused(server: StrictServer, what: str, said: object) -> None:
    """Whole: a typing error does not read as a run without faults."""
    with pytest.raises(ServerError):
        server.tell(what, said)


def test_everything_that_takes_effect_is_noted(server: StrictServer, s3: Any, sqs: Any) -> None:
    """In the order in which it did, with what it was; faults among it, and a message without a drop."""
    url, key = make(sqs), uuid.uuid4().hex
    start = len(server.events())
    s3.put_object(Bucket="drops", Key=key, Body=b"x")
    sqs.send_message(QueueUrl=url, MessageBody=key)
    server.tell("script", ["receive.empty"])
    receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=receive(sqs, url)[0]["ReceiptHandle"])
    events = [event for event in server.events()[start:] if event["effect"] != "CONTROL"]
    assert [event["effect"] for event in events] == ["PUT", "SEND", "violation", "fault", "RECEIVE", "DELETE-MESSAGE"]
    assert [event["n"] for event in server.events()] == list(range(1, len(server.events()) + 1))
    assert (events[0]["key"], events[0]["size"], events[3]["fault"]) == (key, 1, "receive.empty")
    assert events[1]["body"] == events[5]["body"]
