"""The benchmark's servers without a network: chunks, requests, the sink's answers, the queues."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench import listing
from bench.chunked import Dechunker
from bench.messages import digest
from bench.queues import Message, Queue
from bench.sendfile import Piece
from bench.shelf import Bucket, Object, slice_of
from bench.sink import Sink
from bench.sqs import Sqs
from bench.wire import _BUFFER, Exchange, Request, head_of

CHUNKED = b"5;chunk-signature=ab\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAA==\r\n\r\n"


class Transport:
    """What an Exchange writes to."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


def talk(application: Any, *pieces: bytes) -> bytes:
    """What one connection answers to these bytes, which come piece by piece."""
    transport, exchange = Transport(), Exchange(application)
    exchange.connection_made(transport)  # type: ignore[arg-type]  # all that it uses
    for piece in pieces:
        _BUFFER[: len(piece)] = piece
        exchange.buffer_updated(len(piece))
    return transport.written


@pytest.mark.parametrize("at", range(len(CHUNKED)))
def test_chunks_may_be_cut_anywhere(at: int) -> None:
    """What lies in the chunks, whatever pieces the bytes come in; what follows the end is left."""
    found: list[bytes] = []
    chunks = Dechunker(lambda data: found.append(bytes(data)))
    assert not chunks.feed(memoryview(CHUNKED[:at]))
    assert not chunks.done
    assert bytes(chunks.feed(memoryview(CHUNKED[at:] + b"next"))) == b"next"
    assert (chunks.done, b"".join(found)) == (True, b"hello world")


def test_a_request_is_read() -> None:
    """Method, decoded path, query, headers in lower case."""
    request = Request(b"PUT /b/a%20b?partNumber=3&uploadId=x HTTP/1.1\r\nHost: h:1\r\nX-Amz-Meta-A:  b ")
    assert (request.method, request.path, request.query) == ("PUT", "/b/a b", {"partNumber": "3", "uploadId": "x"})
    assert request.headers == {b"host": b"h:1", b"x-amz-meta-a": b"b"}


@pytest.fixture
def sink() -> Sink:
    sink = Sink(None)
    talk(sink, b"PUT /b HTTP/1.1\r\n\r\n")
    return sink


