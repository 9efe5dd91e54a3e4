"""Every file that comes into a folder, in the instant it comes: the kernel tells, and a look around finds the rest."""

import contextlib
import ctypes
import errno
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.kernel import PROBE

_MODIFY, _CREATE, _MOVED_TO, _ISDIR = 0x2, 0x100, 0x80, 0x40000000
_HEAD = struct.Struct("iIII")
_AROUND_SECONDS = 5.0
"""A folder that is new, filled and gone between two readings, or more events than the kernel keeps: no event tells."""
_libc = ctypes.CDLL(None, use_errno=True)


class Sight:
    """Watches a folder and all below it, the program's own hidden folders left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fsencode(folder)
        self.fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())
        self._folders: dict[int, bytes] = {}
        self._around_at = 0.0
        self.written: set[Path] = set()
        """Files that somebody wrote to where everybody sees them: by the time they are read they may be whole."""

    def fileno(self) -> int:
        """For select."""
        return self.fd

    def close(self) -> None:
        """Stop watching."""
        os.close(self.fd)

    def look(self) -> Iterator[Path]:
        """What may have come since the last look; some of it more than once, and some gone again."""
        found: list[tuple[bytes, int]] = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 1 << 16):
                found += _events(data, self._folders)
        for path, mask in found:
            if mask & _ISDIR:
                yield from self._enter(path)
            elif mask & _MODIFY:
                self.written |= {Path(os.fsdecode(path))} if not _hidden(path) else set()
            elif not _hidden(path):
                yield Path(os.fsdecode(path))
        if time.monotonic() >= self._around_at:
            self._around_at = time.monotonic() + _AROUND_SECONDS
            yield from self._enter(self._folder)

    def _enter(self, folder: bytes) -> Iterator[Path]:
        """Watch first, then look: what comes between the two is seen twice."""
        if _hidden(folder) and folder != self._folder:
            return
        # Nothing is to be had from IN_CLOSE_WRITE: a file is still open for writing when it is renamed to its name.
        number = _libc.inotify_add_watch(self.fd, folder, _CREATE | _MOVED_TO | _MODIFY)
        if number < 0:
            assert ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR), os.strerror(ctypes.get_errno())
            return
        self._folders[number] = folder
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._enter(entry.path)
            elif not _hidden(entry.path):
                yield Path(os.fsdecode(entry.path))


def _events(data: bytes, folders: dict[int, bytes]) -> Iterator[tuple[bytes, int]]:
    """Path, and what happened there, of each."""
    at = 0
    while at < len(data):
        number, mask, _, length = _HEAD.unpack_from(data, at)
        name = data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0")
        at += _HEAD.size + length
        if name and number in folders:
            yield os.path.join(folders[number], name), mask


def _hidden(path: bytes) -> bool:
    name = os.path.basename(path)
    return name in (b".relay", b".reason") or name.startswith(os.fsencode(PROBE))
