"""What SQS does and emulators do not: each rule of the strict server, over real requests and on its own clock."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from pipeline.aws.errors import code_of
from tests.contract.test_strict_s3 import refusal
from tests.servers import REGION, Credentials
from tests.strict.process import StrictServer, strict

DAY = 24 * 3600
NOT_THERE = "AWS.SimpleQueueService.MessageNotInflight"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictServer]:
    """One whose clock these tests may set forward."""
    with strict(tmp_path_factory.mktemp("strict")) as it:
        yield it


@pytest.fixture(scope="module")
def sqs(server: StrictServer) -> Iterator[Any]:
    client = server.client("sqs", retries={"total_max_attempts": 1})
    yield client
    client.close()


@pytest.fixture
def url(sqs: Any) -> str:
    return make(sqs)


def make(sqs: Any, suffix: str = "", **attributes: str) -> str:
    name = f"q-{uuid.uuid4().hex}{suffix}"
    return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def receive(sqs: Any, url: str, count: int = 10, **more: Any) -> list[dict[str, Any]]:
    return list(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=count, **more).get("Messages", []))


def bodies(sqs: Any, url: str, **more: Any) -> list[str]:
    return [message["Body"] for message in receive(sqs, url, **more)]


def visible(sqs: Any, url: str) -> int:
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


# Messages


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"MessageBody": "x" * 1_048_576}, ""),
        ({"MessageBody": "x" * 1_048_577}, "InvalidParameterValue"),
        ({"MessageBody": "é" * 524_288 + "x"}, "InvalidParameterValue"),
        ({"MessageBody": "\t\n\r \ud7ff\ue000\ufffd\U0010ffff"}, ""),
        ({"MessageBody": "\x0b"}, "InvalidMessageContents"),
        ({"MessageBody": "\ufffe"}, "InvalidMessageContents"),
        ({"MessageBody": ""}, "MissingParameter"),
        ({"MessageBody": "x", "DelaySeconds": 901}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageDeduplicationId": "x"}, "InvalidParameterValue"),
    ],
)
def test_a_message_is_what_xml_can_carry(sqs: Any, url: str, message: dict[str, Any], code: str) -> None:
    """Of up to 1 MiB, in bytes; anything else is refused, and nothing is sent."""
    if code:
        assert refusal(sqs.send_message, QueueUrl=url, **message) == code
    else:
        answer = sqs.send_message(QueueUrl=url, **message)
        assert answer["MD5OfMessageBody"] == hashlib.md5(message["MessageBody"].encode()).hexdigest()
    assert bodies(sqs, url) == ([] if code else [message["MessageBody"]])


def _attribute(value: str, kind: str = "String") -> dict[str, str]:
    return {"DataType": kind, "StringValue": value}


@pytest.mark.parametrize(
    "attributes",
    [
        {f"a{number}": _attribute("x") for number in range(11)},
        {"a": _attribute("")},
        {"a": _attribute("x", "Number")},
        {"a": _attribute("x", "Text")},
        {"AWS.a": _attribute("x")},
        {"a..b": _attribute("x")},
        {"a": _attribute("\x01")},
        {"a": _attribute("x" * 1_048_576)},
    ],
)
def test_attributes_have_rules(sqs: Any, url: str, attributes: dict[str, Any]) -> None:
    """Ten at most, none empty, and they count into the size."""
    assert refusal(sqs.send_message, QueueUrl=url, MessageBody="x", MessageAttributes=attributes).startswith("Invalid")


def test_digests_are_those_of_sqs(sqs: Any, url: str) -> None:
    """The MD5 of attributes, as the Developer Guide computes it; with what was asked for alone when received."""
    attributes = {"b": _attribute("12", "Number"), "a": _attribute("é")}
    encoded = b"".join(
        len(part).to_bytes(4, "big") + part if isinstance(part, bytes) else bytes([part])
        for part in (b"a", b"String", 1, "é".encode(), b"b", b"Number", 1, b"12")
    )
    answer = sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    assert answer["MD5OfMessageAttributes"] == hashlib.md5(encoded).hexdigest()
    (message,) = receive(sqs, url, MessageAttributeNames=["b"])
    assert message["MessageAttributes"] == {"b": attributes["b"]}


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        ([], "EmptyBatchRequest"),
        ([str(number) for number in range(11)], "TooManyEntriesInBatchRequest"),
        (["a", "a"], "BatchEntryIdsNotDistinct"),
        (["a.b"], "InvalidBatchEntryId"),
    ],
)
def test_a_batch_is_refused_whole(sqs: Any, url: str, ids: list[str], code: str) -> None:
    """Nothing of it is sent."""
    entries = [{"Id": name, "MessageBody": "x"} for name in ids]
    assert refusal(sqs.send_message_batch, QueueUrl=url, Entries=entries) == f"AWS.SimpleQueueService.{code}"
    assert visible(sqs, url) == 0


def test_a_batch_has_a_size(sqs: Any, url: str) -> None:
    """1 MiB together, whatever each has."""
    entries = [{"Id": str(number), "MessageBody": "x" * 524_289} for number in range(2)]
    with pytest.raises(ClientError) as caught:
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert code_of(caught.value).endswith("BatchRequestTooLong")


# Receipts


def test_a_stale_receipt_deletes_nothing(sqs: Any, url: str) -> None:
    """It is answered as if it did; the latest one deletes, even after its visibility has ended."""
    sqs.send_message(QueueUrl=url, MessageBody="x")
    first, second = (receive(sqs, url, VisibilityTimeout=0)[0]["ReceiptHandle"] for _ in range(2))
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first)
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": first}])
    assert ([each["Id"] for each in answer["Successful"]], visible(sqs, url)) == (["a"], 1)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second)
    assert visible(sqs, url) == 0
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second)
    assert refusal(sqs.delete_message, QueueUrl=url, ReceiptHandle="none") == "ReceiptHandleIsInvalid"


def test_only_what_is_in_flight_is_extended(server: StrictServer, sqs: Any, url: str) -> None:
    """Neither what is visible again nor what is gone, nor beyond 12 hours since it was received."""
    sqs.send_message(QueueUrl=url, MessageBody="x")
    named = {"QueueUrl": url, "ReceiptHandle": receive(sqs, url)[0]["ReceiptHandle"]}
    assert refusal(sqs.change_message_visibility, **named, VisibilityTimeout=43_201) == "InvalidParameterValue"
    sqs.change_message_visibility(**named, VisibilityTimeout=43_100)
    server.tell("clock", {"advance": 3600})
    assert refusal(sqs.change_message_visibility, **named, VisibilityTimeout=39_700) == "InvalidParameterValue"
    sqs.change_message_visibility(**named, VisibilityTimeout=60)
    server.tell("clock", {"advance": 61})
    assert refusal(sqs.change_message_visibility, **named, VisibilityTimeout=60) == NOT_THERE
    sqs.delete_message(**named)
    assert refusal(sqs.change_message_visibility, **named, VisibilityTimeout=60) == "InvalidParameterValue"


def test_what_is_not_acknowledged_comes_again(server: StrictServer, sqs: Any, url: str) -> None:
    """After its visibility, on the server's clock; and at last it lies among the dead letters, as old as it was."""
    dead = make(sqs)
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
    sent = sqs.send_message(QueueUrl=url, MessageBody="x")["MessageId"]
    for count in ("1", "2"):
        (message,) = receive(sqs, url, MessageSystemAttributeNames=["All"])
        assert message["Attributes"]["ApproximateReceiveCount"] == count
        assert receive(sqs, url) == []
        server.tell("clock", {"advance": 31})
    assert receive(sqs, url) == []
    (letter,) = receive(sqs, dead, MessageSystemAttributeNames=["All"])
    assert letter["MessageId"] == sent
    assert letter["Attributes"]["SentTimestamp"] == message["Attributes"]["SentTimestamp"]
    for bad in (policy.replace(arn, arn + "x"), "{}", policy.replace("2}", "0}")):
        refused = refusal(sqs.set_queue_attributes, QueueUrl=url, Attributes={"RedrivePolicy": bad})
        assert refused.startswith("Invalid")


