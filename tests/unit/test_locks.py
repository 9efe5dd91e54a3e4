"""One program per folder and side."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import locks
from pipeline.locks import lock_side
from pipeline.ports import EXIT_RUNNING, StartupError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_a_side_has_one_program(folder: Path, tmp_path: Path) -> None:
    """Whatever way the second one writes the path, it hears who has it; once that has ended, the folder is free."""
    (tmp_path / "link").symlink_to(folder)
    (held,) = lock_side("ingest", (folder,), tmp_path)
    with pytest.raises(StartupError, match=f"process {os.getpid()}, since .* is the ingest side") as refused:
        lock_side("ingest", (tmp_path / "link",), tmp_path)
    assert refused.value.code == EXIT_RUNNING
    os.close(held)
    (again,) = lock_side("ingest", (folder,), tmp_path)
    os.close(again)


def test_those_who_are_about_to_end_are_waited_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orphans of a program that was killed: the note says that it is gone, and its folders are free in a moment."""
    (orphan,) = lock_side("ingest", (folder,), tmp_path)
    with subprocess.Popen(["true"]) as killed:
        killed.wait()
        note = tmp_path / "ingest.json"
        note.write_text(note.read_text().replace(str(os.getpid()), str(killed.pid)))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            os.close(orphan)

    monkeypatch.setattr(
        locks, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 0.1 * len(waits), strftime=time.strftime)
    )
    (fd,) = lock_side("ingest", (folder,), tmp_path)
    os.close(fd)
    assert len(waits) == 3
