"""What lies in QueuedForUpload is offered to uploaders that have room for only so much."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline import kept, offers
from pipeline.arrivals import Arrived
from pipeline.offers import Offers
from pipeline.spool import Spool
from tests.unit.places import make, note_fsyncs, write


class Uploaders:
    """Offers over a real folder, and a queue with room for so many of them."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(*(make(root, name, "kernel") for name in ("Watch", "Queued", "Uploaded", "Failed")))
        self.items: list[list[str]] = []
        self.room = 100
        self.offers = Offers(self.spool, self.offer)

    def offer(self, paths: Sequence[str]) -> bool:
        if len(self.items) >= self.room:
            return False
        self.items.append(list(paths))
        return True

    def queue(self, *paths: str) -> list[str]:
        for path in paths:
            write(self.spool.queued.path / path)
        return list(paths)

    def offered(self) -> list[str]:
        """What was offered since this was last asked for."""
        paths = [path for item in self.items for path in item]
        self.items.clear()
        return paths

    def finish(self, paths: list[str]) -> None:
        for path in paths:
            (self.spool.queued.path / path).unlink()


@pytest.fixture
def uploaders(tmp_path: Path) -> Uploaders:
    return Uploaders(tmp_path)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (3, [1] * 3), (7, [1] * 7), (8, [2] * 4), (100, [25] * 4), (300, [32] * 9 + [12])],
)
def test_a_batch_is_shared_out(uploaders: Uploaders, count: int, sizes: list[int]) -> None:
    """Among several processes where there is little, in large offers where there is much."""
    paths = [f"{number:03d}" for number in range(count)]
    uploaders.offers.put(uploaders.queue(*paths))
    assert [len(item) for item in uploaders.items] == sizes
    assert uploaders.offered() == paths
    assert not uploaders.offers.behind


def test_what_there_was_no_room_for_comes_as_there_is(uploaders: Uploaders) -> None:
    """Each once, and the folder is listed once for it, however often it is gone on."""
    paths = uploaders.queue(*(f"{number:03d}" for number in range(200)))
    uploaders.room = 3
    uploaders.offers.put(paths)
    assert uploaders.offers.behind
    got: list[str] = []
    while uploaders.offers.behind:
        new = uploaders.offered()
        uploaders.finish(new)
        got += new
        uploaders.offers.feed()
    got += uploaders.offered()
    assert got == paths


def test_what_came_earlier_goes_first(uploaders: Uploaders) -> None:
    """While some wait, those that are claimed wait behind them, and are not forgotten."""
    early = uploaders.queue(*(f"e{number}" for number in range(8)))
    uploaders.room = 1
    uploaders.offers.put(early)
    uploaders.offers.put(late := uploaders.queue("a", "b"))
    uploaders.room = 100
    uploaders.offers.feed()
    assert uploaders.offered() == early + late
    assert not uploaders.offers.behind


def test_a_name_that_comes_again_while_others_wait(uploaders: Uploaders) -> None:
    """Offered, sent, and dropped once more: it is another file, and is offered with those that waited."""
    uploaders.room = 0
    uploaders.offers.put(uploaders.queue("a", "b"))
    uploaders.room = 1
    uploaders.offers.feed()
    assert uploaders.items == [["a"]]
    uploaders.finish(["a"])
    uploaders.offers.put(uploaders.queue("a"))
    uploaders.room = 100
    uploaders.offers.feed()
    assert uploaders.offered() == ["a", "b", "a"]


