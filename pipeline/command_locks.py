"""One run of the command for each drop at a time: a locked file, whose lock lives as long as the command does.

The command inherits the descriptor. So whoever would run it for the same drop sees that it runs, even where the
process that started it was killed.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator

from pipeline.folders import Folder
from pipeline.kernel import try_lock
from pipeline.names import RESERVED

COMMANDS = f"{RESERVED}/commands"
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class CommandLocks:
    """The locks of one DownloadedFromS3."""

    def __init__(self, folder: Folder) -> None:
        """Their folder is made if missing; of what is in it a kill left what nobody holds."""
        self._fd = folder.own(COMMANDS).fd
        self._remove_strays()

    @contextlib.contextmanager
    def hold(self, delivery_id: str) -> Iterator[int | None]:
        """The descriptor that holds the lock of a drop; None if another holds it."""
        name = hashlib.sha256(delivery_id.encode()).hexdigest()
        fd = self._lock(name)
        if fd is None:
            yield None
            return
        try:
            yield fd
        finally:
            with contextlib.suppress(FileNotFoundError):  # a person was there
                os.unlink(name, dir_fd=self._fd)  # while it is locked: what has the name later is another's
            os.close(fd)

    def _remove_strays(self) -> None:
        for name in os.listdir(self._fd):
            with contextlib.suppress(OSError):  # gone meanwhile, or nothing of ours
                fd = os.open(name, _FLAGS, dir_fd=self._fd)
                try:
                    if try_lock(fd) and os.fstat(fd).st_nlink:
                        os.unlink(name, dir_fd=self._fd)
                finally:
                    os.close(fd)

    def _lock(self, name: str) -> int | None:
        while True:
            fd = os.open(name, _FLAGS | os.O_CREAT, 0o600, dir_fd=self._fd)
            if not try_lock(fd):
                os.close(fd)
                return None
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # whoever held it removed it since it was opened
