"""A slow line: a connection through which some answers come at so many bytes a second, and the others as they are."""

from __future__ import annotations

import asyncio
import contextlib
import threading

_STEP_SECONDS = 0.25
_CHUNK = 65536


class Throttle:
    """Hands bytes on between clients and a server of this machine; answers to GETs of `marked` come slowly."""

    def __init__(self, port: int, marked: bytes, rate: float) -> None:
        self._port, self._marked, self._rate = port, marked, rate
        self.asked = 0
        """How many requests for it have come."""
        self.endpoint = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1")
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._ended.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        slow = asyncio.Event()
        try:
            await asyncio.gather(self._requests(reader, ours, slow), self._answers(theirs, writer, slow))
        except asyncio.CancelledError:
            pass  # it is closed; asyncio would log it
        finally:
            for each in (writer, ours):
                each.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slow: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                slow.clear()
                if data.startswith(b"GET ") and self._marked in data.partition(b"\r\n")[0]:
                    slow.set()
                    self.asked += 1
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slow: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(max(1, int(self._rate * _STEP_SECONDS)) if slow.is_set() else _CHUNK):
                writer.write(data)
                await writer.drain()
                if slow.is_set():
                    await asyncio.sleep(len(data) / self._rate)
        writer.close()
