"""The sample of `python -m tests.chaos soak` that every run of the tests takes, and what the proof would find."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.relay import ROOT
from tests.chaos.soak.book import EMPTY, Book
from tests.chaos.soak.enough import lacking, slow
from tests.chaos.soak.files import LARGE, draw
from tests.chaos.soak.folder import Seen
from tests.chaos.soak.logs import Recovery, Tail, parse, wrong_in_log
from tests.chaos.soak.outcome import Outcome
from tests.chaos.soak.plan import CONSUME, INGEST, KILL, PARENT, POLLER, ROLES, UPLOADER, WATCHER, Plan, schedule

PLAN = Plan(seed=11, minutes=0.3, files=500, kills=32, pairs=4, sizes="tiny")


@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_overwritten_whatever_happens(tmp_path: Path) -> None:
    """32 kill -9 and all other faults while 500 files flow: what 2,100 and 100,000 show in forty minutes."""
    report, console = run_soak(tmp_path)
    assert report["violations"] == [], console
    assert sum(report["kills"].values()) >= 30
    assert set(report["kills"]) == set(ROLES)
    assert {"terminate", "freeze", "down", "hostile"} <= set(report["faults"])
    assert {"503", "lost_answer", "reset", "duplicate", "partial"} <= set(report["cloud"]["faults"])


def run_soak(folder: Path) -> tuple[Any, str]:
    """Its figures, and what it shows; a process of its own, as it makes disks that nobody else is to see."""
    words = ["-m", "tests.chaos", *PLAN.replay.split(), "--keep", f"{folder}/run", "--report", f"{folder}/report"]
    with (folder / "console").open("wb") as console:
        soak = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=console, stderr=console)
        try:
            soak.wait(timeout=280)
        finally:
            soak.send_signal(signal.SIGINT)  # it ends its programs; nothing, where it has ended
            soak.wait()
    shown = (folder / "console").read_text()
    assert (folder / "report").exists(), shown
    return json.loads((folder / "report").read_text()), shown


def test_one_seed_is_one_run() -> None:
    """Workload and faults; each role is killed as often as the others, and the last pair not at all."""
    plan = PLAN._replace(minutes=40, kills=2000)
    faults = schedule(plan)
    assert faults == schedule(plan)
    assert faults != schedule(plan._replace(seed=12))
    assert Counter(fault.role for fault in faults if fault.kind == KILL) == dict.fromkeys(ROLES, 500)
    assert {fault.pair for fault in faults if fault.kind == KILL} == {0, 1, 2}
    one, other = ([draw(0, n, "tiny", rng) for n in range(200)] for rng in (random.Random(1), random.Random(1)))
    assert one == other


def test_contents_are_unique_and_names_are_of_all_kinds() -> None:
    files = [draw(0, number, "tiny", random.Random(number)) for number in range(400)]
    small = [file for file in files if 0 < file.size < LARGE[0]]
    assert any(file.size >= LARGE[0] for file in files)
    assert any(file.size == 0 and file.digest() == EMPTY for file in files)
    assert len({file.digest() for file in small}) == len(small)
    assert all(file.digest() == content_of(b"".join(file.blocks())) for file in small)
    assert {"moved", "written"} <= {file.how for file in files}
    assert any(not os.fsencode(file.name).isascii() for file in files)


@pytest.fixture
def book() -> Book:
    """A file was dropped, and another one that its user spoiled."""
    found = Book()
    found.drop(content_of(b"one"), "a")
    found.drop(content_of(b"two"), "b", spoiled=True)
    return found


def content_of(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def test_what_does_not_come_is_lost(book: Book) -> None:
    """On either side; nothing is demanded of what was spoiled."""
    assert len([*book.open()]) == 2
    assert not book.archive(content_of(b"one"))
    assert [problem.partition(":")[0] for problem in book.open()] == ["LOST"]
    assert not book.arrive(content_of(b"one"), "a")
    assert not [*book.open()]
    assert not book.under_way


def test_what_is_moved_back_has_to_come_again(book: Book) -> None:
    one = content_of(b"one")
    assert not book.archive(one) + book.arrive(one, "a")
    book.drop_again(one)
    assert len([*book.open()]) == 2
    assert not book.archive(one) + book.arrive(one, "a")
    assert not [*book.open()]


@pytest.fixture
def seen(tmp_path: Path, book: Book) -> Iterator[Seen]:
    found = Seen(tmp_path / "D", book.arrive)
    assert found.look() == []
    yield found
    with contextlib.suppress(OSError):
        found.sight.close()


def drop(seen: Seen, name: str, content: bytes) -> None:
    """As the program does: whole, by one rename."""
    hidden = seen.folder.with_name("whole")
    hidden.write_bytes(content)
    hidden.rename(seen.folder / name)


def found_in(seen: Seen) -> list[str]:
    seen.look()
    return [problem.partition(":")[0] for problem in seen.violations]


def test_a_file_is_judged_when_it_comes(seen: Seen) -> None:
    """Whole, once, under its name, wherever below the folder; a version is the same name."""
    drop(seen, "a-Version-2", b"one")
    assert found_in(seen) == []
    (seen.folder / ".relay").mkdir()
    (seen.folder / ".relay/part").write_bytes(b"o")
    assert found_in(seen) == []
    (seen.folder / "d").mkdir()
    drop(seen, "d/b", b"tw")
    assert found_in(seen) == ["PARTIAL or invented"]
    drop(seen, "a", b"one")
    assert found_in(seen) == ["PARTIAL or invented", "SECOND COPY"]


def test_another_name_is_found(seen: Seen) -> None:
    drop(seen, "c", b"one")
    assert found_in(seen) == ["ANOTHER NAME"]


def test_what_changes_or_goes_is_found(seen: Seen) -> None:
    """A file that was replaced, one that was written to, and one that went away again."""
    path = seen.folder / "a"
    drop(seen, "a", b"one")
    assert seen.look() == [path]
    drop(seen, "a", b"two")
    seen.look()
    assert seen.violations[0].startswith("OVERWRITTEN")
    path.write_bytes(b"ONE")
    seen.take(path, lambda _path, _content: True)
    assert seen.violations[-1].startswith("OVERWRITTEN")
    path.unlink()
    seen.finish()
    assert seen.violations[-1].startswith("GONE AGAIN")


def take_away(path: Path, _content: bytes) -> bool:
    path.unlink()
    return True


def test_what_is_written_under_its_name_is_found(seen: Seen, book: Book) -> None:
    """Though it is whole by the time it is read: in a folder that came later, too. Not what is renamed while open."""
    (seen.folder / ".relay").mkdir()
    (seen.folder / "d").mkdir()
    assert found_in(seen) == []
    with (seen.folder / ".relay/part").open("wb", buffering=0) as file:
        file.write(b"one")
        (seen.folder / ".relay/part").rename(seen.folder / "a")
    assert found_in(seen) == []
    book.drop(content_of(b"three"), "d/c")
    (seen.folder / "d/c").write_bytes(b"three")
    assert found_in(seen) == ["WRITTEN IN PLACE"]
    assert found_in(seen) == ["WRITTEN IN PLACE"]


def test_what_is_taken_does_not_count_as_gone(seen: Seen) -> None:
    path = seen.folder / "a"
    drop(seen, "a", b"one")
    seen.look()
    seen.take(path, take_away)
    seen.finish()
    assert not seen.violations


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("2026-01-01T00:00:00.000 INFO poller-1[5] pipeline.poller: received  a\x1b[31m", "NOT PRINTABLE"),
        ("key CANARY", "SECRET"),
        ("x" * 20_000, "LONG LINE"),
        ("Traceback (most recent call last):", "ERROR OF THE PROGRAM"),
        ("received  a", ""),
    ],
)
def test_a_line_that_must_not_be(line: str, kind: str) -> None:
    assert wrong_in_log(line, "CANARY").partition(":")[0] == kind


def line_of(role: str, pid: int, text: str) -> str:
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 2))
    return f"{now}.000 INFO {role}[{pid}] pipeline.x: {text}"


def heard(recovery: Recovery, *lines: str) -> int:
    for line in lines:
        said = parse(line)
        assert said
        recovery.hear(said)
    return len(recovery.seconds)


def test_a_role_works_again_when_a_successor_does() -> None:
    """One of the old processes, or another role, proves nothing; after a parent all of its roles have to."""
    recovery = Recovery(CONSUME)
    recovery.killed(POLLER, frozenset({5, 6}))
    assert not heard(recovery, line_of("poller-1", 6, "received  a"), line_of("check", 7, "kernel x"))
    assert heard(recovery, line_of("poller-1", 8, "kernel x")) == 1
    assert 0 < recovery.seconds[0] < 10
    recovery = Recovery(INGEST)
    recovery.killed(PARENT, frozenset())
    assert not heard(recovery, line_of("watcher", 8, "kernel x"), line_of("uploader-1", 9, "started"))
    assert heard(recovery, line_of("uploader-1", 9, "sent  a")) == 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is."""
    now = [1000.0]
    monkeypatch.setattr("tests.chaos.soak.logs.time.time", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("side", "role", "seconds", "idle", "timed"),
    [
        (INGEST, WATCHER, 4.0, True, []),
        (INGEST, WATCHER, 6.0, True, [6.0]),
        (CONSUME, POLLER, 6.0, False, [6.0]),
        (INGEST, UPLOADER, 6.0, False, [6.0]),
        (INGEST, UPLOADER, 6.0, True, []),
    ],
)
def test_what_is_slow_counts_though_it_is_disturbed(
    clock: list[float], side: str, role: str, seconds: float, idle: bool, timed: list[float]
) -> None:
    """From then on it can be told no more: with the least that it took. An uploader says nothing without a file."""
    recovery = Recovery(side)
    recovery.killed(role, frozenset())
    clock[0] += seconds
    for _ in range(2):
        recovery.disturb(idle=idle)
        assert (recovery.seconds, recovery.unfinished, recovery.censored) == (timed, len(timed), 1 - len(timed))


