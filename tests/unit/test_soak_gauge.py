"""The depth of a queue, asked for beside the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from pipeline.ports import Depth, LaterError, PausedError, RelayError
from pipeline.soak.gauge import Gauge
from tests.fakes import FakeQueue
from tests.soak import DEADLINE, finishes, until

EMPTY, VISIBLE, HELD = Depth(0, 0, 0, None), Depth(1, 0, 0, 0), Depth(0, 1, 0, 0)


def scripted(*answers: Depth | RelayError) -> Callable[[], Depth]:
    """Give these answers, one after the other."""
    rest = iter(answers)

    def ask() -> Depth:
        answer = next(rest)
        if isinstance(answer, RelayError):
            raise answer
        return answer

    return ask


@pytest.fixture
def make() -> Iterator[Callable[[Callable[[], Depth]], Gauge]]:
    made: list[Gauge] = []

    def of(ask: Callable[[], Depth]) -> Gauge:
        made.append(Gauge(ask))
        made[-1].read()
        return made[-1]

    yield of
    for gauge in made:
        gauge.close()


Make = Callable[[Callable[[], Depth]], Gauge]


def take(gauge: Gauge) -> Depth | None:
    """Read when the answer is there."""
    until(lambda: gauge._pending is not None and gauge._pending.done())
    gauge.read()
    return gauge.depth


def test_it_tells_how_deep_the_queue_was(make: Make) -> None:
    """One read later than it asked, as it never waits."""
    queue = FakeQueue()
    queue.put("x")
    gauge = make(queue.depth)
    assert gauge.depth is None
    assert take(gauge) == Depth(1, 0, 0, 0)


@pytest.mark.parametrize("error", [LaterError("slow down"), PausedError("no endpoint")])
def test_a_queue_that_cannot_be_asked_is_a_gap(make: Make, error: RelayError) -> None:
    """And is asked again."""
    gauge = make(scripted(VISIBLE, error, HELD, EMPTY))
    assert [take(gauge) for _ in range(3)] == [VISIBLE, None, HELD]


def test_empty_counts_from_the_last_that_was_not(make: Make) -> None:
    """Messages in flight are messages; an answer that does not come says nothing."""
    error = LaterError("slow down")
    gauge = make(scripted(EMPTY, EMPTY, HELD, EMPTY, VISIBLE, EMPTY, EMPTY, error, EMPTY, EMPTY))
    counts = []
    for _ in range(9):
        take(gauge)
        counts.append(gauge.empty)
    assert counts == [1, 2, 0, 1, 0, 1, 2, 0, 1]


def test_a_slow_answer_holds_nobody_up(make: Make) -> None:
    """Meanwhile nothing is known, and nothing is asked a second time; when it comes it counts."""
    answered, asked = threading.Event(), 0

    def ask() -> Depth:
        nonlocal asked
        asked += 1
        if asked == 2:
            assert answered.wait(DEADLINE)
        return EMPTY

    gauge = make(ask)
    assert take(gauge) == EMPTY
    until(lambda: asked == 2)
    for _ in range(3):
        gauge.read()
        assert (gauge.depth, gauge.empty) == (None, 0)
    answered.set()
    assert take(gauge) == EMPTY
    assert gauge.empty == 1
    until(lambda: gauge._pending is not None and gauge._pending.done())
    assert asked == 3


def test_the_end_waits_for_no_answer(make: Make) -> None:
    """The report of a run comes whether or not the queue answers."""
    answered, asked = threading.Event(), threading.Event()

    def ask() -> Depth:
        asked.set()
        assert answered.wait(DEADLINE)
        return EMPTY

    gauge = make(ask)
    assert asked.wait(DEADLINE)
    assert finishes(gauge.close)
    answered.set()


def test_silence_is_counted(make: Make) -> None:
    """Errors and missing answers alike, until there is an answer again."""
    gauge = make(scripted(LaterError("a"), PausedError("b"), EMPTY, LaterError("c"), EMPTY))
    counts = []
    for _ in range(4):
        take(gauge)
        counts.append(gauge.silent)
    assert counts == [1, 2, 0, 1]


def test_dead_letters_count_from_the_first_answer(make: Make) -> None:
    """Those of earlier runs are none of this one's; what was buried stays so when somebody empties the queue."""
    gauge = make(scripted(*(Depth(0, 0, 0, dead) for dead in (5, 5, 8, 0, 0))))
    counts = []
    for _ in range(4):
        take(gauge)
        counts.append(gauge.buried)
    assert counts == [0, 0, 3, 3]
