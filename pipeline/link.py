"""What a child is handed by the supervisor: its name, its pipe, and what its side shares."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

_reporting = threading.Lock()


class InheritedFd:
    """A descriptor that a spawned child gets its own copy of; open as long as the process lives."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Callable[[Any], "InheritedFd"], tuple[Any]]:
        """Only while a process is being spawned: multiprocessing passes the descriptor along."""
        return _inherit, (reduction.DupFd(self.fd),)


def _inherit(duplicate: Any) -> InheritedFd:
    return InheritedFd(duplicate.detach())


@dataclass(frozen=True)
class Link:
    """Picklable only while a process is being spawned."""

    role: str
    """The process's name in the log: uploader-1."""
    pipe: "Connection[tuple[str, tuple[str, ...]], None]"
    """To the supervisor. Only this child writes to it: no lock crosses processes."""
    shared: Any = None
    """What the side shares: the multiprocessing.Queue of hints."""
    locks: tuple[InheritedFd, ...] = ()
    """The side's locks, which are held as long as any process of the side lives."""
    suspects: tuple[str, ...] = ()
    """Work that was in hand when a process died: to be done alone, first."""
    condemned: tuple[str, ...] = ()
    """Work that ended process after process while it was alone in hand: not to be tried again."""

    def report(self, what: str, works: Sequence[str]) -> None:
        """Tell the supervisor that works begin or end; without a supervisor this process ends by other means."""
        # A message larger than the pipe's atomic write may meet that of another thread of this process.
        with _reporting, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send((what, tuple(works)))


def reports(pipe: "Connection[None, tuple[str, tuple[str, ...]]]") -> Iterator[tuple[str, tuple[str, ...]]]:
    """In the parent: what a child has said so far. One that ended in the middle of a message said nothing more."""
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll():
            yield pipe.recv()
