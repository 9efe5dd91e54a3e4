"""Is a file in Watch complete? The kernel knows whether anybody writes to it; where it does not say, time decides."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline import kernel


@dataclass(slots=True)
class _Seen:
    size: int
    mtime_ns: int
    first: float
    still_since: float


class Completeness:
    """Remembers, between two looks, what is needed to say that a file no longer changes."""

    def __init__(
        self,
        *,
        leases: bool,
        settle_seconds: float,
        minimum_age: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`leases`: ask the kernel; without it, or where it refuses, size and mtime rest for `settle_seconds`."""
        self._leases, self._settle, self._minimum_age = leases, settle_seconds, minimum_age
        self._clock, self._wall = clock, wall
        self._seen: dict[str, _Seen] = {}
        self._before: dict[str, _Seen] = {}

    def judge(self, path: str, fd: int, status: os.stat_result) -> bool:
        """Whether the open file at `path` is complete now. One that the kernel answers for needs no memory."""
        # A clock that jumped, or an mtime in the future, must not keep a file for ever: our own watch counts too.
        young = self._wall() - status.st_mtime < self._minimum_age
        if young and self._note(path, status).first + self._minimum_age > self._clock():
            return False
        written = kernel.is_being_written(fd) if self._leases else None
        if written is None:
            return self._note(path, status).still_since + self._settle <= self._clock()
        return not written

    def end_look(self) -> None:
        """Forget the files that were not judged since the last time: they are gone."""
        self._before, self._seen = self._seen, {}

    def _note(self, path: str, status: os.stat_result) -> _Seen:
        now = self._clock()
        seen = self._seen.get(path) or self._before.get(path) or _Seen(status.st_size, status.st_mtime_ns, now, now)
        if (seen.size, seen.mtime_ns) != (status.st_size, status.st_mtime_ns):
            seen.size, seen.mtime_ns, seen.still_since = status.st_size, status.st_mtime_ns, now
        self._seen[path] = seen
        return seen