def test_memory_is_bounded(uploaders: Uploaders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last offers are remembered; what is offered twice does no harm."""
    monkeypatch.setattr(offers, "_REMEMBERED", 10)
    uploaders.offers.put(uploaders.queue(*(f"{number:03d}" for number in range(50))))
    uploaders.offers.sweep(again=False)
    assert len(uploaders.offers._recent) + len(uploaders.offers._earlier) <= 20
    assert len(uploaders.offered()) == 90


def test_a_sweep_under_way_is_seen_as_files(uploaders: Uploaders) -> None:
    """A run that is to end once QueuedForUpload is empty does not end in the middle of one."""
    uploaders.room = 0
    uploaders.offers.put(uploaders.queue("a"))
    assert uploaders.offers.queued > 0
    uploaders.finish(["a"])
    uploaders.room = 1
    uploaders.offers.feed()
    uploaders.offers.sweep(again=False)
    assert uploaders.offers.queued == 0


def test_what_a_killed_process_moved_is_durable_before_it_is_offered(
    uploaders: Uploaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D26. Where files are and where they were, once: else a power cut undoes a claim after its file was sent."""
    spool = uploaders.spool
    every = (spool.watch, spool.queued, spool.uploaded, spool.failed)
    for folder in every:
        folder.durable = True
    uploaders.queue("a", "folder/below/b")
    below = [spool.queued.path / "folder", spool.queued.path / "folder/below"]
    folders = {os.stat(path).st_ino for path in (*(folder.path for folder in every), *below)}
    synced = note_fsyncs(monkeypatch)
    at_offer: list[set[int]] = []

    def offer(_paths: Sequence[str]) -> bool:
        at_offer.append({*synced})
        return True

    monkeypatch.setattr(uploaders.offers, "_offer", offer)
    uploaders.offers.sweep(again=True)
    assert at_offer
    assert all(folders <= seen for seen in at_offer)
    del synced[:]
    uploaders.offers.sweep(again=True)
    assert not synced


def test_a_folder_that_cannot_be_made_durable_is_told_of(
    uploaders: Uploaders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """D26. Its files wait, but for those that were offered before; others go on."""
    uploaders.spool.watch.durable = True
    uploaders.queue("d/before", "e")
    bad = write(uploaders.spool.watch.path / "d/x").parent.stat().st_ino
    uploaders.offers.sweep(again=True)
    assert uploaders.offered() == ["d/before", "e"]
    uploaders.queue("d/later", "f")
    fsync = os.fsync

    def fail(fd: int) -> None:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for _ in range(2):
            uploaders.offers.sweep(again=True)
            assert uploaders.offered() == ["d/before", "e", "f"]
    assert len([entry for entry in caplog.messages if "Input/output error; what came waits" in entry]) == 1
    uploaders.offers.sweep(again=False)
    assert uploaders.offered() == ["d/later"]


def test_what_another_process_moves_later_is_durable_before_it_is_offered(
    uploaders: Uploaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D26. An earlier watcher ends while this one works, and is killed: also where a name that went comes again."""
    spool = uploaders.spool
    spool.queued.durable = spool.watch.durable = True
    uploaders.queue("a", "b")
    (spool.queued.path / "d").mkdir()
    uploaders.offers.sweep(again=True)
    synced = note_fsyncs(monkeypatch)
    uploaders.offers.sweep(again=True)
    assert not synced
    uploaders.offered()
    uploaders.finish(["a"])
    time.sleep(0.01)  # the kernel's clock goes on
    for path in ("a", "d/a"):
        del synced[:]
        uploaders.queue(path)
        uploaders.offers.sweep(again=True)
        assert path in uploaders.offered()
        folders = (spool.queued.path, (spool.queued.path / path).parent, spool.watch.path)
        assert {os.stat(folder).st_ino for folder in folders} <= {*synced}


def test_the_folder_that_a_file_beside_another_came_from_is_durable(
    uploaders: Uploaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D26. `a/b/x` became `a-Version-2/b/x`: a power cut would bring it back to where it was."""
    spool = uploaders.spool
    spool.watch.durable = True
    uploaders.queue("a", "a-Version-2/b/b-Version-3/x")
    origins = [spool.watch.path, *(write(spool.watch.path / path).parent for path in ("a/x", "a/b/x", "a/b/b/x"))]
    synced = note_fsyncs(monkeypatch)
    uploaders.offers.sweep(again=True)
    assert {folder.stat().st_ino for folder in origins} <= {*synced}


def test_a_link_in_another_folder_holds_up_nothing(uploaders: Uploaders, tmp_path: Path) -> None:
    """D26. Nothing of ours is behind it, nor below a file: there is nothing to make durable."""
    spool = uploaders.spool
    spool.watch.durable = spool.uploaded.durable = spool.failed.durable = True
    for folder in (spool.watch, spool.uploaded):
        (folder.path / "d").symlink_to(tmp_path)
    write(spool.failed.path / "d")
    paths = uploaders.queue("d/e/a")
    uploaders.offers.sweep(again=True)
    assert uploaders.offered() == paths


def test_what_is_trusted_costs_nothing(uploaders: Uploaders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever claimed it made it durable; beyond what is remembered it is done once more."""
    uploaders.spool.queued.durable = True
    uploaders.queue("a", "d/b")
    found = [uploaders.spool.queued.status(path) for path in ("a", "d/b")]
    arrived = [status.st_ctime_ns for status in found if status]
    synced = note_fsyncs(monkeypatch)
    uploaders.offers.trust([Arrived(arrived[0], "", "a", 7), Arrived(arrived[1], "d", "b", 7)])
    uploaders.offers.sweep(again=True)
    uploaders.offers.sweep(again=True)
    assert uploaders.offered() == ["a", "d/b"] * 2
    assert not synced
    monkeypatch.setattr(kept, "MOST", 1)
    uploaders.offers.sweep(again=True)
    uploaders.offers.sweep(again=True)
    assert synced
    assert len(uploaders.offers._kept._now) == 1
