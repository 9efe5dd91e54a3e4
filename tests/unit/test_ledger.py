"""The memory that makes a duplicate harmless."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.ledger import DONE, DUE, NONE, Ledger, Row
from pipeline.ports import EXIT_CONFIG, StartupError
from tests.unit.test_ledgers import SCHEMA_1

_COMMITS = """
import os, pathlib, sys
from pipeline.ledger import Ledger, Row
path = pathlib.Path(sys.argv[1])
ledger = Ledger(path)
ledger.begin([Row("drop", "temp", "name", "publishing")])
os.mkdir(path.parent / "committed-1")
ledger.deliver(["drop"])
os.mkdir(path.parent / "committed-2")
os._exit(0)
"""


def row(drop_id: str, name: str = "a", temp: str = "temp") -> Row:
    return Row(drop_id, temp, name, "publishing")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def test_a_drop_is_new_once(path: Path) -> None:
    """In one batch, in two, and for another process."""
    one, two = Ledger(path, durable=False), Ledger(path, durable=False)
    assert one.begin([row("x"), row("y"), row("x", "other")]) == [True, True, False]
    assert two.begin([row("y"), row("z")]) == [False, True]
    assert one.find("x") == row("x")
    assert one.find("nobody") is None


def test_what_a_kill_left_is_unfinished(path: Path) -> None:
    """The next process sees the rows between 7a and 7b, with the name that was tried last; delivered ones not."""
    killed = Ledger(path, durable=False)
    killed.begin([row("x"), row("y")])
    killed.rename("x", "a-Version-2")
    killed.deliver(["y"])
    following = Ledger(path, durable=False)
    assert following.unfinished() == [row("x", "a-Version-2")]
    found = following.find("y")
    assert found is not None
    assert found.state == "delivered"


def test_a_delivered_name_is_never_changed(path: Path) -> None:
    """A late renaming finds nothing to change; delivering twice changes nothing."""
    ledger = Ledger(path, durable=False)
    ledger.begin([row("x")])
    ledger.deliver(["x", "x"])
    ledger.rename("x", "b")
    ledger.deliver(["x", "unknown"])
    assert ledger.find("x") == Row("x", "temp", "a", "delivered")
    assert ledger.find("unknown") is None


def test_what_became_of_a_command(path: Path) -> None:
    """It is due from the first transaction, whatever becomes of the file; of another drop nothing is said."""
    ledger = Ledger(path, durable=False)
    ledger.begin([row("x")._replace(command=DUE), row("y")])
    ledger.note_command("x", DUE, 3)
    assert [(item.command, item.tries) for item in ledger.unfinished()] == [(DUE, 3), (NONE, 0)]
    ledger.deliver(["x"])
    ledger.note_command("x", DONE, 4)
    found = Ledger(path, durable=False).find("x")
    assert found is not None
    assert (found.state, found.command, found.tries) == ("delivered", DONE, 4)
    assert ledger.begin([row("x")._replace(command=DUE)]) == [False]
    assert ledger.find("x") == found


def test_commands_that_nobody_runs_any_more(path: Path) -> None:
    """Those that are due, and no others, however the file stands."""
    ledger = Ledger(path, durable=False)
    ledger.begin([row(drop)._replace(command=DUE) for drop in ("due", "tried", "done")] + [row("none")])
    ledger.note_command("tried", DUE, 2)
    ledger.note_command("done", DONE, 1)
    ledger.deliver(["due", "done"])
    assert ledger.waive_commands() == 2
    states = [found.command for found in map(ledger.find, ("due", "tried", "done", "none")) if found]
    assert states == [NONE, NONE, DONE, NONE]
    assert ledger.waive_commands() == 0


def test_what_is_due_is_found_in_a_large_ledger(path: Path) -> None:
    """Without a look at the other rows; by its name without one at the others that are due."""
    ledger = Ledger(path, durable=False)
    asked: list[str] = []
    ledger._base.set_trace_callback(asked.append)
    ledger.waive_commands()
    ledger.is_awaited("a")
    ledger._base.set_trace_callback(None)
    plans = [
        ledger._base.execute(f"EXPLAIN QUERY PLAN {statement}").fetchone()[-1]
        for statement in asked
        if "command = 'due'" in statement
    ]
    assert len(plans) == 2
    assert all("INDEX drops_due" in plan for plan in plans)
    assert "(name=?)" in plans[1]


def test_who_has_a_name(path: Path) -> None:
    """Any drop but the one that asks, wherever its own row stands."""
    ledger = Ledger(path, durable=False)
    ledger.begin([row("x", "a%20b")])
    assert ledger.held_by_another("a%20b", "y")
    assert not ledger.held_by_another("a%20b", "x")
    assert not ledger.held_by_another("a b", "y")
    ledger.begin([row("y", "a%20b")])
    assert ledger.held_by_another("a%20b", "x")
    assert ledger.held_by_another("a%20b", "y")


def test_a_transaction_is_whole_or_nothing(path: Path) -> None:
    """One impossible row in a batch: none of its rows is there, and the ledger goes on."""
    ledger = Ledger(path, durable=False)
    with pytest.raises(sqlite3.IntegrityError):
        ledger.begin([row("x"), Row("y", None, "b", "publishing")])  # type: ignore[arg-type]
    assert ledger.find("x") is None
    assert ledger.begin([row("x")]) == [True]


@pytest.mark.parametrize("version", [3, 99, -1])
def test_an_unknown_schema_is_refused_and_left_untouched(path: Path, version: int) -> None:
    """A16. A newer program's ledger knows what was delivered: not a byte of it changes."""
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("CREATE TABLE drops (something TEXT)")
    base.execute("INSERT INTO drops VALUES ('kept')")
    base.execute(f"PRAGMA user_version = {version}")
    base.commit()
    base.close()
    before = path.read_bytes()
    with pytest.raises(StartupError, match=f"schema {version}") as caught:
        Ledger(path)
    assert caught.value.code == EXIT_CONFIG
    assert path.read_bytes() == before


