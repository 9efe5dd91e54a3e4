"""One contract of the message queue, held by SQS over every server and by the workers' fake."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws_util import Aws
from pipeline import redrive
from pipeline.aws.sqs import Queue
from pipeline.ports import Depth, LaterError, Message, MessageQueue, NeverError, PausedError, ReceiptError, Received
from pipeline.redrive import Redrive, Tally
from tests.contract import reach
from tests.fakes import FakeQueue
from tests.servers import Server

SERVERS = ["moto", "ministack", "strict"]
WAIT_SECONDS = 10.0


@dataclass
class Served:
    """A queue made by the program itself on a server, and the server's own view of it."""

    queue: Queue
    sqs: Any
    aws: Aws
    name: str

    def attributes(self, url: str) -> dict[str, str]:
        return dict(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])

    def dead_letters(self) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(QueueUrl=self.queue.dead_url, MessageAttributeNames=["All"])
        return list(answer.get("Messages", []))


def _served(server_name: str, request: pytest.FixtureRequest, folder: Path, suffix: str = "") -> Served:
    server: Server = request.getfixturevalue(f"{server_name}_server")
    name = f"queue-{uuid.uuid4().hex}{suffix}"
    aws = reach.aws(folder, server.endpoint, server.credentials, queue=name)
    sqs = server.client("sqs")
    request.addfinalizer(sqs.close)
    return Served(aws.queue(), sqs, aws, name)


