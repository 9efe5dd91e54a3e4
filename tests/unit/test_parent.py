"""No process outlives its parent, in whatever instant that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import kernel, parent
from pipeline.parent import follow_parent
from tests.unit.test_uploader import until

ROOT = Path(__file__).resolve().parents[2]


def test_a_parent_that_ended_before_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of no death that was before it was asked: the signal is sent by the process to itself."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=os.getppid() + 1))
    monkeypatch.setattr(kernel, "die_with_parent", lambda _number: True)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    follow_parent(signal.SIGTERM)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_without_the_signal_the_sentinel_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, however often it is asked; what was asked for last is sent to the main thread."""
    sent: list[tuple[int, int]] = []
    ended = threading.Event()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=os.getppid(), join=ended.wait))
    monkeypatch.setattr(kernel, "die_with_parent", lambda _number: False)
    monkeypatch.setattr(parent, "_watch", parent._Watch())
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: sent.append((thread, number)))
    for number in (signal.SIGKILL, signal.SIGTERM):
        assert follow_parent(number) == "parent's sentinel"
    assert sent == []
    ended.set()
    until(lambda: sent != [])
    assert sent == [(threading.main_thread().ident, signal.SIGTERM)]


def test_a_broken_lease_ends_no_process() -> None:
    """Whoever opens a file for writing while it is asked for sends SIGIO, whose default is the end."""
    code = (
        "import os, signal; from pipeline import kernel\n"
        "kernel.die_with_parent(); os.kill(os.getpid(), signal.SIGIO); print('lives')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"lives\n")
