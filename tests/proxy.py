"""A network that misbehaves: an HTTP proxy in front of a server of this machine.

    with proxy(server.port) as network:
        network.fault = Script(("PUT", "/in/a", [Fault(lose=True), error(503, "SlowDown")]))
        ...  # the answer to the first PUT of that key is lost, the second is refused, the third goes through

Bodies pass as they come: none is held, whatever its size. `one_answer` is a server of one prepared answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.http_wire import CHUNK, Head, Way, read_answer, reset
from tests.servers import free_ports

End = Literal["reset", "close", "stall"]

_SMALL_BUFFER = 16 * 1024
"""Of the sockets to clients: what was sent has passed, but for little."""
_SECONDS = 10.0
_LOOK_SECONDS = 0.02


@dataclass
class Request:
    """One request on its way; what `headers` becomes in the hands of `Proxy.fault` is what the server is given."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    """What has passed of it, up to some 64 KiB."""

    def note(self, data: bytes) -> None:
        """So much has passed."""
        if len(self.body) < CHUNK:
            self.body += data


@dataclass(frozen=True)
class Fault:
    """What happens to one request and its answer. Numbers of bytes are of bodies."""

    delay: float = 0.0
    """Seconds before anything goes on."""
    until: threading.Event | None = None
    """Nothing goes on before it is set."""
    rate: float = math.inf
    """Bytes a second, each way."""
    answer: bytes = b""
    """Head and body in the place of the server's, which hears nothing of the request."""
    cut_request: int | None = None
    """So much of it passes at most; of 0 bytes the server hears nothing at all."""
    flip_request: int | None = None
    """The byte of which one bit changes."""
    lose: bool = False
    """The whole answer, which the server gave."""
    cut_answer: int | None = None
    flip_answer: int | None = None
    say: tuple[tuple[str, str], ...] = ()
    """Headers of the answer in the place of the server's; those without a value are left out."""
    end: End = "reset"
    """How a connection ends that was cut: it is reset, closed, or says nothing any more."""


BROKEN = Fault(cut_request=0)
"""The connection breaks before the server hears of the request."""


def error(status: int, code: str, **headers: str) -> Fault:
    """Refused, as S3 says it; in the names of headers `_` stands for `-`."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    said = {"x-amz-request-id": "REQ1", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Fault(answer=answer(status, body, said))


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer, for `Fault.answer` and `one_answer`."""
    return Head(f"HTTP/1.1 {status} Prepared", {"Content-Length": str(len(body))}).with_headers(headers or {}) + body


class Script:
    """Faults one after the other, for the requests of a method with a text in their path; then none."""

    def __init__(self, *lines: tuple[str, str, Iterable[Fault | None]]) -> None:
        """A request takes the next fault of the first line that is about it; None: it goes through."""
        self._lines = [(method, part, iter(faults)) for method, part, faults in lines]

    def __call__(self, request: Request) -> Fault | None:
        """See Proxy.fault."""
        about = (faults for method, part, faults in self._lines if method == request.method and part in request.path)
        return next(next(about, iter(())), None)


class Chance:
    """Faults by chance, at most one for a request; one seed gives them in one order."""

    def __init__(self, seed: int, rates: Mapping[Fault, float]) -> None:
        """`rates`: the share of requests that each happens to."""
        self._random = random.Random(seed)
        self._faults: list[Fault | None] = [*rates, None]
        self._weights = [*rates.values(), 1 - sum(rates.values())]

    def __call__(self, _request: Request) -> Fault | None:
        """See Proxy.fault."""
        return self._random.choices(self._faults, self._weights)[0]


