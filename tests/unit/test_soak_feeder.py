"""The feeder of a soak test, over real folders and a store in memory: what it drops, and when it ends."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.names import key_for
from pipeline.ports import LaterError, NeverError, PausedError, RelayError, StoredObject
from pipeline.process import Stop
from pipeline.soak import feeder
from pipeline.soak.content import File
from pipeline.soak.feeder import Feeder
from pipeline.soak.run import METADATA, Run
from tests.fakes import FakeStore
from tests.soak import DEADLINE, body_of, run_at, settings_at, until
from tests.unit.places import tree, write

ONE = File(1, 1)


class Farm:
    """A feeder in a thread, and a hand that does what the relay and the judge would."""

    def __init__(
        self, root: Path, *, parent: int = 0, ignore_patterns: tuple[str, ...] = (".*",), **asked: Any
    ) -> None:
        settings = replace(settings_at(root), ignore_patterns=ignore_patterns)
        run, self.settings = run_at(root, settings, **{"files": 3, **asked})
        self.run: Run = replace(run, parent=parent)
        self.store = FakeStore(versioned=True)
        self.judge, self._feeders = Pipe()
        self.stop = SimpleNamespace(requested=False)
        self.feeder = Feeder(self.run, self.settings, self.store, self._feeders)
        self.told: list[tuple[Any, ...]] = []
        self.ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def _feed(self) -> None:
        try:
            self.feeder.feed(cast(Stop, self.stop))
        except Exception as error:  # noqa: BLE001  # it is the test that judges it
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        if self._thread.is_alive():
            self.judge.send(("done",))
        if self._thread.ident:
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive()
        for pipe in (self.judge, self._feeders):
            pipe.close()

    def listen(self) -> None:
        while self.judge.poll(0):
            self.told.append(self.judge.recv())

    def until(self, condition: Callable[[], bool]) -> None:
        """Listen until a condition is true."""
        until(condition, self.listen)

    def said(self, what: str) -> list[Any]:
        """The subjects of one kind of word, in order."""
        return [words[1] for words in self.told if words[0] == what]

    def until_said(self, what: str, count: int) -> list[Any]:
        self.until(lambda: len(self.said(what)) >= count)
        return self.said(what)

    def pass_on(self, file: File) -> StoredObject:
        """All its way; its object."""
        path = self.run.path(file.name)
        (self.settings.watch / path).unlink()
        for folder in (self.settings.uploaded, self.settings.downloaded):
            write(folder / path, body_of(self.run, file))
        key = key_for(self.settings.aws_s3_folder, path).text
        return self.store.put(key, b"x", {METADATA: self.run.id})

    def settle(self, file: File) -> None:
        self.judge.send(("settled", file, self.pass_on(file), False))

    def files(self) -> dict[str, bytes | str]:
        """What lies in Watch, UploadedToS3 and DownloadedFromS3."""
        folders = (self.settings.watch, self.settings.uploaded, self.settings.downloaded)
        return {f"{folder.name}/{path}": body for folder in folders for path, body in tree(folder).items()}


Make = Callable[..., Farm]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Feeders with options of their own; all are ended."""
    monkeypatch.setattr(feeder, "_RETRY_SECONDS", 0.002)
    monkeypatch.setattr(feeder, "_WAIT_SECONDS", 0.001)
    made: list[Farm] = []

    def of(**asked: Any) -> Farm:
        made.append(Farm(tmp_path / str(len(made)), **asked))
        return made[-1]

    (tmp_path / "0").mkdir()
    yield of
    for farm in made:
        farm.end()


# ------------------------------------------------------------------ what it drops


@pytest.mark.parametrize("in_place", [False, True])
def test_it_drops_as_many_as_it_was_told(make: Make, in_place: bool) -> None:
    """Each announced before it is written, and again when it is whole, with the time; and no more than those."""
    farm = make(in_place=in_place)
    before = time.monotonic()
    farm.start()
    farm.until_said("dropped", 3)
    files = [File(number, 1) for number in (1, 2, 3)]
    assert [words[:2] for words in farm.told] == [(what, file) for file in files for what in ("generated", "dropped")]
    assert all(before <= words[2] <= time.monotonic() for words in farm.told if words[0] == "dropped")
    assert farm.files() == {f"Watch/{farm.run.path(file.name)}": body_of(farm.run, file) for file in files}
    assert not farm.said("finished")


