"""HTTP/1.1 as it is on the wire, for a proxy that does something to it."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

CHUNK = 64 * 1024
_STEP_SECONDS = 0.1
"""Of a slow line: how often a few bytes pass."""
_HOP = ("connection", "expect")
"""Headers that are for this connection alone."""


@dataclass
class Head:
    """The first line of a request or an answer, and its headers as they were written."""

    first: str
    headers: dict[str, str]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Head:
        """The next one; EOFError if there is none."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return cls(first, {name: value.strip() for name, _, value in pairs})

    def value(self, name: str) -> str:
        """Of a header, whose name is given in lower case; "" if there is none."""
        return next((value for known, value in self.headers.items() if known.lower() == name), "")

    def with_headers(self, more: Mapping[str, str]) -> bytes:
        """On the wire, these in the place of its own; those without a value are left out."""
        new = {name.lower() for name in more}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in (*_HOP, *new)}
        given = {name: value for name, value in more.items() if value}
        lines = [f"{name}: {value}" for name, value in {**kept, **given}.items()]
        return "\r\n".join([self.first, *lines, "", ""]).encode("latin-1")

    def length(self) -> int:
        """Bytes of the body that follows."""
        return int(self.value("content-length") or 0)


async def read_answer(reader: asyncio.StreamReader, method: str) -> tuple[Head, float]:
    """An answer's head, and how long its body is: infinite where only the connection's end says so.

    Chunks are taken for bytes like others.
    """
    head = await Head.read(reader)
    while head.first.split(" ")[1].startswith("1"):  # 100 Continue
        head = await Head.read(reader)
    if method == "HEAD" or head.first.split(" ")[1] in ("204", "304"):
        return head, 0
    return head, head.length() if head.value("content-length") else math.inf


class Way:
    """From one socket to another, or to nowhere."""

    def __init__(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter | None,
        rate: float = math.inf,
        note: Callable[[bytes], None] = lambda _data: None,
    ) -> None:
        """`rate`: bytes a second; `note` is told of all that passes."""
        self._source, self._target, self._rate, self._note = source, target, rate, note
        self._most = CHUNK if rate == math.inf else max(1, min(CHUNK, int(rate * _STEP_SECONDS)))

    async def carry(self, length: float, cut: int | None = None, flip: int | None = None) -> bool:
        """A body of `length` bytes, `cut` at most, with one bit of byte `flip` changed; whether that was all of it."""
        end = length if cut is None else min(cut, length)
        done = 0
        while done < end:
            data = await self._source.read(int(min(self._most, end - done)))
            if not data and length < math.inf:
                raise EOFError
            if not data:
                return True
            await self._pass(data if flip is None else _flipped(data, flip - done))
            done += len(data)
        return end == length

    async def _pass(self, data: bytes) -> None:
        self._note(data)
        if self._target:
            self._target.write(data)
            await self._target.drain()
        if self._rate < math.inf:
            await asyncio.sleep(len(data) / self._rate)


def _flipped(data: bytes, index: int) -> bytes:
    if not 0 <= index < len(data):
        return data
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that its other side hears of an error, not of an end."""
    ours: socket.socket = writer.get_extra_info("socket")
    if ours.fileno() != -1:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
