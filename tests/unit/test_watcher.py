"""Watch → QueuedForUpload → the uploaders, over real folders."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app_properties import Settings, known_keys
from pipeline import backlog, crossing, kernel, watcher
from pipeline.arrivals import Arrived
from pipeline.claims import Claims
from pipeline.completeness import Completeness
from pipeline.copying import copy_content
from pipeline.listing import Listing
from pipeline.offers import Offers
from pipeline.process import Stop
from pipeline.selection import Selection
from pipeline.spool import Spool
from pipeline.values import VERSION
from pipeline.watcher import Watcher
from tests.unit.places import make, never_stopped, no_rename_between, note_fsyncs, tree, write
from tests.unit.test_uploader import DEADLINE, until


class Side:
    """A watcher and the uploaders' queue, which has room for `room` paths."""

    def __init__(
        self,
        root: Path,
        *,
        condemned: tuple[str, ...] = (),
        kind: str = "kernel",
        batch: int = 512,
        most: tuple[int, int] = (0, 0),
        **selection: Any,
    ) -> None:
        self.spool = Spool(*(make(root, name, kind) for name in ("Watch", "Queued", "Uploaded", "Failed")))
        self.watch, self.queued = self.spool.watch.path, self.spool.queued.path
        self.now, self.room = 100.0, 1000
        self.offered: list[str] = []
        self.reports: list[tuple[str, str]] = []
        completeness = Completeness(
            leases=self.spool.watch.facilities.lease,
            settle_seconds=5,
            minimum_age=0,
            clock=lambda: self.now,
        )
        self.stopped = False
        self.offers = Offers(
            self.spool,
            self.offer,
            condemned=condemned,
            report=lambda what, paths: self.reports.extend((what, path) for path in paths),
        )
        self.watcher = Watcher(
            self.spool,
            completeness,
            self.offers,
            Selection(ignore=str(known_keys()["General"]["ignorePatterns"]).split(), **selection),
            most_files=most[0],
            most_bytes=most[1],
            batch=batch,
            stopped=lambda: self.stopped,
        )

    def offer(self, paths: Sequence[str]) -> bool:
        if len(self.offered) + len(paths) > self.room:
            return False
        assert 0 < len(paths) <= 32
        assert all((self.queued / path).is_file() for path in paths)  # what is offered lies there
        self.offered += paths
        return True

    def scan(self) -> int:
        """Two looks, with time enough for a file to settle where the kernel does not say."""
        claimed = self.watcher.scan()
        self.now += 5
        return claimed + self.watcher.scan()


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    made = Side(tmp_path)
    yield made
    made.watcher.close()


def test_complete_files_are_claimed_and_offered(side: Side) -> None:
    """D15. At any depth, empty ones and odd names too, more than one batch of them; each once."""
    names = ["a", "d/e/b", "\n", "é \udcff", *(f"many/{number}" for number in range(300))]
    for name in names:
        write(side.watch / name, name.encode("utf-8", "surrogateescape"))
    write(side.watch / "empty", b"")
    assert side.scan() == 305
    assert sorted(side.offered) == sorted([*names, "empty"])
    assert tree(side.watch) == {}
    assert len(tree(side.queued)) == 305
    assert side.scan() == 0


@pytest.mark.parametrize("kind", ["kernel", "portable"])
@pytest.mark.parametrize("durable", [True, False])
def test_batches_are_bounded_by_what_is_open(tmp_path: Path, kind: str, durable: bool) -> None:
    """D22. Files in folders of their own, more than a batch has room for: each is taken, and nothing stays open."""
    side = Side(tmp_path, kind=kind, batch=16)
    for folder in (side.spool.watch, side.spool.queued):
        folder.durable = durable
    names = [*(f"{number}/a" for number in range(20)), *(f"many/{number}" for number in range(40))]
    for name in names:
        write(side.watch / name)
    before, most = len(os.listdir("/dev/fd")), 0
    original = side.watcher._claim

    def claim(batch: Claims) -> int:
        nonlocal most
        claimed = original(batch)
        most = max(most, len(os.listdir("/dev/fd")) - before)
        return claimed

    side.watcher._claim = claim  # type: ignore[method-assign]
    assert side.scan() == 60
    assert 0 < most <= 16 + 3 + 3  # and the folders above those that were made
    assert len(os.listdir("/dev/fd")) == before
    assert sorted(side.offered) == sorted(names)
    side.watcher.close()


