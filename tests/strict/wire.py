"""HTTP with faults: each request's are drawn when its head has come, and done to it where they belong."""

import asyncio
import email.utils
import functools
from collections.abc import Iterable
from typing import Protocol

from bench.wire import Body, Exchange, Request, head_of
from tests.strict.bodies import Content
from tests.strict.clock import Clock
from tests.strict.faults import NONE, Faults
from tests.strict.log import Log
from tests.strict.shelf import Bucket, Write

_ACTIONS = {
    **dict.fromkeys(("SendMessage", "SendMessageBatch"), "send"),
    **dict.fromkeys(("DeleteMessage", "DeleteMessageBatch"), "delete"),
    **dict.fromkeys(("ChangeMessageVisibility", "ChangeMessageVisibilityBatch"), "extend"),
    "ReceiveMessage": "receive",
}
_http_date = functools.lru_cache(64)(functools.partial(email.utils.formatdate, usegmt=True))
CONTROL = "control"


class Call(Request):
    """A request, the operation it asks for, and what goes wrong with it."""

    def __init__(self, head: bytes) -> None:
        super().__init__(head)
        self.target = head.split(b" ", 2)[1].decode("latin-1")
        self.operation = _operation(self)
        self.faults: frozenset[str] = NONE
        self.unkept: Content | None = None
        """A body that nobody keeps so far."""
        self.write: tuple[Bucket, Write] | None = None
        """A conditional write under way."""


class Application(Protocol):
    """What the server does with requests."""

    clock: Clock
    faults: Faults
    log: Log
    connections: set["Connection"]

    def is_down(self) -> bool:
        """Whether it is to be as if nobody listened."""

    def body_for(self, request: Request) -> Body:
        """See bench.wire.Application."""

    def answer(self, request: Request, exchange: Exchange) -> None:
        """See bench.wire.Application."""

    def gone(self, exchange: Exchange) -> None:
        """See bench.wire.Application."""

    def forget(self, call: Call) -> None:
        """A request breaks off before it was answered."""


class Connection(Exchange):
    """One connection, which may break."""

    request_type = Call

    def __init__(self, application: Application) -> None:
        super().__init__(application)
        self._server = application
        self._call: Call | None = None
        self._cut = -1  # bytes of a body until it breaks off; -1: it does not
        self._broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        super().connection_lost(exc)
        self._server.connections.discard(self)
        self._forget()

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if not self._broken:
            super().buffer_updated(nbytes)

    def interrupt(self) -> None:
        """The server goes down; not for whoever controls it."""
        if self._call is None or self._call.operation != CONTROL:
            self._break()

    def reply(
        self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", *, head: bool = False
    ) -> None:
        """See Exchange."""
        if self._broken:
            return
        call, self._call = self._call, None
        assert call is not None, "a request is answered once"
        if self._happens(call, "lost_answer"):
            self._break()
            return
        if body and self._happens(call, "flip"):
            body = self._flipped(body)
        data = head_of(
            status, [*headers, ("Date", _http_date(int(self._server.clock.date())))], None if head else len(body)
        )
        if body and self._happens(call, "truncate"):
            self.transport.write(data + body[: self._server.faults.random.randrange(len(body))])
            self._broken = True
            self.transport.close()
        elif self._happens(call, "latency"):
            delay = self._server.faults.random.uniform(0, self._server.faults.latency_seconds)
            asyncio.get_running_loop().call_later(delay, self.transport.write, data + body)
        else:
            self.transport.write(data + body)

    def _begin(self, request: Request) -> None:
        assert isinstance(request, Call)
        self._call, server = request, self._server
        if request.operation != CONTROL:
            server.log.requests[request.operation] += 1
            request.faults = server.faults.draw(request.operation)
            if server.is_down() or self._happens(request, "reset"):
                self._break()
                return
        length = int(request.headers.get(b"content-length", 0))
        breaks = length and self._happens(request, "reset_body")
        self._cut = server.faults.random.randrange(length) if breaks else -1
        super()._begin(request)

    def _read_body(self, data: memoryview) -> memoryview:
        if self._broken:
            return data[:0]
        if self._cut >= 0:
            self._cut -= len(data)
            if self._cut < 0:
                self._break()
                return data[:0]
        return super()._read_body(data)

    def _read_head(self, data: memoryview) -> memoryview:
        return data[:0] if self._broken else super()._read_head(data)

    def _happens(self, call: Call, kind: str) -> bool:
        if kind not in call.faults:
            return False
        self._server.log.fault(call.operation, kind, target=call.target)
        return True

    def _break(self) -> None:
        self._broken = True
        self._forget()
        self.transport.abort()

    def _forget(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._server.forget(call)

    def _flipped(self, body: bytes) -> bytes:
        bit = self._server.faults.random.randrange(len(body) * 8)
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)


def _operation(request: Request) -> str:
    target = request.headers.get(b"x-amz-target", b"").decode("latin-1")
    if target:
        return _ACTIONS.get(target.rpartition(".")[2], "queue")
    if request.path.startswith("/_strict/"):
        return CONTROL
    if not request.path.partition("/")[2].partition("/")[2]:
        return "list" if request.method == "GET" else "bucket"
    uploads = "uploadId=" in request.raw_query
    if request.method == "POST":
        return "complete" if uploads else "create"
    names = {"PUT": ("put", "part"), "GET": ("get", "parts"), "HEAD": ("head", "head"), "DELETE": ("remove", "abort")}
    return names.get(request.method, ("bucket", "bucket"))[uploads]
