"""The records of moves between file systems: each says, beside its growing copy, what is moved where.

A record is locked as long as its process is at it. An empty one says that the copy is nothing yet.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline import kernel
from pipeline.drop import Fingerprint
from pipeline.folders import Folder

_RECORD_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Move(NamedTuple):
    """What a record says: which file of which folder goes to which path of the target."""

    folder: str
    path: str
    seen: Fingerprint
    target: str


@dataclass
class Record:
    """One record, open and locked, and the copy beside it."""

    own: Folder
    name: str
    fd: int

    @property
    def copy(self) -> str:
        """The name that the copy has beside the record."""
        return f"{self.name}.part"

    def read(self) -> Move | None:
        """What it says; None as long as that is not there whole, or if it is no record."""
        try:
            folder, path, seen, target = json.loads(os.pread(self.fd, os.fstat(self.fd).st_size, 0))
            if any(b"\0" in os.fsencode(text) for text in (folder, path, target)):
                return None
            return Move(folder, path, Fingerprint(*seen), target)
        except (ValueError, TypeError, RecursionError):  # it may be cut off, or anybody's
            return None

    def write(self, move: Move) -> None:
        """Say what is moved where, durably: from now on a copy that is no longer here has its name."""
        os.ftruncate(self.fd, 0)
        text = json.dumps(move).encode()
        if os.pwrite(self.fd, text, 0) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync()

    def new_copy(self) -> int:
        """An empty copy, open, and locked so that nobody works on it yet; an error leaves no record either."""
        try:
            fd = os.open(self.copy, _COPY_FLAGS, 0o600, dir_fd=self.own.fd)
        except OSError:
            self.remove()
            raise
        kernel.try_lock(fd)
        return fd

    def discard(self) -> None:
        """Remove the copy that never got a name, then the record."""
        os.ftruncate(self.fd, 0)  # else it would say that the copy has its name, once that is gone from here
        self._sync()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.copy, dir_fd=self.own.fd)
        self.remove()

    def remove(self) -> None:
        """The move is ended."""
        with contextlib.suppress(FileNotFoundError):  # somebody tidied up here
            os.unlink(f"{self.name}.json", dir_fd=self.own.fd)

    def _sync(self) -> None:
        if self.own.durable:
            os.fsync(self.own.fd)  # first the names: it must not speak of a copy that a power cut forgets
            os.fsync(self.fd)


@contextlib.contextmanager
def open_record(own: Folder, name: str) -> Iterator[Record]:
    """Open and lock a record, made if missing; BlockingIOError while another has it."""
    fd = _locked(own, f"{name}.json")
    try:
        yield Record(own, name, fd)
    finally:
        os.close(fd)


def names(own: Folder) -> set[str]:
    """Of every record in a folder, and of every copy, which may have lost its record to a power cut."""
    return {os.path.splitext(entry)[0] for entry in os.listdir(own.fd)}


def _locked(own: Folder, name: str) -> int:
    while True:
        fd = os.open(name, _RECORD_FLAGS, 0o600, dir_fd=own.fd)
        try:
            if not kernel.try_lock(fd):
                raise BlockingIOError(errno.EAGAIN, "another process is at this move", f"{own.path}/{name}")
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its move ended between the two calls