def test_files_that_wait_in_many_folders(tmp_path: Path) -> None:
    """A batch that is full of folders and has no file that is complete is not the end of a look."""
    side = Side(tmp_path, kind="portable", batch=16)
    for number in range(20):
        write(side.watch / f"{number}/a")
    assert side.watcher.scan() == 0
    assert (side.watcher.pending, side.watcher.left) == (20, 1.0)
    assert side.scan() == 20
    side.watcher.close()


def test_a_stop_cuts_a_scan_short(side: Side) -> None:
    """What was taken until then is offered, the rest stays in Watch."""
    for number in range(100):
        write(side.watch / f"{number:02d}")
    original = side.offers.put

    def put(paths: list[str]) -> None:
        original(paths)
        side.stopped = True

    side.offers.put = put  # type: ignore[method-assign]
    first = side.watcher.scan() or side.scan()
    assert 0 < first < 100
    assert len(side.offered) == first
    assert len(tree(side.watch)) == 100 - first


def test_the_first_files_do_not_wait_for_the_others(side: Side) -> None:
    """They are offered before most were looked at."""
    for number in range(200):
        write(side.watch / f"{number:03d}")
    left: list[int] = []
    original = side.offers.put

    def put(paths: list[str]) -> None:
        original(paths)
        left.append(len(os.listdir(side.watch)))

    side.offers.put = put  # type: ignore[method-assign]
    side.scan()
    assert left[0] >= 180
    assert left[-1] == 0


def test_what_stays_is_counted(side: Side) -> None:
    """As a share of what was seen: ignored ones, too, cost every look."""
    for name in ("a", "b", "c.tmp", "d.tmp"):
        write(side.watch / name)
    assert side.watcher.scan() in (0, 2)
    side.now += 5
    taken = side.watcher.scan()
    assert side.watcher.left == (1.0 if taken == 0 else 0.5)


def test_a_file_that_is_being_written_stays(side: Side) -> None:
    """D6. It counts as pending, nobody is told, and it is taken once its writer has closed it."""
    if not side.spool.watch.facilities.lease:
        pytest.skip("this file system does not say who writes")
    with (side.watch / "a").open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        assert side.scan() == 0
        assert (side.watcher.pending, side.offered) == (1, [])
    assert side.scan() == 1
    assert side.watcher.pending == 0


@pytest.mark.parametrize(
    "name",
    [".hidden", "a.tmp", "a.part", "a.partial", "a.crdownload", "a.filepart", "~$a.docx", "a~", "a.swp", ".git/config"],
)
def test_ignored_names_are_left_alone(side: Side, name: str) -> None:
    """E6. By default; in every component."""
    write(side.watch / name)
    write(side.watch / "a.tmp.csv")
    assert side.scan() == 1
    assert side.offered == ["a.tmp.csv"]
    assert list(tree(side.watch)) == [name]
    assert side.watcher.pending == 0


