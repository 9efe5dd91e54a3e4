"""Three files on their way through both sides, recorded, with a kill now and then."""

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

    def start(self) -> None:
        """Both sides."""
        self.ingest = Ingest(self.root, self.facilities, self.clock, self.store, self.queue)
        self.consume = Consume(self.root, self.facilities, self.store, self.queue)

    def end(self) -> None:
        """Nothing of them stays open."""
        for party in (self.ingest, self.consume):
            party.end(set())

    def works(self) -> list[tuple[Party, Work]]:
        """What the system does, again and again."""
        return [(self.ingest, self.scan), (self.ingest, self.ingest.upload), (self.consume, self.consume.poll)]

    def scan(self) -> None:
        """Twice where a file has to settle."""
        self.ingest.scan()
        self.clock.now += SETTLE
        self.ingest.scan()


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
        stage.start()
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
        work()
        stage.turns.run(rng)
    except Killed:
        stage.turns.forget()
        recorder.revive()
        party.end(set())
        if party is stage.consume:
            recorder.see_ledger(durable=True)  # its end wrote all of it into one file
        party.start()
        party.recover()
        stage.turns.run()
        return False
    recorder.kill_at = -1
    return True


def _is_on_its_way(stage: Stage) -> bool:
    queued = [path for name in ("Watch", "QueuedForUpload") for path in (stage.root / name).rglob("*")]
    return any(path.is_file() for path in queued) or bool(stage.queue.bodies())


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
