"""The program without its threads: what it gives to pools and batches is done in turn, in an order that is said.

So a run can be repeated exactly, and an exception that stands for the end of the process ends all of it.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from pipeline import batcher, threads
from pipeline.batcher import settle
from tests import fakes


class Turns:
    """What is waiting to be done."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def add(self, work: Callable[[], Any]) -> Future[Any]:
        """Do it in a turn of its own; the future has its outcome."""
        future: Future[Any] = Future()
        self._waiting.append(lambda: _settle(future, work))
        return future

    def run(self, rng: random.Random | None = None) -> None:
        """Until nothing waits: the first comes first, or whichever `rng` picks."""
        while self._waiting:
            self._waiting.pop(rng.randrange(len(self._waiting)) if rng else 0)()

    def forget(self) -> None:
        """What waits is never done: its process has ended."""
        self._waiting.clear()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of every pool, batch and transfer thread of the modules that are loaded."""
        patch.setattr(fakes, "_begun", self.add)
        instead = {
            threads.Pool: lambda *_size_and_name: _Pool(self),
            batcher.Batcher: lambda flush, size, *_times, **_ways: _Batches(self, flush, size),
        }
        for whose, module in list(sys.modules.items()):
            for kind, made in instead.items() if whose.startswith("pipeline.") else ():
                if getattr(module, kind.__name__, None) is kind and whose != kind.__module__:
                    patch.setattr(module, kind.__name__, made)
        patch.setattr(threading.Thread, "start", _refuse)  # else what runs here has become another than was proven


class _Pool:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def submit(self, work: Callable[..., Any], *values: Any, **named: Any) -> Future[Any]:
        return self._turns.add(lambda: work(*values, **named))

    def map(self, work: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        return [work(value) for value in values]

    def shutdown(self, **_how: bool) -> None:
        """There is nothing to end."""


class _Batches:
    """A batcher whose batch is whatever came before its turn."""

    def __init__(self, turns: Turns, flush: Callable[[Sequence[Any]], Sequence[Any]], size: int) -> None:
        self._turns, self._flush, self._size = turns, flush, size
        self._waiting: list[tuple[Any, Future[Any]]] = []

    def submit(self, item: Any) -> Future[Any]:
        future = _Batched(self.flush_all)
        self._waiting.append((item, future))
        self._turns.add(self.flush_all)
        return future

    def flush_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            settle(self._flush, batch)

    def close(self) -> None:
        self.flush_all()


class _Batched(Future[Any]):
    """Whoever waits for it makes its batch go: nobody else could."""

    def __init__(self, flush: Callable[[], None]) -> None:
        super().__init__()
        self._make_go = flush

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self._make_go()
        return super().result(timeout)


def _refuse(thread: threading.Thread) -> None:
    raise AssertionError(f"{thread.name} would run beside the proof")


def _settle(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        outcome = work()
    except Exception as error:  # noqa: BLE001  # not hidden: whoever waits for the future raises it
        future.set_exception(error)
    else:
        future.set_result(outcome)
