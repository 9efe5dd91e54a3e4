"""How long to wait before the next try, and the gate that a whole side waits at."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline import pacing
from pipeline.pacing import Gate, delay


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(pacing, "time", made)
    monkeypatch.setattr(pacing, "delay", lambda attempt, base, cap: min(cap, base * 2.0**attempt))
    return made  # type: ignore[return-value]


@pytest.mark.parametrize("attempt", [0, 1, 5, 6, 7, 20, 21, 10**9])
def test_delays_grow_to_their_cap(attempt: int) -> None:
    """B1. Between nothing and base · 2ⁿ, never above the cap, however many tries there were; and spread."""
    bound = min(60.0, 0.5 * 2.0 ** min(attempt, 20))
    values = [delay(attempt) for _ in range(300)]
    assert all(0 <= value <= bound for value in values)
    assert min(values) < bound / 4
    assert max(values) > bound * 3 / 4


def test_a_gate_is_open_until_something_fails(clock: Clock) -> None:
    """And open again when its time is up."""
    gate = Gate(base=1.0, cap=30.0)
    assert gate.remaining() == 0
    assert gate.wait()
    gate.shut(OSError("no"))
    assert gate.remaining() == 1.5
    clock.now += 1.5
    assert gate.wait()


def test_one_outage_counts_once(clock: Clock) -> None:
    """Sixteen threads meet the same outage: the wait grows by one step, not by sixteen."""
    gate = Gate(base=1.0, cap=30.0)
    for _ in range(16):
        gate.shut(OSError("no"))
    assert gate.remaining() == 1.5
    waits = []
    for _ in range(8):
        clock.now += gate.remaining()
        gate.shut(OSError("no"))
        waits.append(gate.remaining())
    assert waits == [2.5, 4.5, 8.5, 16.5, 30.5, 30.5, 30.5, 30.5]


def test_success_makes_the_next_wait_short(clock: Clock) -> None:
    """What worked starts the counting anew."""
    gate = Gate(base=1.0, cap=30.0)
    for _ in range(5):
        gate.shut(OSError("no"))
        clock.now += gate.remaining()
    gate.passed()
    gate.shut(OSError("no"))
    assert gate.remaining() == 1.5


def test_one_log_line_a_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """B2. A long outage does not fill the log, and its end is told."""
    gate = Gate(base=1.0, cap=1.0)
    with caplog.at_level(logging.INFO):
        for _ in range(119):
            gate.shut(OSError("no network"))
            clock.now += 1
        gate.passed()
        gate.passed()
    assert [entry.levelname for entry in caplog.records] == ["ERROR", "ERROR", "INFO"]
    assert "no network" in caplog.text


def test_a_stop_wakes_who_waits() -> None:
    """A gate that is shut for an hour does not hold up the end of the program."""
    gate = Gate(base=3600.0, cap=3600.0)
    gate.shut(OSError("no"))
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(gate.wait()), daemon=True)
    thread.start()
    started = time.monotonic()
    gate.stop()
    thread.join(10)
    assert answers == [False]
    assert time.monotonic() - started < 5
    assert not Gate.wait(gate)


def test_troubles_of_single_files_are_one_line_a_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """B1. The first at once, the rest as a number."""
    summary = pacing.Summary(logging.getLogger("troubles"))
    for number in range(200):
        summary.note(LookupError(f"number {number}"))
    clock.now += 61
    summary.note(LookupError("the last"))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "number 0" in said[0]
    assert "200 times, the last: the last" in said[1]