def test_what_is_done_stays_done(path: Path) -> None:
    """A poller that is late to say that a command failed does not have it run again."""
    ledger = Ledger(path, durable=False)
    ledger.begin([Row("x", "t", "a", "publishing", DUE)])
    ledger.deliver(["x"])
    ledger.note_command("x", DUE, 2)
    assert ledger.is_awaited("a")
    ledger.note_command("x", DONE, 3)
    ledger.note_command("x", DUE, 0)
    assert ledger.find("x") == Row("x", "t", "a", "delivered", DONE, 3)
    assert not ledger.is_awaited("a")


def test_processes_that_make_it_together_wait_for_each_other(path: Path) -> None:
    """One is at the switch to the journal that several can share: the other's does not fail."""
    first = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    first.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, first.execute, ["COMMIT"])
    timer.start()
    ledger = Ledger(path, durable=False)
    assert ledger.begin([row("x")]) == [True]
    timer.join()


def test_an_earlier_ledger_is_taken_over(path: Path) -> None:
    """A16. What it knows stays known, no command is owed for it, and its rows are as old as the takeover."""
    base = sqlite3.connect(path)
    base.executescript(SCHEMA_1)
    base.close()
    before = int(time.time())
    for _ in range(2):
        ledger = Ledger(path, durable=False)
        assert ledger.find("x/in/a") == Row("x/in/a", "t1", "a", "delivered", "none", 0)
        assert ledger.unfinished() == [Row("y/in/b", "t2", "b", "publishing")]
        assert ledger.begin([row("x/in/a"), row("y/in/b")]) == [False, False]
        times = [noted for (noted,) in ledger._base.execute("SELECT noted FROM drops")]
        assert all(before <= noted <= time.time() for noted in times)
        ledger.close()


