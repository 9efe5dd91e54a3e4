"""A small disk for a program, which gets full: a tmpfs that only this process and its children see."""

import contextlib
import ctypes
import os
from pathlib import Path

_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_REC, _PRIVATE = 0x4000, 0x40000
_DETACH = 2
_BLOCK = 1 << 20
SIZE = 512 << 20
"""Of a disk, in bytes."""
_libc = ctypes.CDLL(None, use_errno=True)


def own_mounts() -> bool:
    """See mounts of its own from now on, before any thread runs; False where that is not to be had."""
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_NEWNS) != 0:
        if _libc.unshare(_NEWNS | _NEWUSER) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return _mount(b"none", b"/", None, _REC | _PRIVATE, None)


class Disk:
    """What lies in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.is_there = _mount(b"relay", os.fsencode(folder), b"tmpfs", 0, f"size={SIZE}".encode())
        self._folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """To the last byte."""
        fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.closing(os.fdopen(fd, "ab", buffering=0)) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(_BLOCK))

    def free(self) -> None:
        """Again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Gone, with all that lies there: the folder can be removed."""
        _libc.umount2(os.fsencode(self._folder), _DETACH)


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes | None) -> bool:
    return bool(_libc.mount(source, target, kind, flags, data) == 0)
