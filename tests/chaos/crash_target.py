"""Where one process is hit, and how: at the n-th of its calls of a name, by a kill or by an error."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from tests.chaos.nursery import PARENT
from tests.chaos.seccomp import Call, Listener

KILL, EMBEDDED = "KILL", "embedded"
FAULTS: Sequence[str] = (KILL, "EIO", "ENOSPC", "EINTR", "EMFILE")
ROLES: Sequence[str] = (PARENT, "check", "watcher", "uploader", "poller", EMBEDDED)


class Point(NamedTuple):
    """The n-th call of a name in the first process of a role; 0: none, they are counted."""

    role: str
    fault: str
    call: str
    number: int

    def __str__(self) -> str:
        return ":".join(map(str, self))

    @classmethod
    def read(cls, text: str) -> Point:
        """What __str__ wrote."""
        role, fault, call, number = text.split(":")
        return cls(role, fault, call, int(number))


@dataclass
class Verdict:
    """What came of a point."""

    point: str
    reached: bool = False
    calls: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    lives: int = 1
    folder: str = ""
    """Where lies what a violation left."""
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For whoever asked for it."""
        return json.dumps(asdict(self))


class Target:
    """The process that is hit."""

    def __init__(self, channel: socket.socket, point: Point, verdict: Verdict) -> None:
        """Wait until it begins; what comes of it is noted in the verdict."""
        self._listener, self._point, self._verdict = Listener(channel), point, verdict
        self._threads: set[int] = set()

    def serve(self, seconds: float) -> bool:
        """Decide the calls that it makes within some time; False once it has ended."""
        try:
            for call in self._listener.calls(seconds):
                if self._is_the_point(call):
                    self._hit(call)
                else:
                    self._listener.answer(call)
        except EOFError:
            return False
        return True

    def close(self) -> None:
        """Have nobody wait for an answer any more."""
        self._listener.close()

    def _is_the_point(self, call: Call) -> bool:
        if not self._is_its_own(call.thread):
            return False
        counts, point = self._verdict.calls, self._point
        counts[call.name] = counts.get(call.name, 0) + 1
        return (call.name, counts[call.name]) == (point.call, point.number)

    def _hit(self, call: Call) -> None:
        self._verdict.reached = True
        if self._point.fault == KILL:
            os.kill(self._listener.pid, signal.SIGKILL)  # with an answer, the call might still be done
        else:
            self._listener.answer(call, getattr(errno, self._point.fault))

    def _is_its_own(self, thread: int) -> bool:
        """Others that it starts have its filter, too."""
        if thread not in self._threads and os.path.exists(f"/proc/{self._listener.pid}/task/{thread}"):
            self._threads.add(thread)
        return thread in self._threads
