"""Answers whose bodies are files: the kernel copies them to the socket, so that serving costs next to nothing."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Piece(NamedTuple):
    """Part of a file."""

    path: Path
    offset: int
    size: int


async def send(transport: asyncio.Transport, head: bytes, pieces: Sequence[Piece]) -> None:
    """Send a head and pieces of files past the transport, which has nothing of its own to send: one answer at a time.

    uvloop has no `loop.sendfile`, and lets nobody wait for a descriptor of its transports: thus a copy of it.
    """
    fd = os.dup(transport.get_extra_info("socket").fileno())
    try:
        os.write(fd, head)  # a few hundred bytes into an empty socket buffer: it takes them whole
        for piece in pieces:
            with piece.path.open("rb") as file:
                await _send_piece(fd, file.fileno(), piece.offset, piece.size)
    except OSError:
        transport.abort()  # the client sees an answer that is too short
    finally:
        os.close(fd)


async def _send_piece(to: int, source: int, offset: int, left: int) -> None:
    while left:
        try:
            sent = os.sendfile(to, source, offset, left)
        except BlockingIOError:
            await _writable(to)
            continue
        if not sent:
            raise OSError("the file is shorter than it was")
        offset, left = offset + sent, left - sent


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
