"""Is a file in Watch complete?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import kernel
from pipeline.completeness import Completeness


class World:
    """A file, and clocks that the test sets."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.wall = path, 50.0, 1_700_000_000.0
        path.write_bytes(b"x")
        self.touch(self.wall)
        self.fd = os.open(path, os.O_RDONLY)

    def touch(self, seconds: float) -> None:
        os.utime(self.path, (seconds, seconds))

    def judge(self, **options: float | bool) -> Callable[[], bool]:
        known = {"leases": False, "settle_seconds": 5.0, "minimum_age": 0.0, **options}
        completeness = Completeness(
            leases=bool(known["leases"]),
            settle_seconds=known["settle_seconds"],
            minimum_age=known["minimum_age"],
            clock=lambda: self.now,
            wall=lambda: self.wall,
        )
        self.completeness = completeness
        return lambda: completeness.judge("a", self.fd, os.fstat(self.fd))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "a")
    yield made
    os.close(made.fd)


def test_settling_takes_its_time(world: World) -> None:
    """Not at the first look, not a moment too early."""
    judge = world.judge()
    assert not judge()
    world.wait(4.9)
    assert not judge()
    world.wait(0.1)
    assert judge()


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_change_starts_it_again(world: World, change: str) -> None:
    """D6. Size or time, either counts."""
    judge = world.judge()
    judge()
    world.wait(4)
    if change == "size":
        world.path.write_bytes(b"longer")
        world.touch(1_700_000_000.0)
    else:
        world.touch(1_700_000_001.0)
    assert not judge()
    world.wait(4)
    assert not judge()
    world.wait(1)
    assert judge()


def test_a_file_that_was_gone_settles_anew(world: World) -> None:
    """What is remembered of a name goes with its file."""
    judge = world.judge()
    judge()
    world.wait(5)
    world.completeness.end_look()
    world.completeness.end_look()  # a whole look without it
    assert not judge()
    world.wait(5)
    world.completeness.end_look()
    assert judge()


def test_what_the_kernel_answers_for_is_not_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is for files that have to wait, not for each of 100,000 that are claimed at once."""
    monkeypatch.setattr(kernel, "is_being_written", lambda _fd: False)
    assert world.judge(leases=True)()
    assert world.completeness._seen == {}
    assert not world.judge(leases=True, minimum_age=60.0)()
    assert list(world.completeness._seen) == ["a"]


def test_the_minimum_age(world: World) -> None:
    """By the file's own time; an older file is old enough at once."""
    judge = world.judge(minimum_age=60.0, settle_seconds=0.0)
    assert not judge()
    world.wait(59)
    assert not judge()
    world.wait(1)
    assert judge()
    world.touch(world.wall - 3600)
    assert world.judge(minimum_age=60.0, settle_seconds=0.0)()


@pytest.mark.parametrize("shift", [3600.0 * 24 * 365, -3600.0 * 24 * 365])
def test_a_time_in_the_future_or_a_clock_set_back_keeps_no_file_for_ever(world: World, shift: float) -> None:
    """D25. Our own watch counts too, and it only goes forward."""
    judge = world.judge(minimum_age=60.0, settle_seconds=0.0)
    world.touch(world.wall + abs(shift))
    judge()
    world.wall += min(shift, 0)
    world.now += 60
    assert judge()


@pytest.mark.parametrize(("written", "complete"), [(True, False), (False, True)])
def test_the_kernel_decides_where_it_knows(
    world: World, monkeypatch: pytest.MonkeyPatch, written: bool, complete: bool
) -> None:
    """At once, either way, whatever the settle time."""
    monkeypatch.setattr(kernel, "is_being_written", lambda _fd: written)
    judge = world.judge(leases=True)
    assert judge() is complete
    world.wait(100)
    assert judge() is complete


def test_where_the_kernel_does_not_say_time_decides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """D13. Another owner's file, a share: the settle time."""
    monkeypatch.setattr(kernel, "is_being_written", lambda _fd: None)
    judge = world.judge(leases=True)
    assert not judge()
    world.wait(5)
    assert judge()


def test_without_leases_the_kernel_is_not_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """FUSE would answer, and lie."""
    monkeypatch.setattr(kernel, "is_being_written", lambda _fd: pytest.fail("asked"))
    world.judge()()
