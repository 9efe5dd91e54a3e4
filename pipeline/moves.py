"""The one move of the ingest side: nothing is followed, nothing is replaced, and what was cut off is finished."""

import errno
import os

from pipeline import kernel
from pipeline.crossing import cross
from pipeline.folders import Folder, Place, is_regular
from pipeline.names import next_version, split_version, with_name


def move(source: Folder, path: str, target: Folder, wanted: str) -> str:
    """Move `source/path` to `target/wanted`, or to its next free version; the path it got.

    Nothing is ever replaced. A move that was interrupted between link and unlink is finished, and one to another file
    system, where the target takes such, is a copy. FileNotFoundError if the source is gone, OSError (ESTALE) if one of
    the folders is.
    """
    while True:
        try:
            with source.parent(path) as origin, target.made_parent(wanted) as place:
                wanted = place.path
                if earlier := _linked_before(origin, place, target.facilities):
                    _unlink_moved(origin, place)
                    return with_name(wanted, earlier)
                try:
                    kernel.rename_noreplace(origin.fd, origin.name, place.fd, place.name, target.facilities)
                    return wanted
                except FileExistsError:
                    if _same_file(origin, place.fd, place.name):
                        _unlink_moved(origin, place)
                        return wanted
                    wanted = with_name(wanted, next_version(place.name, os.listdir(place.fd)))
        except FileNotFoundError:
            # Either the source is gone, or an empty folder on the way was tidied away under us: make it again.
            source.refuse_removed()
            target.refuse_removed()
            if source.status(path) is None:
                raise
        except OSError as error:
            if error.errno != errno.EXDEV or not target.takes_copies:
                raise
            return cross(source, path, target, wanted)


def finish_move(source: Folder, path: str, target: Folder) -> bool:
    """Where moves are link and unlink: whether `source/path` was moved to `target` but for its unlink, done now."""
    status = None if target.facilities.noreplace else source.status(path)
    if status is None or not is_regular(status) or status.st_nlink == 1:
        return False
    with source.parent(path) as origin, target.made_parent(path) as place:
        found = _linked_before(origin, place, target.facilities) is not None
        if found:
            _unlink_moved(origin, place)
        reached = place.path
    (source if found else target).tidy(path if found else reached)
    return found


def finish_arrival(target: Folder, path: str, source: Folder) -> None:
    """The same, seen from where the file is now: the name that its move left in `source` goes.

    Unlinking sets ctime, by which a drop is known: it comes before anybody is told of it, not between two tries.
    """
    status = None if target.facilities.noreplace else target.status(path)
    if status is None or status.st_nlink == 1 or not source.beside(path):
        return
    with target.parent(path) as place, source.parent(path) as origin:
        left = _linked_before(place, origin, target.facilities)
        if left is not None:
            _unlink_moved(Place(origin.fd, left), place)
            os.fsync(origin.fd)  # else a power cut brings it back after somebody was told


def write_new(place: Place, text: str) -> None:
    """A new file, durably; FileExistsError if the name is taken. What cannot be written whole is removed."""
    fd = os.open(place.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640, dir_fd=place.fd)
    try:
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(place.fd)
    except BaseException:
        os.unlink(place.name, dir_fd=place.fd)
        raise


def _unlink_moved(origin: Place, place: Place) -> None:
    os.fsync(place.fd)  # the process that made the link may have ended before it came to this
    os.unlink(origin.name, dir_fd=origin.fd)


def _linked_before(origin: Place, place: Place, facilities: kernel.Facilities) -> str | None:
    """Where moves are link and unlink: the version of its name that an interrupted move gave this file before."""
    if facilities.noreplace or os.stat(origin.name, dir_fd=origin.fd, follow_symlinks=False).st_nlink == 1:
        return None
    wanted = split_version(place.name)
    # Renumbering stays in one folder, where the file itself is no link of an earlier try.
    itself = {origin.name} if os.path.samestat(os.fstat(origin.fd), os.fstat(place.fd)) else set()
    for name in set(os.listdir(place.fd)) - itself:
        found = split_version(name)
        if (found.stem, found.suffix) == (wanted.stem, wanted.suffix) and _same_file(origin, place.fd, name):
            return name
    return None


def _same_file(origin: Place, folder_fd: int, name: str) -> bool:
    one = os.stat(origin.name, dir_fd=origin.fd, follow_symlinks=False)
    other = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
