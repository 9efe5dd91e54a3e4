"""How much lies in QueuedForUpload, and how much more may: the rest waits in Watch."""

import time
from collections.abc import Callable

from pipeline.folders import Folder
from pipeline.listing import walk

_LEAST_SECONDS = 0.1
_NEVER = float("-inf")
_SHARE = 0.1
"""Of the time, at most, that is spent on counting while it is full: only a listing tells what others took away."""


class Backlog:
    """Counts what its owner puts there, and anew once that is too much."""

    def __init__(
        self,
        folder: Folder,
        most_files: int,
        most_bytes: int,
        complain: Callable[[str, OSError], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """0 files, or bytes, are as many as there are. `complain` hears of folders that cannot be listed."""
        self._folder, self._complain, self._clock = folder, complain, clock
        self._most_files, self._most_bytes = most_files, most_bytes
        self._files = self._bytes = 0
        self._count_at = _NEVER

    def admits(self, size: int, *, may_count: bool) -> bool:
        """Whether a file of so many bytes may be added. One that is larger than all there may be goes where there is
        any room: it would wait for ever beside a file that cannot be sent.

        `may_count`: whether all that was added is there, so that counting anew does not forget it.
        """
        if self._most_files == self._most_bytes == 0:
            return True
        started = self._clock()
        if may_count and (self._count_at == _NEVER or (not self._has_room(size) and started >= self._count_at)):
            self._count()
            ended = self._clock()
            self._count_at = ended + max(_LEAST_SECONDS, (ended - started) / _SHARE)
        return self._has_room(size)

    def add(self, size: int) -> None:
        """A file of so many bytes is about to be there."""
        self._files += 1
        self._bytes += size

    def _has_room(self, size: int) -> bool:
        if 0 < self._most_files <= self._files:
            return False
        if self._most_bytes == 0 or self._bytes + size <= self._most_bytes:
            return True
        return size > self._most_bytes > self._bytes

    def _count(self) -> None:
        self._files = self._bytes = 0
        for listing in walk(self._folder, self._complain):
            self._files += len(listing.files)
            self._bytes += sum(file.size for file in listing.files)