def test_a_settled_file_is_removed_and_comes_again(make: Make) -> None:
    """Object, archive and arrival are gone before the judge hears of it, and its next version follows."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    other = farm.store.put("in/other", b"x").version_id
    farm.settle(ONE)
    [swept] = farm.until_said("swept", 1)
    assert swept == ONE
    farm.until_said("dropped", 4)
    assert farm.said("dropped")[3] == File(1, 2)
    assert sorted(farm.files()) == [f"Watch/{File(*of).name}" for of in ((1, 2), (2, 1), (3, 1))]
    assert list(farm.store.contents()) == ["in/other"]
    assert other


def test_the_very_version_is_deleted(make: Make) -> None:
    """Where the bucket keeps versions; without the version id the object would stay, hidden."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    key = key_for(farm.settings.aws_s3_folder, ONE.name).text
    farm.store.put(key, b"somebody else's")
    farm.settle(ONE)
    farm.until_said("swept", 1)
    assert farm.store.contents() == {key: b"somebody else's"}


def test_what_comes_late_is_not_fed_back(make: Make) -> None:
    """Another was dropped in its place: it is swept, and as many are in circulation as before."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    farm.judge.send(("settled", ONE, farm.pass_on(ONE), True))
    farm.until_said("swept", 1)
    until_it_turns(farm)
    assert [file for file in farm.said("dropped") if file.drop < 999_999] == [File(number, 1) for number in (1, 2, 3)]


def test_what_was_lost_is_replaced(make: Make) -> None:
    """By a drop that was not there before, so that as many are in circulation."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    farm.judge.send(("lost",))
    farm.judge.send(("lost",))
    assert farm.until_said("dropped", 5)[3:] == [File(4, 1), File(5, 1)]


@pytest.mark.parametrize("patterns", [(".*",), ("*.part", "*.tmp"), ("*.part",), ()])
def test_files_appear_in_both_ways(make: Make, monkeypatch: pytest.MonkeyPatch, patterns: tuple[str, ...]) -> None:
    """Every other one grows under its name, as a slow copy does; the rest is whole when it appears.

    Where the relay ignores no such names, nothing has one: it would be sent.
    """
    farm = make(ignore_patterns=patterns, in_place=True)
    place = f"Watch/{farm.run.subfolder}"
    seen: list[str] = []
    blocks = type(farm.run.recipe).blocks

    def while_it_is_written(recipe: Any, file: File) -> Iterator[bytes]:
        yield from blocks(recipe, file)
        seen.extend(farm.files())

    monkeypatch.setattr(type(farm.run.recipe), "blocks", while_it_is_written)
    farm.start()
    farm.until_said("dropped", 3)
    names = [File(number, 1).name for number in (1, 2, 3)]
    hidden = [f"{place}/.{names[1]}.tmp"] if patterns[-1:] in ((".*",), ("*.tmp",)) else []
    assert [path for path in dict.fromkeys(seen) if "tmp" in path] == hidden
    assert sorted(farm.files()) == [f"{place}/{name}" for name in names]


# ------------------------------------------------------------------ when it drops no more


def test_it_ends_after_its_duration(make: Make) -> None:
    """Counted from the begin of the run; said once."""
    farm = make(files=10_000, rate=1_000.0, duration=0.05)
    farm.start()
    assert farm.until_said("finished", 1) == ["duration"]
    assert time.monotonic() - farm.run.began >= 0.05
    dropped = len(farm.said("dropped"))
    until_it_turns(farm)
    assert len(farm.said("dropped")) == dropped
    assert farm.said("finished") == ["duration"]


def test_it_ends_after_so_many_bytes(make: Make) -> None:
    """Sent and received: each file counts twice, at least 1 KiB each; what would go beyond is not dropped."""
    farm = make(files=100, max_bytes=2 * 1024 * 4 + 1)
    farm.start()
    assert farm.until_said("finished", 1) == ["max-bytes"]
    until_it_turns(farm)
    assert len(farm.said("dropped")) == 4


