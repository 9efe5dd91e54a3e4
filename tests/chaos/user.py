"""Whoever uses the folders, and what is owed to him: written without a look at the program's code.

Every content is one of a kind, so that it is known again wherever it lies. Empty files are therefore left to others.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

FILLER = b"." * 200


@dataclass
class Content:
    """Something that the user completed in Watch."""

    number: int
    home: str
    """Its path in Watch when it was completed."""
    mtime_ns: int
    due: int = 1
    """How often it is to arrive: once for each time it was dropped and not taken away again before it was claimed."""
    alive: bool = True
    """Whether a file with it is to be somewhere on the ingest side, or where the user took it."""
    announced: int = 0
    calm: bool = True
    """Whether nothing happened that lets a later one of its name go first."""


@dataclass
class _Writer:
    fd: int
    path: Path
    body: bytes


@dataclass
class User:
    """Does one thing at a time; where it cannot be done, because nothing is there or something else is, nothing."""

    root: Path
    contents: dict[bytes, Content] = field(default_factory=dict)
    writers: dict[int, _Writer] = field(default_factory=dict)
    """By the inode that is open."""
    taken: set[str] = field(default_factory=set)
    """Names, without the number of a version, whose keys hold something that UploadedToS3 does not show."""
    _made: int = 0

    @property
    def watch(self) -> Path:
        return self.root / "Watch"

    def drop(self, path: str, large: bool) -> None:
        """Write a new file; one that has the name already is left alone."""
        target = self.watch / path
        if self._make_room(target) and not target.exists():
            target.write_bytes(self._new_body(large))
            self._complete(target)

    def replace(self, which: int, large: bool) -> None:
        """Write beside and rename over a file."""
        if target := self._pick(self.watch, which):
            beside = self.root / "beside"
            beside.write_bytes(self._new_body(large))
            self._lose(target)
            beside.rename(target)
            self._complete(target)

    def truncate(self, which: int, large: bool) -> None:
        """Write new content into a file."""
        if (target := self._pick(self.watch, which)) and self._is_alone(target):
            self._lose(target)
            target.write_bytes(self._new_body(large))
            self._complete(target)

    def delete(self, which: int) -> None:
        """Remove a file from Watch."""
        if target := self._pick(self.watch, which):
            self._lose(target)
            target.unlink()

    def rename(self, which: int, path: str) -> None:
        """Give a file in Watch another name there."""
        source, target = self._pick(self.watch, which), self.watch / path
        alone = source is not None and source.stat().st_nlink == 1
        if source and alone and self._make_room(target) and source.exists() and not target.exists():
            self._disturb(source)
            source.rename(target)

    def rename_folder(self, old: str, new: str) -> None:
        """Give a folder in Watch another name there."""
        source, target = self.watch / old, self.watch / new
        if source.is_dir() and not target.exists() and target.parent.is_dir() and source not in target.parents:
            found = files(source)
            if all(self._is_alone(path) for path in found):
                for path in found:
                    self._disturb(path)
                source.rename(target)

    def make_folder(self, path: str) -> None:
        """An empty folder."""
        target = self.watch / path
        if self._make_room(target) and not target.exists():
            target.mkdir()

    def remove_folder(self, path: str) -> None:
        """An empty folder goes."""
        _remove_if_empty(self.watch / path)

    def begin(self, path: str) -> None:
        """Open a new file and write a part of it."""
        target = self.watch / path
        if len(self.writers) < 2 and self._make_room(target) and not target.exists():
            fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            self.writers[os.fstat(fd).st_ino] = _Writer(fd, target, b"")
            self.write()

    def write(self) -> None:
        """Whoever writes goes on."""
        for writer in self.writers.values():
            part = self._new_body(False)
            os.write(writer.fd, part)
            writer.body += part

    def finish(self) -> None:
        """The first who began to write ends."""
        for inode, writer in list(self.writers.items())[:1]:
            del self.writers[inode]
            os.close(writer.fd)
            for path in files(self.watch):
                if path.stat().st_ino == inode:
                    self._complete(path)

    def take(self, folder: str, which: int) -> None:
        """Take a file out of UploadedToS3 or DownloadedFromS3, for good."""
        if (source := self._pick(self.root / folder, which)) and self._is_alone(source):
            self._made += 1
            self.taken.add(unnumbered(source.relative_to(self.root / folder)))
            source.rename(self.root / "Taken" / folder / str(self._made))

    def send_again(self, which: int, path: str) -> None:
        """Move a file from UploadedToS3 back into Watch."""
        source, target = self._pick(self.root / "UploadedToS3", which), self.watch / path
        if source and self._is_alone(source) and self._make_room(target) and not target.exists():
            self._await_tick(source)
            content = self.contents[source.read_bytes()]
            content.due, content.calm = content.due + 1, False
            self.taken.add(unnumbered(source.relative_to(self.root / "UploadedToS3")))
            source.rename(target)

    def _complete(self, path: Path) -> None:
        self.contents[path.read_bytes()] = Content(
            len(self.contents), str(path.relative_to(self.watch)), path.stat().st_mtime_ns
        )

    def _lose(self, path: Path) -> None:
        """The user gives up the content of a file in Watch, unless the file has a second name elsewhere."""
        if path.stat().st_ino not in self.writers and path.stat().st_nlink == 1:
            content = self.contents[path.read_bytes()]
            content.alive, content.due = False, content.due - 1

    def _disturb(self, path: Path) -> None:
        if path.stat().st_ino not in self.writers:
            self.contents[path.read_bytes()].calm = False

    def _is_alone(self, path: Path) -> bool:
        """Whether nobody writes it, and no move was cut off between link and unlink.

        What is done to the second name of a file that is on its way is done to the file on its way.
        """
        return path.stat().st_nlink == 1 and path.stat().st_ino not in self.writers

    def _await_tick(self, path: Path) -> None:
        """Until the file system's clock shows another time than the file has: a drop is known by it."""
        beside = self.root / "beside"
        while True:
            beside.write_bytes(b"")
            if beside.stat().st_ctime_ns > path.stat().st_ctime_ns:
                return

    def _make_room(self, target: Path) -> bool:
        """Folders above are made; an empty folder that has the name goes. False where a file is in the way."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return False
        _remove_if_empty(target)
        return True

    def _pick(self, folder: Path, which: int) -> Path | None:
        found = files(folder)
        return found[which % len(found)] if found else None

    def _new_body(self, large: bool) -> bytes:
        self._made += 1
        return b"<%d>" % self._made + FILLER * large


def unnumbered(path: Path | str) -> str:
    """The name that all versions of a file have in common."""
    return re.sub("-Version-[0-9]+", "", str(path))


def files(folder: Path) -> list[Path]:
    """Every file that a person sees below a folder, in a fixed order."""
    found = []
    for top, folders, names in os.walk(folder):
        if top == str(folder):
            folders[:] = [name for name in folders if name not in (".relay", ".reason")]
        found += [path for name in names if os.path.isfile(path := f"{top}/{name}")]
    return list(map(Path, sorted(found, key=os.fsencode)))


def _remove_if_empty(path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
