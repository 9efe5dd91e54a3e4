"""One folder the program keeps, and the only ways a file moves: nothing is followed, nothing is replaced.

Every folder is opened once; whatever happens below it is done relative to that descriptor, so that neither a link
planted in it nor a folder renamed over it leads anywhere else.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import kernel
from pipeline.drop import Fingerprint
from pipeline.names import RESERVED, folders_above, next_version, within
from pipeline.ports import EXIT_CONFIG, LaterError, PausedError, StartupError

PORTABLE = kernel.Facilities()
_FOLDER_MODE, _OWN_FOLDER_MODE = 0o750, 0o700
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEMBERED = 65_536
"""Folders below one of ours that are known to be durable."""
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)
_SIDE_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, *TOO_MANY_OPEN)
"""What will be true for every other file as well; anything else may be this file's own name or folder."""


@dataclass(frozen=True)
class Place:
    """An open parent folder and a name in it. `made` are the folders that had to be created on the way."""

    fd: int
    path: str

    @property
    def name(self) -> str:
        """The last component."""
        return self.path.rpartition("/")[2]


class Folder:
    """A folder of the configuration, open. With `durable`, what it says is done survives a power cut."""

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = True,
        facilities: kernel.Facilities = PORTABLE,
        takes_copies: bool = False,
        fd: int | None = None,
    ) -> None:
        """Open `path`, which must exist (`fd`: which is open already); OSError as open(2) gives it.

        `takes_copies`: what comes from another file system may be copied into it.
        """
        self.path = path
        self.durable, self.takes_copies = durable, takes_copies
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if fd is None else fd
        self.facilities = facilities
        self._lasting: set[tuple[int, int]] = set()
        """Device and inode of folders whose names are durable."""

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def is_current(self) -> bool:
        """Whether the path still is this folder; if it was removed or replaced, open it anew."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return False
            raise

    def refuse_removed(self) -> None:
        """OSError (ESTALE) if the folder was removed: nothing can be made in it again, whatever has its path now."""
        if os.fstat(self.fd).st_nlink == 0:
            problem = "this folder was removed while the program ran; restart the program, which opens or makes it anew"
            raise OSError(errno.ESTALE, problem, str(self.path))

    def own(self, path: str) -> "Folder":
        """A folder of the program's own below this one, made if missing; StartupError (78) for a link or a file."""
        current = os.dup(self.fd)
        for part in path.split("/"):
            try:
                following = _open_own(current, part)
            except NotADirectoryError:
                raise StartupError(
                    f"{self.path}/{path}: {part} is a link or a file, and the program only uses a folder it made "
                    "itself; move it away and start again",
                    EXIT_CONFIG,
                ) from None
            finally:
                os.close(current)
            current = following
        return Folder(self.path / path, durable=self.durable, facilities=self.facilities, fd=current)

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open a file below the folder; OSError (ELOOP for a link) as open(2) gives it."""
        return kernel.open_beneath(self.fd, path, flags, self.facilities)

    def status(self, path: str) -> os.stat_result | None:
        """`lstat` of a path below the folder; None if nothing is there, or only behind a link."""
        try:
            with self.parent(path) as place:
                return os.stat(place.name, dir_fd=place.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return None
            raise

    @contextlib.contextmanager
    def parent(self, path: str) -> Iterator[Place]:
        """The open folder that holds `path`, which need not exist itself."""
        head = path.rpartition("/")[0]
        if not head:
            yield Place(self.fd, path)
            return
        fd = self.open(head, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield Place(fd, path)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def made_parent(self, path: str, *, sync: bool = True) -> Iterator[Place]:
        """As `parent`, making the folders on the way. They are durable, whoever made them: that may be a process that
        was killed before it came to it. Without `sync` that is left to the caller.

        A component taken by a file takes its next version: `a/b.txt` becomes `a-Version-2/b.txt` beside a file `a`.
        """
        *parts, name = kernel.refuse_leaving(path).split("/")
        if not parts:
            yield Place(self.fd, name)
            return
        current = os.dup(self.fd)
        done: list[str] = []
        try:
            for part in parts:
                following, actual, made = self._enter(current, part)
                done.append(actual)
                above, current = current, following
                try:
                    if sync and self.durable:
                        self._sync_name(above, current, made=made)
                finally:
                    os.close(above)
            yield Place(current, "/".join([*done, name]))
        finally:
            os.close(current)

    def beside(self, path: str) -> list[str]:
        """The names in the folder that holds `path`; empty if there is no such folder."""
        try:
            with self.parent(path) as place:
                return os.listdir(place.fd)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return []
            raise

    def _sync_name(self, above: int, fd: int, *, made: bool) -> None:
        """Make the name of a folder durable that was made just now, or is entered for the first time.

        Where moves are link and unlink, each time: an inode is used again, and a link is all there is of a file.
        """
        status = os.fstat(fd)
        mark = status.st_dev, status.st_ino
        if made or mark not in self._lasting or not self.facilities.noreplace:
            os.fsync(above)
            if len(self._lasting) == _REMEMBERED:
                self._lasting.clear()
            self._lasting.add(mark)

    def sync(self, paths: set[str]) -> None:
        """Make durable what is in the folders above `paths`, from the top down: the last folder and each on the way.

        Whoever made one of them may have been killed before it was durable, and with it all in it would go.
        """
        if not self.durable:
            return
        for head in sorted({head for path in paths for head in folders_above(path)}):
            try:
                with self.parent(within(head, "x")) as place:
                    os.fsync(place.fd)
            except OSError as error:
                if error.errno not in _NOTHING_THERE:
                    raise

    def tidy(self, path: str) -> None:
        """Remove the folders above `path` that are empty now, up to this folder."""
        head = path.rpartition("/")[0]
        while head:
            try:
                with self.parent(head) as place:
                    os.rmdir(place.name, dir_fd=place.fd)
            except OSError:
                return  # not empty, gone already, or not ours to remove: nothing is owed
            head = head.rpartition("/")[0]

    @staticmethod
    def _enter(current: int, part: str) -> tuple[int, str, bool]:
        """The open folder, its name, and whether it was made."""
        made = False
        while True:
            try:
                return os.open(part, _OPEN_FOLDER, dir_fd=current), part, made
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, _FOLDER_MODE, dir_fd=current)
                made = True
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                part = next_version(part, _not_folders(current))


def probe_within(folder: Path) -> kernel.Facilities:
    """What the kernel offers in a folder of ours, tried in its `.relay`: a trial never looks like a file to relay."""
    top = Folder(folder)
    with contextlib.closing(top), contextlib.closing(top.own(RESERVED)) as own:
        return kernel.probe(own.fd)


def trouble_in(folder: Folder, error: Exception) -> PausedError:
    """What an error of writing below a folder means: the whole side waits; LaterError where it is this one file's."""
    where = f"{folder.path}: {error}"
    if isinstance(error, OSError) and error.errno not in _SIDE_TROUBLE and os.access(folder.path, os.W_OK):
        raise LaterError(f"cannot write this file to {where}") from error
    return PausedError(f"cannot write to {where}; free space or make it writable, receiving then goes on by itself")


def fingerprint_of(fd: int) -> Fingerprint:
    """Of an open file, whatever its name."""
    status = os.fstat(fd)
    return Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_regular(status: os.stat_result) -> bool:
    """Whether this is a file with content, rather than a link, a pipe, a device or a folder."""
    return stat.S_ISREG(status.st_mode)


def _not_folders(fd: int) -> list[str]:
    with os.scandir(fd) as found:
        return [entry.name for entry in found if not entry.is_dir(follow_symlinks=False)]


def _open_own(folder_fd: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, _OWN_FOLDER_MODE, dir_fd=folder_fd)
    return os.open(name, _OPEN_FOLDER, dir_fd=folder_fd)  # NotADirectoryError for a link
