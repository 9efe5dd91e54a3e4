"""Turn single calls into batches: what comes together travels together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Batcher(Generic[Item, Outcome]):
    """Collects items for a few milliseconds and hands them over in batches, several batches at a time.

    `flush` gets up to `size` items and returns one outcome each; an outcome that is an exception, or an exception out
    of `flush`, is raised by `submit`'s future. The first item of a batch waits at most `linger` seconds for company,
    and not at all if `alone(items that wait)`, which is asked at each submit, says that none can come.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Sequence[Outcome | Exception]],
        size: int,
        linger: float,
        threads: int = 1,
        alone: Callable[[int], bool] = lambda _size: False,
    ) -> None:
        self._flush, self._size, self._linger, self._alone = flush, size, linger, alone
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Item, Future[Outcome]]] = deque()
        self._first_at = 0.0
        """Monotonic second since when the first of them waits."""
        self._closed = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, item: Item) -> "Future[Outcome]":
        """Put an item into the next batch; the future has its outcome. RuntimeError once it is closed."""
        future: Future[Outcome] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("closed: nothing is flushed any more")
            if not self._waiting:
                self._first_at = time.monotonic()
            self._waiting.append((item, future))
            # A thread is woken for the first item, which it waits beside, and for what makes a batch ready: not for
            # each that comes in between.
            count = len(self._waiting)
            if count == 1 or count % self._size == 0 or self._alone(count):
                self._changed.notify()
        return future

    def close(self) -> None:
        """Flush what was submitted and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while batch := self._next():
            settle(self._flush, batch)

    def _next(self) -> list[tuple[Item, "Future[Outcome]"]]:
        """The next batch, as soon as it is full, or its first item waited long enough; empty at the end."""
        with self._changed:
            while not self._is_ready():
                if self._closed and not self._waiting:
                    return []
                left = self._first_at + self._linger - time.monotonic() if self._waiting else None
                self._changed.wait(left)
            batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
            if self._waiting:
                self._first_at = time.monotonic()
                self._changed.notify()
            return batch

    def _is_ready(self) -> bool:
        count = len(self._waiting)
        return count > 0 and (
            count >= self._size
            or self._closed
            or time.monotonic() >= self._first_at + self._linger
            or self._alone(count)
        )


def settle(
    flush: Callable[[list[Item]], Sequence[Outcome | Exception]], batch: Sequence[tuple[Item, "Future[Outcome]"]]
) -> None:
    """Give each of a batch its outcome; an error of `flush` is that of every one."""
    try:
        outcomes = flush([item for item, _ in batch])
    except Exception as error:  # noqa: BLE001  # not hidden: every waiting caller raises it
        outcomes = [error] * len(batch)
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
