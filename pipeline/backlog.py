"""How much lies in QueuedForUpload, and how much more may: the rest waits in Watch."""

import time
from collections.abc import Callable

from pipeline.folders import Folder

_LEAST_SECONDS = 0.1
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
        self._count_at = float("-inf")

    def admits(self, size: int) -> bool:
        """Whether a file of so many bytes may be added; one that is larger than all there may be, alone."""
        if self._most_files == self._most_bytes == 0:
            return True
        started = self._clock()
        if self._count_at == float("-inf") or (not self._has_room(size) and started >= self._count_at):
            self._count()
            ended = self._clock()
            self._count_at = ended + max(_LEAST_SECONDS, (ended - started) / _SHARE)
        return self._has_room(size)

    def add(self, size: int) -> None:
        """A file of so many bytes is about to be there."""
        self._files += 1
        self._bytes += size

    def _has_room(self, size: int) -> bool:
        if self._files == 0:
            return True
        enough = 0 < self._most_files <= self._files
        return not enough and not 0 < self._most_bytes < self._bytes + size

    def _count(self) -> None:
        self._files = self._bytes = 0
        for listing in self._folder.walk(self._complain):
            self._files += len(listing.files)
            self._bytes += sum(file.size for file in listing.files)
