"""One folder the program keeps, and the only ways a file moves: nothing is followed, nothing is replaced.

Every folder is opened once; whatever happens below it is done relative to that descriptor, so that neither a link
planted in it nor a folder renamed over it leads anywhere else.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import kernel
from pipeline.names import RESERVED, next_version, split_version, with_name

_FOLDER_MODE = 0o750
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


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

    def __init__(self, path: Path, *, durable: bool = True, facilities: kernel.Facilities | None = None) -> None:
        """Open `path`, which must exist; OSError as open(2) gives it."""
        self.path = path
        self.durable = durable
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.facilities = kernel.probe(self.fd) if facilities is None else facilities

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

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
        fd = self.open(head, os.O_RDONLY | os.O_DIRECTORY) if head else os.dup(self.fd)
        try:
            yield Place(fd, path)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def made_parent(self, path: str) -> Iterator[Place]:
        """As `parent`, making the folders on the way.

        A component taken by a file takes its next version: `a/b.txt` becomes `a-Version-2/b.txt` beside a file `a`.
        """
        *parts, name = path.split("/")
        current = os.dup(self.fd)
        done: list[str] = []
        try:
            for part in parts:
                following, actual = self._enter(current, part)
                os.close(current)
                current = following
                done.append(actual)
            yield Place(current, "/".join([*done, name]))
        finally:
            os.close(current)

    def walk(self, complain: Callable[[str, OSError], None]) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Every entry below that is not a folder, as (relative path, entry); links are entries and never followed.

        A folder that cannot be read is given to `complain` and passed over. Memory: one folder's names at a time.
        """
        pending = [""]
        while pending:
            head = pending.pop()
            try:
                entries = self._entries(head)
            except FileNotFoundError:
                continue
            except OSError as error:
                complain(head, error)
                continue
            for entry in entries:
                path = f"{head}/{entry.name}" if head else entry.name
                if path == RESERVED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    yield path, entry

    def beside(self, path: str) -> list[str]:
        """The names in the folder that holds `path`; empty if there is no such folder."""
        try:
            with self.parent(path) as place:
                return os.listdir(place.fd)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return []
            raise

    def sync(self, paths: set[str]) -> None:
        """Make the entries of the folders that hold `paths` durable."""
        if not self.durable:
            return
        for head in {path.rpartition("/")[0] for path in paths}:
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                self.parent(f"{head}/x" if head else "x") as place,
            ):
                os.fsync(place.fd)

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

    def _entries(self, head: str) -> list[os.DirEntry[str]]:
        fd = self.open(head, os.O_RDONLY | os.O_DIRECTORY) if head else os.dup(self.fd)
        try:
            with os.scandir(fd) as found:
                return sorted(found, key=lambda entry: entry.name)
        finally:
            os.close(fd)

    def _enter(self, current: int, part: str) -> tuple[int, str]:
        while True:
            try:
                return os.open(part, _OPEN_FOLDER, dir_fd=current), part
            except FileNotFoundError:
                self._make(current, part)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                part = next_version(part, _not_folders(current))

    def _make(self, current: int, part: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, _FOLDER_MODE, dir_fd=current)
        if self.durable:
            os.fsync(current)


def move(source: Folder, path: str, target: Folder, wanted: str) -> str:
    """Move `source/path` to `target/wanted`, or to its next free version; the path it got.

    Nothing is ever replaced. A move that was interrupted between link and unlink is finished. FileNotFoundError if
    the source is gone.
    """
    while True:
        try:
            with source.parent(path) as origin, target.made_parent(wanted) as place:
                wanted = place.path
                if earlier := _linked_before(origin, place, target.facilities):
                    os.unlink(origin.name, dir_fd=origin.fd)
                    return with_name(wanted, earlier)
                try:
                    kernel.rename_noreplace(origin.fd, origin.name, place.fd, place.name, target.facilities)
                    return wanted
                except FileExistsError:
                    if _same_file(origin, place.fd, place.name):
                        os.unlink(origin.name, dir_fd=origin.fd)
                        return wanted
                    wanted = with_name(wanted, next_version(place.name, os.listdir(place.fd)))
        except FileNotFoundError:
            # Either the source is gone, or an empty folder on the way was tidied away under us: make it again.
            if source.status(path) is None:
                raise


def lock(fd: int) -> bool:
    """Take the exclusive lock of an open file without waiting; False if another holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_regular(status: os.stat_result) -> bool:
    """Whether this is a file with content, rather than a link, a pipe, a device or a folder."""
    return stat.S_ISREG(status.st_mode)


def _not_folders(fd: int) -> list[str]:
    with os.scandir(fd) as found:
        return [entry.name for entry in found if not entry.is_dir(follow_symlinks=False)]


def _linked_before(origin: Place, place: Place, facilities: kernel.Facilities) -> str | None:
    """Where moves are link and unlink: the version of its name that an interrupted move gave this file before."""
    if facilities.noreplace or os.stat(origin.name, dir_fd=origin.fd, follow_symlinks=False).st_nlink == 1:
        return None
    wanted = split_version(place.name)
    for name in os.listdir(place.fd):
        found = split_version(name)
        if (found.stem, found.suffix) == (wanted.stem, wanted.suffix) and _same_file(origin, place.fd, name):
            return name
    return None


def _same_file(origin: Place, folder_fd: int, name: str) -> bool:
    one = os.stat(origin.name, dir_fd=origin.fd, follow_symlinks=False)
    other = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
