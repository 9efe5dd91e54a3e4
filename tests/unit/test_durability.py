"""Batches of files made durable: together where that is cheaper, and always with each file's own errors."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import durability
from pipeline.durability import Durability
from tests.unit.places import facilities_of, note_fsyncs, write


class Disk:
    """Open files, and a clock that goes on by what a call takes."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fds = [os.open(write(root / f"{number}"), os.O_RDONLY) for number in range(40)]
        self.calls: list[str] = []
        self.now, self.together_takes, self.each_takes = 0.0, 0.001, 0.0
        self.refuses = False
        monkeypatch.setattr(durability, "sync_together", self._sync_together)
        monkeypatch.setattr(os, "fsync", self._fsync)
        self.bad: set[int] = set()
        self.lost: set[int] = set()

    def durability(self, *, together: bool = True) -> Durability:
        return Durability(together=together, clock=lambda: self.now)

    def _sync_together(self, fds: list[int]) -> list[OSError | None]:
        self.calls.append("together")
        self.now += self.together_takes
        if self.refuses:
            raise OSError(errno.EIO, "Input/output error")
        return [OSError(errno.EIO, "lost") if fd in self.lost else None for fd in fds]

    def _fsync(self, fd: int) -> None:
        self.calls.append("one")
        self.now += self.each_takes
        if fd in self.bad:
            raise OSError(errno.EIO, f"bad {fd}")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(tmp_path, monkeypatch)
    yield made
    for fd in made.fds:
        os.close(fd)


@pytest.fixture
def start() -> Iterator[Callable[[Durability], Durability]]:
    started: list[Durability] = []

    def keep(made: Durability) -> Durability:
        started.append(made)
        return made

    yield keep
    for each in started:
        each.close()


Start = Callable[[Durability], Durability]


def test_a_batch_is_one_call_and_few_files_are_not(disk: Disk, start: Start) -> None:
    """No call for all waits for the disk of others where a file or three are asked for."""
    batches = start(disk.durability())
    assert batches.sync(disk.fds) == [None] * 40
    assert disk.calls == ["together"]
    assert batches.sync(disk.fds[:3]) == [None] * 3
    assert disk.calls[1:] == ["one"] * 3
    assert batches.sync([]) == []


def test_without_the_call_each_file_is_synced(disk: Disk, start: Start) -> None:
    """Once, and each error is at the place of its file."""
    disk.bad = {disk.fds[0], disk.fds[13]}
    errors = start(disk.durability(together=False)).sync(disk.fds)
    assert disk.calls == ["one"] * 40
    assert [index for index, error in enumerate(errors) if error] == [0, 13]
    assert str(disk.fds[13]) in str(errors[13])


def test_a_failed_call_is_put_to_each_file(disk: Disk, start: Start) -> None:
    """The one that cannot be written is blamed, and no other; what is well again goes together again."""
    batches = start(disk.durability())
    disk.refuses, disk.bad = True, {disk.fds[4]}
    errors = batches.sync(disk.fds)
    assert [index for index, error in enumerate(errors) if error] == [4]
    disk.refuses = False
    assert batches.sync(disk.fds) == [None] * 40
    assert disk.calls[-1] == "together"


def test_what_was_lost_earlier_is_told(disk: Disk, start: Start) -> None:
    """The call succeeds, as the loss was told to another; the file itself remembers."""
    disk.lost = {disk.fds[7]}
    errors = start(disk.durability()).sync(disk.fds)
    assert [index for index, error in enumerate(errors) if error] == [7]


def test_a_busy_disk_is_gone_round(disk: Disk, start: Start) -> None:
    """A call that took much longer than its files would have is not made for a while, twice as long the next time."""
    batches = start(disk.durability())
    for alone in (8, 16, 32, 64, 128, 128):
        disk.together_takes = 5.0
        disk.calls.clear()
        batches.sync(disk.fds)
        for _ in range(alone):
            batches.sync(disk.fds)
        assert disk.calls == ["together"] + ["one"] * 40 * alone
    disk.together_takes = 0.001
    for takes in (0.001, 5.0):
        disk.together_takes = takes
        batches.sync(disk.fds)
    disk.calls.clear()
    for _ in range(9):
        batches.sync(disk.fds)
    assert disk.calls == ["one"] * 40 * 8 + ["together"]


def test_what_each_file_takes_is_measured(disk: Disk, start: Start) -> None:
    """A disk that is slow for each is not spared the call for all."""
    batches = start(disk.durability())
    disk.together_takes, disk.each_takes = 0.5, 0.1
    for _ in range(9):
        batches.sync(disk.fds)
    disk.calls.clear()
    for _ in range(3):
        batches.sync(disk.fds)
    assert disk.calls == ["together"] * 3


def test_the_real_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    """Files and folders, where this file system has it; what cannot be synced says so at its place."""
    if not facilities_of("kernel", tmp_path).together:
        pytest.skip("this file system has no call for many files")
    fds = [os.open(write(tmp_path / f"{number}"), os.O_RDONLY) for number in range(40)]
    fds += [os.open(tmp_path, os.O_RDONLY)]
    fds += [os.open(tmp_path / "0", os.O_PATH)]  # by which nothing can be written
    synced = note_fsyncs(monkeypatch)
    errors = start(Durability(together=True)).sync(fds)
    assert synced == []
    assert errors[:-1] == [None] * 41
    assert isinstance(errors[-1], OSError)
    for fd in fds:
        os.close(fd)


def test_the_real_call_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    """Once for a batch; its error is no success."""
    if not facilities_of("kernel", tmp_path).together:
        pytest.skip("this file system has no call for many files")
    asked: list[int] = []

    def syncfs(fd: int) -> int:
        asked.append(fd)
        ctypes.set_errno(errno.EIO)
        return -1

    fds = [os.open(write(tmp_path / f"{number}"), os.O_RDONLY) for number in range(40)]
    monkeypatch.setattr(durability, "_syncfs", syncfs)
    synced = note_fsyncs(monkeypatch)
    assert start(Durability(together=True)).sync(fds) == [None] * 40
    assert len(asked) == 1
    assert len(synced) == 40
    for fd in fds:
        os.close(fd)


def test_files_of_two_file_systems_are_asked_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    """One call speaks of one: whichever came first in the batch, the others would not be durable."""
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    fds = [os.open("/dev/shm", os.O_RDONLY)]
    fds += [os.open(write(tmp_path / f"{number}"), os.O_RDONLY) for number in range(40)]
    synced = note_fsyncs(monkeypatch)
    assert start(Durability(together=True)).sync(fds) == [None] * 41
    assert len(synced) == 41
    for fd in fds:
        os.close(fd)


def test_the_limit_of_open_files_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """D22. To 4,096 or what is allowed; never lowered; refused, it stays."""
    import resource

    from pipeline import process

    asked: list[int] = []
    endless = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: asked.append(limits[0]))
    cases = [
        (1024, 20000, 4096),
        (1024, 2000, 2000),
        (8192, 20000, 8192),
        (1024, endless, 4096),
        (endless, endless, 4096),
    ]
    for soft, hard, expected in cases:
        monkeypatch.setattr(resource, "getrlimit", lambda _kind, limits=(soft, hard): limits)
        assert process.raise_descriptor_limit() == expected
    assert asked == [4096, 2000, 4096]

    def refuse(_kind: int, _limits: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 1024))
    assert process.raise_descriptor_limit() == 256
