"""A TCP proxy that delivers every byte some milliseconds later, each way, and limits nothing: `python -m bench.delay`.

A new connection carries its first byte one round trip later than that, as TCP's handshake would take.
"""

import argparse
import asyncio
import collections
from typing import cast
from urllib.parse import urlsplit

from bench.wire import run_server

_WINDOW = 64 * 1024 * 1024
"""Bytes on their way in one direction of a connection: more than any client keeps unacknowledged."""


class End(asyncio.Protocol):
    """One end of a connection; what it hears goes to the other one, later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._under_way: collections.deque[bytes | None] = collections.deque()
        self._size = 0
        self._open_at = 0.0  # nothing is delivered before
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._send(data)
        if self._size > _WINDOW and self.transport:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """See asyncio; the end travels as the bytes before it did."""
        self._send(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._send(None)

    def hold(self, seconds: float) -> None:
        """Deliver nothing before so many seconds from now."""
        self._open_at = self._loop.time() + seconds

    def _send(self, data: bytes | None) -> None:
        self._under_way.append(data)
        self._size += len(data or b"")
        self._loop.call_at(max(self._loop.time() + self._delay, self._open_at), self._deliver)

    def _deliver(self) -> None:
        data = self._under_way.popleft()
        self._size -= len(data or b"")
        if self.transport and self._size <= _WINDOW:
            self.transport.resume_reading()
        if self.other is None or self.other.transport is None:
            return
        if data is None:
            self.other.transport.close()
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)


class Accepted(End):
    """The client's end, which connects to the server."""

    def __init__(self, delay: float, host: str, port: int) -> None:
        super().__init__(delay)
        self._address = host, port
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self.hold(3 * self._delay)  # SYN, its answer, and then the first byte
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, end = await self._loop.create_connection(lambda: End(self._delay), *self._address)
        except OSError:
            assert self.transport is not None
            self.transport.abort()
            return
        self.other, end.other = end, self


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.delay", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", required=True, help="the server's URL")
    parser.add_argument("--milliseconds", type=float, default=10.0, help="in each direction")

    def make(options: argparse.Namespace) -> Accepted:
        """A new connection."""
        to = urlsplit(options.to)
        return Accepted(options.milliseconds / 1000, to.hostname or "", to.port or 80)

    run_server(lambda options: lambda: make(options), parser)
