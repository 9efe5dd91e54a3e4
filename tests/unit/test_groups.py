"""Messages of one group: one after the other, and never one before another that came earlier."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline import pacing, poller
from pipeline.groups import Groups
from pipeline.hand import Hand, Held
from pipeline.landing import Arrival
from pipeline.ports import MissingError
from tests.fakes import FakeQueue
from tests.unit.test_poller import Clock, Consume, wait_for
from tests.unit.test_uploader import until


class Rig:
    """A FIFO queue, the hand on it, and what was begun."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue = FakeQueue(visibility=60, clock=self.clock, fifo=True)
        self.hand = Hand(self.queue, 60)
        self.begun: list[Held] = []
        self.ended = 0
        self.groups = Groups(self.hand, self.begun.append, self._end)

    def _end(self) -> None:
        self.ended += 1

    def receive(self, *bodies: str) -> None:
        """Messages `GROUP/…`, sent and received in this order by one call."""
        for body in bodies:
            self.queue.put(body, group=body.partition("/")[0])
        self.groups.take(self.queue.receive(10, 0))

    def bodies(self) -> list[str]:
        return [held.message.body for held in self.begun]


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.hand.close()


def test_the_next_begins_when_one_is_settled(rig: Rig) -> None:
    """One of each group at a time; what waits is in hand."""
    rig.receive("a/1", "a/2", "b/1", "a/3")
    assert rig.bodies() == ["a/1", "b/1"]
    assert rig.hand.count() == 4
    rig.groups.settled(rig.begun[1])
    assert rig.bodies() == ["a/1", "b/1"]
    rig.groups.settled(rig.begun[0])
    assert rig.bodies() == ["a/1", "b/1", "a/2"]
    rig.groups.settled(rig.begun[2])
    rig.groups.settled(rig.begun[3])
    assert rig.bodies() == ["a/1", "b/1", "a/2", "a/3"]
    assert (rig.groups._lines, rig.ended) == ({}, 0)


def test_without_a_group_all_begin_at_once(rig: Rig) -> None:
    """As on every standard queue."""
    rig.receive("/a", "/b", "/c")
    assert rig.bodies() == ["/a", "/b", "/c"]
    rig.groups.settled(rig.begun[1])
    rig.groups.give_back(rig.begun[0], 0)
    assert rig.queue.journal.of("given back") == ["/a"]
    assert rig.hand.is_ours(rig.begun[2])


def test_what_follows_goes_back_too(rig: Rig) -> None:
    """By one call, with the same delay, and comes again in order; other groups stay."""
    rig.receive("a/1", "a/2", "b/1", "a/3")
    calls: list[int] = []
    original = rig.queue.extend
    rig.queue.extend = lambda receipts, seconds: calls.append(seconds) or original(receipts, seconds)  # type: ignore[method-assign, func-returns-value]
    rig.groups.give_back(rig.begun[0], 7)
    assert calls == [7]
    assert (rig.ended, rig.hand.count(), rig.queue.visible()) == (3, 1, 0)
    rig.clock.now += 7
    assert [message.body for message in rig.queue.receive(10, 0)] == ["a/1", "a/2", "a/3"]
    assert rig.bodies() == ["a/1", "b/1"]


def test_what_follows_a_lost_one_goes_back_at_once(rig: Rig) -> None:
    """The lost one is with whoever has it: it is not touched."""
    rig.receive("a/1", "a/2")
    rig.begun[0].lost = True
    rig.groups.let_go(rig.begun[0])
    assert rig.queue.journal.of("given back") == ["a/2"]
    assert (rig.bodies(), rig.ended, rig.hand.count()) == (["a/1"], 2, 0)


def test_one_that_fails_at_once_takes_its_followers_along(rig: Rig) -> None:
    """Those of its call that were not looked at yet as well."""
    begun: list[str] = []

    def fail(held: Held) -> None:
        begun.append(held.message.body)
        rig.groups.give_back(held, 7)

    rig.groups._begin = fail
    rig.receive("a/1", "a/2", "b/1", "a/3")
    assert begun == ["a/1", "b/1"]
    assert rig.queue.journal.of("given back") == []
    assert (rig.ended, rig.hand.count()) == (4, 0)


def test_what_comes_later_joins_its_group(rig: Rig) -> None:
    """A message that SQS shows again although it is in hand waits as well, and goes back with the others."""
    rig.receive("a/1", "a/2")
    rig.clock.now += 60
    rig.receive()
    assert rig.bodies() == ["a/1"]
    rig.groups.let_go(rig.begun[0])
    assert (rig.bodies(), rig.ended) == (["a/1"], 4)


def fifo_side(folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consume]:
    """The consume side on a FIFO queue; `way`: of every message, by itself or in a thread."""
    if way == "in a thread":
        monkeypatch.setattr(poller, "_SMALL", -1)
    monkeypatch.setattr(pacing, "delay", lambda *_values: 0.0)
    side = Consume(folder, fifo=True)
    side.poller.close(5)
    side.poller = side.new_poller(concurrency=25)
    yield side
    side.poller.close(5)


WAYS = ("by itself", "in a thread")


@pytest.fixture(params=WAYS)
def consume(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consume]:
    yield from fifo_side(tmp_path, request.param, monkeypatch)


def published(side: Consume, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of files in the order in which they got their names."""
    found: list[str] = []
    original = side.landing.publish

    def publish(arrivals: Sequence[Arrival]) -> list[str | OSError | None]:
        outcomes = original(arrivals)
        found.extend(outcome for outcome in outcomes if isinstance(outcome, str))
        return outcomes

    monkeypatch.setattr(side.landing, "publish", publish)
    return found


def test_what_waits_is_not_begun_before_its_turn(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its download; that of another group is."""
    found = published(consume, monkeypatch)
    go = threading.Event()
    consume.store.before["download"] = lambda key: wait_for(go) if key == "in/a/1" else None
    for path in ("a/1", "a/2", "b/1", "a/3"):
        consume.announce(path, b"x")
    consume.poller.step(0, 0.0)
    until(lambda: found == ["b/1"])
    assert set(consume.journal.of("download")) == {"in/a/1", "in/b/1"}
    go.set()
    until(consume.poller.idle)
    assert found == ["b/1", "a/1", "a/2", "a/3"]


def test_one_that_is_buried_holds_up_nobody(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can never arrive: the next of its group begins."""
    found = published(consume, monkeypatch)
    consume.announce("a/1", b"x", said={"size": "9"})
    consume.announce("a/2", b"x")
    consume.receive()
    assert (found, [message.body for message, _ in consume.queue.buried]) == (["a/2"], ["in/a/1"])
    assert consume.queue.bodies() == []


def test_places_are_given_back(consume: Consume) -> None:
    """Of what was settled, of what failed, and of what followed it without having been begun."""
    for number in range(9):
        consume.announce(f"a/{number}", b"x")
    failing = [True, False, True]
    consume.store.before["download"] = lambda key: (
        consume.store.trouble.queued["download"].extend([MissingError(key)] * failing.pop()) if failing else None
    )
    consume.drain()
    assert len(consume.files()) == 9
    assert consume.poller._slots._value == 25  # what a semaphore has left
