"""Requests of one transfer under way together, within what the process may hold."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pipeline.aws.window import Budget, Progress, Window
from pipeline.ports import CancelledError

DEADLINE = 30.0


def no() -> bool:
    return False


def test_a_budget_is_never_overdrawn() -> None:
    """Eight takers of random sizes; the sum in use never exceeds the budget, but for one that goes alone."""
    budget, lock = Budget(100), threading.Lock()
    used: list[int] = []
    seen: list[list[int]] = []

    def take(size: int) -> None:
        budget.take(size, no, "x")
        with lock:
            used.append(size)
            seen.append(list(used))
        with lock:
            used.remove(size)
        budget.give(size)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [30, 60, 10, 250, 100, 1, 99, 40] * 20))
    assert len(seen) == 160
    assert all(sum(each) <= 100 or len(each) == 1 for each in seen)


def test_a_wait_for_the_budget_ends_when_it_is_cancelled() -> None:
    """Nobody gives anything back, and the transfer is told to stop."""
    budget = Budget(10)
    budget.take(10, no, "first")
    with pytest.raises(CancelledError, match="second"):
        budget.take(1, lambda: True, "second")


def test_results_come_in_the_order_they_were_begun() -> None:
    """However they end."""
    futures: list[Future[int]] = [Future() for _ in range(3)]
    with Window[int](Budget(100), no, "x", 3) as window:
        for future in futures:
            window.submit(1, lambda future=future: future)  # type: ignore[misc]
        for number in (2, 0, 1):
            futures[number].set_result(number)
        assert window.results() == [0, 1, 2]


def test_an_error_ends_it_and_it_is_left_only_when_all_have_ended() -> None:
    """The file stays open for those that still read or write it; no further one begins."""
    failed, running = Future[int](), Future[int]()
    budget = Budget(10)
    window = Window[int](budget, no, "x", 30)
    left = threading.Event()

    def begin() -> None:
        with window:
            window.submit(5, lambda: failed)
            window.submit(5, lambda: running)
            window.submit(5, lambda: pytest.fail("begun after an error"))

    def transfer() -> None:
        with pytest.raises(LookupError):
            begin()
        left.set()

    thread = threading.Thread(target=transfer, daemon=True)
    thread.start()
    failed.set_exception(LookupError("broken"))
    assert not left.wait(0.1)
    running.set_result(1)
    assert left.wait(DEADLINE)
    budget.take(10, no, "all was given back")


def test_a_request_that_cannot_begin_takes_nothing() -> None:
    """What it would have held is free again."""
    budget = Budget(10)
    with pytest.raises(OSError, match="no file"), Window[int](budget, no, "x", 10) as window:
        window.submit(10, _raise)
    budget.take(10, no, "x")


def _raise() -> Future[int]:
    raise OSError("no file")


def test_progress_is_told_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    """A transfer that is quicker says nothing."""
    now = [0.0]
    progress = Progress("PUT s3://b/k", 4_000_000, lambda: now[0])
    with caplog.at_level(logging.INFO):
        for now[0] in (5.0, 10.5, 12.0, 21.0):
            progress.add(1_000_000)
    assert [record.getMessage() for record in caplog.records] == [
        "PUT s3://b/k  2 MB of 4 MB, 50 %",
        "PUT s3://b/k  4 MB of 4 MB, 100 %",
    ]
