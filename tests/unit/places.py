"""Folders of a test, each with the kernel's own ways and with the portable fallbacks."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import kernel
from pipeline.folders import Folder
from pipeline.kernel import Facilities, probe
from pipeline.process import Stop

PORTABLE = Facilities()
_OTHERS = ("/dev/shm", "/tmp", "/var/tmp", "/run")
"""Where another file system than that of the tests may be."""


def facilities_of(kind: str, path: Path) -> Facilities:
    """What the kernel offers in a folder, or nothing."""
    if kind == "portable":
        return PORTABLE
    fd = os.open(path, os.O_RDONLY)
    try:
        return probe(fd)
    finally:
        os.close(fd)


def make(root: Path, name: str, kind: str, *, durable: bool = False) -> Folder:
    """A new folder; without fsyncs, which take most of a test's time, unless it is about them."""
    (root / name).mkdir()
    return Folder(root / name, durable=durable, facilities=facilities_of(kind, root))


def write(path: Path, body: bytes = b"content") -> Path:
    """A file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def tree(top: Path) -> dict[str, bytes | str]:
    """Every file below a folder with its content, every link with its target."""
    return {
        str(item.relative_to(top)): f"-> {os.readlink(item)}" if item.is_symlink() else item.read_bytes()
        for item in top.rglob("*")
        if item.is_symlink() or item.is_file()
    }


def note_fsyncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes that are fsynced from now on, in order."""
    synced: list[int] = []
    original = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        original(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


def note_effects(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """What is made durable, made, moved or removed below a folder from now on, in order: `fsync d`, `unlink d/a`."""
    done: list[str] = []

    def place(fd: int, name: str = "") -> str:
        return os.path.relpath(os.path.join(os.readlink(f"/proc/self/fd/{fd}"), name), root)

    def note(module: Any, name: str, where: Callable[..., str]) -> None:
        original = getattr(module, name)

        def call(*values: Any, **more: Any) -> Any:
            done.append(f"{name} {where(*values, **more)}")
            return original(*values, **more)

        monkeypatch.setattr(module, name, call)

    note(os, "fsync", place)
    note(os, "mkdir", lambda name, _mode=0, *, dir_fd=None: place(dir_fd, name) if dir_fd else str(name))
    note(os, "unlink", lambda name, *, dir_fd=None: place(dir_fd, name) if dir_fd else str(name))
    note(os, "link", lambda _source, name, *, dst_dir_fd, **_: place(dst_dir_fd, name))
    note(kernel, "_renameat2", lambda _source_fd, _source, target_fd, name: place(target_fd, name))
    return done


def another_file_system(path: Path) -> str | None:
    """A folder to which nothing can be renamed from `path`."""
    for place in _OTHERS:
        if os.access(place, os.W_OK) and os.stat(place).st_dev != os.stat(path).st_dev:
            return place
    return None


def no_rename_between(patch: pytest.MonkeyPatch, near: Path) -> None:
    """As if `near` were a file system of its own."""
    original = kernel.rename_noreplace

    def rename(source_fd: int, source: str, target_fd: int, target: str, facilities: Facilities) -> None:
        inside = [Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(near) for fd in (source_fd, target_fd)]
        if inside[0] != inside[1]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        original(source_fd, source, target_fd, target, facilities)

    patch.setattr(kernel, "rename_noreplace", rename)


def never_stopped() -> Stop:
    """For whoever may wait for something to be mended: nobody asks the program to stop."""
    return cast(Stop, SimpleNamespace(requested=False, waiting=contextlib.nullcontext))
