"""Folders of a test, each with the kernel's own ways and with the portable fallbacks."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.folders import Folder
from pipeline.kernel import Facilities, probe

PORTABLE = Facilities()


def facilities_of(kind: str, path: Path) -> Facilities:
    """What the kernel offers in a folder, or nothing."""
    if kind == "portable":
        return PORTABLE
    fd = os.open(path, os.O_RDONLY)
    try:
        return probe(fd)
    finally:
        os.close(fd)


def make(root: Path, name: str, kind: str) -> Folder:
    """A new folder, durable as in production."""
    (root / name).mkdir()
    return Folder(root / name, facilities=facilities_of(kind, root))


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
