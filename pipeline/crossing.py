"""A move to a folder of another file system: copied under a hidden name, then named, and only then removed.

The copy grows in a folder of the program's own inside the target, beside its record. Up to the one rename that gives
it its name the source is the file and the copy is nothing; from then on the copy is the file, and the source is removed
if it still is what was copied. So what a kill left says how far it came: a copy that lies beside its record never got
its name, and a record that says something and has no copy beside it is of one that did.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Sequence

from pipeline import kernel, records
from pipeline.copying import copy_content
from pipeline.folders import Folder, fingerprint_of
from pipeline.names import RESERVED, encode_path, human_size, next_version, printable, with_name
from pipeline.records import Move, Record, open_record

log = logging.getLogger(__name__)

OWN = f"{RESERVED}/crossing"
"""Where, inside a target, copies grow."""
_PERMISSIONS = 0o777
"""Never set-user-id: the copy belongs to this process's user."""
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def cross(source: Folder, path: str, target: Folder, wanted: str) -> str:
    """Move a file to `target/wanted`, or to its next free version; the path it got.

    FileNotFoundError if it is gone. After any other OSError, such as EBUSY for one that is changed meanwhile, it is
    where it was, and may be tried again.
    """
    try:
        _refuse_unmovable(source, path)
        return _cross(source, path, target, wanted)
    except Exception:
        target.tidy(wanted)  # the folders on the way were made for it
        raise


def recover(target: Folder, sources: Sequence[Folder]) -> None:
    """End what earlier processes left of their moves to `target`; those of living ones are passed over."""
    with contextlib.closing(target.own(OWN)) as own:
        for name in records.names(own):
            try:
                with open_record(own, name) as record:
                    if not _settle(record, target, sources):
                        record.discard()
            except BlockingIOError:
                continue
            except OSError as error:
                log.warning("a move to %s that was cut off cannot be ended yet: %s", target.path, error)


def _cross(source: Folder, path: str, target: Folder, wanted: str) -> str:
    with contextlib.closing(target.own(OWN)) as own:
        while True:
            with _opened(source, path) as fd, _blaming(target, wanted):
                _refuse_mounted(source, path, fd)
                move = Move(str(source.path), path, fingerprint_of(fd), wanted)
                _refuse_written(fd, move)
                with open_record(own, _name_of(move)) as record:
                    if not _settle(record, target, (source,)):
                        return _carry(record, move, fd, source, target)


def _carry(record: Record, move: Move, fd: int, source: Folder, target: Folder) -> str:
    """Copy, name, remove. An error takes all of it back; what else ends it leaves what `_settle` understands."""
    copy = record.new_copy()
    try:
        _fill(copy, fd, move, target)
        _refuse_changed(fd, move)
        path = _name_it(record, move, target)
        if not _remove_source(source, move):
            raise _busy(move, "was changed while it was copied")
    except Exception:
        _take_back(record, os.fstat(copy), move, source, target)
        raise
    finally:
        os.close(copy)
    source.sync({move.path})
    record.remove()
    return path


def _fill(copy: int, fd: int, move: Move, target: Folder) -> None:
    """Give the copy content, time and permissions; whoever owned the file, this process has to read it now."""
    _refuse_full(copy, move)
    if copy_content(fd, copy, move.seen.size) != move.seen.size:
        raise _busy(move, "was changed while it was copied")
    status = os.fstat(fd)
    os.utime(copy, ns=(status.st_atime_ns, move.seen.mtime_ns))
    os.fchmod(copy, status.st_mode & _PERMISSIONS | stat.S_IRUSR)
    if target.durable:
        os.fsync(copy)


def _name_it(record: Record, move: Move, target: Folder) -> str:
    """Let the copy appear under its name, or the next free version, the record saying so first; the path it got."""
    while True:
        try:
            with target.made_parent(move.target) as place:
                move = move._replace(target=place.path)
                record.write(move)
                kernel.rename_noreplace(record.own.fd, record.copy, place.fd, place.name, target.facilities)
                if target.durable:
                    os.fsync(place.fd)
                    os.fsync(record.own.fd)
                return move.target
        except FileExistsError:
            name = next_version(move.target.rpartition("/")[2], target.beside(move.target))
            move = move._replace(target=with_name(move.target, name))
        except FileNotFoundError:  # an empty folder on the way was tidied away under us: make it again
            target.refuse_removed()
            if record.own.status(record.copy) is None:
                raise


