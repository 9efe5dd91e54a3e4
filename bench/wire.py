"""HTTP/1.1 for the two measuring servers: one connection is one Exchange, one request at a time.

Bodies are read into one buffer that all connections share: a loop reads for one connection at a time, and what a body
is for is done with it before the next read.
"""

import argparse
import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Iterable
from typing import Protocol, cast
from urllib.parse import parse_qsl, unquote

from bench.chunked import Dechunker

_BUFFER = memoryview(bytearray(1024 * 1024))
_HEAD_LIMIT = 64 * 1024
_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 404: "Not Found", 412: "Precondition Failed"}


class Body(Protocol):
    """Where a request's body goes."""

    def add(self, data: memoryview) -> None:
        """Take the next bytes; they are gone after the call."""


class Memory:
    """A body that is kept as it is."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, data: memoryview) -> None:
        """See Body."""
        self._parts.append(bytes(data))

    def bytes(self) -> bytes:
        """All of it."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class Request:
    """The head of a request; header names are in lower case."""

    __slots__ = ("_query", "body", "headers", "method", "path", "raw_query", "trailers")

    def __init__(self, head: bytes) -> None:
        first, _, rest = head.partition(b"\r\n")
        method, target, _ = first.split(b" ", 2)
        path, _, query = target.decode("latin-1").partition("?")
        self.method = method.decode()
        self.path = unquote(path) if "%" in path else path
        self.raw_query = query
        self._query: dict[str, str] | None = None
        lines = (line.partition(b":") for line in rest.split(b"\r\n"))
        self.headers = {name.lower(): value.strip() for name, _, value in lines}
        self.body: Body | None = None
        self.trailers: list[bytes] = []  # lines behind an aws-chunked body, once it has come

    @property
    def query(self) -> dict[str, str]:
        """The decoded query."""
        if self._query is None:
            self._query = dict(parse_qsl(self.raw_query, keep_blank_values=True)) if self.raw_query else {}
        return self._query


class Application(Protocol):
    """What a server does with requests."""

    def body_for(self, request: Request) -> Body:
        """Where the body of a request goes, called before its first byte."""

    def answer(self, request: Request, exchange: "Exchange") -> None:
        """Called when the body has come; `exchange.reply` may be called now or later, once."""

    def gone(self, exchange: "Exchange") -> None:
        """The connection ended; it may have been waiting for an answer."""


class Exchange(asyncio.BufferedProtocol):
    """One connection."""

    request_type = Request

    def __init__(self, application: Application) -> None:
        self._application = application
        self._head = bytearray()
        self._request: Request | None = None
        self._left = 0  # bytes of the body that are still to come; -1: it is chunked
        self._chunks: Dechunker | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._application.gone(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        del sizehint
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        data = _BUFFER[:nbytes]
        while data:
            data = self._read_body(data) if self._request else self._read_head(data)

    def reply(
        self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", *, head: bool = False
    ) -> None:
        """Answer; a length given among the headers (`head`: of a body that is not sent) is kept."""
        self.transport.write(head_of(status, headers, None if head else len(body)) + body)

    def _read_head(self, data: memoryview) -> memoryview:
        """Read as much of a head as has come; what is left of the data."""
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0:
            if len(self._head) > _HEAD_LIMIT:
                self.transport.abort()
            return data[:0]
        rest = data[end + 4 - before :]
        request = self.request_type(bytes(memoryview(self._head)[:end]))
        self._head = bytearray()
        self._begin(request)
        return rest

    def _begin(self, request: Request) -> None:
        headers = request.headers
        self._left = int(headers.get(b"content-length", 0))
        is_chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        if not self._left and not is_chunked:
            self._application.answer(request, self)
            return
        request.body = self._application.body_for(request)
        take = request.body.add
        if b"x-amz-decoded-content-length" in headers:  # aws-chunked, within the length or within HTTP's own chunks
            content = Dechunker(take)
            take, request.trailers = content.feed_all, content.trailers
        self._chunks = Dechunker(take) if is_chunked else None
        self._take = take
        self._request = request
        if headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_body(self, data: memoryview) -> memoryview:
        """Read as much of a body as has come; what is left of the data."""
        request = self._request
        assert request is not None
        if self._chunks:
            data = self._chunks.feed(data)
            done = self._chunks.done
        else:
            mine = data[: self._left]
            self._left -= len(mine)
            self._take(mine)
            data, done = data[len(mine) :], not self._left
        if done:
            self._request = None
            self._application.answer(request, self)
        return data


def head_of(status: int, headers: Iterable[tuple[str, str]], length: int | None) -> bytes:
    """The head of an answer; without a length one must be among the headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    if length is not None and status != 204:
        lines += f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n{lines}\r\n".encode()


def serve(make: Callable[[argparse.Namespace], Application], parser: argparse.ArgumentParser) -> None:
    """Run a server of HTTP; see run_server."""

    def factory(options: argparse.Namespace) -> Callable[[], Exchange]:
        application = make(options)
        return lambda: Exchange(application)

    run_server(factory, parser)


def run_server(
    make: Callable[[argparse.Namespace], Callable[[], asyncio.BaseProtocol]], parser: argparse.ArgumentParser
) -> None:
    """Run a server until SIGTERM; its first line on stdout is its URL. `make` gives what makes a connection."""
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    options = parser.parse_args()
    gc.disable()  # it would walk every object and message again and again; nothing here is cyclic for long
    run = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  # optional: with asyncio's own loop it costs about twice

        run = uvloop.run
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve(make(options), options.port))


async def _serve(factory: Callable[[], asyncio.BaseProtocol], port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(factory, "127.0.0.1", port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
