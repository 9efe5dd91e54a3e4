"""SIGTERM in a process of the program: a flag, and only in a wait an exception."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from pipeline.process import Stop, StopRequested


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = signal.getsignal(signal.SIGTERM)
    yield Stop()
    signal.signal(signal.SIGTERM, before)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_cuts_nothing_but_a_wait(stop: Stop) -> None:
    """Between two waits there are effects, which are finished."""
    with stop.waiting():
        pass
    ask()
    assert stop.requested


def test_a_signal_cuts_a_wait(stop: Stop) -> None:
    """Once: what is done at its end is not cut again."""
    ended: list[bool] = []

    def wait() -> None:
        with stop.waiting():
            try:
                ask()
                signal.pause()
            finally:
                ask()
                ended.append(True)

    with pytest.raises(StopRequested):
        wait()
    assert ended == [True]


def test_a_wait_after_the_signal_does_not_begin(stop: Stop) -> None:
    """Nobody would cut it."""
    ask()
    with pytest.raises(StopRequested), stop.waiting():
        pytest.fail("it waits")


def test_no_handler_of_errors_takes_a_stop(stop: Stop) -> None:
    """Libraries catch and wrap whatever is an Exception, and try again."""

    def wait() -> None:
        with stop.waiting(), contextlib.suppress(Exception):
            ask()
            signal.pause()

    with pytest.raises(StopRequested):
        wait()