def test_messages_do_not_last_for_ever(server: StrictServer, sqs: Any) -> None:
    """Not beyond the queue's retention."""
    url = make(sqs, MessageRetentionPeriod=str(10 * DAY))
    sqs.send_message(QueueUrl=url, MessageBody="old")
    server.tell("clock", {"advance": 9 * DAY})
    sqs.send_message(QueueUrl=url, MessageBody="new")
    server.tell("clock", {"advance": 2 * DAY})
    assert bodies(sqs, url) == ["new"]


def test_delayed_messages_are_hidden_at_first(server: StrictServer, sqs: Any, url: str) -> None:
    """And come once their time has, to whoever waits for them."""
    sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=900)
    assert receive(sqs, url) == []
    server.tell("clock", {"advance": 899})
    assert bodies(sqs, url, WaitTimeSeconds=20) == ["x"]


def test_so_many_are_in_flight_at_most(server: StrictServer, sqs: Any, url: str) -> None:
    """OverLimit, or nothing for a long poll, until one of them is settled."""
    server.tell("limits", {"queue": url.rpartition("/")[2], "in_flight": 2})
    for body in "abc":
        sqs.send_message(QueueUrl=url, MessageBody=body)
    first, _ = receive(sqs, url, 2)
    assert refusal(sqs.receive_message, QueueUrl=url) == "OverLimit"
    assert receive(sqs, url, WaitTimeSeconds=1) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert bodies(sqs, url, count=1) == ["c"]


