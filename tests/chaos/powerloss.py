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
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pipeline import durability, spool
from pipeline.drop import Fingerprint
from pipeline.folders import fingerprint_of
from pipeline.landing import LEDGER
from tests.chaos.crash_states import Crash, draw
from tests.chaos.entries import Cloud, Committed, Entry, Synced
from tests.chaos.judge import Judge
from tests.chaos.parties import VISIBILITY, Clock
from tests.chaos.recording import LEDGER_SITE
from tests.chaos.turns import Turns
from tests.chaos.user import Content
from tests.chaos.voyage import Recording, Stage, calm, folder, record

DRAWS = 60
"""Of one recording."""
_TURNS = 60
_MANY = 20
"""Recordings, of which about one in two has a kill."""


def recover(clock: Clock, turns: Turns, crash: Crash, recording: Recording) -> str:
    """Start the program on what came back; "" if all holds, else what does not."""
    turns.forget()
    with folder() as root, pytest.MonkeyPatch.context() as patch:
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
    for party in stage.parties:
        stage.do(party, party.recover)
    for _ in range(_TURNS):
        if not judge.left():
            break
        for party, work in stage.works():
            stage.do(party, work)
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
    if not outcome.kills and outcome.recordings >= _MANY:
        outcome.violations.append(f"TOO LITTLE: nothing was killed in {outcome.recordings} recordings")
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
