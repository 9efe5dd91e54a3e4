"""Requests of one transfer under way together, within what this process may hold in memory."""

import contextlib
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

from pipeline.aws.errors import stop_if
from pipeline.names import human_size

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_LOOK_SECONDS = 0.2
"""How often a wait looks whether it was cancelled."""
_SAY_SECONDS = 10.0


class Budget:
    """Bytes of content that the large transfers of a process may hold together, in the order in which they ask.

    Something larger than all of it goes alone. The runtime holds a second copy of each.
    """

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    def take(self, size: int, cancelled: Callable[[], bool], what: str) -> None:
        """Wait until so many bytes are free; CancelledError."""
        ticket = object()

        def is_next() -> bool:
            return self._queue[0] is ticket and (not self._used or self._used + size <= self._size)

        with self._changed:
            self._queue.append(ticket)
            try:
                while not self._changed.wait_for(is_next, _LOOK_SECONDS):
                    stop_if(cancelled(), what)
                self._used += size
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def give(self, size: int) -> None:
        """They are free again."""
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    @contextlib.contextmanager
    def taken(self, size: int, cancelled: Callable[[], bool], what: str) -> Iterator[None]:
        """So many bytes, while the block runs."""
        self.take(size, cancelled, what)
        try:
            yield
        finally:
            self.give(size)


class Progress:
    """Tells how far a transfer is that takes its time: a line in the log every ten seconds."""

    def __init__(self, what: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`total`: bytes in all."""
        self._what, self._total, self._clock = what, total, clock
        self._lock = threading.Lock()
        self._done, self._said = 0, clock()

    def add(self, size: int) -> None:
        """So many bytes more have arrived."""
        with self._lock:
            self._done += size
            now = self._clock()
            if now - self._said < _SAY_SECONDS:
                return
            self._said, percent = now, 100 * self._done // self._total
        log.info("%s  %s of %s, %d %%", self._what, human_size(self._done), human_size(self._total), percent)


class Window(Generic[Result]):
    """The requests of one transfer. Leaving it waits for every one: none reads or writes its file afterwards."""

    def __init__(self, budget: Budget, cancelled: Callable[[], bool], what: str, total: int) -> None:
        """`total`: bytes in all."""
        self._budget, self._cancelled, self._what = budget, cancelled, what
        self._progress = Progress(what, total)
        self._futures: list[Future[Result]] = []
        self._failed: Future[Result] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait(self._futures)

    def submit(self, size: int, begin: Callable[[], Future[Result]]) -> None:
        """Begin one more as soon as its bytes fit; raises what an earlier one raised, or CancelledError."""
        stop_if(self._cancelled(), self._what)
        self._budget.take(size, self._cancelled, self._what)
        try:
            if self._failed is not None:
                self._failed.result()
            future = begin()
        except BaseException:
            self._budget.give(size)
            raise
        self._futures.append(future)
        future.add_done_callback(functools.partial(self._end, size))

    def _end(self, size: int, future: Future[Result]) -> None:
        self._budget.give(size)
        if future.exception() is None:
            self._progress.add(size)
        else:
            self._failed = future

    def results(self) -> list[Result]:
        """Wait for all, in the order they were begun; raises what one of them raised, or CancelledError."""
        left = set(self._futures)
        while left:
            stop_if(self._cancelled(), self._what)
            _, left = wait(left, _LOOK_SECONDS)
        return [future.result() for future in self._futures]
