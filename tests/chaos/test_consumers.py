"""Samples of `python -m tests.chaos consumers` that every run of the tests takes, and what the proof would find."""

from __future__ import annotations

import io
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.queues import Message
from pipeline.aws.checksum import crc64nvme_of
from pipeline.landing import LEDGER
from tests.chaos import consumers
from tests.chaos.cast import Cast, Plan
from tests.chaos.kills import digest
from tests.chaos.relay import ROOT
from tests.chaos.repeats import FIRST, TWICE, WHENS, Repeating


def test_every_drop_arrives_once(tmp_path: Path) -> None:
    """C5, C9. One folder, two pollers; one delivery in four is a repeat, and pollers and parents are killed."""
    outcome = consumers.run(tmp_path, Plan(drops=150, duplicates=0.25, kills=3), seed=5)
    assert not outcome.violations, outcome.table()
    assert outcome.kills.keys() == {"parent", "poller"}
    assert outcome.deliveries[TWICE] > 20
    assert outcome.copies == 0


def test_several_programs_share_the_drops(tmp_path: Path) -> None:
    """Three folders: together they have all drops, none has one twice, and each copy has its redelivery."""
    outcome = consumers.run(tmp_path, Plan(drops=150, duplicates=0.25, kills=3, instances=3), seed=4)
    assert not outcome.violations, outcome.table()
    assert outcome.copies > 0


def test_a_ledger_that_is_lost_costs_copies_and_no_file(tmp_path: Path) -> None:
    """Removed three times: nothing is lost or overwritten, and what comes again is a file of its own."""
    outcome = consumers.run(tmp_path, Plan(drops=120, duplicates=0.3, kills=3, lose_ledger=True), seed=5)
    assert not outcome.violations, outcome.table()
    assert outcome.copies > 0


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bench.queues.time.monotonic", lambda: clock.now)
    return clock


class Draws(random.Random):
    """The first delivery is repeated, in a way that is said, and no other."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when, self._numbers = when, iter((0.0,))

    def random(self) -> float:
        return next(self._numbers, 1.0)

    def choice(self, _ways: object) -> str:  # type: ignore[override]
        return self.when


@pytest.mark.parametrize("when", WHENS)
def test_a_message_comes_twice(when: str, clock: Clock) -> None:
    """With an id that was there before and a receipt of its own, in flight for itself."""
    journal = io.StringIO()
    queue = Repeating("q", {}, 0.5, Draws(when), journal)
    queue.send(Message("a", "", {"crc64nvme": {"StringValue": "c"}}, ""), 0)
    (first,) = queue.receive(10, 30)
    if when == "after the delete":
        clock.now += 20
        assert queue.receive(10, 30) == []
        assert queue.delete(first.receipt)
    clock.now += 0 if when == "at once" else 7
    (second,) = queue.receive(10, 30)
    assert (second.id, second.body) == (first.id, "a")
    assert queue.delete(second.receipt)
    assert queue.delete(first.receipt) == (when != "after the delete")
    assert (queue.counts(), journal.getvalue()) == ((0, 0, 0), "first c\ntwice c\n")


@pytest.mark.parametrize(
    ("kills", "twice", "found"),
    [
        (3, 50, []),
        (2, 50, ["TOO LITTLE: 2 of 3 kills"]),
        (3, 10, ["TOO LITTLE: 10 of 500 deliveries were repeats"]),
    ],
)
def test_what_was_planned_has_to_happen(kills: int, twice: int, found: list[str]) -> None:
    """Who is not killed, and is given nothing twice, makes no second copy."""
    outcome = consumers.Outcome(Plan(drops=450, duplicates=0.1, kills=3))
    outcome.kills, outcome.deliveries = Counter(poller=kills), Counter({FIRST: 500 - twice, TWICE: twice})
    assert consumers.lacking(outcome) == found


TWO = Plan(drops=1, duplicates=0.1, kills=0, instances=2)


@pytest.fixture
def done(tmp_path: Path) -> Cast:
    """What a run without a fault leaves: a drop in the first of two folders."""
    cast = Cast(tmp_path, TWO, {}, random.Random(1), ROOT)
    for receiver in cast.receivers:
        (receiver.downloaded / ".relay" / "incoming").mkdir(parents=True)
        with sqlite3.connect(receiver.downloaded / LEDGER) as base:
            base.execute("CREATE TABLE drops (state)")
        base.close()
    arrive(cast, 0, "a")
    cast.dropper.dropped[digest(cast.receivers[0].downloaded / "a")] = (0, "a")
    return cast


def arrive(cast: Cast, number: int, name: str, content: bytes = b"1", state: str = "delivered") -> None:
    folder = cast.receivers[number].downloaded
    (folder / name).write_bytes(content)
    note(folder / LEDGER, state)


def note(ledger: Path, state: str) -> None:
    with sqlite3.connect(ledger) as base:
        base.execute("INSERT INTO drops VALUES (?)", (state,))
    base.close()


def took(cast: Cast) -> None:
    """A user takes the drop away, and it comes again."""
    (cast.receivers[0].downloaded / "a").rename(cast.observers[0].taken / "0")
    arrive(cast, 0, "a")


def temporary(cast: Cast) -> None:
    (cast.receivers[1].downloaded / ".relay" / "incoming" / "part-1").write_bytes(b"")


@pytest.mark.parametrize(
    ("fault", "times", "found"),
    [
        (lambda cast: (cast.receivers[0].downloaded / "a").write_bytes(b"2"), 0, ["LOST", "INVENTED"]),
        (lambda cast: arrive(cast, 0, "a-Version-2"), 1, ["SECOND COPY"]),
        (took, 1, ["SECOND COPY"]),
        (lambda cast: arrive(cast, 1, "a"), 1, []),
        (lambda cast: arrive(cast, 1, "a"), 0, ["COPIES"]),
        (lambda cast: arrive(cast, 1, "a", state="publishing"), 1, ["LEDGER"]),
        (lambda cast: note(cast.receivers[1].downloaded / LEDGER, "delivered"), 0, ["LEDGER"]),
        (temporary, 0, ["TEMPORARY FILE"]),
    ],
)
def test_a_fault_is_found(done: Cast, fault: Callable[[Cast], object], times: int, found: list[str]) -> None:
    """Each by its name, and nothing else with it; a copy in another folder is one only without a redelivery."""
    redelivered = Counter({crc64nvme_of(b"1"): times})
    assert consumers.judge(done, TWO, redelivered) == []
    fault(done)
    assert [each.partition(":")[0] for each in consumers.judge(done, TWO, redelivered)] == found