def test_who_waits_is_woken(server: StrictServer, sqs: Any, url: str) -> None:
    """By the message that he waits for, long before his poll would have ended."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bodies, sqs, url, WaitTimeSeconds=20)
        while server.ask("counts")["waiting"][url.rpartition("/")[2]] == 0:
            assert not waiting.done()
        sqs.send_message(QueueUrl=url, MessageBody="x")
        assert waiting.result() == ["x"]
    sent, received = (event["t"] for event in server.events()[-2:])
    assert received - sent < 10


# FIFO


def test_the_same_is_taken_once_in_five_minutes(server: StrictServer, sqs: Any) -> None:
    """Even after it was deleted: it gets the answer of the first; after that it is taken again."""
    url = make(sqs, ".fifo", FifoQueue="true")
    message = {"QueueUrl": url, "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    sent = sqs.send_message(**message)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=receive(sqs, url)[0]["ReceiptHandle"])
    server.tell("clock", {"advance": 299})
    again = sqs.send_message(**message)
    assert (again["MessageId"], again["SequenceNumber"]) == (sent["MessageId"], sent["SequenceNumber"])
    assert receive(sqs, url) == []
    server.tell("clock", {"advance": 2})
    sqs.send_message(**message)
    (got,) = receive(sqs, url)
    server.tell("clock", {"advance": 31})
    named = {"QueueUrl": url, "ReceiptHandle": got["ReceiptHandle"]}
    assert refusal(sqs.delete_message, **named) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("left_out", "code"), [("MessageGroupId", "MissingParameter"), ("MessageDeduplicationId", "InvalidParameterValue")]
)
def test_order_needs_a_group(sqs: Any, left_out: str, code: str) -> None:
    """And an id, unless the queue makes one of the body."""
    url = make(sqs, ".fifo", FifoQueue="true")
    message = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    del message[left_out]
    assert refusal(sqs.send_message, QueueUrl=url, **message) == code


# Queues


@pytest.mark.parametrize(
    ("name", "attributes", "code"),
    [
        ("a.b", {}, "InvalidParameterValue"),
        ("a.fifo", {}, "InvalidParameterValue"),
        ("a", {"FifoQueue": "true"}, "InvalidParameterValue"),
        ("a", {"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ("a", {"MessageRetentionPeriod": "59"}, "InvalidAttributeValue"),
        ("a", {"Unknown": "1"}, "InvalidAttributeName"),
    ],
)
def test_a_queue_has_rules(sqs: Any, name: str, attributes: dict[str, str], code: str) -> None:
    """For its name and its attributes."""
    assert refusal(sqs.create_queue, QueueName=name, Attributes=attributes) == code


def test_a_queue_is_made_once(server: StrictServer, sqs: Any) -> None:
    """With these attributes; and not again within a minute of its end."""
    url = make(sqs, VisibilityTimeout="31")
    name = url.rpartition("/")[2]
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    assert refusal(sqs.create_queue, QueueName=name, Attributes={"VisibilityTimeout": "32"}) == "QueueAlreadyExists"
    sqs.delete_queue(QueueUrl=url)
    assert refusal(sqs.get_queue_url, QueueName=name) == "AWS.SimpleQueueService.NonExistentQueue"
    assert refusal(sqs.create_queue, QueueName=name) == "AWS.SimpleQueueService.QueueDeletedRecently"
    server.tell("clock", {"advance": 61})
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url


# Who asks, and when


@pytest.mark.parametrize(("service", "late"), [("s3", "RequestTimeTooSkewed"), ("sqs", "InvalidSignatureException")])
def test_clocks_agree(server: StrictServer, service: str, late: str) -> None:
    """To a quarter of an hour, before and after."""
    client = server.client(service, retries={"total_max_attempts": 1})
    call = client.list_queues if service == "sqs" else client.list_buckets
    try:
        for skew in (-890, 890):
            server.tell("clock", {"skew": skew})
            call()
        for skew in (-910, 910):
            server.tell("clock", {"skew": skew})
            assert refusal(call) == late
    finally:
        server.tell("clock", {"skew": 0})
        client.close()


@pytest.mark.parametrize("service", ["s3", "sqs"])
def test_a_session_ends(server: StrictServer, service: str) -> None:
    """Its token is needed, and then it has expired."""
    server.tell("keys", {"id": "session", "secret": "s", "token": "t", "expires_in": 60})
    keys = Credentials("session", "s")
    session = boto3.session.Session(aws_session_token="t", region_name=REGION, **keys._asdict())
    make_client: Callable[..., Any] = session.client
    good, bare = make_client(service, endpoint_url=server.endpoint), server.client(service, keys)
    call = good.list_queues if service == "sqs" else good.list_buckets
    call()
    refused = refusal(bare.list_queues if service == "sqs" else bare.list_buckets)
    assert refused == {"s3": "InvalidToken", "sqs": "InvalidClientTokenId"}[service]
    server.tell("clock", {"advance": 61})
    assert refusal(call) == "ExpiredToken"
    good.close()
    bare.close()
