"""Step 2 for a batch of files: durable together, renamed one by one, their folders durable together."""

import errno
import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from pipeline import kernel
from pipeline.arrivals import Arrived
from pipeline.durability import Durability
from pipeline.folders import TOO_MANY_OPEN, is_regular
from pipeline.names import within
from pipeline.parents import Parents
from pipeline.spool import Spool

log = logging.getLogger(__name__)

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDERS_OF_ONE = 3
"""In Watch, QueuedForUpload and UploadedToS3."""


class Candidate(NamedTuple):
    """A file that was judged complete, open; `status` is what was judged."""

    head: str
    name: str
    fd: int
    status: os.stat_result


class Claims:
    """One batch: everything in it is open until it is left."""

    def __init__(self, spool: Spool, durability: Durability, tell: Callable[[str, str], None]) -> None:
        """`tell(path, problem)` hears of files that have to wait."""
        self._spool, self._durability, self._tell = spool, durability, tell
        self._watch, self._queued, self._uploaded = map(Parents, (spool.watch, spool.queued, spool.uploaded))
        self._elsewhere: set[str] = set()
        self._markers: dict[str, os.stat_result] = {}
        self._taken: dict[str, Candidate] = {}
        """By their paths in QueuedForUpload."""
        self.files: list[Candidate] = []
        self.changed = 0
        """Files that were no longer what was judged when they were to be taken, or whose name is queued and kept."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for item in self.files:
            os.close(item.fd)
        for parents in (self._watch, self._queued, self._uploaded):
            parents.close()

    def weight(self) -> int:
        """How many descriptors it may come to hold."""
        return len(self.files) + _FOLDERS_OF_ONE * len(self._watch)

    def open(self, head: str, name: str) -> int:
        """Open a file in Watch, never through a link; OSError as open(2) gives it."""
        return os.open(name, _LOOK, dir_fd=self._watch.open(head))

    def is_marked(self, head: str, marker: str, status: os.stat_result) -> bool | None:
        """Whether a completion marker vouches for the file beside it: it came after the last change of the file.

        So one that a kill left behind says nothing of a file that comes later, whatever time that brings with it. None
        if there is no such marker, or it is no file.
        """
        try:
            found = os.stat(marker, dir_fd=self._watch.open(head), follow_symlinks=False)
        except FileNotFoundError:
            return None
        self._markers[within(head, marker)] = found
        return status.st_ctime_ns <= found.st_ctime_ns if is_regular(found) else None

    def take(self) -> list[str]:
        """Take every file that is still what was judged; their paths in QueuedForUpload."""
        errors = self._durability.sync([item.fd for item in self.files]) if self._spool.watch.durable else []
        lost = {item.fd: error for item, error in zip(self.files, errors, strict=False) if error}
        self._watch.close()  # they may have been moved elsewhere since: what is not below Watch now is not ours
        for item in self.files:
            if item.fd in lost:
                problem = f"cannot be made durable, it waits: {lost[item.fd]}; look at the disk"
                self._tell(within(item.head, item.name), problem)
        return [path for item in self.files if item.fd not in lost and (path := self._claim(item))]

    def sync_folders(self) -> None:
        """Make the moves durable: first where the files are, then where they were. OSError: they may not be."""
        if not self._spool.watch.durable:
            return
        self._queued.sync(self._durability)
        self._spool.queued.sync(self._elsewhere)
        for error in filter(None, self._durability.sync(self._watch.fds())):
            raise error

    def arrivals(self) -> list[Arrived]:
        """What was taken, as a look at QueuedForUpload finds it."""
        return [_arrived(path, os.fstat(item.fd)) for path, item in self._taken.items()]

    def remove_markers(self, suffix: str) -> None:
        """Remove the completion markers of what was taken."""
        for item in self._taken.values() if suffix else ():
            name = item.name + suffix
            try:
                where = self._watch.open(item.head)
                seen = self._markers[within(item.head, name)]
                status = os.stat(name, dir_fd=where, follow_symlinks=False)
                if os.path.samestat(status, seen) and status.st_ctime_ns == seen.st_ctime_ns:
                    os.unlink(name, dir_fd=where)  # else it is the next file's, be it only touched
            except FileNotFoundError:
                continue
            except OSError as error:
                self._tell(within(item.head, name), f"cannot be removed, though its file was taken: {error.strerror}")

    def _claim(self, item: Candidate) -> str | None:
        path = self._take_one(item)
        if path is not None:
            self._taken[path] = item
        return path

    def _take_one(self, item: Candidate) -> str | None:
        path = within(item.head, item.name)
        try:
            place = self._free_place(item)
            if not self._is_what_was_judged(item) or (self._spool.keeps_names and self._spool.is_taken(path)):
                self.changed += 1
                return None
            if place is not None and self._move(item, place):
                return path
            return self._take_the_long_way(path)
        except FileNotFoundError:
            log.info("vanished from Watch before it was taken: %s", path)
        except OSError as error:
            if error.errno in TOO_MANY_OPEN:  # what is true of every file is said once
                self._tell("", f"files cannot be moved to QueuedForUpload, they wait: {error.strerror}")
            else:
                self._tell(path, f"cannot be moved to QueuedForUpload, it waits: {error}")
            self.changed += error.errno == errno.EBUSY  # while it was copied to another file system
        return None

    def _free_place(self, item: Candidate) -> int | None:
        """The folder of QueuedForUpload in which the name is free; None where finding one needs a closer look."""
        if not self._spool.queued.facilities.noreplace:
            return None
        place = self._queued.make(item.head)
        # First where files come from, then where they go to: else one that moves just now is seen in neither.
        if place is None or _is_there(item.name, place):
            return None
        if self._spool.keeps_names:
            return place
        sent = self._uploaded.find(item.head)
        return None if sent is not None and _is_there(item.name, sent) else place

    def _is_what_was_judged(self, item: Candidate) -> bool:
        status, judged = os.stat(item.name, dir_fd=self._watch.open(item.head), follow_symlinks=False), item.status
        return os.path.samestat(status, judged) and (status.st_size, status.st_mtime_ns) == (
            judged.st_size,
            judged.st_mtime_ns,
        )

    def _move(self, item: Candidate, place: int) -> bool:
        """False if it cannot be done just so: the name is taken now, a folder or the file is gone, or is elsewhere."""
        source, facilities = self._watch.open(item.head), self._spool.queued.facilities
        try:
            kernel.rename_noreplace(source, item.name, place, item.name, facilities)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self._queued.forget(item.head)
            return False
        except OSError as error:
            if error.errno != errno.EXDEV:  # else it is copied, where that was asked for
                raise
            return False
        return True

    def _take_the_long_way(self, path: str) -> str | None:
        claimed = self._spool.claim(path)
        if claimed is None:
            log.info("was taken before, and only its name had been left in Watch: %s", path)
        else:
            self._elsewhere.add(claimed)
        return claimed


def _arrived(path: str, status: os.stat_result) -> Arrived:
    head, _, name = path.rpartition("/")
    return Arrived(status.st_ctime_ns, head, name, status.st_size)


def _is_there(name: str, folder_fd: int) -> bool:
    return os.access(name, os.F_OK, dir_fd=folder_fd, follow_symlinks=False)
