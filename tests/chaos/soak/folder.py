"""What was seen in one folder that users look into: each file is whole when it comes, stays as it is, and is taken."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tests.chaos.soak.sight import Sight
from tests.chaos.user import unnumbered


class Seen:
    """A folder, and every file in it."""

    def __init__(self, folder: Path, account: Callable[[bytes, str], str], *, written: bool = False) -> None:
        """`account`: hears of each new content, with the name that its versions share; what is wrong with it.

        `written`: whether its user may write to files there, too, where they lie.
        """
        folder.mkdir(parents=True)
        self.folder, self._account, self._written = folder, account, written
        self.sight = Sight(folder)
        self._files: dict[Path, tuple[int, bytes]] = {}
        """Inode and content of each that is there."""
        self.violations: list[str] = []

    def look(self) -> list[Path]:
        """Read whatever is new, at once; what that is."""
        found = [path for path in self.sight.look() if self._is_new(path)]
        for path in self.sight.written if not self._written else ():
            self._complain(f"WRITTEN IN PLACE: {path}")
        self.sight.written.clear()
        return found

    def _is_new(self, path: Path) -> bool:
        before = self._files.get(path)
        try:
            if before and before[0] == os.lstat(path).st_ino:
                return False
            inode, content = read(path)
        except FileNotFoundError:
            return False  # told of twice, and taken by its user between
        if before is not None:
            self._complain(f"OVERWRITTEN: {path}")
        self._files[path] = (inode, content)
        if wrong := self._account(content, unnumbered(path.relative_to(self.folder))):
            self._complain(f"{wrong}: {path} at first sight")
        return True

    def take(self, path: Path, away: Callable[[Path, bytes], bool]) -> None:
        """See that it is still what it was, and have it taken `away`, which says whether it went."""
        if path in self._files and self._is_same(path) and away(path, self._files[path][1]):
            del self._files[path]

    def finish(self) -> None:
        """See that all that is there is what it was."""
        for path in list(self._files):
            self._is_same(path)
        self.sight.close()

    def _is_same(self, path: Path) -> bool:
        try:
            now = read(path)
        except FileNotFoundError:
            self._complain(f"GONE AGAIN: {path}")
            del self._files[path]
            return False
        if now == self._files[path]:
            return True
        self._complain(f"OVERWRITTEN: {path}")
        self._files[path] = now
        return False

    def _complain(self, text: str) -> None:
        self.violations.append(text)


def read(path: Path) -> tuple[int, bytes]:
    """Inode and SHA-256 of a file."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_ino, hashlib.file_digest(file, "sha256").digest()
