"""The folders that hold the files of one batch, each opened once for all of them."""

import contextlib
import errno
import os

from pipeline.folders import Folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class Parents:
    """Open folders below one of the program's, by their relative path ("" is that folder itself)."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._fds: dict[str, int] = {}
        self._named: set[str] = set()

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
        while head:  # any of them may be new, and then it is a name in the folder above
            head = head.rpartition("/")[0]
            self._named.add(head)
        return fd

    def forget(self, head: str) -> None:
        """Open the folder anew when it is asked for again."""
        fd = self._fds.pop(head, None)
        if fd is not None:
            os.close(fd)

    def levels(self) -> list[list[int]]:
        """Every folder in use, and those in which one of them may have been made: what is to be made durable, in turn.

        A folder comes after those above it: else a power cut might leave a file in one that has no name itself.
        """
        if not self._named:
            return [list(self._fds.values())]
        for head in self._named:
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
