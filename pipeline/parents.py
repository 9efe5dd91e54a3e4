"""The folders that hold the files of one batch, each opened once for all of them."""

import contextlib
import errno
import os
from collections.abc import Iterable

from pipeline.durability import Durability
from pipeline.folders import Folder
from pipeline.names import folders_above

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class Parents:
    """Open folders below one of the program's, by their relative path ("" is that folder itself)."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._fds: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._fds)

    def open(self, head: str) -> int:
        """The folder's descriptor; OSError as `Folder.open` gives it."""
        fd = self._fds.get(head)
        if fd is None:
            fd = self._fds[head] = self._folder.open(head, _FOLDER) if head else os.dup(self._folder.fd)
        return fd

    def find(self, head: str) -> int | None:
        """The folder's descriptor; None as long as no folder is there, or only behind a link."""
        fd = self._fds.get(head)
        # Asked for each file until it is there, as another process may make it: so no error is made of the answer.
        if fd is None and (not head or os.access(head, os.F_OK, dir_fd=self._folder.fd)):
            try:
                return self.open(head)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
        return fd

    def make(self, head: str) -> int | None:
        """The folder's descriptor, made if missing; None where a file or a link has its name or one above."""
        if (fd := self.find(head)) is not None:
            return fd
        wanted = f"{head}/x"
        with self._folder.made_parent(wanted, sync=False) as place:
            if place.path != wanted:
                return None
            fd = self._fds[head] = os.dup(place.fd)
        return fd

    def forget(self, head: str) -> None:
        """Open the folder anew when it is asked for again."""
        fd = self._fds.pop(head, None)
        if fd is not None:
            os.close(fd)

    def fds(self) -> list[int]:
        """Every folder in use."""
        return list(self._fds.values())

    def sync(self, durability: Durability) -> None:
        """Make durable what came into them, after what is in the folders above. OSError: it may not be.

        Else a power cut might leave a file in a folder that has no name itself: whoever made that may have been killed
        before it was durable.
        """
        for fds in self._levels():
            for error in filter(None, durability.sync(fds)):
                raise error

    def _levels(self) -> list[list[int]]:
        for head in {above for used in self._fds for above in folders_above(used)}:
            with contextlib.suppress(FileNotFoundError):  # tidied away, as what was in it went its way
                self.open(head)
        levels: dict[int, list[int]] = {}
        for head, fd in self._fds.items():
            levels.setdefault(head.count("/") + bool(head), []).append(fd)
        return [levels[depth] for depth in sorted(levels)]

    def close(self) -> None:
        """Give all descriptors back."""
        for head in list(self._fds):
            self.forget(head)


def sync_below(folder: Folder, heads: Iterable[str], durability: Durability) -> None:
    """The same for these folders below one that is durable; those that a person took away since are his."""
    with contextlib.closing(Parents(folder)) as parents:
        for head in heads if folder.durable else ():
            parents.find(head)
        parents.sync(durability)
