"""Requests of one transfer under way together, within what this process may hold in memory."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

from pipeline.aws.errors import stop_if

Result = TypeVar("Result")

_LOOK_SECONDS = 0.2
"""How often a wait looks whether it was cancelled."""


class Budget:
    """Bytes that all transfers of a process may hold together; something larger than all of it goes alone."""

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._changed = threading.Condition()

    def take(self, size: int, cancelled: Callable[[], bool], what: str) -> None:
        """Wait until so many bytes are free; CancelledError."""
        with self._changed:
            while not self._changed.wait_for(lambda: not self._used or self._used + size <= self._size, _LOOK_SECONDS):
                stop_if(cancelled(), what)
            self._used += size

    def give(self, size: int) -> None:
        """They are free again."""
        with self._changed:
            self._used -= size
            self._changed.notify_all()


class Window(Generic[Result]):
    """The requests of one transfer. Leaving it waits for every one: none reads or writes its file afterwards."""

    def __init__(self, budget: Budget, cancelled: Callable[[], bool], what: str) -> None:
        self._budget, self._cancelled, self._what = budget, cancelled, what
        self._futures: list[Future[Result]] = []

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
            for failed in (future for future in self._futures if future.done() and future.exception()):
                failed.result()
            future = begin()
        except BaseException:
            self._budget.give(size)
            raise
        future.add_done_callback(lambda _: self._budget.give(size))
        self._futures.append(future)

    def results(self) -> list[Result]:
        """Wait for all, in the order they were begun; raises what one of them raised, or CancelledError."""
        left = set(self._futures)
        while left:
            stop_if(self._cancelled(), self._what)
            _, left = wait(left, _LOOK_SECONDS)
        return [future.result() for future in self._futures]
