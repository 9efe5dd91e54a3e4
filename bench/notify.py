"""When a name appears in a folder, by inotify."""

import contextlib
import ctypes
import os
import select
import struct
import time
from pathlib import Path

from bench.failure import BenchError, RunError

_CREATE, _MOVED_TO = 0x100, 0x80  # inotify(7)
_EVENT = struct.Struct("iIII")


class Appearances:
    """The names that appear in one folder."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(folder), _CREATE | _MOVED_TO) < 0:
            raise BenchError(f"{folder} cannot be watched (inotify): {os.strerror(ctypes.get_errno())}")

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._fd)

    def wait_for(self, name: str, seconds: float) -> float:
        """time.perf_counter() when the kernel told of a name; RunError if it does not in time."""
        deadline = time.monotonic() + seconds
        told = select.poll()  # select() knows no descriptor above 1,023
        told.register(self._fd, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            told.poll(1000 * left)
            now = time.perf_counter()
            if os.fsencode(name) in self._read():
                return now
        raise RunError(f"{name} did not appear within {seconds:g} s")

    def _read(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            return names_of(os.read(self._fd, 65536))
        return []


def names_of(events: bytes) -> list[bytes]:
    """The names in what inotify wrote."""
    found, at = [], 0
    while at < len(events):
        *_, length = _EVENT.unpack_from(events, at)
        at += _EVENT.size
        found.append(events[at : at + length].rstrip(b"\0"))
        at += length
    return found
