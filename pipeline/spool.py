"""The four folders of the ingest side and the moves between them: claim, finish, fail.

The folder a file lies in is its state. Watch belongs to the person; QueuedForUpload, UploadedToS3 and Failed to us.
"""

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pipeline.drop import Fingerprint
from pipeline.folders import Folder, fingerprint_of, is_regular
from pipeline.kernel import try_lock
from pipeline.moves import finish_arrival, finish_move, move, write_new
from pipeline.names import earlier_versions, next_version, reason_name, split_version, with_name

REASONS = ".reason"
"""Where, inside Failed, the reasons lie."""
_PROBED = 256
"""Earlier versions that are asked for one by one; beyond that the folder is listed, however large it is."""


@dataclass
class Queued:
    """A file in QueuedForUpload, open and locked: as long as this lives, no other process works on it."""

    path: str
    fd: int

    def fingerprint(self) -> Fingerprint:
        """Of the open file, whatever its name."""
        return fingerprint_of(self.fd)

    def read(self, size: int) -> bytes:
        """The first `size` bytes, fewer where there are no more."""
        data = os.pread(self.fd, size, 0)
        while len(data) < size and (more := os.pread(self.fd, size - len(data), len(data))):
            data += more
        return data

    def close(self) -> None:
        """Give the descriptor, and with it the lock, back."""
        os.close(self.fd)


class Spool:
    """Watch → QueuedForUpload → UploadedToS3 | Failed."""

    def __init__(
        self, watch: Folder, queued: Folder, uploaded: Folder, failed: Folder, *, keeps_names: bool = False
    ) -> None:
        """`keeps_names`: a claim never gives a file another name; it waits while its own is queued."""
        self.watch, self.queued, self.uploaded, self.failed = watch, queued, uploaded, failed
        self.keeps_names = keeps_names

    def line_of(self, path: str) -> tuple[str, int]:
        """The path without the number of its version, and that number: what is sent in the order of its numbers."""
        if self.keeps_names:
            return path, 1
        name = split_version(path.rpartition("/")[2])
        return with_name(path, name.stem + name.suffix), name.number

    def has_earlier(self, path: str) -> bool:
        """Whether an earlier version of the same name still lies in QueuedForUpload."""
        if self.line_of(path)[1] == 1:
            return False
        name = split_version(path.rpartition("/")[2])
        try:
            with self.queued.parent(path) as place:
                if any(_is_file(lower, place.fd) for lower in islice(earlier_versions(name), _PROBED)):
                    return True
                return name.number > _PROBED and any(
                    (other.stem, other.suffix) == (name.stem, name.suffix) and other.number < name.number
                    for other in map(split_version, os.listdir(place.fd))
                )
        except OSError:  # the file itself cannot be opened then, and that is told
            return False

    def is_taken(self, path: str) -> bool:
        """Whether QueuedForUpload has something under this name, or a file where one of its folders would be."""
        if self.queued.status(path) is not None:
            return True
        heads = [path[: match.start()] for match in re.finditer("/", path)]
        return any(status is not None and not stat.S_ISDIR(status.st_mode) for status in map(self.queued.status, heads))

    def claim(self, path: str) -> str | None:
        """Take a complete file out of Watch; the path it has in QueuedForUpload, None if it was already beyond that.

        Its name goes on from those of QueuedForUpload and UploadedToS3, so that drops of one name are numbered in the
        order of their arrival; where names are kept, it is to be asked before whether it is taken. FileNotFoundError
        if it is gone.
        """
        if any(finish_move(self.watch, path, folder) for folder in (self.uploaded, self.failed)):
            return None  # an earlier claim was cut off before it removed the name in Watch
        wanted = path
        if not self.keeps_names and (self.queued.status(path) or self.uploaded.status(path)):
            beside = [*self.queued.beside(path), *self.uploaded.beside(path)]
            wanted = with_name(path, next_version(path.rpartition("/")[2], beside))
        return move(self.watch, path, self.queued, wanted)

    def open(self, path: str) -> Queued | None:
        """Open and lock a queued file; None if it is gone, no regular file, or in another's hands.

        A finish or fail that was cut off between link and unlink is finished: that file is not in the queue either.
        So is a claim or a new number: whoever has the file open knows it by its last name alone.
        """
        try:
            queued = Queued(path, self._open_queued(path))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                return None
            raise
        try:
            taken = is_regular(os.fstat(queued.fd)) and try_lock(queued.fd) and self.still_there(queued)
            if taken and not any(finish_move(self.queued, path, folder) for folder in (self.uploaded, self.failed)):
                for folder in (self.watch, self.queued):
                    finish_arrival(self.queued, path, folder)
                return queued
        except BaseException:
            queued.close()
            raise
        queued.close()
        return None

    def _open_queued(self, path: str) -> int:
        try:
            return self.queued.open(path)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
        with self.queued.parent(path) as place:  # the kernel takes 4,095 bytes at a time
            return os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place.fd)

    @contextlib.contextmanager
    def take(self, path: str) -> Iterator[Queued | None]:
        """The same, closed and unlocked after the block."""
        queued = self.open(path)
        try:
            yield queued
        finally:
            if queued is not None:
                queued.close()

    def still_there(self, queued: Queued) -> bool:
        """Whether the path still is the locked file, and not one that came under the same name."""
        status = self.queued.status(queued.path)
        return status is not None and status.st_ino == os.fstat(queued.fd).st_ino

    def renumber(self, queued: Queued, taken: list[str]) -> None:
        """Give a queued file the next version of its name above `taken`, the names its key has in the store."""
        name = queued.path.rpartition("/")[2]
        beside = [*taken, *self.queued.beside(queued.path), *self.uploaded.beside(queued.path)]
        old, wanted = queued.path, with_name(queued.path, next_version(name, beside))
        queued.path = move(self.queued, old, self.queued, wanted)
        self.queued.sync({old, queued.path})

    def finish(self, queued: Queued) -> str | None:
        """Step 5: to UploadedToS3; the path there, or None if the path is no longer the file that was announced.

        Not fsynced: a move that a power cut undoes leads to a second announcement, which the consumer recognises.
        """
        if not self.still_there(queued):
            return None
        path = move(self.queued, queued.path, self.uploaded, queued.path)
        self.queued.tidy(queued.path)
        return path

    def fail(self, queued: Queued, reason: dict[str, str]) -> str:
        """Set a file aside that can never be sent, its reason written first; the path in Failed."""
        wanted = self._reserve_reason(queued.path, reason)
        path = move(self.queued, queued.path, self.failed, wanted)
        self.failed.sync({path})
        self.queued.tidy(queued.path)
        return path

    def _reserve_reason(self, path: str, reason: dict[str, str]) -> str:
        """Write the reason for the first version of `path` that is free in Failed; that path."""
        while True:
            reason_path = f"{REASONS}/{with_name(path, reason_name(path.rpartition('/')[2]))}"
            if self.failed.status(path) is None:
                with contextlib.suppress(FileExistsError), self.failed.made_parent(reason_path) as place:
                    write_new(place, json.dumps(reason, indent=1))
                    return path
            reasons = [name.removesuffix(".json") for name in self.failed.beside(reason_path)]
            name = path.rpartition("/")[2]
            path = with_name(path, next_version(name, [*self.failed.beside(path), *reasons]))


def _is_file(name: str, folder_fd: int) -> bool:
    try:
        return is_regular(os.stat(name, dir_fd=folder_fd, follow_symlinks=False))
    except FileNotFoundError:
        return False
