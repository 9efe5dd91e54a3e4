"""The multipart uploads under way: noted durably before their first part, so that they can go on, or be aborted.

Each is a small file, locked by the process that uploads. A record nobody has locked is of an upload that was cut off.
One without an id was written before S3 was asked for one: what was begun under its key then may be its own.
"""

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline.kernel import fsync_path, try_lock


@dataclass(frozen=True)
class Record:
    """One upload, and exactly what it is of: the same key, drop and content only ever go on with it."""

    bucket: str
    key: str
    upload_id: str
    """Empty where the process was killed before it could note what S3 had answered."""
    drop_id: str = ""
    crc64nvme: str = ""
    size: int = 0
    part_size: int = 0
    endpoint: str = ""
    created: float = 0.0
    """Seconds since the epoch."""

    def is_of(self, other: "Record") -> bool:
        """Whether both would send the same parts to the same place."""
        same = dataclasses.replace(other, upload_id=self.upload_id, created=self.created)
        return self == same


class Noted:
    """A record in the hands of this process."""

    def __init__(self, path: Path, record: Record) -> None:
        self.record = record
        self._path = path

    def forget(self) -> None:
        """The upload is completed or aborted."""
        self._path.unlink(missing_ok=True)


class Journal:
    """The records of all uploads. Several processes and threads share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def written(self, record: Record) -> Iterator[Noted]:
        """A record that appears whole and locked, durably, and stays locked while the block runs."""
        file, new = self._create()
        path = new.with_suffix(".json")
        with file:
            try:
                json.dump(dataclasses.asdict(record), file)
                file.flush()
                os.fsync(file.fileno())
                new.rename(path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
            fsync_path(self._folder)
            yield Noted(path, record)

    def ids(self) -> set[str]:
        """Of all uploads that are noted, in whose hands they may be."""
        found = set()
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                record = _read(path.read_text(encoding="utf-8"))
                found.add(record.upload_id if record else "")
        return found

    def _create(self) -> tuple[TextIO, Path]:
        while True:
            new = self._folder / f"{secrets.token_hex(12)}.new"
            file = new.open("x", encoding="utf-8")
            if try_lock(file.fileno()) and os.fstat(file.fileno()).st_nlink:
                return file, new
            file.close()  # another upload was quicker with the lock, and took it for one that a kill left
            new.unlink(missing_ok=True)

    def cut_off(self, concerns: Callable[[Record], bool]) -> Generator[Noted, None, None]:
        """Each such record of an upload whose process is gone, locked while it is looked at."""
        for path in sorted([*self._folder.glob("*.json"), *self._folder.glob("*.new")]):
            with contextlib.suppress(FileNotFoundError), path.open("r+", encoding="utf-8") as file:
                record = _read(file.read())
                if record is not None and not concerns(record):
                    continue  # not even locked: another may be looking for it
                if not try_lock(file.fileno()) or not os.fstat(file.fileno()).st_nlink:
                    continue
                if record is None:  # killed while it was written, before the first part
                    path.unlink(missing_ok=True)
                else:
                    yield Noted(path, record)


def _read(text: str) -> Record | None:
    """A record of an earlier or later program has what is needed to abort its upload."""
    try:
        said = json.loads(text)
        known = {field.name: said[field.name] for field in dataclasses.fields(Record) if field.name in said}
        return Record(**known)
    except (ValueError, TypeError):
        return None
