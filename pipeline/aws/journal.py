"""The multipart uploads under way: noted durably, so that what a kill or a dead network leaves can be aborted.

Each is a small file, locked by the process that uploads. A record nobody has locked is of an upload nobody continues.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.kernel import fsync_path, try_lock


class Journal:
    """The records of one bucket's uploads. Several processes and threads share the folder."""

    def __init__(self, folder: Path, bucket: str, abort: Callable[[str, str], bool]) -> None:
        """`abort(key, upload id)` says whether the upload is gone."""
        self._folder, self._bucket, self._abort = folder, bucket, abort
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def noted(self, key: str, upload: str) -> Iterator[None]:
        """Note an upload before its first part; it is aborted unless the block ends well.

        An upload that cannot be aborted now, as the network is down, stays noted.
        """
        record = self._folder / f"{secrets.token_hex(12)}.json"
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._written(record, key, upload))
                yield
            except BaseException:
                if self._abort(key, upload):
                    record.unlink(missing_ok=True)
                raise
            record.unlink(missing_ok=True)

    def abandon(self) -> int:
        """Abort the uploads whose process is gone; how many."""
        records = sorted(self._folder.glob("*.json")) + sorted(self._folder.glob("*.new"))
        return sum(self._abandon(record) for record in records)

    @contextlib.contextmanager
    def _written(self, record: Path, key: str, upload: str) -> Iterator[None]:
        """A record that appears whole and locked, and stays locked while the block runs."""
        new = record.with_suffix(".new")
        with new.open("x", encoding="utf-8") as file:
            try_lock(file.fileno())
            try:
                json.dump({"bucket": self._bucket, "key": key, "upload_id": upload}, file)
                file.flush()
                os.fsync(file.fileno())
                new.rename(record)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
            fsync_path(self._folder)
            yield

    def _abandon(self, record: Path) -> int:
        with contextlib.suppress(FileNotFoundError), record.open("r+", encoding="utf-8") as file:
            if not try_lock(file.fileno()):
                return 0
            try:
                noted = json.load(file)
                bucket, key, upload = noted["bucket"], noted["key"], noted["upload_id"]
            except (ValueError, KeyError, TypeError):  # killed while it was written, before the first part
                record.unlink(missing_ok=True)
                return 0
            if bucket != self._bucket or not self._abort(key, upload):
                return 0
            record.unlink(missing_ok=True)
            return 1
        return 0
