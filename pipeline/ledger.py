"""Which drops this consumer has: the memory that makes a duplicate message harmless.

A drop is `publishing` from the transaction of step 7a until its file has its name, then `delivered`; a command that is
to be run for its file is `due` from 7a on, and `done` once it succeeded. Every process of the consume side opens the
same SQLite file (WAL); each call is one transaction.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.ports import EXIT_CONFIG, StartupError

SCHEMA = 2
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
_FROM_1 = """
ALTER TABLE drops ADD COLUMN command TEXT NOT NULL DEFAULT 'none' CHECK (command IN ('none', 'due', 'done'));
-- tries of the command; and when the row was made, in seconds since the epoch
ALTER TABLE drops ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE drops ADD COLUMN noted INTEGER NOT NULL DEFAULT 0;
UPDATE drops SET noted = CAST(strftime('%s', 'now') AS INTEGER);
CREATE INDEX drops_due ON drops (name) WHERE command = 'due';
"""
_STEPS = (_CREATE, _FROM_1)
"""What leads from each schema to the next; an empty file is schema 0. No comment after a semicolon."""
_STEP = 1000
"""Rows that are looked at together when what is old is forgotten."""
_SELECT = "SELECT drop_id, temp, name, state, command, tries FROM drops"


NONE, DUE, DONE = "none", "due", "done"
"""Of a drop's command."""


class Row(NamedTuple):
    """One drop. `name` is percent-encoded (names.encode_path), so that any bytes fit."""

    drop_id: str
    temp: str
    name: str
    state: str
    command: str = NONE
    tries: int = 0


class Ledger:
    """The drops of one DownloadedFromS3. Safe to use from several threads."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open or create; StartupError (78) if it is a link, damaged, or of a newer program."""
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
        self._begin_wal()
        self._reader = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        self._base.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with self._transaction() as base:
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if not 0 <= version <= SCHEMA:
                raise StartupError(
                    f"{path} was written by another version of this program (schema {version}, this one has {SCHEMA}); "
                    "run the version that wrote it, and do not delete it: it knows what was delivered",
                    EXIT_CONFIG,
                )
            for step in _STEPS[version:]:
                for statement in step.split(";\n"):
                    base.execute(statement)
            if version < SCHEMA:
                base.execute(f"PRAGMA user_version = {SCHEMA}")

    def _begin_wal(self) -> None:
        """Two processes that open a new file together do not wait for each other here, as they do elsewhere."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                self._base.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._base.close()

    def find(self, drop_id: str) -> Row | None:
        """The row of a drop. It waits for no transaction: what another is about to write is not there yet."""
        with self._reading:
            row = self._reader.execute(f"{_SELECT} WHERE drop_id = ?", (drop_id,)).fetchone()
        return row and Row(*row)

    def begin(self, rows: Sequence[Row]) -> list[bool]:
        """Step 7a, for several drops in one transaction: which of them are new, and from now on `publishing`."""
        insert = (
            "INSERT INTO drops (drop_id, temp, name, state, command, noted) VALUES (?, ?, ?, 'publishing', ?, ?) "
            "ON CONFLICT DO NOTHING"
        )
        now = int(time.time())
        with self._transaction() as base:
            return [
                base.execute(insert, (row.drop_id, row.temp, row.name, row.command, now)).rowcount == 1 for row in rows
            ]

    def rename(self, drop_id: str, name: str) -> None:
        """Note, before it is tried, that a drop is to get another name."""
        with self._transaction() as base:
            base.execute("UPDATE drops SET name = ? WHERE drop_id = ? AND state = 'publishing'", (name, drop_id))

    def deliver(self, drop_ids: Sequence[str]) -> None:
        """End of step 7b: these drops have their names, durably."""
        with self._transaction() as base:
            base.executemany("UPDATE drops SET state = 'delivered' WHERE drop_id = ?", [(item,) for item in drop_ids])

    def note_command(self, drop_id: str, command: str, tries: int) -> None:
        """What has become of the command of a drop, while it is due: what is done stays done."""
        update = "UPDATE drops SET command = ?, tries = ? WHERE drop_id = ? AND command = 'due'"
        with self._transaction() as base:
            base.execute(update, (command, tries, drop_id))

    def waive_commands(self) -> int:
        """None is run any more: of how many drops it was due. Of a large ledger only these rows are looked at."""
        with self._transaction() as base:
            return base.execute("UPDATE drops SET command = 'none' WHERE command = 'due'").rowcount

    def forget(self, before: float, keeps: Callable[[str], bool]) -> Iterator[int]:
        """Forget what was delivered and noted before that, in seconds since the epoch; how many, after each step.

        A step is a short transaction. What is not delivered, or whose command is due, stays, and so does a row whose
        name `keeps` says yes of: while the file lies there, the row tells its content from that of a later drop.
        """
        last = ""
        while rows := self._old(last, before):
            last = rows[-1][0]
            yield self._remove([drop_id for drop_id, name, is_old in rows if is_old and not keeps(name)])

    def _old(self, last: str, before: float) -> list[tuple[str, str, bool]]:
        """The next rows after `last`: id, name, and whether it was noted before that."""
        query = f"SELECT drop_id, name, noted < ? FROM drops WHERE drop_id > ? ORDER BY drop_id LIMIT {_STEP}"  # noqa: S608  # constants
        with self._reading:
            return self._reader.execute(query, (before, last)).fetchall()

    def _remove(self, drop_ids: Sequence[str]) -> int:
        if not drop_ids:
            return 0
        with self._transaction() as base:
            remove = "DELETE FROM drops WHERE drop_id = ? AND state = 'delivered' AND command <> 'due'"
            return base.executemany(remove, [(item,) for item in drop_ids]).rowcount

    def unfinished(self) -> list[Row]:
        """The drops a kill left between 7a and 7b."""
        with self._lock:
            found = self._base.execute(f"{_SELECT} WHERE state = 'publishing'")
            return [Row(*row) for row in found]

    def held_by_another(self, name: str, drop_id: str) -> bool:
        """Whether any other drop was given this name."""
        query = "SELECT 1 FROM drops WHERE name = ? AND drop_id <> ? LIMIT 1"
        with self._lock:
            return self._base.execute(query, (name, drop_id)).fetchone() is not None

    def is_awaited(self, name: str) -> bool:
        """Whether the command of a drop is due for the file of this name: no other file may come to have it."""
        query = "SELECT 1 FROM drops WHERE name = ? AND command = 'due' LIMIT 1"
        with self._lock:
            return self._base.execute(query, (name,)).fetchone() is not None

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