@dataclass
class Proxy:
    """Hands requests on, each as `fault` says, which is asked once the head of a request is there."""

    upstream: int
    """The server's port."""
    port: int = field(default_factory=lambda: free_ports(1)[0])
    fault: Callable[[Request], Fault | None] = lambda _request: None
    seen: list[Request] = field(default_factory=list)
    """Every request, in the order in which they came."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """While the block runs every connection is refused, and those that were open are broken."""
        self._call(self._stop_listening())
        try:
            yield
        finally:
            self._call(self._listen())

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[Any]] = set()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        """Raises what `fault` raised, if it did."""
        self._call(self._stop_listening())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._problem:
            raise self._problem

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)  # connections inherit it
        self._server = await asyncio.start_server(self._connect, sock=listener)

    async def _stop_listening(self) -> None:
        self._server.close()
        ending = list(self._connections)
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # their sockets are closed by then

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            reset(writer)  # one side hung up, or the line is down
        except Exception as problem:  # noqa: BLE001  # not hidden: `stop` raises it
            self._problem = problem
            reset(writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection stays."""
        head = await Head.read(reader)
        method, path, _ = head.first.split(" ", 2)
        request = Request(method, path, head.headers)
        self.seen.append(request)
        fault = self.fault(request) or Fault()
        head.headers = request.headers
        await asyncio.sleep(fault.delay)
        while fault.until is not None and not fault.until.is_set():
            await asyncio.sleep(_LOOK_SECONDS)
        if fault.cut_request == 0:
            return await _end(writer, fault.end)
        if head.value("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not fault.answer:
            return await self._hand_on(request, head, fault, reader, writer)
        await Way(reader, None, fault.rate, request.note).carry(head.length())
        only_head = len(fault.answer.partition(b"\r\n\r\n")[0]) + 4
        writer.write(fault.answer[:only_head] if method == "HEAD" else fault.answer)
        await writer.drain()
        return True

    async def _hand_on(
        self, request: Request, head: Head, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            ours.write(head.with_headers({"Connection": "close"}))
            way = Way(reader, ours, fault.rate, request.note)
            if not await way.carry(head.length(), fault.cut_request, fault.flip_request):
                return await _end(writer, fault.end)
            given, length = await read_answer(theirs, request.method)
            if fault.lose:
                await Way(theirs, None).carry(length)
                return await _end(writer, fault.end)
            writer.write(given.with_headers(dict(fault.say)))
            if not await Way(theirs, writer, fault.rate).carry(length, fault.cut_answer, fault.flip_answer):
                return await _end(writer, fault.end)
            return length < math.inf
        finally:
            ours.transport.abort()


class Dam(Proxy):
    """Holds requests back while it is shut."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream, fault=self._hold)
        self._opened, self._only = threading.Event(), ""
        self._opened.set()
        self.held: list[str] = []
        """Method and path of each request that waits since it was shut."""

    def shut(self, only: str = "") -> None:
        """From now on nothing passes; or nothing in whose method and path `only` stands."""
        self.held, self._only, self._opened = [], only, threading.Event()

    def open(self) -> None:
        self._opened.set()

    def holds(self, text: str) -> bool:
        return any(text in line for line in self.held)

    def _hold(self, request: Request) -> Fault | None:
        line = f"{request.method} {request.path}"
        if self._opened.is_set() or self._only not in line:
            return None
        self.held.append(line)
        return Fault(until=self._opened)


async def _end(writer: asyncio.StreamWriter, how: End) -> bool:
    """The end of a connection that was cut: False."""
    if how == "stall":
        await asyncio.Event().wait()
    if how == "reset":
        reset(writer)
    return False


@contextlib.contextmanager
def proxy(upstream_port: int) -> Iterator[Proxy]:
    """A proxy that runs as long as the block."""
    it = Proxy(upstream_port)
    it.start()
    try:
        yield it
    finally:
        it.stop()


@contextlib.contextmanager
def dam(upstream_port: int) -> Iterator[Dam]:
    """The same for a dam, which is open at first."""
    it = Dam(upstream_port)
    it.start()
    try:
        yield it
    finally:
        it.open()
        it.stop()


@contextlib.contextmanager
def one_answer(answer: bytes, end: str) -> Iterator[str]:
    """The endpoint of a server that gives every request this answer, then: "close", "reset" or "silent"."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                connection.recv(65536)
                connection.sendall(answer)
                if end == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if end != "silent":
                    connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_ones:
            connection.close()
