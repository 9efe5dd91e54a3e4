"""What SQS may do, over real requests: answers that are lost on their way, and messages that wear out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import aws_util
from pipeline.aws.sqs import Queue
from pipeline.ports import Message
from tests.contract import reach
from tests.contract.test_queue import receive
from tests.proxy import Fault, Proxy, Request, proxy
from tests.servers import Server
from tests.unit.test_poller import Consume
from tests.unit.test_uploader import until

POLICY = "RedrivePolicy"
VISIBILITY = 2


@pytest.fixture
def network(strict_server: Server) -> Iterator[Proxy]:
    with proxy(strict_server.port) as it:
        yield it


@pytest.fixture
def queue(network: Proxy, strict_server: Server, tmp_path: Path) -> Queue:
    """A queue of the test's own, behind the network; what is received is soon visible again."""
    made = reach.aws(tmp_path, network.endpoint, strict_server.credentials, queue=f"q-{uuid.uuid4().hex}").queue()
    return Queue(made._client, made.url, made.dead_url, VISIBILITY)


@pytest.fixture
def consume(queue: Queue, tmp_path: Path) -> Iterator[Consume]:
    """A consumer of that queue; the store is one in memory."""
    side = Consume(tmp_path)
    side.poller.close(0)
    fake, side.queue = side.queue, queue  # type: ignore[assignment]  # its way to announce is the fake's
    side.poller = side.new_poller()
    side.queue = fake
    yield side
    side.poller.close(5)


def announced(side: Consume, path: str, body: bytes) -> Message:
    """What the uploader would send about an object that is there."""
    side.announce(path, body)
    ((said, attributes),) = side.queue.messages()
    (message,) = side.queue.receive(1, 0)
    side.queue.delete([message.receipt])
    return Message(said, attributes)


def loses_one(operation: str) -> Callable[[Request], Fault | None]:
    """The first answer to an operation."""
    left = [Fault(lose=True)]

    def fault(request: Request) -> Fault | None:
        target = request.headers.get("X-Amz-Target", "")
        return left.pop() if left and target.endswith(operation) else None

    return fault


def arrived(side: Consume, queue: Queue, expected: dict[str, bytes]) -> None:
    """Each once, whatever the queue still delivers, until it is empty."""

    def empty() -> bool:
        side.poller.step(1, 0.0)
        depth = queue.depth()
        return side.poller.idle() and depth.visible == depth.in_flight == 0

    until(empty)
    assert side.files() == expected
    assert side.incoming() == []


def test_an_answer_to_a_send_is_lost(network: Proxy, queue: Queue, consume: Consume) -> None:
    """C2. The message is there, and sent again: two of them with one drop id, and one file."""
    message = announced(consume, "a.csv", b"content")
    network.fault = loses_one("SendMessageBatch")
    assert queue.send([message]) == [None]
    assert queue.depth().visible == 2
    arrived(consume, queue, {"a.csv": b"content"})


@pytest.mark.parametrize("operation", ["ReceiveMessage", "DeleteMessageBatch"])
def test_another_answer_is_lost(network: Proxy, queue: Queue, consume: Consume, operation: str) -> None:
    """C9. What was received and nobody heard of comes again; what is deleted already is deleted once more."""
    queue.send([announced(consume, "a.csv", b"content")])
    network.fault = loses_one(operation)
    arrived(consume, queue, {"a.csv": b"content"})
    targets = [request.headers["X-Amz-Target"].partition(".")[2] for request in network.seen]
    assert targets.count(operation) > 1


def test_a_queue_that_accepts_and_never_answers(
    network: Proxy, strict_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A10. After the time for an answer, here one second, the request is given up and made again."""
    monkeypatch.setattr(aws_util, "_READ_SECONDS", 1)
    queue = reach.aws(tmp_path, network.endpoint, strict_server.credentials, queue=f"q-{uuid.uuid4().hex}").queue()
    hung: list[str] = []

    def hang(request: Request) -> Fault | None:
        operation = request.headers.get("X-Amz-Target", "").partition(".")[2]
        if operation not in ("SendMessageBatch", "ReceiveMessage") or operation in hung:
            return None
        hung.append(operation)
        return Fault(cut_request=0, end="stall")

    network.fault = hang
    assert queue.send([Message("a", {})]) == [None]
    (taken,) = receive(queue, 1)
    assert (taken.body, hung) == ("a", ["SendMessageBatch", "ReceiveMessage"])


def test_a_message_that_wears_out(strict_server: Server, queue: Queue, consume: Consume) -> None:
    """C14. Consumers that are killed more often than `maxReceiveCount`: it lies among the dead letters as it was.

    Put back, it arrives.
    """
    sqs = strict_server.client("sqs")
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])["Attributes"][POLICY])
    sqs.set_queue_attributes(QueueUrl=queue.url, Attributes={POLICY: json.dumps(policy | {"maxReceiveCount": "2"})})
    message = announced(consume, "a.csv", b"content")
    queue.send([message])
    for count in (1, 2):
        (taken,) = receive(queue, 1)
        assert taken.receive_count == count
        queue.extend([taken.receipt], 0)  # what the end of its visibility does, after a kill
    assert queue.receive(1, 1) == []
    assert queue.dead_url is not None
    dead = Queue(sqs, queue.dead_url, None, 60)
    (letter,) = receive(dead, 1)
    assert (letter.body, letter.attributes) == (message.body, message.attributes)
    queue.send([Message(letter.body, letter.attributes)])
    arrived(consume, queue, {"a.csv": b"content"})
