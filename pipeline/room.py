"""Whether an object may come, by its size: not larger than is wanted, and only where there is room for all of it."""

import errno
import os

from pipeline import kernel
from pipeline.folders import Folder
from pipeline.names import human_size
from pipeline.ports import NeverError, PausedError, RoomError

_RESERVED_FROM = 1024 * 1024
"""Bytes from which an object's room is reserved before it comes; smaller ones under way have 64 MiB at most."""


class Room:
    """The room below one folder. Several threads, and several processes, may ask at once."""

    def __init__(self, folder: Folder, *, largest: int = 0, spare: int = 0) -> None:
        """`largest`: bytes an object may have, 0: any number; `spare`: bytes that the file system keeps free."""
        self._folder, self._largest, self._spare = folder, largest, spare

    def take(self, fd: int, size: int) -> None:
        """See, before the first byte of an object comes, that it may, and reserve its room in the open file `fd`.

        NeverError: larger than is wanted, or than the whole file system. PausedError: nothing may come now. RoomError:
        this one not now, smaller ones may.
        """
        if 0 < self._largest < size:
            limit = human_size(self._largest)
            raise NeverError(f"an object of {human_size(size)}, and [General] maxObjectBytes allows {limit}")
        disk = os.fstatvfs(self._folder.fd)
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        if not total:
            return  # this file system does not say
        if free < max(self._spare, 1):
            raise PausedError(
                f"{self._folder.path} has {human_size(free)} free and [General] minFreeBytes keeps "
                f"{human_size(self._spare)}; free space, receiving then goes on by itself"
            )
        if size > total - self._spare:
            raise NeverError(f"an object of {human_size(size)}, and the whole disk has {human_size(total)}")
        if size > free - self._spare or (size >= _RESERVED_FROM and not self._reserve(fd, size)):
            raise RoomError(
                f"no room in {self._folder.path} for an object of {human_size(size)}: {human_size(free)} are free, "
                f"{human_size(self._spare)} of them are kept (minFreeBytes); free space, it then comes by itself"
            )

    def _reserve(self, fd: int, size: int) -> bool:
        """False: it does not fit, or a quota forbids it. Other troubles are those of writing, and raised as such."""
        try:
            kernel.reserve(fd, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
        return True