def _remove_source(source: Folder, move: Move) -> bool:
    """Remove the file that was copied; False if its path holds something else by now, or that file changed."""
    try:
        with _blaming(source, move.path), _opened(source, move.path) as fd, source.parent(move.path) as origin:
            status = os.stat(origin.name, dir_fd=origin.fd, follow_symlinks=False)
            if not os.path.samestat(status, os.fstat(fd)) or fingerprint_of(fd) != move.seen:
                return False
            _refuse_changed(fd, move)
            os.unlink(origin.name, dir_fd=origin.fd)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
    return True


def _take_back(record: Record, copy: os.stat_result, move: Move, source: Folder, target: Folder) -> None:
    """Undo a move that failed; but what is the only one, or was taken away by somebody, stays where it is."""
    if copy.st_nlink and record.own.status(record.copy) is None:
        named = record.read() or move
        found = target.status(named.target)
        if found is None or not os.path.samestat(found, copy) or source.status(move.path) is None:
            return
        with target.parent(named.target) as place:
            kernel.rename_noreplace(place.fd, place.name, record.own.fd, record.copy, target.facilities)
        if target.durable:
            os.fsync(record.own.fd)
    record.discard()


def _settle(record: Record, target: Folder, sources: Sequence[Folder]) -> bool:
    """End what a kill left: a copy without its name goes, one that has it is the file, and its source goes.

    False if there is nothing to end: the record is new.
    """
    move, status = record.read(), record.own.status(record.copy)
    if move is None and status is None:
        return False
    if move is None or (status is not None and status.st_nlink == 1):
        log.info("removed a copy in %s that was cut off; its file is where it was", target.path)
        record.discard()
        return True
    if status is not None:  # where a rename is link and unlink
        os.unlink(record.copy, dir_fd=record.own.fd)
    target.sync({move.target})
    for source in sources:
        if str(source.path) == move.folder and _remove_source(source, move):
            source.sync({move.path})
            log.info("ended a move to %s that was cut off: %s", target.path, printable(move.target))
    record.remove()
    return True


def _refuse_unmovable(source: Folder, path: str) -> None:
    """Before it is copied in vain: PermissionError if its name cannot be removed from its folder."""
    with source.parent(path) as origin:
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=origin.fd):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{source.path}/{path}")
        folder = os.fstat(origin.fd)
        if folder.st_mode & stat.S_ISVTX:
            owner = os.stat(origin.name, dir_fd=origin.fd, follow_symlinks=False).st_uid
            if os.geteuid() not in (0, folder.st_uid, owner):
                problem = "its folder is sticky, and this user owns neither of the two"
                raise PermissionError(errno.EPERM, problem, f"{source.path}/{path}")


def _refuse_mounted(source: Folder, path: str, fd: int) -> None:
    """OSError (EXDEV) where the folder's kernel says who writes, and that of what is mounted inside it does not."""
    if source.facilities.lease and not kernel.tells_writers(fd):
        problem = "it lies on a file system that is mounted inside the folder and does not say who writes"
        raise OSError(errno.EXDEV, problem, f"{source.path}/{path}")


def _refuse_full(copy: int, move: Move) -> None:
    """OSError (ENOSPC) if the file has more bytes than are free: every try would fill the disk for all others."""
    room = os.fstatvfs(copy)
    free = room.f_bavail * room.f_frsize
    if room.f_blocks and move.seen.size > free:  # some file systems tell nothing
        problem = f"{os.strerror(errno.ENOSPC)}: {human_size(move.seen.size)} are needed, {human_size(free)} free"
        raise OSError(errno.ENOSPC, problem)


def _refuse_changed(fd: int, move: Move) -> None:
    if fingerprint_of(fd) != move.seen:
        raise _busy(move, "was changed while it was copied")
    _refuse_written(fd, move)


def _refuse_written(fd: int, move: Move) -> None:
    if kernel.is_being_written(fd):
        raise _busy(move, "is open for writing")


def _busy(move: Move, problem: str) -> OSError:
    return OSError(errno.EBUSY, f"the file {problem}; it is tried again", f"{move.folder}/{move.path}")


def _name_of(move: Move) -> str:
    """Of the record: the same whoever moves this file, so that no two do."""
    text = json.dumps((encode_path(f"{move.folder}/{move.path}"), *move.seen))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextlib.contextmanager
def _blaming(folder: Folder, path: str) -> Iterator[None]:
    """Let an error say which file it is about, where it names none, or one of the program's own."""
    try:
        yield
    except OSError as error:
        if not os.path.isabs(error.filename or ""):
            error.filename = f"{folder.path}/{path}"
        raise


@contextlib.contextmanager
def _opened(folder: Folder, path: str) -> Iterator[int]:
    fd = folder.open(path)
    try:
        yield fd
    finally:
        os.close(fd)
