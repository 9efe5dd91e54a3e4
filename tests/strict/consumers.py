"""Where files arrive: a consumer's folder, its ledger, and the places to which a user takes files out of it."""

import base64
import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from awscrt import checksums  # type: ignore[import-untyped]  # it ships no types

_LEDGER = ".relay/ledger.sqlite3"
_CHUNK = 1024 * 1024
_MADE = "SELECT 1 FROM sqlite_schema WHERE name = 'drops'"
_HERE = "SELECT name FROM drops WHERE drop_id = ? AND state = 'delivered'"


class Consumer:
    """One DownloadedFromS3."""

    def __init__(self, folder: Path, taken: Sequence[Path]) -> None:
        """`taken`: folders to which a user moves files, under the relative path they had, or with `.…` behind it."""
        self._folder, self._taken = folder, taken
        self._ledger: sqlite3.Connection | None = None
        self._inode = 0

    def has(self, drop_id: str, key: str, crc64nvme: str) -> bool:
        """Whether the ledger says that it has a drop, and a file of that content lies where it says."""
        name = self._name(f"{drop_id}/{key}")
        return name is not None and any(checksum(path) == crc64nvme for path in self._places(name))

    def _name(self, row: str) -> Path | None:
        ledger = self._open()
        # A ledger that was made a moment ago has no tables yet.
        found = ledger.execute(_HERE, (row,)).fetchone() if ledger and ledger.execute(_MADE).fetchone() else None
        return Path(os.fsdecode(unquote_to_bytes(found[0]))) if found else None

    def _open(self) -> sqlite3.Connection | None:
        path = self._folder / _LEDGER
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            return None
        if inode != self._inode:
            if self._ledger is not None:
                self._ledger.close()
            # not read-only: after a kill whoever comes first has to recover it, and that may be this one
            self._ledger, self._inode = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=60), inode
        return self._ledger

    def _places(self, name: Path) -> Iterator[Path]:
        yield self._folder / name
        for taken in self._taken:
            yield taken / name
            folder, stem = (taken / name).parent, f"{name.name}."
            with contextlib.suppress(FileNotFoundError):
                yield from (folder / found for found in os.listdir(folder) if found.startswith(stem))


def checksum(path: Path) -> str:
    """The CRC64NVME of a file; "" if none is there."""
    value = 0
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                value = checksums.crc64nvme(chunk, value)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return base64.b64encode(value.to_bytes(8, "big")).decode()
