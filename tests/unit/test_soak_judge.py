"""The judge of a soak test, over real folders and a store in memory: what is said of whatever may arrive."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from pipeline.drop import DROP_ID
from pipeline.folders import Folder
from pipeline.landing import INCOMING
from pipeline.names import STORE_PROBE, key_for
from pipeline.ports import LaterError, PausedError, RelayError, StoredObject
from pipeline.soak import content, judge, lookup
from pipeline.soak.content import BLOCK, File
from pipeline.soak.facts import STAGES
from pipeline.soak.judge import Judge
from pipeline.soak.run import METADATA
from pipeline.spool import REASONS, Spool
from tests.fakes import FakeStore
from tests.soak import DEADLINE, body_of, finishes, run_at, settings_at, until
from tests.unit.places import write

ONE, TWO = File(1, 1), File(2, 1)
LONG_AGO = 1_000.0
"""Seconds before now; every deadline has passed since."""


class Court:
    """The judge of a run, and a hand that puts files where the feeder and the relay would."""

    def __init__(self, root: Path, **asked: Any) -> None:
        self.run, self.settings = run_at(root, settings_at(root), **asked)
        self.store = FakeStore(versioned=True)
        self.feeder, self._judges = Pipe()
        self.judge = Judge(self.run, self.settings, self.store, self._judges)

    def end(self) -> None:
        self.judge.close()
        for pipe in (self.feeder, self._judges):
            pipe.close()

    def drop(self, *files: File, ago: float = 0.0) -> None:
        """Into Watch, `ago` seconds before now."""
        for file in files:
            self.feeder.send(("generated", file))
            write(self.settings.watch / self.run.path(file.name), body_of(self.run, file))
            self.feeder.send(("dropped", file, time.monotonic() - ago))

    def claim(self, file: File) -> None:
        path = self.run.path(file.name)
        (self.settings.watch / path).rename(self.settings.queued / path)

    def arrive(self, folder: Path, file: File, name: str = "", change: Callable[[bytes], bytes] = bytes) -> Path:
        """What has the content of a file, perhaps changed, perhaps under another name; Watch holds it no more."""
        (self.settings.watch / self.run.path(file.name)).unlink(missing_ok=True)
        return write(folder / self.run.path(name or file.name), change(body_of(self.run, file)))

    def deliver(self, file: File, name: str = "") -> Path:
        return self.arrive(self.settings.downloaded, file, name)

    def archive(self, file: File) -> Path:
        return self.arrive(self.settings.uploaded, file)

    def put(self, file: File, **more: Any) -> StoredObject:
        """Its object, as the relay stores it unless `more` says otherwise."""
        key = key_for(self.settings.aws_s3_folder, self.run.path(file.name)).text
        metadata = more.pop("metadata", {METADATA: self.run.id, DROP_ID: "d"})
        return self.store.put(key, body_of(self.run, file), metadata, **more)

    def pass_on(self, *files: File) -> None:
        """All their way, at once."""
        for file in files:
            self.put(file)
            self.archive(file)
            self.deliver(file)

    def sweep(self, file: File) -> None:
        """What the feeder does once a file is settled."""
        for folder in (self.settings.uploaded, self.settings.downloaded):
            (folder / self.run.path(file.name)).unlink()
        self.feeder.send(("swept", file))

    def until(self, condition: Callable[[], bool]) -> None:
        """Judge until a condition is true."""
        until(condition, self.judge.step)

    def answers(self) -> list[tuple[Any, ...]]:
        """What the feeder has been told since it was asked last."""
        told = []
        while self.feeder.poll(0):
            told.append(self.feeder.recv())
        return told

    def answers_until(self, count: int) -> list[tuple[Any, ...]]:
        """Judge until the feeder is told so much."""
        told: list[tuple[Any, ...]] = []

        def meanwhile() -> None:
            self.judge.step()
            told.extend(self.answers())

        until(lambda: len(told) >= count, meanwhile)
        return told

    def next_answer(self) -> tuple[Any, ...]:
        """Judge until the feeder is told something."""
        self.until(lambda: self.feeder.poll(0))
        [told] = self.answers()
        return told

    def found(self) -> list[tuple[str, str]]:
        """Kind and name of every violation, after one more look."""
        self.judge.step()
        return [(found.kind, found.name) for found in self.judge.accounts.violations]

    def text(self) -> str:
        """What is said of the only violation."""
        [found] = self.judge.accounts.violations
        return found.text


@pytest.fixture(autouse=True)
def look_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the judge waits is none of these tests' business."""
    monkeypatch.setattr(lookup, "_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(lookup, "_LONGEST_SECONDS", 0.001)
    monkeypatch.setattr(judge, "_LAST_WORD_SECONDS", 0.01)


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    made = Court(tmp_path)
    yield made
    made.end()


@pytest.fixture
def in_place(tmp_path: Path) -> Iterator[Court]:
    made = Court(tmp_path, in_place=True)
    yield made
    made.end()


def flip(at: int) -> Callable[[bytes], bytes]:
    """Change one bit."""
    return lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


# ------------------------------------------------------------------ what is right


def test_a_file_that_goes_all_its_way(court: Court) -> None:
    """It is settled with its object, once, and its latency is the time from its drop until it was seen."""
    court.drop(ONE, ago=2.0)
    court.judge.step()
    court.claim(ONE)
    court.judge.step()
    assert court.judge.accounts.under_way() == dict.fromkeys(STAGES[:5], 0) | {"claimed": 1}
    assert court.judge.waiting == {0: 0, 1: 1, 3: 0, 4: 0}
    (court.settings.queued / ONE.name).unlink()
    stored = court.put(ONE)
    court.archive(ONE)
    court.deliver(ONE)
    assert court.next_answer() == ("settled", ONE, stored, False)
    assert 2.0 <= court.judge.latencies.recent().highest < 2.0 + DEADLINE
    assert court.judge.sent == court.judge.received == 300
    court.judge.step()
    assert court.answers() == []
    court.sweep(ONE)
    assert court.found() == []
    assert court.judge.accounts.totals == dict.fromkeys(STAGES, 1)


@pytest.mark.parametrize("size", [0, 1, 200, BLOCK, BLOCK + 1])
def test_a_file_of_any_size_is_right(tmp_path: Path, size: int) -> None:
    """An empty one, one without a whole first line, and those at the edge of what is read at a time."""
    court = Court(tmp_path, sizes=content.Sizes(size, size) if size else content.sizes(content.MIX))
    court.drop(ONE)
    assert len(body_of(court.run, ONE)) == size
    court.pass_on(ONE)
    assert court.next_answer()[:2] == ("settled", ONE)
    assert court.found() == []
    court.end()


def test_nothing_is_left_of_what_was_swept(court: Court) -> None:
    """A run of days does not grow: one number for each drop that is in circulation, and no more."""
    files = [File(drop, version) for version in (1, 2, 3) for drop in range(1, 6)]
    told: list[tuple[Any, ...]] = []
    for number in range(0, len(files), 5):
        batch = files[number : number + 5]
        court.drop(*batch)
        court.pass_on(*batch)
        told += court.answers_until(len(batch))
        for file in batch:
            court.sweep(file)
    assert court.found() == []
    assert sorted(file for _, file, *_ in told) == sorted(files)
    kept = {name: value for name, value in vars(court.judge).items() if isinstance(value, dict | set) and value}
    assert kept.keys() == {"waiting"}
    accounts = {name: value for name, value in vars(court.judge.accounts).items() if isinstance(value, dict) and value}
    assert accounts.keys() == {"totals", "_versions"}
    assert accounts["_versions"] == dict.fromkeys(range(1, 6), 3)
    assert [name for name, value in vars(court.judge.accounts).items() if value == {}] == ["_open", "_violations"]


def test_it_is_accounted_for_when_nothing_is_expected(court: Court) -> None:
    """The feeder has finished, and every file is settled; what is still to be swept is known by name."""
    court.drop(ONE)
    court.feeder.send(("finished", "duration"))
    court.judge.step()
    assert court.judge.finished == "duration"
    assert not court.judge.accounted
    court.pass_on(ONE)
    court.next_answer()
    assert (court.judge.accounted, court.judge.passes, court.judge.unswept) == (True, True, [ONE.name])
    court.sweep(ONE)
    court.judge.step()
    assert (court.judge.accounted, court.judge.passes, court.judge.unswept) == (True, True, [])
    court.judge.close()
    assert court.answers() == [("done",)]


def test_what_the_feeder_says_is_remembered(court: Court) -> None:
    """Which processes it killed, and what ended it."""
    for words in (("killed", "poller"), ("killed", "uploader-1"), ("killed", "poller"), ("failed", "OSError: full")):
        court.feeder.send(words)
    court.judge.step()
    assert court.judge.kills == {"poller": 2, "uploader-1": 1}
    assert court.judge.failed == "OSError: full"
    assert not court.judge.passes


def test_what_tested_nothing_does_not_pass(court: Court) -> None:
    """Without a file, or with a feeder that never said that it was done."""
    court.feeder.send(("finished", "Ctrl-C"))
    court.judge.step()
    assert (court.judge.accounted, court.judge.passes) == (True, False)


def test_what_was_not_finished_does_not_pass(court: Court) -> None:
    """Its feeder may have been killed."""
    court.drop(ONE)
    court.pass_on(ONE)
    court.next_answer()
    court.sweep(ONE)
    court.judge.step()
    assert (court.judge.accounted, court.judge.passes) == (False, False)


def test_a_damaged_file_is_not_waited_for(court: Court) -> None:
    """Its story ended when it came."""
    court.drop(ONE)
    court.deliver(ONE).write_bytes(b"x")
    court.feeder.send(("finished", "Ctrl-C"))
    assert court.found() == [("corrupt", ONE.name)]
    assert court.judge.accounted


def test_in_an_outage_nothing_is_replaced(court: Court) -> None:
    """While nothing arrives more files would only pile up; they are owed until something does."""
    court.judge._arrived_at = -LONG_AGO
    court.drop(ONE, TWO, ago=LONG_AGO)
    assert court.found() == [("lost", ONE.name), ("lost", TWO.name)]
    assert court.answers() == []
    court.pass_on(ONE)
    assert sorted(words[0] for words in court.answers_until(3)) == ["lost", "lost", "settled"]


# ------------------------------------------------------------------ what is damaged


@pytest.mark.parametrize("place", ["downloaded", "uploaded"])
@pytest.mark.parametrize(
    ("change", "at"),
    [
        (flip(0), 0),
        (flip(299), 299),
        (lambda body: body[:-1], 299),
        (lambda _: b"", 0),
        (lambda body: body + b"x", 300),
    ],
    ids=["first", "last", "shorter", "empty", "longer"],
)
def test_other_bytes(court: Court, place: str, change: Callable[[bytes], bytes], at: int) -> None:
    """One bit, one byte less, one more: file and offset are named, in either folder, and it is not lost as well."""
    court.drop(ONE, ago=LONG_AGO)
    path = court.arrive(getattr(court.settings, place), ONE, change=change)
    assert court.found() == [("corrupt", ONE.name)]
    assert f"{path}: byte {at} differs" in court.text()
    assert court.found() == [("corrupt", ONE.name)]
    assert court.judge.received == 0


def test_the_last_bytes_of_a_large_file(tmp_path: Path) -> None:
    """The offset is that in the file, not in the piece that was read."""
    court = Court(tmp_path, sizes=content.sizes("1200KiB"))
    court.drop(ONE)
    court.arrive(court.settings.downloaded, ONE, change=flip(BLOCK + 77))
    assert court.found() == [("corrupt", ONE.name)]
    assert f"byte {BLOCK + 77} differs" in court.text()
    court.end()


def test_a_damaged_first_line(court: Court) -> None:
    """That names another file now: neither file has come, and this one is not taken for the other."""
    court.drop(ONE, TWO)
    line = body_of(court.run, ONE)
    at = line.index(b"drop 1") + len("drop ")
    court.arrive(court.settings.downloaded, ONE, change=lambda body: body[:at] + b"2" + body[at + 1 :])
    assert court.found() == [("corrupt", ONE.name)]
    assert f"byte {at} differs from what was dropped as {ONE.name}" in court.text()


def test_a_damaged_file_under_another_name(court: Court) -> None:
    """It holds nobody's bytes: corrupt, and whose they were is told."""
    court.drop(ONE)
    path = court.arrive(court.settings.downloaded, ONE, "x.bin", flip(222))
    assert [kind for kind, _ in court.found()] == ["corrupt"]
    assert court.text() == f"{path}: byte 222 differs from what was dropped as {ONE.name}"


@pytest.mark.parametrize(
    "more",
    [{"size": 299}, {"metadata": {}}, {"metadata": {METADATA: "20260101-000000-0000"}}],
    ids=["size", "none", "foreign"],
)
def test_an_object_that_is_another(court: Court, more: dict[str, Any]) -> None:
    """Another size, or an object that does not say it is of this run."""
    court.drop(ONE)
    court.put(ONE, **more)
    court.archive(ONE)
    court.until(lambda: bool(court.judge.accounts.violations))
    assert court.found() == [("corrupt", ONE.name)]
    assert court.text().startswith("its object has")
    assert not court.answers()


# ------------------------------------------------------------------ what is too much


OTHER_NAMES = ["copy.bin", "drop-000001-Version-2.bin", "drop-000099.bin", "d/drop-000001.bin", "drop-1.bin"]


@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("swept", [False, True])
def test_the_same_again_is_a_duplicate(court: Court, name: str, swept: bool) -> None:
    """Whatever it is called, and whether or not the first one still lies there; both are named."""
    court.drop(ONE)
    court.pass_on(ONE)
    court.next_answer()
    if swept:
        court.sweep(ONE)
        court.judge.step()
    path = court.deliver(ONE, name)
    assert [kind for kind, _ in court.found()] == ["duplicate"]
    assert f"{path}: the content of {ONE.name} again" in court.text()


@pytest.mark.parametrize("version", [1, 2])
def test_the_same_again_under_its_own_name(court: Court, version: int) -> None:
    """After the first one was swept the name is free; whether its next version was dropped meanwhile or not."""
    court.drop(ONE)
    court.pass_on(ONE)
    court.next_answer()
    court.sweep(ONE)
    court.drop(*[ONE.next] * (version - 1))
    court.judge.step()
    court.deliver(ONE)
    assert court.found() == [("duplicate", ONE.name)]


def test_the_same_again_at_once(court: Court) -> None:
    """Between two looks it was swept and came again; file systems give a number that is free to the next file."""
    court.drop(ONE)
    court.pass_on(ONE)
    court.next_answer()
    place, aside = court.settings.downloaded / ONE.name, court.run.root / "aside"
    place.rename(aside)
    court.feeder.send(("swept", ONE))
    aside.rename(place)
    assert court.found() == [("duplicate", ONE.name)]


def test_another_file_in_its_place_is_a_second_delivery(court: Court) -> None:
    """The first one was removed or replaced by the second: that is no latency, and it was not sent twice."""
    court.drop(ONE)
    court.deliver(ONE)
    assert court.found() == []
    again = court.deliver(ONE, "again.bin")
    again.rename(court.settings.downloaded / ONE.name)
    assert court.found() == [("duplicate", ONE.name)]
    assert court.judge.received == 300


@pytest.mark.parametrize("name", [*OTHER_NAMES, TWO.name])
def test_right_bytes_under_another_name(court: Court, name: str) -> None:
    """Misnamed, as long as the file itself has not arrived; both names are told."""
    court.drop(ONE, TWO)
    path = court.deliver(ONE, name)
    assert [kind for kind, _ in court.found()] == ["misnamed"]
    assert f"{path}: the content of {ONE.name} under another name" in court.text()


def test_what_vanishes_once_settled_is_lost(court: Court) -> None:
    """The feeder was to remove it and did not find it."""
    court.drop(ONE)
    court.pass_on(ONE)
    court.answers_until(1)
    court.sweep(ONE)
    court.feeder.send(("vanished", ONE, "UploadedToS3"))
    assert court.found() == [("lost", ONE.name)]
    assert "it vanished from UploadedToS3" in court.text()


def test_what_cannot_be_swept_in_time_is_left(court: Court) -> None:
    """The store refused all the while; should the sweep come through later, it stays said."""
    court.drop(ONE)
    court.pass_on(ONE)
    court.answers_until(1)
    court.feeder.send(("stuck", ONE, "the store is away"))
    court.sweep(ONE)
    assert court.found() == [("left", ONE.name)]
    assert "cannot be removed so far: the store is away" in court.text()


def test_what_cannot_be_read_is_corrupt(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails, or a mode that keeps the judge out: said, and no error of the test."""
    court.drop(ONE)
    path = court.deliver(ONE)
    path.unlink()
    path.symlink_to(path)  # nothing that was relayed, so it is not looked at
    assert court.found() == []
    path.unlink()
    court.deliver(ONE)
    opened = Path.open

    def fails(self: Path, *rest: Any) -> Any:
        if self == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(self, *rest)

    monkeypatch.setattr(Path, "open", fails)
    assert court.found() == [("corrupt", ONE.name)]
    assert "cannot be read: Input/output error" in court.text()


def test_a_copy_that_comes_first(court: Court) -> None:
    """Misnamed until the file itself arrives, and from then on a duplicate."""
    court.drop(ONE)
    court.deliver(ONE, "copy.bin")
    assert [kind for kind, _ in court.found()] == ["misnamed"]
    court.pass_on(ONE)
    assert court.found() == [("duplicate", "DownloadedFromS3/copy.bin")]
    assert f"the content of {ONE.name} again" in court.text()


@pytest.mark.parametrize("name", ["stranger.txt", "drop-000001.bin", "drop-000099.bin", "d/stranger"])
@pytest.mark.parametrize("foreign", [True, False])
def test_what_nobody_dropped(court: Court, name: str, foreign: bool) -> None:
    """A foreign content, or one that this run will drop some day and has not: invented."""
    path = write(court.settings.downloaded / name, b"foreign" if foreign else body_of(court.run, File(1, 1)))
    assert [kind for kind, _ in court.found()] == ["invented"]
    assert str(path) in court.text()


def test_the_content_of_another_run(court: Court) -> None:
    """Of the same seed, drop and version: it is none of this run's."""
    court.drop(ONE)
    foreign = court.run.recipe._replace(run="20260101-000000-0000")
    write(court.settings.downloaded / "x.bin", b"".join(foreign.blocks(ONE)))
    assert [kind for kind, _ in court.found()] == ["invented"]


# ------------------------------------------------------------------ what is missing


@pytest.mark.parametrize(
    ("way", "where"),
    [
        ("", "it never left Watch"),
        ("claim", "last seen in QueuedForUpload"),
        ("archive", "last seen in UploadedToS3"),
        ("deliver", "delivered, but not archived"),
        ("archive deliver", "delivered, but its object is missing"),
    ],
)
def test_what_does_not_come_is_lost(court: Court, way: str, where: str) -> None:
    """Once, and with where it was seen last; the feeder is told, and drops another."""
    court.drop(ONE, ago=court.run.options.deadline - 1)
    for step in way.split():
        getattr(court, step)(ONE)
    assert court.found() == []
    court.feeder.send(("dropped", ONE, time.monotonic() - LONG_AGO))
    assert court.found() == [("lost", ONE.name)]
    assert where in court.text()
    court.judge.step()
    assert [words[0] for words in court.answers()] == ["lost"]
    assert not court.judge.accounts.unsettled()


def test_what_the_relay_gave_up_is_lost_with_its_reason(court: Court) -> None:
    """The reason that the relay itself wrote beside it."""
    folders = (court.settings.watch, court.settings.queued, court.settings.uploaded, court.settings.failed)
    spool = Spool(*(Folder(folder, durable=False) for folder in folders))
    court.drop(ONE, ago=LONG_AGO)
    claimed = spool.claim(ONE.name)
    assert claimed
    with spool.take(claimed) as queued:
        assert queued
        spool.fail(queued, {"reason": "its key is too long"})
    for folder in (spool.watch, spool.queued, spool.uploaded, spool.failed):
        folder.close()
    assert court.found() == [("lost", ONE.name)]
    assert "it lies in Failed: " in court.text()
    assert "its key is too long" in court.text()


def test_what_lies_in_failed_without_a_reason(in_place: Court) -> None:
    """Is told to lie there all the same."""
    in_place.drop(ONE, ago=LONG_AGO)
    in_place.arrive(in_place.settings.failed, ONE)
    assert in_place.found() == [("lost", ONE.name)]
    assert in_place.text().endswith("it lies in Failed")


def test_what_comes_after_its_deadline_is_late(court: Court) -> None:
    """Late instead of lost; it is settled and swept as any other."""
    court.drop(ONE, ago=LONG_AGO)
    assert court.found() == [("lost", ONE.name)]
    court.answers()
    court.pass_on(ONE)
    what, file, _, replaced = court.next_answer()
    assert (what, file, replaced) == ("settled", ONE, True)
    assert court.found() == [("late", ONE.name)]


def test_an_object_that_is_not_there_yet_is_looked_for_again(court: Court) -> None:
    """And one that comes within the deadline is no violation."""
    court.drop(ONE)
    court.archive(ONE)
    court.deliver(ONE)
    court.until(lambda: len(court.store.journal.of("look")) > 1)
    assert not court.answers()
    stored = court.put(ONE)
    assert court.next_answer() == ("settled", ONE, stored, False)
    assert court.found() == []


@pytest.mark.parametrize("error", [LaterError("slow down"), PausedError("no endpoint"), RelayError("?")])
def test_a_store_that_cannot_answer_is_asked_again(court: Court, error: RelayError) -> None:
    """What the judge cannot see is no violation of the relay's."""
    court.store.trouble.queued["look"].append(error)
    court.drop(ONE)
    court.pass_on(ONE)
    assert court.next_answer()[:2] == ("settled", ONE)
    assert court.found() == []


# ------------------------------------------------------------------ where it looks


def test_the_programs_own_folder_is_its_own(court: Court) -> None:
    """What lies in DownloadedFromS3/.relay has not arrived."""
    court.drop(ONE)
    court.deliver(ONE, f".relay/incoming/{ONE.name}")
    write(court.settings.downloaded / ".relay/ledger.sqlite", b"x")
    assert court.found() == []
    assert court.judge.received == 0


def test_in_place_the_rest_is_somebody_elses(in_place: Court) -> None:
    """Only what lies in the run's own subfolder is looked at, and there all is."""
    in_place.drop(ONE)
    for folder in (in_place.settings.downloaded, in_place.settings.uploaded):
        write(folder / "a.txt", b"a user's")
        write(folder / ONE.name, b"a user's")
        write(folder / "relay-soak-20260101-000000-0000" / ONE.name, b"of another run")
    assert in_place.found() == []
    in_place.pass_on(ONE)
    assert in_place.next_answer()[:2] == ("settled", ONE)
    write(in_place.settings.downloaded / in_place.run.subfolder / "a.txt", b"nobody's")
    assert in_place.found() == [("invented", f"{in_place.run.subfolder}/a.txt")]


def test_what_vanishes_before_it_is_opened(court: Court) -> None:
    """Is no violation, and judged when it is there. A link to nothing is listed and cannot be opened, as that is."""
    court.drop(ONE)
    place = court.settings.downloaded / ONE.name
    place.symlink_to("nothing")
    assert court.found() == []
    assert court.judge.received == 0
    place.unlink()
    court.deliver(ONE)
    assert court.found() == []
    assert court.judge.received == 300


def test_what_was_judged_is_not_read_again(court: Court) -> None:
    """Until it is changed, or another file is in its place: of that one every byte is read."""
    court.drop(ONE, TWO)
    for file in (ONE, TWO):
        path = court.deliver(file)
        court.judge.step()
        state = path.stat()
        path.write_bytes(b"x" * state.st_size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert court.found() == []
    os.utime(court.settings.downloaded / TWO.name)
    assert court.found() == [("corrupt", TWO.name)]
    other = write(court.settings.downloaded / "new.tmp", b"another inode")
    other.rename(court.settings.downloaded / ONE.name)
    assert court.found() == [("corrupt", TWO.name), ("corrupt", ONE.name)]


def test_a_touch_is_no_second_delivery(court: Court) -> None:
    """The same file with another time is the one that was judged."""
    court.drop(ONE)
    path = court.deliver(ONE)
    court.judge.step()
    os.utime(path)
    assert court.found() == []
    assert court.judge.received == 300


def test_the_last_look(court: Court) -> None:
    """Whatever is still in a folder, in the bucket, or not swept has to be accounted for; what has a story is."""
    court.drop(ONE, TWO)
    court.pass_on(ONE)
    court.next_answer()
    court.put(TWO)
    settings = court.settings
    stray = write(settings.downloaded / INCOMING / "x")
    failed = write(settings.failed / "y")
    write(settings.failed / REASONS / "y.json")
    write(settings.downloaded / "copy.bin", body_of(court.run, ONE))
    assert court.found() == [("duplicate", "DownloadedFromS3/copy.bin")]
    court.store.put(f"{settings.aws_s3_folder}/{STORE_PROBE}", b"")
    court.judge.close_accounts()
    left = {name for kind, name in court.found() if kind == "left"}
    watched, object_ = settings.watch / court.run.path(TWO.name), f"s3://relay/{settings.aws_s3_folder}/{TWO.name}"
    assert left == {ONE.name, str(stray), str(failed), str(watched), object_}


def test_what_is_no_file_of_a_test_is_judged_once(court: Court) -> None:
    """And forgotten when it is gone."""
    path = write(court.settings.downloaded / "x", b"invented")
    for _ in range(3):
        assert len(court.found()) == 1
    path.unlink()
    court.judge.step()
    assert not court.judge._seen


# ------------------------------------------------------------------ the feeder at the other end


def test_a_feeder_that_does_not_listen_holds_nobody_up(court: Court) -> None:
    """It may be waiting for the judge to listen: with both waiting, the run would stand still. Nothing gets lost."""
    count = 400  # a pipe holds some 280 of these words
    lose(court, count)
    assert finishes(court.judge.step)
    assert [words[0] for words in court.answers_until(count)] == ["lost"] * count


def test_the_end_is_said_first(court: Court) -> None:
    """Where a run is ended at once, what the feeder has not been told yet is not told any more."""
    lose(court, 100)
    court.judge.step()
    assert court.judge._words
    court.answers()
    court.judge.close()
    assert court.answers() == [("done",)]


def test_the_end_waits_for_no_feeder(court: Court) -> None:
    """One that is gone reads nothing; the report comes nevertheless."""
    while court.judge._room.poll(0):
        court.judge._feeder.send(("lost",))
    assert finishes(court.judge.close)
    assert ("done",) not in court.answers()


def test_a_store_that_hangs_is_asked_once_and_not_waited_for(court: Court) -> None:
    """Neither by the next look at the folders nor at the end."""
    hanging = threading.Event()
    court.store.before["look"] = lambda _key: _wait(hanging)
    court.drop(ONE)
    court.archive(ONE)
    court.until(lambda: bool(court.store.journal.of("look")))
    until(lambda: court.judge.now > court.judge._lookup._again[ONE][0])
    court.judge.step()  # now it would be asked again
    assert finishes(court.judge.close)
    assert len(court.store.journal.of("look")) == 1
    hanging.set()


def _wait(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


def lose(court: Court, count: int) -> None:
    """Tell the judge of so many files that are overdue."""
    for number in range(1, count + 1):
        court.feeder.send(("generated", File(number, 1)))
        court.feeder.send(("dropped", File(number, 1), time.monotonic() - LONG_AGO))
        if number % 100 == 0:
            court.judge._hear()