def test_links_pipes_and_folders_are_never_taken(side: Side, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D14. A link to a secret is not sent, a pipe does not block, and each is told of once."""
    secret = write(tmp_path / "secret", b"secret")
    (side.watch / "link").symlink_to(secret)
    (side.watch / "through").symlink_to(tmp_path)
    os.mkfifo(side.watch / "pipe")
    (side.watch / "empty").mkdir()
    with caplog.at_level(logging.WARNING):
        assert side.scan() == 0
        assert side.scan() == 0
    assert sorted(os.listdir(side.watch)) == ["empty", "link", "pipe", "through"]
    assert tree(side.queued) == {}
    assert len([entry for entry in caplog.records if "no regular file" in entry.message]) == 3


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_what_is_no_file_any_more_is_not_taken(
    side: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """D14. It was a file when the folder was listed: no link is opened, no pipe waited for, and nothing moves."""
    outdated = Listing("", [Arrived(0, "", "a", 1)], [], [], 1)
    monkeypatch.setattr(watcher, "walk", lambda *_: iter([outdated]))
    if what == "link":
        (side.watch / "a").symlink_to(write(tmp_path / "secret"))
    elif what == "pipe":
        os.mkfifo(side.watch / "a")
    else:
        (side.watch / "a").mkdir()
    assert side.scan() == 0
    assert os.listdir(side.queued) == []
    assert ("cannot be opened" in caplog.text) == (what == "link")


def test_a_file_that_vanishes_is_nothing(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """D9. Taken away between the look and the move: the others go on."""
    for name in ("a", "b"):
        write(side.watch / name)
    original = kernel.rename_noreplace

    def rename(source_fd: int, source: str, *rest: Any) -> None:
        if source == "a":
            (side.watch / "a").unlink(missing_ok=True)
        original(source_fd, source, *rest)

    monkeypatch.setattr(kernel, "rename_noreplace", rename)
    assert side.scan() == 1
    assert side.offered == ["b"]


def test_a_file_that_cannot_be_moved_waits_alone(
    side: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once, tried again each time, no hindrance to others."""
    for name in ("a", "b"):
        write(side.watch / name)
    original = kernel.rename_noreplace

    def rename(source_fd: int, source: str, *rest: Any) -> None:
        if source == "a":
            raise PermissionError(13, "Permission denied")
        original(source_fd, source, *rest)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(kernel, "rename_noreplace", rename)
        assert side.scan() == 1
        side.scan()
    assert len(caplog.records) == 1
    assert side.scan() == 1
    assert sorted(side.offered) == ["a", "b"]


def test_what_lies_in_the_queue_is_offered_at_start(side: Side) -> None:
    """Whatever an earlier process left; nothing twice, unless it is asked for."""
    for name in ("a", "d/b"):
        write(side.queued / name)
    side.offers.sweep(again=False)
    assert side.offered == ["a", "d/b"]
    side.offers.sweep(again=False)
    assert side.offered == ["a", "d/b"]
    side.offers.sweep(again=True)
    assert side.offered == ["a", "d/b"] * 2
    assert side.offers.queued == 2


def test_a_full_queue_is_left_to_the_sweep(side: Side) -> None:
    """What could not be offered is offered later, and nothing is forgotten."""
    side.room = 2
    for number in range(5):
        write(side.watch / f"f{number}")
    assert side.scan() == 5
    assert len(side.offered) == 2
    for _ in range(3):
        for path in side.offered:
            (side.queued / path).unlink(missing_ok=True)
        side.room += 2
        side.offers.sweep(again=False)
    assert sorted(side.offered) == [f"f{number}" for number in range(5)]


def test_a_name_that_comes_again_is_offered_again(side: Side) -> None:
    """Sent, gone from the queue, and a new file of that name lies there."""
    write(side.queued / "a")
    side.offers.sweep(again=False)
    (side.queued / "a").unlink()
    side.offers.sweep(again=False)
    write(side.queued / "a")
    side.offers.sweep(again=False)
    assert side.offered == ["a", "a"]


def test_a_condemned_file_is_set_aside(tmp_path: Path) -> None:
    """A11. It is never offered, goes to Failed with the reason, and its record ends; another of its name is taken."""
    side = Side(tmp_path, condemned=("bad", "gone"))
    for name in ("bad", "good"):
        write(side.queued / name)
    side.offers.sweep(again=True)
    assert side.offered == ["good"]
    assert set(tree(side.spool.failed.path)) == {"bad", ".reason/bad.json"}
    assert side.reports == [("end", "bad")]
    write(side.queued / "bad")
    side.offers.sweep(again=False)
    assert side.offered == ["good", "bad"]
    side.watcher.close()


def test_every_claim_is_durable_before_it_is_offered(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """D26. Content, then both folders, then the offer."""
    side.spool.watch.durable = side.spool.queued.durable = True
    write(side.watch / "a")
    file, folders = os.stat(side.watch / "a").st_ino, {os.stat(side.watch).st_ino, os.stat(side.queued).st_ino}
    synced = note_fsyncs(monkeypatch)
    at_offer: list[list[int]] = []

    def offer(_paths: Sequence[str]) -> bool:
        at_offer.append(list(synced))
        return True

    monkeypatch.setattr(side.offers, "_offer", offer)
    side.scan()
    ((first, *rest),) = at_offer
    assert first == file
    assert folders <= set(rest)


def test_one_file_that_cannot_be_made_durable_waits_alone(
    side: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """D3. A bad sector under one: told of once, it stays and the others go on, and so it does when the disk is well."""
    side.spool.watch.durable = True
    for name in ("a", "bad", "c"):
        write(side.watch / name)
    bad, original = os.stat(side.watch / "bad").st_ino, os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        original(fd)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(os, "fsync", fsync)
        assert side.scan() == 2
        assert side.scan() == 0
    assert sorted(side.offered) == ["a", "c"]
    assert [entry for entry in caplog.messages if "cannot be made durable" in entry] == caplog.messages
    assert len(caplog.messages) == 1
    assert side.scan() == 1


def test_a_folder_that_cannot_be_made_durable_ends_no_scan(
    side: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """D26. The claims are made; a sweep offers them, but not before they are durable."""
    side.spool.watch.durable = side.spool.queued.durable = True
    write(side.watch / "a")
    bad, original = os.stat(side.queued).st_ino, os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        original(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert side.scan() == 1
        side.offers.sweep(again=False)
    assert side.offered == []
    assert "a power cut may undo" in caplog.text
    side.offers.sweep(again=False)
    assert side.offered == ["a"]


def test_claims_are_made_durable_once(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that meets them does not do it again, under whatever names they are queued."""
    side.spool.watch.durable = side.spool.queued.durable = side.spool.uploaded.durable = True
    write(side.queued / "d")
    side.offers.sweep(again=True)
    for path in ("a", "d/b"):
        write(side.watch / path)
    assert side.scan() == 2
    synced = note_fsyncs(monkeypatch)
    side.offers.sweep(again=True)
    assert sorted(side.offered[-3:]) == ["a", "d", "d-Version-2/b"]
    assert not synced


@pytest.mark.parametrize("change", ["replaced", "link", "written"])
def test_only_what_was_judged_is_claimed(
    side: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """D8. Between the look and the move another file, a link or more bytes came: it is left for the next look."""
    side.spool.watch.durable = True
    judged = write(side.watch / "a").stat()
    original = os.fsync

    def fsync(fd: int) -> None:
        original(fd)
        if change == "written":
            with (side.watch / "a").open("ab") as file:
                file.write(b" and more")
        elif change == "replaced":
            os.utime(write(tmp_path / "new", b"another"), ns=(judged.st_mtime_ns, judged.st_mtime_ns))
            (tmp_path / "new").replace(side.watch / "a")
        else:
            (tmp_path / "link").symlink_to("nowhere")
            (tmp_path / "link").replace(side.watch / "a")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        side.now += 5
        side.watcher.scan()
        side.now += 5
        assert side.watcher.scan() == 0
    assert side.watcher.pending == (change != "link")
    assert tree(side.queued) == {}
    assert side.scan() == (0 if change == "link" else 1)


def test_only_files_are_offered(side: Side, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D14. A link or a pipe in QueuedForUpload is told of once and keeps nothing from ending."""
    (side.queued / "link").symlink_to(write(tmp_path / "secret"))
    os.mkfifo(side.queued / "pipe")
    for _ in range(2):
        side.offers.sweep(again=True)
        side.scan()
    assert side.offered == []
    assert side.offers.queued == 0
    assert len(caplog.messages) == 2


def test_a_folder_that_cannot_be_read_is_told_once(
    side: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many looks, until it could be read in between."""
    (side.watch / "d").mkdir()
    original = side.spool.watch.open

    def refuse(path: str, flags: int = os.O_RDONLY) -> int:
        if path == "d":
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(path, flags)

    for expected in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(side.spool.watch, "open", refuse)
            side.scan()
            side.scan()
        side.scan()
        assert len(caplog.messages) == expected


@pytest.mark.parametrize("name", ["Watch", "Queued", "Uploaded", "Failed"])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_removed_folder_is_noticed(side: Side, tmp_path: Path, name: str, replaced: bool) -> None:
    """D21. Moved away, whether or not another has its path."""
    assert side.watcher.removed() == []
    (tmp_path / name).rename(tmp_path / "away")
    if replaced:
        (tmp_path / name).mkdir()
    assert side.watcher.removed() == [tmp_path / name]


def test_a_watcher_of_a_removed_folder_ends(side: Side, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D21. With one line that names it, and a code that makes another process take its place."""
    from pipeline.roles.watcher import _loop

    (tmp_path / "Uploaded").rmdir()
    stop = SimpleNamespace(requested=False)
    with pytest.raises(SystemExit) as caught:
        _loop(side.watcher, side.offers, None, threading.Event(), cast(Stop, stop), 1, once=True)
    assert caught.value.code == 1
    assert [message.count(str(tmp_path / "Uploaded")) for message in caplog.messages] == [1]


def test_what_waits_is_fed_while_the_watcher_rests(side: Side) -> None:
    """Whether it has to rest or waits for a wake-up; the next one ends it as ever."""
    from pipeline.roles.watcher import _rest

    stop = cast(Stop, SimpleNamespace(requested=False, waiting=contextlib.nullcontext))
    for least in (0.2, 0.0):
        side.offered.clear()
        for number in range(10):
            write(side.queued / f"{number}")
        side.room = 2
        side.offers.sweep(again=True)
        assert (len(side.offered), side.offers.behind) == (2, True)
        side.room = 10
        wake = threading.Event()

        def wake_once_fed(wake: threading.Event = wake) -> None:
            until(lambda: not side.offers.behind)
            wake.set()

        threading.Thread(target=wake_once_fed).start()
        started = time.monotonic()
        _rest(side.offers, wake, stop, least, DEADLINE)
        assert least <= time.monotonic() - started < DEADLINE
        assert (len(side.offered), side.offers.behind) == (10, False)


@pytest.mark.parametrize(("empty", "sweeps"), [(True, 10), (False, 1)])
def test_all_is_offered_again_once_they_have_nothing(side: Side, empty: bool, sweeps: int) -> None:
    """Each interval where the uploaders' queue is empty; else rarely, since it costs a listing and helps nobody."""
    from pipeline.roles import watcher

    write(side.queued / "a")
    stop, turns = SimpleNamespace(requested=False), []

    def rest(*_: object) -> None:
        turns.append(len(side.offered))
        stop.requested = len(turns) == 10

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watcher, "_rest", rest)
        hints = SimpleNamespace(empty=lambda: empty)
        patch.setattr(time, "monotonic", lambda: 100.0 * (1 + len(turns)))
        watcher._loop(side.watcher, side.offers, hints, threading.Event(), cast(Stop, stop), 100, once=False)
    assert turns[-1] == sweeps


def test_a_restart_makes_what_is_missing(tmp_path: Path) -> None:
    """D21. Whichever folder was removed, the next process has it again."""
    from pipeline.roles.spool import open_spool

    paths = {name: tmp_path / "x" / name for name in ("watch", "queued", "uploaded", "failed")}
    settings = SimpleNamespace(durable=False, cross_device_moves=False, on_name_conflict=VERSION, **paths)
    spool = open_spool(cast(Settings, settings), never_stopped())
    assert [folder.is_current() for folder in (spool.watch, spool.queued, spool.uploaded, spool.failed)] == [True] * 4


def test_a_file_that_changes_while_it_is_copied_is_pending(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """To another file system: no run ends before it is taken."""
    no_rename_between(monkeypatch, side.watch)
    side.spool.queued.takes_copies = True
    write(side.watch / "a", b"first")

    def outrun(source: int, target: int, size: int) -> int:
        monkeypatch.setattr(crossing, "copy_content", copy_content)
        write(side.watch / "a", b"second")
        return copy_content(source, target, size)

    monkeypatch.setattr(crossing, "copy_content", outrun)
    assert side.watcher.scan() == 0
    assert (side.watcher.pending, tree(side.watch)) == (1, {"a": b"second"})
    assert side.scan() == 1
    assert (side.watcher.pending, tree(side.queued)) == (0, {"a": b"second"})


# ------------------------------------------------------------------ what is to be relayed


def test_only_what_is_included(tmp_path: Path) -> None:
    """By name, in any folder; ignored is ignored still, and what stays keeps no run from its end."""
    side = Side(tmp_path, include=["*.csv", "README"])
    for name in ("a.csv", "d/README", "a.txt", ".b.csv"):
        write(side.watch / name)
    assert side.scan() == 2
    assert sorted(tree(side.queued)) == ["a.csv", "d/README"]
    assert side.watcher.pending == 0
    side.watcher.close()


def test_folders_are_left_alone(tmp_path: Path) -> None:
    """followSubfolders=0."""
    side = Side(tmp_path, subfolders=False)
    for name in ("a", "d/b", "d/e/c"):
        write(side.watch / name)
    assert side.scan() == 1
    assert sorted(tree(side.watch)) == ["d/b", "d/e/c"]
    side.watcher.close()


def test_too_small_and_too_large_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each is told of once, waits for nothing, and is taken once it fits."""
    side = Side(tmp_path, minimum=2, maximum=4)
    for size in (1, 2, 4, 5):
        write(side.watch / f"{size}", b"x" * size)
    assert side.scan() == 2
    assert side.scan() == 0
    assert sorted(tree(side.watch)) == ["1", "5"]
    assert side.watcher.pending == 0
    assert ["minimumFileBytes (2)" in text or "maximumFileBytes (4)" in text for text in caplog.messages] == [True] * 2
    write(side.watch / "1", b"xx")
    assert side.scan() == 1
    side.watcher.close()


# ------------------------------------------------------------------ completion markers


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Side]:
    made = Side(tmp_path, marker=".done")
    yield made
    made.watcher.close()


def test_a_file_waits_for_its_marker(marked: Side) -> None:
    """And is taken without it; a marker alone, and a file that is only called like one, stay."""
    for name in ("d/a", "b", ".done", "c.done"):
        write(marked.watch / name)
    assert marked.scan() == 0
    assert marked.watcher.pending == 0  # nobody says that it will ever come
    write(marked.watch / "d/a.done", b"")
    assert marked.scan() == 1
    assert list(tree(marked.queued)) == ["d/a"]
    assert sorted(tree(marked.watch)) == [".done", "b", "c.done"]


def test_an_older_marker_says_nothing(marked: Side, caplog: pytest.LogCaptureFixture) -> None:
    """One that a kill left: the next file of that name is not taken for complete. Touched, it is one for this file."""
    marker = write(marked.watch / "a.done")
    until_later(marker)
    write(marked.watch / "a", b"half")
    assert marked.scan() == 0
    assert marked.scan() == 0
    assert [text.count("touch that") for text in caplog.messages] == [1]
    os.utime(marker)
    assert marked.scan() == 1
    assert tree(marked.watch) == {}


def test_an_older_marker_says_nothing_of_a_file_with_an_older_time(marked: Side) -> None:
    """Moved in, or copied with the time it had: when it came counts, not when it was written."""
    until_later(write(marked.watch / "a.done"))
    staged = write(marked.watch / ".a")
    os.utime(staged, ns=(1, 1))
    staged.rename(marked.watch / "a")
    assert marked.scan() == 0
    os.utime(marked.watch / "a.done")
    assert marked.scan() == 1


def test_a_file_with_a_time_in_the_future_has_its_marker(marked: Side) -> None:
    """As when it was copied from a machine whose clock is wrong."""
    future = time.time_ns() + 3600 * 10**9
    os.utime(write(marked.watch / "a"), ns=(future, future))
    write(marked.watch / "a.done")
    assert marked.scan() == 1


def test_a_marker_that_is_no_file(marked: Side) -> None:
    """A link or a folder vouches for nothing, is not removed, and nothing is said of its time."""
    for name in ("a", "b"):
        write(marked.watch / name)
    (marked.watch / "a.done").symlink_to("a")
    (marked.watch / "b.done").mkdir()
    assert marked.scan() == 0


@pytest.mark.parametrize("touched", [False, True])
def test_the_marker_of_the_next_file_stays(marked: Side, monkeypatch: pytest.MonkeyPatch, touched: bool) -> None:
    """Dropped, with its marker, right after the claim, or the old one touched: it is taken with the next look."""
    for name in ("a", "a.done"):
        write(marked.watch / name)
    original = kernel.rename_noreplace

    def rename(*move: Any) -> None:
        original(*move)
        if not marked.offered:
            write(marked.watch / "a", b"next")
            if touched:
                until_later(marked.watch / "a.done")
                os.utime(marked.watch / "a.done")
            else:
                write(marked.watch / "new.done").replace(marked.watch / "a.done")

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "rename_noreplace", rename)
        marked.now += 5
        claimed = marked.watcher.scan() or marked.scan()
    assert claimed == 1
    assert sorted(tree(marked.watch)) == ["a", "a.done"]
    assert marked.scan() == 1
    assert tree(marked.queued) == {"a": b"content", "a-Version-2": b"next"}


def test_a_marker_that_cannot_be_removed(
    marked: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told of, and does no harm."""
    for name in ("a", "a.done"):
        write(marked.watch / name)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not marked.spool.queued.facilities.noreplace:
        pytest.skip("there a move needs it, too")
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        assert marked.scan() == 1
    assert [text.count("a.done cannot be removed") for text in caplog.messages] == [1]
    assert marked.scan() == 0


def until_later(path: Path) -> None:
    """Until a new file is younger than this one: the kernel's clock has steps of some milliseconds."""
    then, probe = path.stat().st_ctime_ns, path.with_name(".probe")
    while write(probe).stat().st_ctime_ns <= then:
        probe.unlink()
    probe.unlink()


# ------------------------------------------------------------------ names that are kept


@pytest.mark.parametrize("kind", ["kernel", "portable"])
def test_a_name_that_is_kept_waits_while_it_is_queued(tmp_path: Path, kind: str) -> None:
    """With onNameConflict overwrite and fail; what was sent before does not matter. It is pending, others go on."""
    side = Side(tmp_path, kind=kind)
    side.spool.keeps_names = True
    for name in ("d/a", "b", "f", "g/x"):
        write(side.watch / name, b"second")
    for name in ("d/a", "f/x", "g"):
        write(side.queued / name, b"first")
    write(side.spool.uploaded.path / "b", b"first")
    assert side.scan() == 1
    assert side.offered == ["b"]
    assert side.watcher.pending == 3
    for name in ("d/a", "f/x", "g"):
        (side.queued / name).unlink()
    (side.queued / "f").rmdir()
    assert side.scan() == 3
    assert tree(side.queued) == {"b": b"second", "d/a": b"second", "f": b"second", "g/x": b"second"}
    side.watcher.close()


# ------------------------------------------------------------------ order and back-pressure


def test_the_oldest_goes_first(side: Side) -> None:
    """Whatever its name and folder, and whatever time it brought with it."""
    names = ["z/c", "a", "m/b", "b"]
    for name in names:
        until_later(write(side.watch / name))
        os.utime(side.watch / name, ns=(1, 1))
        until_later(side.watch / name)
    side.scan()
    assert side.offered == names


def test_as_many_as_may_be_queued(tmp_path: Path) -> None:
    """The oldest; the rest waits in Watch, and comes as soon as there is room, in order, none twice."""
    side = Side(tmp_path, most=(3, 0))
    names = [f"{number}" for number in (5, 1, 4, 2, 3, 0, 9, 8)]
    for name in names:
        until_later(write(side.watch / name))
    assert side.scan() == 3
    assert side.watcher.limited
    assert side.offered == names[:3]
    assert side.watcher.scan() == 0
    (side.queued / "5").unlink()
    (side.queued / "4").unlink()
    until_counted(side)
    assert side.scan() == 2
    assert side.offered == names[:5]
    for name in names[:5]:
        (side.queued / name).unlink(missing_ok=True)
    until_counted(side)
    assert side.scan() == 3
    assert not side.watcher.limited
    assert side.offered == names
    side.watcher.close()


def test_as_many_bytes_as_may_be_queued(tmp_path: Path) -> None:
    """A file that would be too much waits, and those behind it."""
    side = Side(tmp_path, most=(0, 10))
    for name, size in (("a", 6), ("b", 5), ("c", 1)):
        until_later(write(side.watch / name, b"x" * size))
    assert side.scan() == 1
    assert side.watcher.limited
    (side.queued / "a").unlink()
    until_counted(side)
    assert side.scan() == 2
    assert not side.watcher.limited
    side.watcher.close()


def test_counting_anew_forgets_nothing_that_is_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly a batch comes together, and however often it is counted."""
    monkeypatch.setattr(backlog, "_LEAST_SECONDS", -1.0)
    monkeypatch.setattr(backlog, "_SHARE", 1e9)
    side = Side(tmp_path, most=(3, 0))
    for number in range(10):
        write(side.watch / f"{number}")
    side.scan()
    assert len(tree(side.queued)) == 3
    side.watcher.close()


def test_what_is_not_to_be_taken_takes_no_room(tmp_path: Path) -> None:
    """Too large for the queue, and for any other reason not to go: those behind it do not wait for it."""
    side = Side(tmp_path, most=(0, 10), maximum=50)
    write(side.queued / "stuck", b"x")
    until_later(write(side.watch / "refused", b"x" * 200))
    with (side.watch / "written").open("wb") as writer:
        writer.write(b"x" * 20)
        writer.flush()
        until_later(side.watch / "written")
        for name in ("a", "b"):
            write(side.watch / name, b"x")
        assert side.watcher.scan() == (2 if side.spool.watch.facilities.lease else 0)
    side.watcher.close()


def test_a_look_that_waits_for_room_begins_anew(tmp_path: Path) -> None:
    """The oldest was not complete when the look came to it; it does not wait for all the others."""
    side = Side(tmp_path, most=(1, 0))
    if not side.spool.watch.facilities.lease:
        pytest.skip("this file system does not say who writes")
    side.watcher._patience, side.watcher._clock = 6, lambda: side.now
    with (side.watch / "oldest").open("wb") as writer:
        writer.write(b"1")
        writer.flush()
        until_later(side.watch / "oldest")
        for name in ("a", "b", "c"):
            until_later(write(side.watch / name))
        assert side.watcher.scan() == 1
    os.utime(side.watch / "c")  # b is the next in the old look, oldest in a new one
    for passed, following in ((1, "b"), (7, "oldest")):
        side.now += passed
        (side.queued / side.offered[-1]).unlink()
        until_counted(side)
        assert side.watcher.scan() == 1
        assert side.offered[-1] == following
    side.watcher.close()


def until_counted(side: Side) -> None:
    """Past the time until which a full folder is not counted again."""
    side.watcher._backlog._count_at = 0.0
