"""Makes open files outlive a power cut: one by one, or, where that is cheaper, all of a batch by one call."""

import contextlib
import ctypes
import errno
import os
import time
from collections.abc import Callable, Sequence

from pipeline import kernel
from pipeline.threads import Pool

_FEW = 3
"""Up to so many files are fsynced one after the other: threads gain nothing."""
_MANY = 32
"""From so many on they go together: fewer would wait for what others wrote longer than for each other."""
_THREADS = 8
_EACH_SECONDS = 250e-6
"""What the fsync of one of many small files takes, until it was measured."""
_SLACK_SECONDS = 0.02
_TURNS, _MOST_TURNS = 8, 128

_WAIT_BEFORE = 1
_syncfs = kernel.prepared("syncfs", ctypes.c_int)
_sync_file_range = kernel.prepared("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Durability:
    """fsync for batches of files on one file system.

    One call for all (syncfs) waits for whatever anybody wrote to that file system. If that took much longer than the
    files by themselves would have, the next batches go file by file, the more of them the more often it happens.
    """

    def __init__(self, *, together: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`together`: whether the file system has one call for all (`kernel.Facilities`)."""
        self._together, self._clock = together, clock
        self._pool = Pool(_THREADS, "sync")
        self._each = _EACH_SECONDS
        self._turns, self._alone = _TURNS, 0

    def sync(self, fds: Sequence[int]) -> list[OSError | None]:
        """Make the content of open files, or the names in open folders, durable; for each what went wrong."""
        if len(fds) <= _FEW:
            return _sync_each(fds)
        if len(fds) >= _MANY and self._together and self._alone == 0:
            with contextlib.suppress(OSError):  # whose fault it is shows when each is asked by itself
                return self._sync_together(fds)
        self._alone = max(0, self._alone - 1)
        return self._sync_apart(fds)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _sync_together(self, fds: Sequence[int]) -> list[OSError | None]:
        started = self._clock()
        errors = sync_together(fds)
        if self._clock() - started > 2 * self._each * len(fds) + _SLACK_SECONDS:
            self._alone, self._turns = self._turns, min(2 * self._turns, _MOST_TURNS)
        else:
            self._turns = _TURNS
        return errors

    def _sync_apart(self, fds: Sequence[int]) -> list[OSError | None]:
        started = self._clock()
        parts = list(self._pool.map(_sync_each, [fds[start::_THREADS] for start in range(_THREADS)]))
        self._each = (self._clock() - started) / len(fds)
        errors: list[OSError | None] = [None] * len(fds)
        for start, part in enumerate(parts):
            errors[start::_THREADS] = part
        return errors


def sync_together(fds: Sequence[int]) -> list[OSError | None]:
    """Make open files of one file system that has `together` durable by one call; what is wrong with each.

    OSError: something could not be written, perhaps none of these. What was lost before they were opened, and told to
    somebody else since, each file alone knows: asking it writes nothing and waits for nothing.
    """
    if _syncfs is None or _sync_file_range is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if len({os.fstat(fd).st_dev for fd in fds}) > 1:  # something is mounted inside a folder
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    if _syncfs(fds[0]) != 0:
        raise _last_error()
    return [None if _sync_file_range(fd, 0, 0, _WAIT_BEFORE) == 0 else _last_error() for fd in fds]


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _sync_each(fds: Sequence[int]) -> list[OSError | None]:
    return [_sync_one(fd) for fd in fds]


def _sync_one(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None
