"""Turn single calls into batches: what comes together travels together."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Batcher(Generic[Item, Outcome]):
    """Collects items for a few milliseconds and hands them over in batches, several batches at a time.

    `flush` gets up to `size` items and returns one outcome each; an outcome that is an exception, or an exception out
    of `flush`, is raised by `submit`'s future. The first item of a batch waits at most `linger` seconds for company,
    and not at all once `alone(items in the batch)` says that none can come.
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
        # No SimpleQueue: where several threads wait on one, its get(timeout) can wait for ever. Woken for an item that
        # another thread took first, it goes on with what is left of its time, and a negative rest means no limit.
        self._queue: queue.Queue[tuple[Item, Future[Outcome]] | None] = queue.Queue()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, item: Item) -> "Future[Outcome]":
        """Put an item into the next batch; the future has its outcome."""
        future: Future[Outcome] = Future()
        self._queue.put((item, future))
        return future

    def close(self) -> None:
        """Flush what was submitted and end."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            last = self._fill(batch)
            self._settle(batch)
            if last:
                return

    def _fill(self, batch: list[tuple[Item, "Future[Outcome]"]]) -> bool:
        """Add company until the batch is full or its time is up; whether the end was seen."""
        deadline = time.monotonic() + self._linger
        while len(batch) < self._size:
            left = 0.0 if self._alone(len(batch)) else deadline - time.monotonic()
            try:
                following = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                return False
            if following is None:
                return True
            batch.append(following)
        return False

    def _settle(self, batch: list[tuple[Item, "Future[Outcome]"]]) -> None:
        try:
            outcomes: Sequence[Outcome | Exception] = self._flush([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  # not hidden: every waiting caller raises it
            outcomes = [error] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
