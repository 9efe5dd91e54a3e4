"""Pools of threads, where there is no room for more of them."""

from __future__ import annotations

import threading

import pytest

from pipeline.threads import Pool


def refuse(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_the_threads_that_are_there_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A12. What is given to a pool that cannot have another thread is done, once, after what is under way."""
    pool, free, done = Pool(3, "few"), threading.Event(), list[str]()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    under_way = pool.submit(free.wait, 10)  # were it for ever, a failure would be, too
    waiting = [pool.submit(done.append, name) for name in ("a", "b")]
    assert done == []
    free.set()
    assert under_way.result(10)
    for each in waiting:
        each.result(10)
    assert done == ["a", "b"]
    pool.shutdown()


def test_more_are_started_once_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A12. Nothing is remembered of it."""
    pool, met = Pool(2, "two"), threading.Barrier(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        first = pool.submit(met.wait, 10)
        second = pool.submit(int)
    third = pool.submit(met.wait, 10)
    assert sorted((first.result(10), third.result(10))) == [0, 1]
    assert second.result(10) == 0
    pool.shutdown()


def test_a_pool_without_any_thread_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A12. Its process ends, and another is started in its place."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        Pool(2, "none")
