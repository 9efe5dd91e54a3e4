"""Which drops this consumer has: the memory that makes a duplicate message harmless.

A drop is `publishing` from the transaction of step 7a until its file has its name, then `delivered`. Rows are kept for
ever. Every process of the consume side opens the same SQLite file (WAL); each call is one transaction.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.ports import EXIT_CONFIG, StartupError

SCHEMA = 1
_LOCK_SECONDS = 60.0
_CREATE = """
CREATE TABLE drops (
    drop_id TEXT PRIMARY KEY,
    temp    TEXT NOT NULL,  -- its file in the incoming folder, while publishing
    name    TEXT NOT NULL,  -- its path in DownloadedFromS3, percent-encoded
    state   TEXT NOT NULL CHECK (state IN ('publishing', 'delivered'))
) WITHOUT ROWID;
CREATE INDEX drops_by_name ON drops (name);
CREATE INDEX drops_unfinished ON drops (state) WHERE state = 'publishing';
"""


class Row(NamedTuple):
    """One drop. `name` is percent-encoded (names.encode_path), so that any bytes fit."""

    drop_id: str
    temp: str
    name: str
    state: str


class Ledger:
    """The drops of one DownloadedFromS3. Safe to use from several threads."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open or create; StartupError (78) if it is a link, damaged, or a newer program wrote it."""
        self._lock, self._reading = threading.Lock(), threading.Lock()
        for part in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
            if part.is_symlink():
                raise StartupError(
                    f"{part} is a link, and the program only writes a ledger that lies there itself; "
                    "move the link away, or put the file it leads to in its place",
                    EXIT_CONFIG,
                )
        try:
            self._open(path, durable)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            raise StartupError(
                f"{path} is damaged ({error}); move it away, with {path.name}-wal and {path.name}-shm, and start "
                "again: that may bring files a second time, and never loses one",
                EXIT_CONFIG,
            ) from error

    def _open(self, path: Path, durable: bool) -> None:
        self._base = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._reader = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        self._base.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with self._transaction() as base:
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _CREATE.split(";"):
                    base.execute(statement)
                base.execute(f"PRAGMA user_version = {SCHEMA}")
            elif version != SCHEMA:
                raise StartupError(
                    f"{path} was written by another version of this program (schema {version}, this one has {SCHEMA}); "
                    "run the version that wrote it, and do not delete it: it knows what was delivered",
                    EXIT_CONFIG,
                )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._base.close()

    def find(self, drop_id: str) -> Row | None:
        """The row of a drop. It waits for no transaction: what another is about to write is not there yet."""
        with self._reading:
            row = self._reader.execute("SELECT * FROM drops WHERE drop_id = ?", (drop_id,)).fetchone()
        return row and Row(*row)

    def begin(self, rows: Sequence[Row]) -> list[bool]:
        """Step 7a, for several drops in one transaction: which of them are new, and from now on `publishing`."""
        insert = "INSERT INTO drops VALUES (?, ?, ?, 'publishing') ON CONFLICT DO NOTHING"
        with self._transaction() as base:
            return [base.execute(insert, (row.drop_id, row.temp, row.name)).rowcount == 1 for row in rows]

    def rename(self, drop_id: str, name: str) -> None:
        """Note, before it is tried, that a drop is to get another name."""
        with self._transaction() as base:
            base.execute("UPDATE drops SET name = ? WHERE drop_id = ? AND state = 'publishing'", (name, drop_id))

    def deliver(self, drop_ids: Sequence[str]) -> None:
        """End of step 7b: these drops have their names, durably."""
        with self._transaction() as base:
            base.executemany("UPDATE drops SET state = 'delivered' WHERE drop_id = ?", [(item,) for item in drop_ids])

    def unfinished(self) -> list[Row]:
        """The drops a kill left between 7a and 7b."""
        with self._lock:
            return [Row(*row) for row in self._base.execute("SELECT * FROM drops WHERE state = 'publishing'")]

    def held_by_another(self, name: str, drop_id: str) -> bool:
        """Whether any other drop was given this name."""
        query = "SELECT 1 FROM drops WHERE name = ? AND drop_id <> ? LIMIT 1"
        with self._lock:
            return self._base.execute(query, (name, drop_id)).fetchone() is not None

    def write(self) -> None:
        """Write something that changes nothing: what an earlier transaction that failed left half written is void."""
        with self._transaction() as base:
            base.execute(f"PRAGMA user_version = {SCHEMA}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")
