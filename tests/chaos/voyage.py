"""Three files on their way through both sides, recorded, with a kill now and then.

Of a side there may be two processes: consumers of one folder, or a watcher and an uploader that end while their
successors work. When one of two is killed, it may come again, or leave to the other what it began.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import durability
from pipeline.landing import LEDGER
from tests.chaos import parties
from tests.chaos.entries import Entry, Named
from tests.chaos.parties import INGEST, KEY_FOLDER, SETTLE, VISIBILITY, Clock, Consume, Ingest, Party, Work, install
from tests.chaos.recording import Killed, Recorder
from tests.chaos.turns import Turns
from tests.chaos.user import Content, User
from tests.fakes import FakeQueue, FakeStore
from tests.unit.places import facilities_of

FACILITIES = ("kernel", "portable")
PATHS = ("a.csv", "a.csv", "d/a.csv", "d/e/b", "c")
_FILES = 3


@dataclass
class Recording:
    """One way of three files through both sides."""

    facilities: str
    log: list[Entry]
    first: int
    """What stood there before the program began."""
    contents: dict[bytes, Content]
    inodes: dict[int, int]
    """Of the nodes of the log."""
    kills: int = 0

    def dropped(self, at: int) -> dict[bytes, Content]:
        """What the user had dropped by then, as he knows it."""
        bodies = {entry.body for entry in self.log[:at] if isinstance(entry, Named)}
        return {body: copy(content) for body, content in self.contents.items() if body in bodies}


class Stage:
    """Both sides, without threads, over real folders, and a store and a queue in memory."""

    def __init__(self, root: Path, facilities: str, clock: Clock, turns: Turns) -> None:
        self.root, self.clock, self.turns, self.facilities = root, clock, turns, facilities
        self.store, self.queue = FakeStore(), FakeQueue(visibility=VISIBILITY, clock=clock.monotonic)
        self.user = User(root)
        self.parties: list[Party] = []
        self._fds: dict[Party, set[int]] = {}
        """What each of them has open."""

    def start(self, consumers: int = 1, ingests: int = 1) -> None:
        """Both sides; the second process of one has what a start does behind it."""
        for kind in [Consume] * consumers + [Ingest] * ingests:
            is_second = any(isinstance(party, kind) for party in self.parties)
            before = _open_fds()
            party = self._make(kind)
            self._join(party, before)
            if is_second:
                self.do(party, party.recover)

    def end(self) -> None:
        """Nothing of them stays open."""
        for party in list(self.parties):
            self.kill(party)

    def kill(self, party: Party) -> None:
        """What it has open closes; what others have, stays."""
        self.parties.remove(party)
        others = [self._fds[other] for other in self.parties]
        # Those of the ledger belong to SQLite, which shares them among all who have it open here.
        party.end(set().union(*others, _ledger_fds() if self.is_beside(party) else ()))

    def is_beside(self, party: Party) -> bool:
        """Whether another process of its side works."""
        return any(isinstance(other, type(party)) and other is not party for other in self.parties)

    def restart(self, party: Party) -> None:
        """In the place of one that was killed."""
        before = _open_fds()
        party.start()
        self._join(party, before)
        self.do(party, party.recover)

    def do(self, party: Party, work: Work, rng: random.Random | None = None) -> None:
        """All of a work, in turns."""
        before = _open_fds()
        try:
            work()
            self.turns.run(rng)
        finally:
            after = _open_fds()
            self._fds[party] |= after - before
            self._fds = {each: fds & after for each, fds in self._fds.items()}

    def works(self) -> list[tuple[Party, Work]]:
        """What the system does, again and again."""
        return [(party, work) for party in self.parties for work in self._works(party)]

    def _works(self, party: Party) -> list[Work]:
        if isinstance(party, Consume):
            return [party.poll]
        return [lambda: self._scan(party), party.upload, lambda: party.sweep(again=True)]

    def _scan(self, ingest: Ingest) -> None:
        """Twice where a file has to settle."""
        ingest.scan()
        self.clock.now += SETTLE
        ingest.scan()

    def _make(self, kind: type[Party]) -> Party:
        if kind is Consume:
            return Consume(self.root, self.facilities, self.store, self.queue)
        return Ingest(self.root, self.facilities, self.clock, self.store, self.queue)

    def _join(self, party: Party, before: set[int]) -> None:
        """It works from now on; `before`: what was open before it began."""
        self.parties.append(party)
        self._fds[party] = _open_fds() - before


@contextmanager
def calm() -> Iterator[tuple[Clock, Turns]]:
    """The program without threads and pauses; what the kernel offers is asked once."""
    clock, turns = Clock(), Turns()
    with pytest.MonkeyPatch.context() as patch:
        install(patch, turns, clock)
        with folder() as place:
            found = {kind: facilities_of(kind, place) for kind in FACILITIES}
        patch.setattr(parties, "facilities_of", lambda kind, _path: found[kind])
        patch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
        yield clock, turns


def record(clock: Clock, turns: Turns, rng: random.Random) -> Recording:
    """Whatever comes first, in any order, with a kill or without."""
    with folder() as root, pytest.MonkeyPatch.context() as patch:
        few = rng.choice((0, durability._FEW))
        patch.setattr(durability, "_FEW", few)
        patch.setattr(durability, "_MANY", few + 1 if rng.random() < 0.5 else durability._MANY)
        for name in (*INGEST, "DownloadedFromS3", *rng.choice(((), ("DownloadedFromS3/d",)))):
            (root / name).mkdir()
        stage = Stage(root, rng.choice(FACILITIES), clock, turns)
        recorder = Recorder(root, stage.store, stage.queue)
        recorder.install(patch)
        first = len(recorder.log)
        stage.start(rng.choice((1, 2)), rng.choice((1, 2)))
        try:
            kills = _go(stage, recorder, rng)
        finally:
            stage.end()
        return Recording(stage.facilities, recorder.log, first, stage.user.contents, recorder.inodes, kills)


def _go(stage: Stage, recorder: Recorder, rng: random.Random) -> int:
    """All the way; how often something was killed."""
    for path in rng.sample(sorted({*PATHS}), rng.choice((0, 1))):
        stage.store.put(f"{KEY_FOLDER}/{path}", b"somebody's")
    left, kills = [rng.choice(PATHS) for _ in range(_FILES)], rng.choice((0, 0, 1, 2))
    killed = 0
    while left or len(stage.user.contents) < _FILES or _is_on_its_way(stage):
        if left and rng.random() < 0.4:
            path, large = left.pop(), rng.random() < 0.5
            dropped = len(stage.user.contents)
            recorder.users(lambda: stage.user.drop(path, large))  # noqa: B023  # done at once
            left += [path] * (len(stage.user.contents) == dropped)  # its name is taken as yet
        if killed < kills and rng.random() < 0.5:
            recorder.kill_at = len(recorder.log) + rng.randint(1, 15)
        party, work = rng.choice(stage.works())
        killed += not _survives(stage, recorder, party, work, rng)
        stage.clock.now += VISIBILITY + 1
    return killed


def _survives(stage: Stage, recorder: Recorder, party: Party, work: Work, rng: random.Random) -> bool:
    try:
        stage.do(party, work, rng)
    except Killed:
        stage.turns.forget()
        recorder.revive()
        stage.kill(party)
        if isinstance(party, Consume) and not stage.is_beside(party):
            recorder.see_ledger(durable=True)  # its end wrote all of it into one file
        if not stage.is_beside(party) or rng.random() < 0.5:
            stage.restart(party)
        return False
    recorder.kill_at = -1
    return True


def _is_on_its_way(stage: Stage) -> bool:
    queued = [path for name in ("Watch", "QueuedForUpload") for path in (stage.root / name).rglob("*")]
    return any(path.is_file() for path in queued) or bool(stage.queue.bodies())


def _open_fds() -> set[int]:
    found = os.listdir("/proc/self/fd")
    return {int(fd) for fd in found if os.path.lexists(f"/proc/self/fd/{fd}")}  # without that which listed them


def _ledger_fds() -> set[int]:
    paths = {fd: os.path.realpath(f"/proc/self/fd/{fd}") for fd in _open_fds()}
    return {fd for fd, path in paths.items() if LEDGER in path}


def _fast() -> str | None:
    """Where files cost least: nothing of this has to outlive anything."""
    return next((place for place in ("/dev/shm",) if os.access(place, os.W_OK)), None)


@contextmanager
def folder() -> Iterator[Path]:
    """An empty one, which goes after the block."""
    root = Path(tempfile.mkdtemp(prefix="relay-powerloss-", dir=_fast()))
    try:
        yield root
    finally:
        shutil.rmtree(root)