def test_what_is_no_ledger_is_refused_and_left_untouched(path: Path) -> None:
    """A file of something else under that name."""
    path.write_bytes(b"this is no database, and it is long enough to be looked at" * 20)
    before = path.read_bytes()
    with pytest.raises(StartupError, match=r"ledger\.sqlite3 is damaged .* move it away") as caught:
        Ledger(path)
    assert caught.value.code == EXIT_CONFIG
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_ledger_behind_a_link_is_refused(path: Path, suffix: str) -> None:
    """F11. Nothing is written where a link leads."""
    elsewhere = path.with_name("elsewhere")
    path.with_name(path.name + suffix).symlink_to(elsewhere)
    with pytest.raises(StartupError, match="is a link") as caught:
        Ledger(path)
    assert caught.value.code == EXIT_CONFIG
    assert not elsewhere.exists()


def test_several_processes_begin_the_same_drops(path: Path) -> None:
    """Eight at once, each over its own connection: every drop is new for exactly one of them."""
    Ledger(path).close()
    news: list[list[bool]] = []

    def begin() -> None:
        ledger = Ledger(path, durable=False)
        news.append([ledger.begin([row(f"drop{number}")])[0] for number in range(20)])
        ledger.close()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(column) for column in zip(*news, strict=True)] == [1] * 20


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_a_durable_ledger_syncs_each_transaction(path: Path, durable: bool, synchronous: int) -> None:
    """FULL survives a power cut in WAL mode; NORMAL only the end of a process."""
    ledger = Ledger(path, durable=durable)
    assert ledger._base.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    assert ledger._base.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_commit_is_on_disk_when_it_is_done(path: Path, tmp_path: Path) -> None:
    """D26. Seen by its system calls: SQLite syncs what it wrote, and the folder in which it made a file."""
    if shutil.which("strace") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("not installed: strace", pytrace=False)
        pytest.skip("not installed: strace")
    seen = tmp_path / "calls"
    calls = "trace=pwrite64,fsync,fdatasync,mkdir"
    words = ["strace", "-f", "-qq", "-y", "-e", calls, "-o", str(seen), sys.executable, "-c", _COMMITS, str(path)]
    subprocess.run(words, check=True, timeout=60)
    written: dict[str, bool] = {}
    folders: list[str] = []
    for line in seen.read_text(encoding="utf-8", errors="replace").splitlines():
        if "mkdir" in line and "committed" in line:
            assert not [name for name, is_synced in written.items() if not is_synced], line
            assert str(path.parent) in folders
        if found := re.search(r"(pwrite64|f(?:data)?sync)\(\d+<([^>]*)>", line):
            written |= {found[2]: found[1] != "pwrite64"} if found[2].endswith("-wal") else {}
            folders.append(found[2])
    assert f"{path}-wal" in written


def test_a_ledger_forgets_what_is_old(path: Path) -> None:
    """What was delivered and noted before a time: nothing half published, no due command, no name that is kept."""
    ledger = Ledger(path, durable=False)
    names = ["gone", "publishing", "due", "done", "kept", "young"]
    ledger.begin([Row(name, "temp", f"{name}%20x", "", "due" if name in ("due", "done") else "none") for name in names])
    ledger.deliver([name for name in names if name != "publishing"])
    ledger._base.execute("UPDATE drops SET command = 'done' WHERE drop_id = 'done'")
    ledger._base.execute("UPDATE drops SET noted = CASE drop_id WHEN 'young' THEN 1000 ELSE 999 END")
    assert sum(ledger.forget(1000.0, "kept%20x".__eq__)) == 2
    assert [name for name in names if ledger.find(name) is None] == ["gone", "done"]
    assert sum(ledger.forget(1000.0, "kept%20x".__eq__)) == 0


def test_forgetting_goes_in_steps_between_which_others_write(path: Path) -> None:
    """Each is a transaction of its own: another process gets its turn, and what is forgotten so far stays so."""
    ledger, other = Ledger(path, durable=False), Ledger(path, durable=False)
    drops = [f"{number:04}" for number in range(2500)]
    ledger.begin([row(drop) for drop in drops])
    ledger.deliver(drops)
    steps = ledger.forget(time.time() + 60, lambda _name: False)
    assert next(steps) == 1000
    assert other.begin([row("0000"), row("2400")]) == [True, False]
    assert [*steps] == [1000, 500]
    assert [found.drop_id for found in ledger.unfinished()] == ["0000"]