def put(key: str, body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return f"PUT /b/{key} HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode() + lines + b"\r\n" + body


@pytest.mark.parametrize("at", [1, 20, 60, 70])
def test_an_object_comes_back(sink: Sink, at: int) -> None:
    """Bytes, metadata and ETag; the request may come in pieces."""
    asked = put("k", b"0123456789", b"x-amz-meta-a: 1")
    etag = talk(sink, asked[:at], asked[at:]).partition(b"ETag: ")[2].partition(b"\r\n")[0]
    answer = talk(sink, b"GET /b/k HTTP/1.1\r\nRange: bytes=2-4\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 206 ")
    assert answer.endswith(b"\r\n\r\n234")
    for header in (b"ETag: " + etag, b"x-amz-meta-a: 1", b"Content-Range: bytes 2-4/10", b"Content-Length: 3"):
        assert header + b"\r\n" in answer


def test_a_body_of_aws_chunks_is_its_content(sink: Sink) -> None:
    """The framing and its trailers are not stored, with a length and within HTTP's own chunks."""
    aws = b"x-amz-decoded-content-length: 11\r\n"
    talk(sink, b"PUT /b/k HTTP/1.1\r\n" + aws + f"Content-Length: {len(CHUNKED)}\r\n\r\n".encode() + CHUNKED)
    outer = f"{len(CHUNKED):x}\r\n".encode() + CHUNKED + b"\r\n0\r\n\r\n"
    talk(sink, b"PUT /b/l HTTP/1.1\r\n" + aws + b"Transfer-Encoding: chunked\r\n\r\n" + outer)
    for key in (b"k", b"l"):
        assert talk(sink, b"GET /b/" + key + b" HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nhello world")


def test_it_asks_for_a_body_that_is_announced(sink: Sink) -> None:
    """Expect: 100-continue is answered before the body, once."""
    answer = talk(sink, put("k", b"x", b"Expect: 100-continue")[:-1], b"x")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


def test_conditions_are_kept(sink: Sink) -> None:
    """If-None-Match: * and a wrong If-Match are 412, If-Match on nothing is 404; nothing is changed."""
    talk(sink, put("k", b"first"))
    assert talk(sink, put("k", b"other", b"If-None-Match: *")).startswith(b"HTTP/1.1 412")
    assert talk(sink, put("k", b"other", b'If-Match: "no"')).startswith(b"HTTP/1.1 412")
    assert talk(sink, put("l", b"other", b'If-Match: "no"')).startswith(b"HTTP/1.1 404")
    assert talk(sink, b"GET /b/k HTTP/1.1\r\n\r\n").endswith(b"first")


def test_large_bodies_are_counted_and_dropped(sink: Sink) -> None:
    """Their size is known; to read one is refused, not answered with something else."""
    size = 1024 * 1024 + 1
    asked = put("k", bytes(size))
    talk(sink, *(asked[at : at + 500_000] for at in range(0, len(asked), 500_000)))
    assert f"Content-Length: {size}\r\n".encode() in talk(sink, b"HEAD /b/k HTTP/1.1\r\n\r\n")
    assert talk(sink, b"GET /b/k HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 501")


def test_a_head_without_end_is_cut_off(sink: Sink) -> None:
    """64 KiB at most."""
    transport, exchange = Transport(), Exchange(sink)
    exchange.connection_made(transport)  # type: ignore[arg-type]  # all that it uses
    _BUFFER[:70_000] = b"x" * 70_000
    exchange.buffer_updated(70_000)
    assert transport.aborted


def test_a_part_of_several_pieces() -> None:
    """A range may begin and end within any of them."""
    pieces: list[bytes | Piece] = [b"0123", b"45", b"6789"]
    whole = b"0123456789"
    for start in range(10):
        for size in range(1, 11 - start):
            found = b"".join(piece for piece in slice_of(pieces, start, size) if isinstance(piece, bytes))
            assert found == whole[start : start + size]
    assert slice_of([Piece(Path("a"), 0, 4), Piece(Path("b"), 0, 4)], 3, 2) == [
        Piece(Path("a"), 3, 1),
        Piece(Path("b"), 0, 1),
    ]


def test_pages_of_a_listing() -> None:
    """Every key once, in order, in pages; a delimiter folds what lies below."""
    bucket = Bucket()
    for key in ("a", "d/1", "d/2", "d/3", "e", "z&<"):
        bucket.put(key, Object(1, "0", [], []))
    first = listing.objects("b", bucket, {"max-keys": "4"}).decode()
    assert "<IsTruncated>true" in first
    second = listing.objects("b", bucket, {"continuation-token": "d/3"}).decode()
    keys = [part.partition("</Key>")[0] for page in (first, second) for part in page.split("<Key>")[1:]]
    assert keys == ["a", "d/1", "d/2", "d/3", "e", "z&amp;&lt;"]
    folded = listing.objects("b", bucket, {"delimiter": "/"}).decode()
    assert folded.count("<Contents>") == 3
    assert folded.count("<CommonPrefixes><Prefix>d/</Prefix>") == 1
    below = listing.objects("b", bucket, {"prefix": "d/", "delimiter": "/"}).decode()
    assert (below.count("<Contents>"), below.count("<CommonPrefixes>")) == (3, 0)


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bench.queues.time.monotonic", lambda: clock.now)
    return clock


def message(body: str) -> Message:
    return Message(body, "", {}, "")


def test_a_message_is_hidden_and_comes_back(clock: Clock) -> None:
    """Received it is in flight; after its time it is there again, with a new receipt, and the old one is void."""
    queue = Queue("q", {})
    queue.send(message("a"), 0)
    (first,) = queue.receive(10, 30)
    receipt = first.receipt
    assert (queue.receive(10, 30), queue.counts()) == ([], (0, 1, 0))
    clock.now += 29.9
    assert queue.receive(10, 30) == []
    clock.now += 0.2
    assert queue.counts() == (1, 0, 0)
    (again,) = queue.receive(10, 30)
    assert (again.receives, again.receipt != receipt) == (2, True)
    assert (queue.delete(receipt), queue.delete(again.receipt), queue.counts()) == (False, True, (0, 0, 0))


def test_an_extension_counts_from_now(clock: Clock) -> None:
    """Extended it stays hidden beyond its first time; 0 shows it at once."""
    queue = Queue("q", {})
    queue.send(message("a"), 0)
    (taken,) = queue.receive(1, 10)
    clock.now += 9
    assert queue.extend(taken.receipt, 10)
    clock.now += 9
    assert queue.receive(1, 10) == []
    assert queue.extend(taken.receipt, 0)
    assert [each.body for each in queue.receive(1, 10)] == ["a"]


def test_a_delayed_message_comes_later(clock: Clock) -> None:
    """It is counted apart until then."""
    queue = Queue("q", {})
    queue.send(message("a"), 5)
    assert (queue.receive(1, 30), queue.counts()) == ([], (0, 0, 1))
    clock.now += 5.1
    assert [each.body for each in queue.receive(1, 30)] == ["a"]
    assert queue.counts() == (0, 1, 0)


def test_after_so_many_receives_it_is_dead(clock: Clock) -> None:
    """It goes to the dead-letter queue instead of being received once more."""
    queue, dead = Queue("q", {}), Queue("q-dlq", {})
    queue.dead, queue.max_receives = dead, 2
    queue.send(message("a"), 0)
    for _ in range(2):
        assert len(queue.receive(1, 0)) == 1
        clock.now += 0.1
    assert (queue.receive(1, 0), dead.counts()) == ([], (1, 0, 0))


def call(sqs: Sqs, action: str, **arguments: Any) -> Any:
    return json.loads(_sent(sqs, action, arguments).partition(b"\r\n\r\n")[2] or b"null")


def _sent(sqs: Sqs, action: str, arguments: Any) -> bytes:
    body = json.dumps(arguments).encode()
    head = f"POST / HTTP/1.1\r\nHost: h:1\r\nX-Amz-Target: AmazonSQS.{action}\r\nContent-Length: {len(body)}\r\n\r\n"
    return talk(sqs, head.encode() + body)


def test_a_batch_tells_of_each_entry() -> None:
    """One that is refused does not touch the others."""
    sqs = Sqs()
    url = call(sqs, "CreateQueue", QueueName="q")["QueueUrl"]
    entries = [{"Id": "0", "MessageBody": "good"}, {"Id": "1", "MessageBody": "bad\x01"}]
    answer = call(sqs, "SendMessageBatch", QueueUrl=url, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == ["0"]
    assert [each["Code"] for each in answer["Failed"]] == ["InvalidMessageContents"]
    assert [each["Body"] for each in call(sqs, "ReceiveMessage", QueueUrl=url)["Messages"]] == ["good"]


def test_an_unknown_queue_is_refused() -> None:
    """With the code that botocore knows."""
    answer = call(Sqs(), "ReceiveMessage", QueueUrl="http://h/0/none")
    assert answer["__type"] == "com.amazonaws.sqs#QueueDoesNotExist"


def test_a_long_poll_is_answered_with_the_send() -> None:
    """It has no answer before, and the message after; one whose connection ended takes none away."""

    async def scene() -> None:
        sqs = Sqs()
        url = call(sqs, "CreateQueue", QueueName="q")["QueueUrl"]
        transports = [Transport(), Transport()]
        exchanges = [Exchange(sqs) for _ in transports]
        body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
        head = f"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: {len(body)}\r\n\r\n"
        for exchange, transport in zip(exchanges, transports, strict=True):
            exchange.connection_made(transport)  # type: ignore[arg-type]  # all that it uses
            asked = head.encode() + body
            _BUFFER[: len(asked)] = asked
            exchange.buffer_updated(len(asked))
        exchanges[0].connection_lost(None)
        assert [transport.written for transport in transports] == [b"", b""]
        call(sqs, "SendMessage", QueueUrl=url, MessageBody="a")
        assert transports[0].written == b""
        assert b'"Body": "a"' in transports[1].written

    asyncio.run(scene())


def test_the_digest_of_attributes_is_that_of_sqs() -> None:
    """A value that SQS gave, whatever the order in which they are sent."""
    timestamp = {"timestamp": {"DataType": "Number", "StringValue": "1493147359900"}}
    assert digest(timestamp) == "235c5c510d26fb653d073faed50ae77c"
    both = timestamp | {"a": {"DataType": "String", "StringValue": "b"}}
    assert digest(both) == digest(dict(reversed(both.items())))


def test_an_answer_without_content_has_no_length() -> None:
    """RFC 9110, 8.6: none with 204."""
    assert b"Content-Length" not in head_of(204, [], 0)
    assert b"Content-Length: 0\r\n" in head_of(200, [], 0)
