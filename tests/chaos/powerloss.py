"""The power is cut at any instant: from what may come back everything arrives once, whole, and nothing is left over.

Three files go through both sides, whose every change to files is recorded, and sometimes a process is killed on the
way. From the log come states that a power cut may leave; each is made in a folder of its own, with store and queue as
they were then, and the program starts there. `python -m tests.chaos powerloss` takes any number of them.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pipeline import durability, spool
from pipeline.drop import Fingerprint
from pipeline.folders import fingerprint_of
from pipeline.landing import LEDGER
from tests.chaos import parties
from tests.chaos.crash_states import Crash, draw
from tests.chaos.judge import Judge
from tests.chaos.parties import INGEST, KEY_FOLDER, SETTLE, VISIBILITY, Clock, Consume, Ingest, Party, Work, install
from tests.chaos.recording import LEDGER_SITE, Cloud, Committed, Entry, Killed, Named, Recorder, Synced
from tests.chaos.turns import Turns
from tests.chaos.user import Content, User
from tests.fakes import FakeQueue, FakeStore
from tests.unit.places import facilities_of

FACILITIES = ("kernel", "portable")
PATHS = ("a.csv", "a.csv", "d/a.csv", "d/e/b", "c")
DRAWS = 60
"""Of one recording."""
_TURNS = 60
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
        with _folder() as folder:
            found = {kind: facilities_of(kind, folder) for kind in FACILITIES}
        patch.setattr(parties, "facilities_of", lambda kind, _path: found[kind])
        patch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
        yield clock, turns


def record(clock: Clock, turns: Turns, rng: random.Random) -> Recording:
    """Whatever comes first, in any order, with a kill or without."""
    with _folder() as root, pytest.MonkeyPatch.context() as patch:
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


def recover(clock: Clock, turns: Turns, crash: Crash, recording: Recording) -> str:
    """Start the program on what came back; "" if all holds, else what does not."""
    turns.forget()
    with _folder() as root, pytest.MonkeyPatch.context() as patch:
        stage = Stage(root, recording.facilities, clock, turns)
        known = materialise(crash, recording.inodes, root)
        _remember(stage, crash.cloud)
        stage.user.contents = recording.dropped(crash.at)
        _note_announced(stage.user.contents, crash.cloud)
        patch.setattr(spool, "fingerprint_of", _identify(known))
        patch.setattr(os, "fsync", lambda _fd: None)
        patch.setattr(durability, "_syncfs", lambda _fd: 0)
        judge = Judge(root, stage.user, stage.store, stage.queue, in_order=False)
        patch.setattr(logging.getLogger(), "handlers", [judge])
        try:
            judge.after_a_step()
            stage.start()
            try:
                _drain(stage, judge)
            finally:
                stage.end()
        except Exception as error:  # noqa: BLE001  # not hidden: it is what the run found
            return "".join(traceback.format_exception(error, limit=-3))
    return ""


def _drain(stage: Stage, judge: Judge) -> None:
    for party in (stage.consume, stage.ingest):
        party.recover()
        stage.turns.run()
    for _ in range(_TURNS):
        if not judge.left():
            break
        for _party, work in stage.works():
            work()
            stage.turns.run()
        stage.clock.now += VISIBILITY + 1
    assert not judge.left(), f"I9: it does not drain: {judge.left()}"
    judge.at_rest()


def materialise(crash: Crash, inodes: dict[int, int], root: Path) -> dict[tuple[int, int], tuple[int, int]]:
    """Make it; for the inode and ctime of each file those that it had."""
    for path in crash.folders:
        (root / path).mkdir(parents=True, exist_ok=True)
    made: dict[int, Path] = {}
    for path, node in sorted(crash.names.items(), key=lambda item: crash.files[item[1]].ctime):
        if node in made:
            os.link(made[node], root / path)
        else:
            made[node] = root / path
            made[node].write_bytes(crash.files[node].body)
            os.utime(made[node], ns=(crash.files[node].mtime,) * 2)
    if crash.ledger:
        file = root / "DownloadedFromS3" / LEDGER
        file.write_bytes(crash.ledger[0])
        file.with_name(f"{file.name}-wal").write_bytes(crash.ledger[1])
    status = {node: path.stat() for node, path in made.items()}
    return {
        (found.st_ino, found.st_ctime_ns): (inodes[node], crash.files[node].ctime) for node, found in status.items()
    }


def _identify(known: dict[tuple[int, int], tuple[int, int]]) -> Callable[[int], Fingerprint]:
    """A file that came back is what it was, until something sets its ctime."""

    def identify(fd: int) -> Fingerprint:
        found = fingerprint_of(fd)
        inode, ctime = known.get((found.inode, found.ctime_ns), (found.inode, found.ctime_ns))
        return found._replace(inode=inode, ctime_ns=ctime)

    return identify


def _remember(stage: Stage, cloud: Cloud) -> None:
    stage.store._versions = {key: list(versions) for key, versions in cloud.objects.items()}
    stage.queue._messages = [replace(message, visible_at=0.0) for message in cloud.messages]
    stage.queue._numbers = itertools.count(1000)


def _note_announced(contents: dict[bytes, Content], cloud: Cloud) -> None:
    for key in cloud.accepted:
        contents[cloud.objects[key][-1].body].announced += 1


@dataclass
class Outcome:
    """What a run came to; `violations` must be empty."""

    kind: str
    states: int = 0
    recordings: int = 0
    kills: int = 0
    entries: Counter[str] = field(default_factory=Counter)
    sites: Counter[str] = field(default_factory=Counter)
    """Where the program made something durable, and how often."""
    violations: list[str] = field(default_factory=list)
    failed: tuple[Crash, Recording] | None = None
    seconds: float = 0.0

    def save(self, file: Path) -> None:
        """The state that failed, for `replay`."""
        file.write_bytes(pickle.dumps(self.failed))

    def table(self) -> str:
        """For a person and for the log."""
        head = "| file system | states | recordings | kills | entries | seconds | violations |"
        figures = (self.kind, self.states, self.recordings, self.kills, self.entries.total())
        row = " | ".join(map(str, (*figures, f"{self.seconds:.0f}", len(self.violations))))
        return "\n".join([head, "|" + "---|" * 7, f"| {row} |", *self.violations])


def run(states: int, seed: int, kind: str, *, without: str = "") -> Outcome:
    """So many states that differ; it ends at the first violation.

    `without`: as if the program made nothing durable there.
    """
    outcome, started = Outcome(kind), time.monotonic()
    with calm() as (clock, turns):
        for number in itertools.count():
            if number % DRAWS == 0:
                recording = record(clock, turns, random.Random(f"{seed}/{number // DRAWS}"))
                seen = set[int]()
                recording = replace(recording, log=_without(recording.log, without))
                _count(outcome, recording)
            crash = draw(recording.log, recording.first, kind, random.Random(f"{seed}/{kind}/{number}"))
            if hash(crash.key) not in seen:
                seen.add(hash(crash.key))
                outcome.states += 1
                if problem := recover(clock, turns, crash, recording):
                    outcome.violations.append(f"state {number}: {problem}\n{describe(crash, recording)}")
                    outcome.failed = crash, recording
            if outcome.violations or outcome.states >= states:
                break
    outcome.seconds = time.monotonic() - started
    return outcome


def replay(file: Path) -> Outcome:
    """One state that a run saved, once more."""
    crash, recording = pickle.loads(file.read_bytes())  # of our own run
    outcome = Outcome("replay", states=1)
    with calm() as (clock, turns):
        problem = recover(clock, turns, crash, recording)
    outcome.violations += [f"{problem}\n{describe(crash, recording)}"] if problem else []
    return outcome


@dataclass
class Each:
    """What it came to to leave out one fsync after the other; `violations` are those that nobody missed."""

    rows: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        return "\n".join(["| without | states until it is missed |", "|---|---|", *self.rows, *self.violations])


def run_without_each(states: int, seed: int) -> Each:
    """Leave out each fsync that a run with all of them comes by: in so many states of a weak file system it shows."""
    whole = run(states, seed, "subset")
    outcome = Each(violations=whole.violations)
    for site in (*sorted(whole.sites), LEDGER_SITE):
        found = run(states, seed, "subset", without=site)
        outcome.rows.append(f"| {site} | {found.states if found.violations else 'never'} |")
        outcome.violations += [] if found.violations else [f"nobody misses it: {site}"]
    return outcome


def _without(log: Sequence[Entry], site: str) -> list[Entry]:
    if site == LEDGER_SITE:
        return [entry._replace(durable=False) if isinstance(entry, Committed) else entry for entry in log]
    return [entry for entry in log if not (isinstance(entry, Synced) and entry.site == site)]


def _count(outcome: Outcome, recording: Recording) -> None:
    outcome.recordings += 1
    outcome.kills += recording.kills
    outcome.entries.update(type(entry).__name__ for entry in recording.log)
    outcome.sites.update(entry.site for entry in recording.log if isinstance(entry, Synced))


def describe(crash: Crash, recording: Recording) -> str:
    """The state, and what led to it."""
    log = [f"  {number:3d} {_brief(entry)}" for number, entry in enumerate(recording.log[: crash.at + 1])]
    files = [f"  {path}: {node} {crash.files[node].body[:20]!r}" for path, node in sorted(crash.names.items())]
    return "\n".join([f"cut after {crash.at} entries, with {recording.facilities} facilities:", *log, *files])


def _brief(entry: Entry) -> str:
    if isinstance(entry, Cloud):
        return f"Cloud({sorted(entry.objects)}, {len(entry.messages)} messages)"
    return " ".join(str(entry).split())[:120]


def _fast() -> str | None:
    """Where files cost least: nothing of this has to outlive anything."""
    return next((place for place in ("/dev/shm",) if os.access(place, os.W_OK)), None)


@contextmanager
def _folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="relay-powerloss-", dir=_fast()))
    try:
        yield root
    finally:
        shutil.rmtree(root)