def test_it_ends_when_it_is_asked_to(make: Make) -> None:
    """SIGTERM; what is there goes on being swept, and nothing is dropped, whatever is settled or lost."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    farm.stop.requested = True
    assert farm.until_said("finished", 1) == ["Ctrl-C"]
    farm.judge.send(("lost",))
    for number in (1, 2, 3):
        farm.settle(File(number, 1))
    assert sorted(farm.until_said("swept", 3)) == [File(number, 1) for number in (1, 2, 3)]
    until_it_turns(farm)
    assert len(farm.said("dropped")) == 3
    assert farm.files() == farm.store.contents() == {}
    assert not farm.ended.done()
    farm.judge.send(("done",))
    assert farm.ended.result(DEADLINE) is None


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond passes with each look at it, however busy the machine is."""
    looks = itertools.count()
    monkeypatch.setattr(feeder, "time", SimpleNamespace(monotonic=lambda: next(looks) / 1000))


@pytest.mark.usefixtures("slow_clock")
def test_it_keeps_its_rate(make: Make) -> None:
    """So many in a second, over all."""
    farm = make(files=1_000, rate=200.0)
    farm.start()
    farm.until_said("dropped", 20)
    times = [words[2] for words in farm.told if words[0] == "dropped"][:20]
    assert 0.09 <= times[-1] - times[0] < 0.11


@pytest.mark.usefixtures("slow_clock")
def test_a_rate_makes_up_for_little(make: Make) -> None:
    """After a pause at most a second's files come at once."""
    farm = make(files=1_000, rate=20.0)
    farm.feeder._next_at -= 100.0
    farm.start()
    farm.until_said("dropped", 24)
    times = [words[2] for words in farm.told if words[0] == "dropped"]
    assert times[19] - times[0] < 0.05
    assert times[23] - times[0] >= 0.09


def until_it_turns(farm: Farm) -> None:
    """Until the feeder, which tells nothing of it, has surely gone through its loop: it has swept one more file."""
    name = File(999_999, 1)
    for folder in (farm.settings.uploaded, farm.settings.downloaded):
        write(folder / farm.run.path(name.name))
    farm.judge.send(("settled", name, farm.store.put(f"in/{name.name}", b"x"), False))
    farm.until(lambda: name in farm.said("swept"))
    farm.told.remove(("swept", name))


# ------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("error", [LaterError("slow down"), PausedError("no endpoint")])
def test_a_delete_is_tried_again(make: Make, error: RelayError) -> None:
    """Nothing is swept until the object is gone; others are, meanwhile."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    farm.store.trouble.queued["delete object"].extend([error] * 3)
    farm.settle(ONE)
    assert farm.until_said("swept", 1) == [ONE]
    assert len(farm.store.journal.of("delete object")) == 4
    assert farm.store.contents() == {}


def test_a_sweep_that_is_late_is_told_once(make: Make) -> None:
    """It goes on for as long as the store refuses, and so does the run."""
    farm = make(deadline=0.0)
    farm.start()
    farm.until_said("dropped", 3)
    farm.store.trouble.queued["delete object"].extend([PausedError("the store is away")] * 3)
    farm.settle(ONE)
    assert farm.until_said("swept", 1) == [ONE]
    assert [words for words in farm.told if words[0] == "stuck"] == [("stuck", ONE, "the store is away")]
    assert not farm.said("failed")


def test_the_end_does_not_wait_for_a_store(make: Make) -> None:
    """When the judge is done, what cannot be deleted is left to the cleanup."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    farm.store.before["delete object"] = refuse_always
    farm.settle(ONE)
    farm.until(lambda: bool(farm.store.journal.of("delete object")))
    farm.judge.send(("done",))
    assert farm.ended.result(DEADLINE) is None
    assert len(farm.store.contents()) == 1


def test_the_end_begins_nothing_new(make: Make) -> None:
    """What was not begun to be swept is left to the cleanup: each may take a minute where a store hangs."""
    farm = make(files=20)
    hanging = threading.Event()
    farm.store.before["delete object"] = lambda _key: wait_for(hanging)
    farm.start()
    for file in farm.until_said("dropped", 20):
        farm.settle(file)
    farm.judge.send(("done",))
    until(farm.feeder._over.is_set)
    hanging.set()
    assert farm.ended.result(DEADLINE) is None
    assert len(farm.store.journal.of("delete object")) < 20


