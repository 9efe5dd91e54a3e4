"""Kernel events through the real library: what wakes the watcher, and how soon."""

import ctypes
import errno
import importlib
import logging
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watchdog.utils import BaseThread

from pipeline import events
from pipeline.events import watch_events
from tests.integration.program import wait_for

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


@pytest.mark.parametrize(
    ("name", "number", "when", "said"),
    [
        ("inotify_init", errno.EMFILE, lambda: True, "cannot be had"),
        ("inotify_add_watch", errno.ENOSPC, lambda _fd, _path, _mask: True, "cannot be had"),
        ("inotify_add_watch", errno.ENOSPC, lambda _fd, path, _mask: path.endswith(b"below"), "for some folders"),
    ],
)
def test_a_limit_is_told_once_and_asked_again(
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    number: int,
    when: Callable[..., bool],
    said: str,
) -> None:
    """D19. No instance, no watch for Watch, none for a new folder: one line however long; raised, there are events."""
    watch, _ = folders
    caplog.set_level(logging.INFO, "pipeline.events")
    library = importlib.import_module("watchdog.observers.inotify_c")
    monkeypatch.setattr(events, "_AGAIN_SECONDS", 0.05)
    original, asked, full, wake = getattr(library, name), threading.Semaphore(0), threading.Event(), threading.Event()
    full.set()

    def call(*arguments: Any) -> int:
        asked.release()
        if not (full.is_set() and when(*arguments)):
            return int(original(*arguments))
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(library, name, call)
    with watch_events(watch, wake):
        (watch / "below").mkdir()
        wait_for(lambda: len(caplog.messages) == 1)
        for _ in range(6):
            assert asked.acquire(timeout=5)
        assert len(caplog.messages) == 1
        assert said in caplog.text
        assert str(watch) in caplog.text
        full.clear()
        wait_for(lambda: len(caplog.messages) == 2)
        assert "there again" in caplog.messages[1]
        while wake.wait(SOON):
            wake.clear()
        (watch / "below" / "x").write_bytes(b"1")
        woken(wake)


def test_threads_that_ended_are_replaced(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever ended them: it is told, and there are events again; at the end no thread is left."""
    watch, _ = folders
    caplog.set_level(logging.INFO, "pipeline.events")
    monkeypatch.setattr(events, "_AGAIN_SECONDS", 0.05)
    wake = threading.Event()

    def living() -> list[BaseThread]:
        return [thread for thread in threading.enumerate() if isinstance(thread, BaseThread)]

    with watch_events(watch, wake):
        for thread in living():
            thread.stop()
        wait_for(lambda: len(caplog.messages) == 2)
        assert "ended by an error" in caplog.messages[0]
        assert "there again" in caplog.messages[1]
        wake.clear()
        (watch / "x").write_bytes(b"1")
        woken(wake)
    assert living() == []