@pytest.fixture(params=SERVERS)
def server_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(server_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Served:
    return _served(server_name, request, tmp_path)


@pytest.fixture
def fifo(server_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Served:
    return _served(server_name, request, tmp_path, ".fifo")


@pytest.fixture(params=[*SERVERS, "fake"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> MessageQueue:
    return FakeQueue() if request.param == "fake" else _served(request.param, request, tmp_path).queue


@pytest.fixture(params=[*SERVERS, "fake"])
def ordered(request: pytest.FixtureRequest, tmp_path: Path) -> MessageQueue:
    """A FIFO queue."""
    return FakeQueue(fifo=True) if request.param == "fake" else _served(request.param, request, tmp_path, ".fifo").queue


def receive(queue: MessageQueue, count: int) -> list[Received]:
    """So many messages, in however many answers; AssertionError if they do not come."""
    found: list[Received] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} messages came"
        found += queue.receive(count - len(found), 1)
    return found


def one(queue: MessageQueue) -> Received:
    (message,) = receive(queue, 1)
    return message


# Made if missing


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_a_missing_queue_is_made(server_name: str, suffix: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """C14. Long polling, ten days, dead letters with SQS's fourteen, a hundred receives; standard or FIFO."""
    served = _served(server_name, request, tmp_path, suffix)
    assert served.queue.dead_url is not None
    assert served.queue.dead_url.endswith(f"/{served.name.removesuffix(suffix)}-dlq{suffix}")
    own, dead = served.attributes(served.queue.url), served.attributes(served.queue.dead_url)
    names = ("ReceiveMessageWaitTimeSeconds", "MessageRetentionPeriod", "VisibilityTimeout")
    assert [own[name] for name in names] == ["20", "864000", "60"]
    assert dead["MessageRetentionPeriod"] == "1209600"
    policy = json.loads(own["RedrivePolicy"])
    assert (policy["deadLetterTargetArn"], int(policy["maxReceiveCount"])) == (dead["QueueArn"], 100)
    fifo = "true" if suffix else None
    assert (own.get("FifoQueue"), dead.get("FifoQueue")) == (fifo, fifo)


def test_a_queue_that_exists_is_taken_as_it_is(served: Served) -> None:
    """A queue somebody made with settings of his own is used and not changed; without dead letters it has none."""
    name = f"own-{uuid.uuid4().hex}"
    url = served.sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "3600"})["QueueUrl"]
    before = served.attributes(url)
    settings = served.aws.settings
    found = Aws(type(settings)(**{**vars(settings), "aws_sqs": name})).queue()
    assert (found.url, found.dead_url, served.attributes(url)) == (url, None, before)


def test_two_instances_make_one_queue(server_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Eight that start at once all get the same queue with the same dead letters."""
    first = _served(server_name, request, tmp_path)
    settings = first.aws.settings
    aws = Aws(type(settings)(**{**vars(settings), "aws_sqs": f"race-{uuid.uuid4().hex}"}))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: aws.queue(), range(8)))
    assert len({(queue.url, queue.dead_url) for queue in found}) == 1
    assert found[0].dead_url is not None


def test_a_burial_travels_in_its_group(fifo: Served) -> None:
    """Among dead letters that are FIFO as well."""
    fifo.queue.send([Message("1", {"drop_id": "d1"}, "g")])
    assert fifo.queue.bury(one(fifo.queue), "why")
    _, dead = fifo.aws.existing_queues()
    assert (letter := one(dead)).group == "g"
    assert (letter.body, letter.attributes) == ("1", {"drop_id": "d1", "reason": "why"})


# Groups


def test_a_group_keeps_its_order(ordered: MessageQueue) -> None:
    """Several of it come by one answer; until all of them are settled no other does, and the other group's do."""
    bodies = ["a/1", "b/1", "a/2", "a/3"]
    ordered.send([Message(body, {"drop_id": body}, body[0]) for body in bodies])
    first = ordered.receive(3, 1)
    assert [(message.body, message.group) for message in first] == [("a/1", "a"), ("b/1", "b"), ("a/2", "a")]
    assert ordered.receive(10, 0) == []
    assert ordered.delete([first[0].receipt]) == [None]
    assert ordered.receive(10, 0) == []
    assert ordered.delete([first[2].receipt]) == [None]
    assert [message.body for message in receive(ordered, 1)] == ["a/3"]


def test_what_is_given_back_comes_again_in_order(ordered: MessageQueue) -> None:
    """Nothing of a group overtakes what was given back, as long as one of it is in flight."""
    ordered.send([Message(body, {"drop_id": body}, "a") for body in "123"])
    receipts = [message.receipt for message in ordered.receive(2, 1)]
    assert ordered.extend(receipts[1:], 0) == [None]
    assert ordered.receive(10, 0) == []
    assert ordered.extend(receipts[:1], 0) == [None]
    assert [message.body for message in receive(ordered, 3)] == ["1", "2", "3"]


def test_the_same_is_taken_once(ordered: MessageQueue) -> None:
    """Known by its drop, or by the id that it was given, which another announcement of one drop has."""
    sent = [Message("1", {"drop_id": "d"}, "a"), Message("2", {"drop_id": "d"}, "a")]
    sent += [Message("3", {"drop_id": "d"}, "a", unique="again"), Message("4", {"drop_id": "e"}, "a", unique="again")]
    assert ordered.send(sent) == [None] * 4
    assert [message.body for message in receive(ordered, 2)] == ["1", "3"]
    assert ordered.receive(10, 0) == []


# Send and receive


def test_ten_messages_travel_with_their_attributes(queue: MessageQueue) -> None:
    """Ten are accepted in one call; bodies and attributes come back as they were, a number as its text."""
    messages = [Message(f"in/é {number}", {"drop_id": f"d{number}", "size": number}) for number in range(10)]
    assert queue.send(messages) == [None] * 10
    received = sorted(receive(queue, 10), key=lambda message: message.body)
    assert [message.body for message in received] == [message.body for message in messages]
    assert [message.attributes for message in received] == [
        {"drop_id": f"d{number}", "size": str(number)} for number in range(10)
    ]
    assert {message.receive_count for message in received} == {1}
    assert len({message.id for message in received}) == len({message.receipt for message in received}) == 10


def test_numbers_are_numbers(served: Served) -> None:
    """An int travels as SQS's Number, a str as String; an empty text, which SQS refuses, does not travel."""
    served.queue.send([Message("a", {"size": 3, "path": "p", "none": ""})])
    answer = served.sqs.receive_message(QueueUrl=served.queue.url, MessageAttributeNames=["All"], WaitTimeSeconds=5)
    attributes = answer["Messages"][0]["MessageAttributes"]
    assert {name: (item["DataType"], item["StringValue"]) for name, item in attributes.items()} == {
        "size": ("Number", "3"),
        "path": ("String", "p"),
    }


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_bad_message_fails_alone(position: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A body SQS cannot carry is NeverError for its own entry; the others are accepted (moto takes any body)."""
    queues: list[MessageQueue] = [_served(name, request, tmp_path).queue for name in ("ministack", "strict")]
    for queue in (FakeQueue(), *queues):
        bodies = ["good", "fine"]
        bodies.insert(position, "control\x01")
        outcomes = queue.send([Message(body, {"drop_id": "d"}) for body in bodies])
        assert [type(outcome) for outcome in outcomes] == [
            NeverError if index == position else type(None) for index in range(3)
        ]
        assert sorted(message.body for message in receive(queue, 2)) == ["fine", "good"]


def test_a_call_refused_as_a_whole_is_taken_apart(served: Served) -> None:
    """Messages that only together are too large (1 MiB a call) are all accepted; one that is too large fails alone."""
    half = "x" * 600_000
    assert served.queue.send([Message(half, {}), Message(half, {})]) == [None, None]
    outcomes = served.queue.send([Message("small", {}), Message("x" * 1_100_000, {})])
    assert [type(outcome) for outcome in outcomes] == [type(None), NeverError]
    assert sorted(len(message.body) for message in receive(served.queue, 3)) == [5, 600_000, 600_000]


def test_an_entry_the_answer_forgets_is_not_accepted() -> None:
    """What is neither among the successful nor among the failed was not accepted: it is sent again."""

    class Forgetful:
        def send_message_batch(self, **_: Any) -> dict[str, Any]:
            return {"Successful": [{"Id": "1"}]}

    queue = Queue(Forgetful(), "http://127.0.0.1/q", None, 60)  # type: ignore[arg-type]  # the one call it makes
    forgotten, accepted = queue.send([Message("a", {}), Message("b", {})])
    assert (type(forgotten), accepted) == (LaterError, None)


def test_an_empty_queue_gives_nothing(queue: MessageQueue) -> None:
    """No messages is an empty list, after the wait that was asked for."""
    started = time.monotonic()
    assert queue.receive(10, 1) == []
    assert 0.9 < time.monotonic() - started < 8


def test_never_more_than_asked_for(queue: MessageQueue) -> None:
    """A limit of two gives at most two."""
    queue.send([Message(str(number), {}) for number in range(5)])
    assert 1 <= len(queue.receive(2, 5)) <= 2


# Receipts


def test_given_back_it_comes_again(queue: MessageQueue) -> None:
    """Visibility 0 shows the message to the next taker at once, counted as received twice."""
    queue.send([Message("a", {})])
    assert queue.extend([one(queue).receipt], 0) == [None]
    assert (again := one(queue)).receive_count == 2
    assert queue.extend([again.receipt], 30) == [None]
    assert queue.receive(1, 1) == []


def test_deleted_it_never_comes(queue: MessageQueue) -> None:
    """A deleted message is gone; deleting it again is done already, or at worst a ReceiptError."""
    queue.send([Message("a", {})])
    receipt = one(queue).receipt
    assert queue.delete([receipt]) == [None]
    (again,) = queue.delete([receipt])
    assert again is None or isinstance(again, ReceiptError)
    (extended,) = queue.extend([receipt], 0)
    assert isinstance(extended, ReceiptError)
    assert queue.receive(1, 1) == []


def test_a_bad_receipt_fails_alone(queue: MessageQueue) -> None:
    """One bad receipt in a batch is a ReceiptError of its own, for delete and extend; the others take effect."""
    queue.send([Message("a", {}), Message("b", {})])
    first, second = (message.receipt for message in receive(queue, 2))
    outcomes = queue.extend([first, "garbage", second], 30)
    assert [type(outcome) for outcome in outcomes] == [type(None), ReceiptError, type(None)]
    outcomes = queue.delete([first, "garbage", second])
    assert [type(outcome) for outcome in outcomes] == [type(None), ReceiptError, type(None)]


@pytest.mark.parametrize("kind", ["ministack", "strict", "fake"])
def test_a_stale_receipt_does_nothing(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A receipt of an earlier receive changes nothing (moto lets it: not asked).

    It is a ReceiptError; but SQS says that it has deleted what it has not.
    """
    queue: MessageQueue = FakeQueue() if kind == "fake" else _served(kind, request, tmp_path).queue
    queue.send([Message("a", {})])
    stale = one(queue).receipt
    queue.extend([stale], 0)
    valid = one(queue).receipt
    (extended,), (deleted,) = queue.extend([stale], 0), queue.delete([stale])
    assert isinstance(extended, ReceiptError)
    assert deleted is None if kind == "strict" else isinstance(deleted, ReceiptError)
    assert queue.receive(1, 1) == []
    assert (queue.extend([valid], 0), one(queue).body) == ([None], "a")


# Depth


def test_it_knows_how_many_messages_it_holds(queue: MessageQueue) -> None:
    """Those that can be received, those in hand and the dead ones; what is deleted counts nowhere."""
    assert queue.depth() == Depth(visible=0, in_flight=0, delayed=0, dead=0)
    queue.send([Message(str(number), {"drop_id": f"d{number}"}) for number in range(4)])
    deleted, buried, *_ = receive(queue, 3)
    assert queue.bury(buried, "why")
    assert queue.delete([deleted.receipt]) == [None]
    assert queue.depth() == Depth(visible=1, in_flight=2, delayed=0, dead=1)


def test_messages_that_are_delayed_are_counted_apart(served: Served) -> None:
    """Neither visible nor in flight."""
    served.sqs.send_message(QueueUrl=served.queue.url, MessageBody="later", DelaySeconds=60)
    assert served.queue.depth() == Depth(visible=0, in_flight=0, delayed=1, dead=0)


def test_dead_letters_that_cannot_be_asked_are_unknown(served: Served) -> None:
    """None where the queue has none, and where it is gone; that of the queue itself is an error."""
    url, dead_url = served.queue.url, served.queue.dead_url
    bare = Queue(served.sqs, url, None, 60)
    assert bare.depth().dead is None
    served.sqs.delete_queue(QueueUrl=dead_url)
    assert served.queue.depth() == Depth(visible=0, in_flight=0, delayed=0, dead=None)
    served.sqs.delete_queue(QueueUrl=url)
    with pytest.raises(PausedError, match="count the messages"):
        served.queue.depth()
    assert FakeQueue(dead_letters=False).depth().dead is None


# Dead letters


@pytest.mark.parametrize("attributes", [0, 1, 9, 10])
def test_buried_with_its_reason(served: Served, attributes: int) -> None:
    """The copy has the body, the reason on one line, and as many of the attributes as SQS's ten leave room for."""
    served.queue.send([Message("body", {f"a{number}": f"v{number}" for number in range(attributes)})])
    assert served.queue.bury(one(served.queue), "because\nof é")
    (letter,) = served.dead_letters()
    found = {name: item["StringValue"] for name, item in letter["MessageAttributes"].items()}
    assert (letter["Body"], found.pop("reason")) == ("body", "because\\nof é")
    assert found.items() <= {f"a{number}": f"v{number}" for number in range(attributes)}.items()
    assert len(found) == min(9, attributes)


def test_buried_twice_the_last_reason_counts(served: Served) -> None:
    """A redriven message that has a reason already keeps its other nine attributes."""
    names = {f"a{number}": "v" for number in range(9)}
    served.queue.send([Message("body", {"reason": "old", **names})])
    assert served.queue.bury(one(served.queue), "new")
    (letter,) = served.dead_letters()
    found = {name: item["StringValue"] for name, item in letter["MessageAttributes"].items()}
    assert found == {**names, "reason": "new"}


def test_too_large_for_a_reason_it_is_kept_here(served: Served) -> None:
    """A message that SQS refuses with its reason is not buried: False, so that the caller keeps it."""
    message = Received("id", "receipt", "x" * 1_048_577, {}, 1)  # the servers do not count attributes, SQS does
    assert served.queue.bury(message, "why") is False


@pytest.mark.parametrize("code", ["AccessDenied", "AWS.SimpleQueueService.NonExistentQueue", "ExpiredToken"])
def test_dead_letters_that_cannot_be_written(code: str) -> None:
    """Where it is those alone the message is kept here; credentials that are no good are everybody's trouble."""

    class Client:
        def send_message(self, **_: object) -> None:
            error: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(error, "SendMessage")

    queue = Queue(Client(), "http://q/relay", "http://q/relay-dlq", 60)  # type: ignore[arg-type]  # the one call
    if code == "ExpiredToken":
        with pytest.raises(PausedError):
            queue.bury(Received("1", "r", "x", {}), "why")
    else:
        assert queue.bury(Received("1", "r", "x", {}), "why") is False


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_dead_letters_are_sent_back(
    server_name: str, suffix: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they were, the size a number again; what dies after the beginning is left, and visible."""
    monkeypatch.setattr(redrive, "_POLLS", 1)
    served = _served(server_name, request, tmp_path, suffix)
    queue, dead = served.aws.existing_queues()
    sent = [Message(f"é {number}", {"drop_id": f"d{number}", "size": number}, f"g{number}") for number in range(12)]
    for batch in (sent[:10], sent[10:]):
        queue.send(batch)
    for letter in receive(queue, 12):
        assert queue.bury(letter, "why")
        assert queue.delete([letter.receipt]) == [None]
    started_ms, tally = queue.now_ms(), Tally()
    while queue.now_ms() <= started_ms:
        time.sleep(0.05)
    dead.send([Message("late", {"drop_id": "late"}, "g")])
    Redrive(queue, tally).send_dead_letters(dead, started_ms, 60)
    assert (tally.sent, tally.later, tally.refused) == (12, 1, {})
    answer = served.sqs.receive_message(QueueUrl=queue.url, MessageAttributeNames=["All"], WaitTimeSeconds=5)
    assert answer["Messages"][0]["MessageAttributes"]["size"]["DataType"] == "Number"
    queue.extend([message["ReceiptHandle"] for message in answer["Messages"]], 0)
    again = receive(queue, 12)
    assert sorted((message.body, message.attributes["size"]) for message in again) == sorted(
        (message.body, str(message.attributes["size"])) for message in sent
    )
    assert {name for message in again for name in message.attributes} == {"drop_id", "size"}
    assert one(dead).body == "late"


def test_messages_say_when_they_were_sent(served: Served) -> None:
    """By the clock that the queue has: before the end of the second in which it is asked for the time."""
    before = served.queue.now_ms()
    served.queue.send([Message("a", {})])
    assert before - 1000 <= one(served.queue).sent_ms < served.queue.now_ms()


def test_a_server_without_a_date_has_our_time() -> None:
    """The header of its answers is what tells its time."""

    class Dateless:
        def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
            return {"ResponseMetadata": {"HTTPHeaders": {}}}

    queue = Queue(Dateless(), "http://127.0.0.1/q", None, 60)  # type: ignore[arg-type]  # the one call it makes
    before = time.time()
    assert before < queue.now_ms() / 1000 <= time.time() + 1


def test_without_dead_letters_nothing_is_buried(served: Served) -> None:
    """A queue that has none says so, and the message stays in flight."""
    name = f"bare-{uuid.uuid4().hex}"
    url = served.sqs.create_queue(QueueName=name)["QueueUrl"]
    settings = served.aws.settings
    bare = Aws(type(settings)(**{**vars(settings), "aws_sqs": name})).queue()
    assert bare.url == url
    bare.send([Message("a", {})])
    message = one(bare)
    assert bare.bury(message, "why") is False
    assert bare.delete([message.receipt]) == [None]
    assert FakeQueue(dead_letters=False).bury(message, "why") is False


def test_several_threads_share_one_queue(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Eight threads send, receive and delete at once; every message is had once (moto gives one to two at once)."""
    served = _served("ministack", request, tmp_path)
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda number: served.queue.send([Message(str(number), {})]), range(40)))
        assert sent == [[None]] * 40
        got: list[str] = []

        def take(_: int) -> None:
            with contextlib.suppress(AssertionError):
                for message in receive(served.queue, 5):
                    got.append(message.body)
                    assert served.queue.delete([message.receipt]) == [None]

        list(pool.map(take, range(8)))
    assert sorted(got, key=int) == [str(number) for number in range(40)]
