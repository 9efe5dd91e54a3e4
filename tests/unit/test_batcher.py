"""What comes together travels together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from pipeline.batcher import Batcher

DEADLINE = 30.0


class Flushes:
    """Notes every batch; doubles each number, refuses the odd ones above 100."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.entered.release()
        assert self.go.wait(DEADLINE)
        self.batches.append(list(items))
        return [LookupError(str(item)) if item > 100 and item % 2 else item * 2 for item in items]


def test_each_item_has_its_own_outcome() -> None:
    """In order, the refused ones raising, nothing lost and nothing doubled."""
    flush = Flushes()
    batcher: Batcher[int, int] = Batcher(flush, 10, 0.005, 2)
    futures = {item: batcher.submit(item) for item in range(95, 140)}
    batcher.close()
    for item, future in futures.items():
        if item > 100 and item % 2:
            with pytest.raises(LookupError, match=str(item)):
                future.result(0)
        else:
            assert future.result(0) == item * 2
    assert sorted(item for batch in flush.batches for item in batch) == list(range(95, 140))


def test_a_close_flushes_what_was_submitted() -> None:
    """Also what waited behind a batch under way."""
    flush = Flushes()
    flush.go.clear()
    batcher: Batcher[int, int] = Batcher(flush, 2, 60.0)
    futures = [batcher.submit(item) for item in range(5)]
    assert flush.entered.acquire(timeout=DEADLINE)
    closing = threading.Thread(target=batcher.close, daemon=True)
    closing.start()
    while not batcher._closed:
        time.sleep(0.001)
    flush.go.set()
    closing.join(DEADLINE)
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8]


def test_batches_are_filled_and_never_overfilled() -> None:
    """What waited while a batch travelled goes together, up to the size."""
    flush = Flushes()
    flush.go.clear()
    batcher: Batcher[int, int] = Batcher(flush, 4, 0.0)
    batcher.submit(0)
    assert flush.entered.acquire(timeout=DEADLINE)
    for item in range(1, 10):
        batcher.submit(item)
    flush.go.set()
    batcher.close()
    assert flush.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_first_item_waits_for_company() -> None:
    """Up to `linger`, and no longer once the batch is full."""
    flush = Flushes()
    batcher: Batcher[int, int] = Batcher(flush, 3, 3600.0)
    for item in range(3):
        last = batcher.submit(item)
    assert last.result(DEADLINE) == 4
    batcher.submit(3)
    batcher.close()
    assert flush.batches == [[0, 1, 2], [3]]


def test_a_lone_item_goes_after_the_linger() -> None:
    """Nobody else comes: it travels alone."""
    batcher: Batcher[int, int] = Batcher(Flushes(), 10, 0.001)
    assert batcher.submit(1).result(DEADLINE) == 2
    batcher.close()


@pytest.mark.parametrize("error", [OSError("no network"), ValueError("a bug")])
def test_an_error_of_the_whole_batch_reaches_everybody_and_ends_nothing(error: Exception) -> None:
    """Each of its callers raises it; the next batch travels."""
    errors = [error]

    def flush(items: Sequence[int]) -> list[int | Exception]:
        if errors:
            raise errors.pop()
        return list(items)

    batcher: Batcher[int, int] = Batcher(flush, 2, 3600.0)
    first = [batcher.submit(1), batcher.submit(2)]
    for future in first:
        with pytest.raises(type(error), match=str(error)):
            future.result(DEADLINE)
    second = [batcher.submit(3), batcher.submit(4)]
    assert [future.result(DEADLINE) for future in second] == [3, 4]
    batcher.close()


def test_several_batches_travel_at_a_time() -> None:
    """One that hangs does not hold up the other thread's."""
    flush = Flushes()
    flush.go.clear()
    batcher: Batcher[int, int] = Batcher(flush, 1, 0.0, threads=2)
    for item in range(2):
        batcher.submit(item)
    assert all(flush.entered.acquire(timeout=DEADLINE) for _ in range(2))
    flush.go.set()
    batcher.close()
