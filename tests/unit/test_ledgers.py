"""The ledgers of several consumers, read."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger import DONE, DUE, SCHEMA, Ledger, Row
from pipeline.ledgers import Ledgers, ReadLedger
from pipeline.ports import EXIT_CONFIG, StartupError

SCHEMA_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE drops (
    drop_id TEXT PRIMARY KEY, temp TEXT NOT NULL, name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('publishing', 'delivered'))
) WITHOUT ROWID;
CREATE INDEX drops_by_name ON drops (name);
INSERT INTO drops VALUES ('x/in/a', 't1', 'a', 'delivered'), ('y/in/b', 't2', 'b', 'publishing');
PRAGMA user_version = 1;
"""


def deliver(path: Path, *drops: str) -> Ledger:
    """An open ledger, as of a consumer that runs, with these drops under the names of their keys."""
    ledger = Ledger(path, durable=False)
    ledger.begin([Row(drop, f"temp-{drop}", drop.rpartition("/")[2], "publishing") for drop in drops])
    ledger.deliver(drops)
    return ledger


def execute(path: Path, script: str) -> None:
    base = sqlite3.connect(path)
    base.executescript(script)
    base.close()


def test_several_ledgers_are_one(tmp_path: Path) -> None:
    """A drop is delivered where any consumer has it, `publishing` is not that; what comes meanwhile is seen."""
    one, two = deliver(tmp_path / "one", "x/in/a"), deliver(tmp_path / "two", "y/in/b")
    two.begin([Row("z/in/c", "t", "c", "publishing")])
    read = Ledgers([ReadLedger(tmp_path / "one"), ReadLedger(tmp_path / "two")])
    assert [read.has(drop) for drop in ("x/in/a", "y/in/b", "z/in/c", "nobody/in/a")] == [True, True, False, False]
    two.deliver(["z/in/c"])
    assert read.has("z/in/c")
    for ledger in (one, two, read):
        ledger.close()


def test_a_drop_whose_command_is_due_is_not_done(tmp_path: Path) -> None:
    """Its message is what would have it run: without one nothing does."""
    ledger = Ledger(tmp_path / "one", durable=False)
    ledger.begin([Row("x/in/a", "t", "a", "publishing", DUE)])
    ledger.deliver(["x/in/a"])
    read = Ledgers([ReadLedger(tmp_path / "one")])
    assert not read.has("x/in/a")
    assert not read.had_since("in/a", 0)
    read.close()
    ledger.note_command("x/in/a", DONE, 0)
    read = Ledgers([ReadLedger(tmp_path / "one")])
    assert read.has("x/in/a")
    assert read.had_since("in/a", 0)
    ledger.close()
    read.close()


def test_a_key_was_had_since_its_object_was_stored(tmp_path: Path) -> None:
    """By the latest delivery of that key in any ledger; one from before the object is of another drop."""
    before = time.time()
    deliver(tmp_path / "one", "x/in/a").close()
    deliver(tmp_path / "two", "y/in/a").close()
    execute(tmp_path / "two", "UPDATE drops SET noted = 1000")
    both = Ledgers([ReadLedger(tmp_path / name) for name in ("one", "two")])
    later = Ledgers([ReadLedger(tmp_path / "two")])
    assert (both.had_since("in/a", before), both.had_since("in/a", time.time() + 2)) == (True, False)
    assert [later.had_since("in/a", modified) for modified in (999.9, 1000.9, 1001.0)] == [True, True, False]
    assert not both.had_since("in/b", 0.0)
    both.close()
    later.close()


def test_who_has_a_name(tmp_path: Path) -> None:
    """Any drop but the one that asks."""
    deliver(tmp_path / "one", "x/in/a").close()
    ledger = ReadLedger(tmp_path / "one")
    assert (ledger.held_by_another("a", "y/in/a"), ledger.held_by_another("a", "x/in/a")) == (True, False)
    ledger.close()


def test_an_earlier_ledger_is_read_and_not_taken_over(tmp_path: Path) -> None:
    """Its rows count; since when they are there it does not say, so no key of it was had since anything."""
    execute(tmp_path / "old", SCHEMA_1)
    before = (tmp_path / "old").read_bytes()
    read = Ledgers([ReadLedger(tmp_path / "old")])
    assert [read.has(drop) for drop in ("x/in/a", "y/in/b")] == [True, False]
    assert not read.had_since("in/a", 1.0)
    read.close()
    assert (tmp_path / "old").read_bytes() == before


@pytest.mark.parametrize("kind", ["missing", "folder", "damaged", "foreign", "newer", "empty", "half"])
def test_what_cannot_be_read_is_refused_and_left_untouched(tmp_path: Path, kind: str) -> None:
    """The complaint names it; nothing is made where nothing was."""
    path = tmp_path / "ledger.sqlite3"
    if kind == "folder":
        path.mkdir()
    elif kind == "damaged":
        path.write_bytes(b"this is no database, and it is long enough to be looked at" * 20)
    elif kind == "empty":
        path.touch()
    elif kind == "half":
        deliver(path, *(f"{number:026}/in/{number}" for number in range(500))).close()
        os.truncate(path, 5 * 4096)
    elif kind == "newer":
        deliver(path, "x/in/a").close()
        execute(path, f"PRAGMA user_version = {SCHEMA + 1}")
    elif kind == "foreign":
        execute(path, f"CREATE TABLE drops (something TEXT); PRAGMA user_version = {SCHEMA}")
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StartupError, match=r"ledger\.sqlite3") as caught:
        Ledgers([ReadLedger(path)])
    assert caught.value.code == EXIT_CONFIG
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("running", [False, True])
def test_a_copy_is_read_in_a_folder_that_is_read_only(tmp_path: Path, running: bool) -> None:
    """SQLite would make files beside it. With a -wal it is refused: what that holds would be missed."""
    ledger = deliver(tmp_path / "one", "x/in/a")
    if not running:
        ledger.close()
    with tempfile.TemporaryDirectory() as folder:  # whose way another user may go
        copies = [shutil.copy(path, folder) for path in tmp_path.glob("one*") if not path.name.endswith("-shm")]
        assert len(copies) == 1 + running
        for path in (folder, *copies):
            os.chmod(path, 0o555)
        with as_nobody():
            assert not os.access(folder, os.W_OK, effective_ids=True)
            if running:
                with pytest.raises(StartupError, match="a folder that may be written to"):
                    ReadLedger(Path(folder, "one"))
            else:
                read = ReadLedger(Path(folder, "one"))
                assert read.has("x/in/a")
                read.close()
    ledger.close()


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere; everybody else is nobody enough."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)