def test_one_slow_recovery_in_a_hundred_may_be() -> None:
    """Of few, one; of fewer than twenty nothing is said."""
    quick = [0.5] * 300
    assert not slow([*quick, *[6.0] * 3])
    assert slow([*quick, *[6.0] * 4])
    assert not slow([*quick[:19], 6.0])
    assert slow([*quick[:18], 6.0, 6.0])
    assert not slow([6.0] * 19)


@pytest.fixture
def enough() -> Outcome:
    """Of a run in which everything happened."""
    plan = PLAN._replace(kills=200, minutes=4)
    return Outcome(plan, delivered=500, kills=Counter(dict.fromkeys(ROLES, 50)), cloud={"judged": 500})


@pytest.mark.parametrize(
    ("figures", "missing"),
    [
        ({}, []),
        ({"kills": Counter(dict.fromkeys(ROLES, 47))}, ["188 of 200 kills"]),
        ({"kills": Counter({**dict.fromkeys(ROLES, 60), PARENT: 10})}, ["10 of 190 kills were of a parent"]),
        ({"cloud": {"judged": 499}}, ["499 messages were judged, and 500 files arrived"]),
        ({"cloud": {}, "delivered": 0}, ["0 messages were judged, and 0 files arrived"]),
        ({"missed": 20}, ["20 faults found nobody to happen to"]),
    ],
)
def test_a_run_in_which_little_happens_is_none(enough: Outcome, figures: dict[str, Any], missing: list[str]) -> None:
    assert [*lacking(replace(enough, **figures))] == [f"TOO LITTLE: {text}" for text in missing]


def test_only_whole_lines_are_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tail = Tail(log)
    assert [*tail.lines()] == []
    log.write_text("one\ntw")
    assert [*tail.lines()] == ["one"]
    log.write_text("one\ntwo\n")
    assert [*tail.lines()] == ["two"]
