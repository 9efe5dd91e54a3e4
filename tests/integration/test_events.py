"""Kernel events through the real library: what wakes the watcher, and how soon."""

import shutil
import threading
import time
import warnings
from pathlib import Path

import pytest

from pipeline.events import watch_events

SOON = 0.25
"""Seconds; half of what the library holds events back by itself."""


def woken(wake: threading.Event) -> float:
    """Seconds until it is set."""
    started = time.monotonic()
    assert wake.wait(5), "no event"
    return time.monotonic() - started


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("watch", "queued"):
        (tmp_path / name).mkdir()
    return tmp_path / "watch", tmp_path / "queued"


def test_what_follows_a_claim_is_heard_at_once(folders: tuple[Path, Path]) -> None:
    """A file that leaves by a rename holds nothing back that comes after it."""
    watch, queued = folders
    wake = threading.Event()
    waits = []
    with watch_events(watch, wake):
        for number in range(5):
            wake.clear()
            (watch / f"{number}").write_bytes(b"1")
            waits.append(woken(wake))
            (watch / f"{number}").rename(queued / f"{number}")
    assert sorted(waits)[2] < SOON, waits


def test_a_rename_within_is_heard(folders: tuple[Path, Path]) -> None:
    """The end of many a copy: `x.part` becomes `x`, also in a folder that came later."""
    watch, _ = folders
    wake = threading.Event()
    with watch_events(watch, wake):
        (watch / "below").mkdir()
        for place in (watch, watch / "below"):
            (place / "x.part").write_bytes(b"1")
            while wake.wait(SOON):  # until nothing more is said of that
                wake.clear()
            (place / "x.part").rename(place / "x")
            woken(wake)
            wake.clear()


def test_many_new_folders_are_no_trouble(folders: tuple[Path, Path]) -> None:
    """A tree that appears while the library looks for its parts may be registered twice: nobody is told of that."""
    watch, _ = folders
    wake = threading.Event()
    with warnings.catch_warnings(record=True) as told, watch_events(watch, wake):
        for number in range(300):
            (watch / f"{number}/a/b/c").mkdir(parents=True)
        while wake.wait(SOON):
            wake.clear()
    assert [str(warning.message) for warning in told] == []


def test_our_own_work_is_not_heard(folders: tuple[Path, Path]) -> None:
    """Looking at a file and taking it away wakes nobody: it would cost more than the claim itself."""
    watch, queued = folders
    for number in range(20):
        (watch / f"{number}").write_bytes(b"1")
    wake = threading.Event()
    with watch_events(watch, wake):
        for number in range(20):
            (watch / f"{number}").read_bytes()
            (watch / f"{number}").rename(queued / f"{number}")
        assert not wake.wait(SOON)


def test_folders_that_move_about_are_heard(folders: tuple[Path, Path]) -> None:
    """Renamed within, the old name made anew, both removed, all of it again: what comes into them wakes each time."""
    watch, _ = folders
    wake = threading.Event()

    def heard_in(place: Path) -> None:
        while wake.wait(SOON):
            wake.clear()
        (place / "f").write_bytes(b"1")
        woken(wake)

    with watch_events(watch, wake):
        for _ in range(2):
            (watch / "1").mkdir()
            (watch / "1").rename(watch / "2")
            (watch / "1").mkdir()
            heard_in(watch / "1")
            heard_in(watch / "2")
            shutil.rmtree(watch / "1")
            shutil.rmtree(watch / "2")
        heard_in(watch)
