"""Objects that are refused: they hold up no others, whether it is known that these can be read or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline import pacing
from pipeline.doubts import Doubts
from pipeline.hand import Held
from pipeline.pacing import Gate
from pipeline.ports import Received
from tests.unit.test_poller import Consume
from tests.unit.test_uploader import DEADLINE, until


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of pacing.delay for messages that went back: each pause is the longest, but for the gate's."""
    asked: list[tuple[Any, ...]] = []

    def delay(attempt: int, base: float, cap: float) -> float:
        if cap >= 1:
            asked.append((attempt, base, cap))
        return cap

    monkeypatch.setattr(pacing, "delay", delay)
    return asked


@pytest.fixture
def consume(tmp_path: Path, pauses: list[tuple[Any, ...]]) -> Iterator[Consume]:
    """A side that may read nothing whose name begins with "denied"; there is room for four messages."""
    side = Consume(tmp_path)
    side.store.denies = lambda key: key.startswith("in/denied")
    yield side
    side.poller.close(0.1)


def denied(side: Consume, count: int) -> None:
    for number in range(count):
        side.store.put(f"in/denied{number}", b"x")
        side.queue.put(f"in/denied{number}")


def turn(side: Consume) -> None:
    """One turn, which ends: there always is a place for one more message."""
    thread = threading.Thread(target=side.poller.step, args=(0, 0.0), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive(), "no place is free"


def tries(side: Consume) -> int:
    return len(side.journal.of("download"))


@pytest.mark.parametrize(("room", "bad"), [(1, 3), (2, 5), (4, 4), (4, 30), (64, 100)])
def test_objects_that_may_not_be_read_do_not_take_all_places(consume: Consume, room: int, bad: int) -> None:
    """F15. As many as there are places, and nothing was read yet: the good file comes, and none goes to the dead."""
    consume.poller.close(1)
    consume.poller = consume.new_poller(room)
    denied(consume, bad)
    consume.announce("good", b"good")
    for _ in range(bad + 2):
        if consume.files():
            break
        turn(consume)
        until(lambda: tries(consume) >= len(consume.journal.of("received")))
    until(lambda: consume.files() == {"good": b"good"})
    until(consume.poller.idle)  # that one could be read tells what is the matter with those that were held
    assert consume.queue.buried == []
    assert len(consume.queue.bodies()) == bad
    assert max(consume.journal.of("received").count(body) for body in consume.queue.bodies()) == 1


def test_what_others_are_not_refused_goes_back(consume: Consume, pauses: list[tuple[Any, ...]]) -> None:
    """F15. With growing pauses of up to ten minutes; the side does not pause."""
    consume.announce("good", b"good")
    consume.receive()
    denied(consume, 2)
    consume.poller.gate = Gate(3600, 3600)
    consume.receive()
    assert pauses == [(1, 0.5, 600.0)] * 2
    assert consume.poller.gate.remaining() == 0
    assert consume.queue.visible() == 0
    consume.clock.now += 601
    assert consume.queue.visible() == 2


def test_while_all_are_refused_messages_are_held(consume: Consume) -> None:
    """B18, F15. None uses up its receive count; one after the other is tried, and all arrive once they may be read."""
    consume.poller.close(1)
    consume.poller = consume.new_poller(17)
    consume.store.denies = lambda _key: True
    for number in range(15):
        consume.announce(f"f{number}", b"x")
    for _ in range(2):
        turn(consume)
    until(lambda: tries(consume) > 40)
    assert (consume.queue.visible(), consume.files()) == (0, {})
    consume.store.denies = lambda _key: False
    until(lambda: len(consume.files()) == 15)
    until(consume.poller.idle)
    assert len(consume.journal.of("received")) == 15
    assert consume.queue.bodies() == []


def test_what_goes_back_undecided_stays_away_for_long(consume: Consume, pauses: list[tuple[Any, ...]]) -> None:
    """F15. Up to an hour: a weekend of refused credentials does not send good files to the dead letters."""
    denied(consume, 4)
    turn(consume)
    until(lambda: pauses == [(1, 30.0, 3600.0)])
    turn(consume)
    assert len(consume.journal.of("received")) == 4


def test_a_group_that_is_refused_goes_back(tmp_path: Path, pauses: list[tuple[Any, ...]]) -> None:
    """F15. In a FIFO queue with all that follows it, which would take places, too; another group comes."""
    side = Consume(tmp_path, fifo=True)
    side.store.denies = lambda key: key.startswith("in/denied")
    try:
        for number in range(4):
            side.announce(f"denied/{number}", b"x")
        side.announce("good/a", b"good")
        side.receive()
        assert len(pauses) == 1
        side.receive()
        assert side.files() == {"good/a": b"good"}
        side.store.denies = lambda _key: False
        side.clock.now += 3601
        side.receive()
        assert sorted(side.files()) == ["denied/0", "denied/1", "denied/2", "denied/3", "good/a"]
    finally:
        side.poller.close(0.1)


def test_one_is_tried_at_a_time_and_each_waits_its_turn() -> None:
    """F15. So that a pause makes one request in each of its rounds; a doubt that comes later is looked after, too."""
    happened: list[str] = []

    def wait() -> bool:
        happened.append("wait")
        return True

    nothing_goes_back: Any = None
    doubts = Doubts(nothing_goes_back, 2, wait)
    held = Held(Received("1", "r", "x", {}), 0, 0, 0)

    def again(name: str, refusals: int) -> None:
        happened.append(name)
        if refusals:
            doubts.take(pool, held, lambda: again(name, refusals - 1))

    with ThreadPoolExecutor(1) as pool:
        go = threading.Event()
        pool.submit(go.wait, DEADLINE)
        doubts.take(pool, held, lambda: again("a", 1))
        doubts.take(pool, held, lambda: again("b", 0))
        go.set()
        until(lambda: happened == ["wait", "a", "wait", "b", "wait", "a", "wait"])
        pool.submit(happened.clear).result(DEADLINE)
        doubts.take(pool, held, lambda: again("c", 0))
        until(lambda: happened == ["wait", "c", "wait"])


def test_a_stop_gives_back_what_is_undecided(consume: Consume) -> None:
    """No waiting: all of it is visible again, at once."""
    denied(consume, 3)
    consume.poller.gate = Gate(3600, 3600)
    turn(consume)
    until(lambda: tries(consume) == 3)
    consume.poller.close(DEADLINE)
    assert consume.queue.visible() == 3
