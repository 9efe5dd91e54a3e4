"""What the supervisor decides, without a process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from pipeline import pacing, supervisor
from pipeline.children import Child, Running
from pipeline.sides import Side
from pipeline.supervisor import Supervisor


@pytest.fixture
def made() -> Iterator[Supervisor]:
    made = Supervisor(1.0)
    yield made
    for end in (made._wake_reader, made._wake_writer):
        end.close()


def child_of(running: Running, lived: float = 0.0) -> Child:
    asked: list[bool] = []
    process = SimpleNamespace(terminate=lambda: asked.append(True))
    child = SimpleNamespace(name="a", side=running, process=process, started=time.monotonic() - lived, asked=asked)
    return cast(Child, child)


def test_who_crashes_again_and_again_comes_back_later_and_later(
    made: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once the first time, as one death is nothing; then after pauses that grow; one long life makes it good."""
    monkeypatch.setattr(pacing, "delay", lambda attempt, *_values: 100.0 * (attempt + 1))
    running = Running(Side("side", ()))

    def crash(lived: float) -> int:
        made._crashed(running, child_of(running, lived), 1)
        assert running.restart_at is not None
        return round((running.restart_at - time.monotonic()) / 100)

    assert [crash(0) for _ in range(4)] == [0, 1, 2, 3]
    assert [crash(supervisor._STABLE_SECONDS), crash(0), crash(0)] == [0, 0, 1]


@pytest.mark.parametrize("shares", [True, False])
def test_a_queue_that_a_death_may_have_spoiled_is_left(made: Supervisor, shares: bool) -> None:
    """A process that was killed inside `get` keeps its lock for ever: who shares it ends, and a new one is made."""
    running = Running(Side("side", (), share=(lambda _context: None) if shares else None))
    other = child_of(running)
    running.children.append(other)
    made._crashed(running, child_of(running), -9)
    assert len(other.asked) == shares  # type: ignore[attr-defined]
    assert running.children == ([] if shares else [other])
    assert [child for child, _ in made._draining] == ([other] if shares else [])


@pytest.mark.parametrize("codes", [(0, -9), (-9, 0)])
def test_a_side_is_not_done_while_one_of_it_is_to_be_started_again(
    made: Supervisor, monkeypatch: pytest.MonkeyPatch, codes: tuple[int, int]
) -> None:
    """With --once two pollers end at the same instant, one because it was killed: what it had in hand is not done."""
    monkeypatch.setattr(made, "_close", lambda _child, asked: None)
    running = Running(Side("side", ()))
    role = SimpleNamespace(leads=True)
    for code in codes:
        child = child_of(running)
        child.role, child.process.exitcode = role, code  # type: ignore[misc,assignment]
        running.children.append(child)
    made._running.append(running)
    made._collect()
    assert (running.ended, running.restart_at is None) == (False, False)
