"""What may come, by its size. Figures of the disk are the test's; what is reserved is reserved for real."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import kernel
from pipeline.folders import Folder
from pipeline.ports import NeverError, PausedError, RoomError
from pipeline.room import Room
from tests.unit.places import facilities_of

MB = 1_000_000


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk of 1,000 MB with 100 MB free."""
    it = SimpleNamespace(f_bavail=100, f_blocks=1000, f_frsize=MB)
    monkeypatch.setattr(os, "fstatvfs", lambda _fd: it)
    return it


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "arrival", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def room(folder: Path, **limits: int) -> Room:
    return Room(Folder(folder, durable=False), **limits)


@pytest.mark.usefixtures("disk")
def test_larger_than_is_wanted_never_comes(tmp_path: Path, fd: int) -> None:
    """The limit itself may come; 0 is no limit."""
    room(tmp_path, largest=10).take(fd, 10)
    room(tmp_path).take(fd, 11)
    with pytest.raises(NeverError, match="maxObjectBytes"):
        room(tmp_path, largest=10).take(fd, 11)


def test_below_what_is_kept_nothing_comes(tmp_path: Path, fd: int, disk: SimpleNamespace) -> None:
    """Not even an empty file, whatever is free else."""
    room(tmp_path, spare=100 * MB).take(fd, 0)
    disk.f_bavail = 99
    with pytest.raises(PausedError, match=r"99 MB free and .* minFreeBytes keeps 100 MB"):
        room(tmp_path, spare=100 * MB).take(fd, 0)


@pytest.mark.usefixtures("disk")
def test_what_does_not_fit_waits_alone(tmp_path: Path, fd: int) -> None:
    """What is kept free is not for it; what the whole disk could not hold will never come."""
    with pytest.raises(RoomError, match="100 MB are free"):
        room(tmp_path, spare=20 * MB).take(fd, 80 * MB + 1)
    with pytest.raises(RoomError):
        room(tmp_path, spare=20 * MB).take(fd, 980 * MB)
    with pytest.raises(NeverError, match="whole disk"):
        room(tmp_path, spare=20 * MB).take(fd, 980 * MB + 1)


def test_its_room_is_reserved(tmp_path: Path, fd: int) -> None:
    """The blocks are taken and the size is not changed; a small one, of which there may be many, does without."""
    room(tmp_path).take(fd, 1000)
    assert os.fstat(fd).st_blocks == 0
    room(tmp_path).take(fd, 3 * MB)
    assert os.fstat(fd).st_size == 0
    if not facilities_of("kernel", tmp_path).together and not os.fstat(fd).st_blocks:
        pytest.skip("this file system reserves nothing")
    assert os.fstat(fd).st_blocks * 512 >= 3 * MB


def test_a_disk_that_was_filled_meanwhile(tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reservation says counts, be it for a quota."""

    def refuse(number: int) -> None:
        def fail(_fd: int, _size: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(kernel, "reserve", fail)

    for number in (errno.ENOSPC, errno.EDQUOT):
        refuse(number)
        with pytest.raises(RoomError):
            room(tmp_path).take(fd, 3 * MB)
    refuse(errno.EIO)
    with pytest.raises(OSError, match="nput"):
        room(tmp_path).take(fd, 3 * MB)


def test_a_file_system_that_does_not_say(tmp_path: Path, fd: int, disk: SimpleNamespace) -> None:
    """All zeros are no answer."""
    disk.f_bavail = disk.f_blocks = disk.f_frsize = 0
    room(tmp_path, spare=MB).take(fd, 3 * MB)


@pytest.mark.parametrize("answer", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_reserves_nothing(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    """It comes without; any other answer is an error, and an interrupted call is repeated."""
    answers = [errno.EINTR, answer]

    def fallocate(*_arguments: int) -> int:
        ctypes.set_errno(answers.pop(0))
        return -1

    monkeypatch.setattr(kernel, "_fallocate", fallocate)
    room(tmp_path).take(fd, 3 * MB)
    assert answers == []
    monkeypatch.setattr(kernel, "_fallocate", None)
    room(tmp_path).take(fd, 3 * MB)
