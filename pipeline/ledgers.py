"""What the ledgers of several consumers know, read while those may run: nothing is written, taken over or made."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from pipeline.ledger import SCHEMA
from pipeline.ports import EXIT_CONFIG, StartupError

_LOCK_SECONDS = 60.0
_CACHE_KIB = 65_536
_KEY = "substr(drop_id, instr(drop_id, '/') + 1)"
"""Of a row: see drop.delivery_id."""


class ReadLedger:
    """One ledger, of this schema or an earlier one. StartupError (78), which names it, once it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            self._base = _open(path)
            self._schema = self._base.execute("PRAGMA user_version").fetchone()[0]
            known = 1 <= self._schema <= SCHEMA
            self._done = "state = 'delivered'" + (" AND command <> 'due'" if self._schema >= 2 else "")
            if known:
                self.has("")
        if not known:
            raise StartupError(
                f"{path} is no ledger that this version of the program knows (schema {self._schema}, this one has "
                f"{SCHEMA}); run the version that wrote it",
                EXIT_CONFIG,
            )

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def has(self, drop_id: str) -> bool:
        """Whether a drop was delivered, and its command, if there is one, done."""
        return self._any(f"drop_id = ? AND {self._done}", drop_id)

    def is_due(self, drop_id: str) -> bool:
        """Whether a drop was delivered, and its command is not done."""
        return self._schema >= 2 and self._any("drop_id = ? AND state = 'delivered' AND command = 'due'", drop_id)

    def held_by_another(self, name: str, drop_id: str) -> bool:
        """Whether any other drop was given this name."""
        return self._any("name = ? AND drop_id <> ?", name, drop_id)

    def keys(self) -> Iterator[tuple[str, int]]:
        """The key of each such drop, and when that was noted, in seconds since the epoch; 0: it does not say."""
        noted = "noted" if self._schema >= 2 else "0"
        with self._explained():
            yield from self._base.execute(f"SELECT {_KEY}, {noted} FROM drops WHERE {self._done}")  # noqa: S608  # constants

    def _any(self, condition: str, *values: str) -> bool:
        with self._explained():
            found = self._base.execute(f"SELECT 1 FROM drops WHERE {condition} LIMIT 1", values)  # noqa: S608  # constants
            return found.fetchone() is not None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StartupError(
                f"the ledger {self.path} cannot be read: {error}; give one that is whole, with its "
                f"{self.path.name}-wal if there is one, in a folder that may be written to",
                EXIT_CONFIG,
            ) from error


class Ledgers:
    """All of them together; in a temporary database, which grows on disk, when a drop of each key was delivered."""

    def __init__(self, ledgers: Sequence[ReadLedger]) -> None:
        self._ledgers = ledgers
        self._keys = sqlite3.connect("", isolation_level=None)
        self._keys.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._keys.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, noted INTEGER NOT NULL) WITHOUT ROWID")
        insert = "INSERT INTO keys VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET noted = max(noted, excluded.noted)"
        self._keys.execute("BEGIN")
        for ledger in ledgers:
            self._keys.executemany(insert, ledger.keys())
        self._keys.execute("COMMIT")

    def close(self) -> None:
        """Close every file."""
        self._keys.close()
        for ledger in self._ledgers:
            ledger.close()

    def has(self, drop_id: str) -> bool:
        """Whether any consumer has the drop by now."""
        return any(ledger.has(drop_id) for ledger in self._ledgers)

    def is_due(self, drop_id: str) -> bool:
        """Whether any consumer has the file, and has still to run its command for it."""
        return any(ledger.is_due(drop_id) for ledger in self._ledgers)

    def had_since(self, key: str, modified: float) -> bool:
        """Whether a drop of this key was delivered since the object there was stored: then that is the one.

        A key that was freed and used again has an earlier row, which says nothing about the object.
        """
        found = self._keys.execute("SELECT noted FROM keys WHERE key = ?", (key,)).fetchone()
        return found is not None and found[0] >= int(modified)


def _open(path: Path) -> sqlite3.Connection:
    """Read-only. SQLite makes two files beside it; where it may not, and none is there, nobody else writes either."""
    where = f"file:{quote(str(path.absolute()))}?mode=ro"
    base = _connect(where)
    try:
        base.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        base.close()
        if not path.is_file() or path.with_name(f"{path.name}-wal").exists():
            raise
        return _connect(f"{where}&immutable=1")
    return base


def _connect(where: str) -> sqlite3.Connection:
    return sqlite3.connect(where, uri=True, timeout=_LOCK_SECONDS, isolation_level=None)
