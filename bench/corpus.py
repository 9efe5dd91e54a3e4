"""The files that travel: random bytes, no two files alike, the same in every run of the benchmark."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 8 * 1024 * 1024


class Corpus:
    """Files of one size, kept as masters from which each run gets a copy."""

    def __init__(self, folder: Path, count: int, size: int, *, made: bool = False) -> None:
        """`size`: bytes of each; `folder`: made here and filled, unless it was before."""
        self.count, self.size, self.folder = count, size, folder
        if made:
            return
        folder.mkdir(parents=True)
        for path, data in zip(self.paths(), _contents(count, size), strict=True):
            _write(path, data, size)

    def names(self) -> list[str]:
        """Of the files, in order."""
        return [f"file-{number:06}.bin" for number in range(self.count)]

    def paths(self) -> list[Path]:
        """The masters."""
        return [self.folder / name for name in self.names()]

    def copy_to(self, folder: Path, count: int | None = None) -> int:
        """Put the first so many files there; large ones as hard links. On disk when this returns. How many."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in self.paths()[:count]:
            if self.size > _BLOCK:
                (folder / path.name).hardlink_to(path)
            else:
                shutil.copyfile(path, folder / path.name)
        os.sync()  # what was written before must not be written out while the clock runs
        return self.count if count is None else min(count, self.count)

    def move_to(self, folder: Path) -> None:
        """Put the masters themselves there, where a copy of each would take too long."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            folder.rmdir()
        self.folder.rename(folder)
        self.folder = folder
        os.sync()

    def differs(self, path: Path) -> bool:
        """Whether a file is not the one of its name, byte for byte."""
        master = self.folder / path.name
        if not master.exists() or path.stat().st_size != self.size:
            return True
        with path.open("rb", buffering=0) as one, master.open("rb", buffering=0) as other:
            return any(one.read(_BLOCK) != other.read(_BLOCK) for _ in range(0, self.size, _BLOCK))


def sparse(path: Path, size: int) -> None:
    """A file of zeros that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)


def _contents(count: int, size: int) -> Iterator[bytes]:
    """What each file begins with."""
    source = random.Random(20)  # noqa: S311  # content, no secret
    common = source.randbytes(min(size, _BLOCK))
    for number in range(count):
        if size > _BLOCK:
            yield number.to_bytes(8, "big") + common[8:]
        else:
            yield source.randbytes(size)


def _write(path: Path, data: bytes, size: int) -> None:
    """A file of that size: the data, again and again where it is shorter."""
    with path.open("wb", buffering=0) as file:
        for offset in range(0, size, _BLOCK):
            file.write(data[: size - offset])