@pytest.mark.parametrize("busy", [False, True])
def test_an_error_of_its_own_ends_it(make: Make, busy: bool) -> None:
    """Told to the judge, and raised, at once; also while a store refuses to delete something."""
    farm = make()
    taken = write(farm.settings.watch / File(5, 1).name, b"somebody else's")
    farm.start()
    farm.until_said("dropped", 3)
    if busy:
        farm.store.before["delete object"] = refuse_always
        farm.settle(ONE)
        farm.until(lambda: bool(farm.store.journal.of("delete object")))
    for _ in range(2):
        farm.judge.send(("lost",))
    with pytest.raises(FileExistsError):
        farm.ended.result(DEADLINE)
    farm.listen()
    [said] = farm.said("failed")
    assert said.startswith("FileExistsError: ")
    assert str(taken) in said
    assert taken.read_bytes() == b"somebody else's"


def test_a_watch_folder_that_is_gone_ends_it(make: Make) -> None:
    """It is not made again: the relay would not see what lies in it."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    farm.settings.watch.rename(farm.run.root / "gone")
    farm.judge.send(("lost",))
    with pytest.raises(FileNotFoundError):
        farm.ended.result(DEADLINE)


def test_what_cannot_be_swept_ends_it(make: Make) -> None:
    """An object that may not be deleted; also where another sweep is not over."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    stuck = threading.Event()
    farm.store.before["delete object"] = lambda key: wait_for(stuck) if File(2, 1).name in key else None
    farm.settle(File(2, 1))
    farm.until(lambda: bool(farm.store.journal.of("delete object")))
    farm.store.trouble.queued["delete object"].append(NeverError("denied"))
    farm.settle(ONE)
    assert farm.until_said("failed", 1)
    stuck.set()
    with pytest.raises(NeverError):
        farm.ended.result(DEADLINE)


def test_what_vanished_before_it_was_swept_is_told(make: Make) -> None:
    """Somebody, or the relay, took a settled file away: the judge hears of it, and its next version follows."""
    farm = make()
    farm.start()
    farm.until_said("dropped", 3)
    stored = farm.pass_on(ONE)
    (farm.settings.downloaded / ONE.name).unlink()
    farm.judge.send(("settled", ONE, stored, False))
    farm.until_said("dropped", 4)
    assert ("vanished", ONE, farm.settings.downloaded.name) in farm.told


def refuse_always(_key: str) -> None:
    raise LaterError("slow down")


def wait_for(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process of the relay has a name")
def test_a_process_of_the_relay_is_killed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --chaos, until the feeder has finished; the judge is told which."""
    monkeypatch.setattr(feeder, "_CHAOS_SECONDS", (0.0, 0.0))
    program = tmp_path / "poller"
    shutil.copy(shutil.which("sleep") or "", program)
    farm = make(chaos=True, parent=os.getpid())
    with subprocess.Popen([program, "60"]) as first:
        farm.start()
        assert set(farm.until_said("killed", 1)) == {"poller"}
        assert first.wait(DEADLINE) == -signal.SIGKILL
    farm.stop.requested = True
    farm.until_said("finished", 1)
    kills = len(farm.said("killed"))  # one that is dying can be killed once more
    with subprocess.Popen([program, "60"]) as second:
        until_it_turns(farm)
        assert second.poll() is None
        second.kill()
    assert len(farm.said("killed")) == kills


# ------------------------------------------------------------------ memory


def test_nothing_is_left_of_what_was_swept(make: Make) -> None:
    """A run of days does not grow: what is kept is what is to be dropped next."""
    farm = make()
    farm.start()
    for turn in range(1, 11):
        for file in farm.until_said("dropped", 3 * turn)[-3:]:
            farm.settle(file)
    farm.stop.requested = True
    farm.until_said("swept", 30)
    farm.until_said("finished", 1)
    until(lambda: not farm.feeder._sweeps)
    farm.judge.send(("done",))
    farm.ended.result(DEADLINE)
    assert len(farm.feeder._ready) <= 3
