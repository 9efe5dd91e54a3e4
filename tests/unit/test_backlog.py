"""How much lies in QueuedForUpload is counted anew only where that can change the answer, and not all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import backlog, listing
from pipeline.backlog import Backlog
from pipeline.folders import Folder
from tests.unit.places import make, write


class Counted:
    """A folder, a clock, and how often the folder was listed."""

    def __init__(self, root: Path, files: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = make(root, "Queued", "kernel")
        self.now, self.counts, self.takes = 100.0, 0, 0.0

        def counted(folder: Folder, complain: Callable[[str, OSError], None]) -> Iterator[listing.Listing]:
            self.counts += 1
            self.now += self.takes
            return listing.walk(folder, complain)

        monkeypatch.setattr(backlog, "walk", counted)
        self.backlog = Backlog(self.folder, files, size, lambda _path, _error: None, clock=lambda: self.now)

    def admitted(self, size: int = 1, *, may_count: bool = True) -> bool:
        """Ask for one file, and put it there."""
        if not self.backlog.admits(size, may_count=may_count):
            return False
        self.backlog.add(size)
        return True


def test_no_limit_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 and 0."""
    counted = Counted(tmp_path, 0, 0, monkeypatch)
    assert all(counted.admitted() for _ in range(100))
    assert counted.counts == 0


def test_files_of_before_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier process left, at any depth."""
    counted = Counted(tmp_path, 3, 0, monkeypatch)
    write(counted.folder.path / "a")
    write(counted.folder.path / "d/b")
    assert [counted.admitted() for _ in range(3)] == [True, False, False]


def test_a_full_folder_is_counted_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tenth of a second, or as seldom as makes a tenth of the time."""
    counted = Counted(tmp_path, 1, 0, monkeypatch)
    write(counted.folder.path / "a")
    counted.takes = 0.5
    assert not counted.admitted()
    before = counted.counts
    counted.now += 4.9
    assert not counted.admitted()
    assert counted.counts == before
    (counted.folder.path / "a").unlink()
    counted.now += 0.2
    assert counted.admitted()
    assert not counted.admitted()


def test_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the limit; one that is more than the limit as soon as there is any room, and then nothing beside it."""
    counted = Counted(tmp_path, 0, 10, monkeypatch)
    write(counted.folder.path / "stuck", b"x")
    assert counted.admitted(9)
    assert not counted.admitted(1)
    counted.now += 1
    assert counted.admitted(25)
    write(counted.folder.path / "large", b"x" * 25)
    counted.now += 1
    assert not counted.admitted(1)
    assert not counted.admitted(0)
    (counted.folder.path / "large").unlink()
    counted.now += 1
    assert counted.admitted(0)


def test_what_is_not_there_yet_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is gathered slowly: counting before it is claimed would make room for it twice."""
    counted = Counted(tmp_path, 2, 0, monkeypatch)
    assert counted.admitted()
    assert counted.admitted(may_count=False)
    counted.now += 10
    assert not counted.admitted(may_count=False)
    assert counted.admitted()
