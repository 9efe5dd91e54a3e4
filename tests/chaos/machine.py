"""A state machine over both sides: a user, a system that goes on in small steps, kills at any instant, and a model.

It drives the program's own classes over real folders, with a store and a queue in memory; after every step the
invariants of the design are compared with what the user did, and at the end everything has to drain.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.ports import LaterError
from tests.chaos.effects import Effects, Killed
from tests.chaos.judge import Judge
from tests.chaos.parties import INGEST, KEY_FOLDER, SETTLE, VISIBILITY, Clock, Consume, Ingest, Party, Work, install
from tests.chaos.turns import Turns
from tests.chaos.user import User, unnumbered
from tests.fakes import FakeQueue, FakeStore

_DRAIN_TURNS = 60


class _Long(str):
    """A path that is too long for a key, and for the page on which a failure is shown."""

    def __repr__(self) -> str:
        return "LONG"


LONG = _Long("/".join(5 * ["l" * 220]))
PATHS = ("a", "a.csv", "a-Version-2.csv", "a/b", "a/c/d", "d/a.csv", "d/e/\udcff", "d/\n é", LONG)
FOLDERS = ("a", "d", "d/e", "a/c")
FAULTS = ("kill", "kill", "kill", "time passes", "drop", "replace", "delete")
path = st.sampled_from(PATHS)
folder = st.sampled_from(FOLDERS)
place = path | folder
paths = st.lists(path, max_size=4)
which = st.integers(0, 5)
large = st.booleans()
fault = st.none() | st.tuples(st.integers(0, 15) | st.integers(0, 60), st.sampled_from(FAULTS))
"""What happens at which instant of a step of the system."""
Fault = tuple[int, str]
order = st.integers(0, 5)
"""0: what comes first is done first; else any other order, which it stands for."""


class Relay(RuleBasedStateMachine):
    """Both sides, the user and the model."""

    kind: ClassVar = "kernel"
    """Or "portable": what the kernel offers beyond POSIX is not used."""
    in_order: ClassVar = True
    """Whether versions of one name have to be announced in the order in which they came."""
    tally: ClassVar[Counter[str]] = Counter()
    """What was done, of everything that was tried."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="relay-machine-"))
        for name in (*INGEST, "DownloadedFromS3", "Taken/UploadedToS3", "Taken/DownloadedFromS3"):
            (self.root / name).mkdir(parents=True)
        self.patch, self.turns, self.effects, self.clock = pytest.MonkeyPatch(), Turns(), Effects(), Clock()
        self._install()
        self.store, self.queue = FakeStore(), FakeQueue(visibility=VISIBILITY, clock=self.clock.monotonic)
        self.effects.watch(self.store, self.queue)
        self.user, self.foreign = User(self.root), 0
        self.judge = Judge(self.root, self.user, self.store, self.queue, in_order=self.in_order)
        self.patch.setattr(logging.getLogger(), "handlers", [self.judge])  # nobody reads the logs of a thousand kills
        self.ingest = Ingest(self.root, self.kind, self.clock, self.store, self.queue)
        self.consume = Consume(self.root, self.kind, self.store, self.queue)

    def _install(self) -> None:
        self.effects.install(self.patch)
        install(self.patch, self.turns, self.clock)

    # The user. What is likely to destroy what was dropped is one rule, so that enough gets through.

    @rule(paths=paths, large=large)
    def drop(self, paths: list[str], large: bool) -> None:
        for path in paths:
            self.user.drop(path, large)

    @rule(how=st.sampled_from(("replace", "truncate", "delete")), which=which, large=large)
    def change(self, how: str, which: int, large: bool) -> None:
        if how == "delete":
            self.user.delete(which)
        else:
            (self.user.replace if how == "replace" else self.user.truncate)(which, large)

    @rule(
        how=st.sampled_from(("rename", "rename folder", "make folder", "remove folder")),
        old=place,
        new=place,
        which=which,
    )
    def arrange(self, how: str, old: str, new: str, which: int) -> None:
        doings: dict[str, Work] = {
            "rename": partial(self.user.rename, which, new),
            "rename folder": partial(self.user.rename_folder, old, new),
            "make folder": partial(self.user.make_folder, new),
            "remove folder": partial(self.user.remove_folder, old),
        }
        doings[how]()

    @rule(path=path, how=st.sampled_from(("begin", "go on", "end")))
    def write(self, path: str, how: str) -> None:
        if how == "begin":
            self.user.begin(path)
        else:
            self.user.write()
        if how == "end":
            self.user.finish()

    @rule(folder=st.sampled_from(("Watch", "UploadedToS3", "DownloadedFromS3")), which=which, path=path)
    def take_out(self, folder: str, which: int, path: str) -> None:
        if folder == "Watch":
            self.user.send_again(which, path)
        else:
            self.user.take(folder, which)

    @rule(path=st.sampled_from(("a", "a.csv", "a-Version-3.csv", "d/a.csv")))
    def put_a_foreign_object(self, path: str) -> None:
        if f"{KEY_FOLDER}/{path}" not in self.store.contents():
            self.foreign += 1
            self.user.taken.add(unnumbered(path))
            self.store.put(f"{KEY_FOLDER}/{path}", b"foreign %d" % self.foreign)

    # The system.

    @rule(again=st.booleans(), fault=fault)
    def sweep(self, again: bool, fault: Fault | None) -> None:
        self._work(self.ingest, partial(self.ingest.sweep, again=again), fault)

    @rule(fault=fault)
    def scan(self, fault: Fault | None) -> None:
        self._work(self.ingest, self.ingest.scan, fault)

    @rule(fault=fault, order=order)
    def upload(self, fault: Fault | None, order: int) -> None:
        self._work(self.ingest, self.ingest.upload, fault, order)

    @rule(fault=fault, order=order)
    def poll(self, fault: Fault | None, order: int) -> None:
        self._work(self.consume, self.consume.poll, fault, order)

    @rule(paths=st.lists(st.sampled_from(PATHS[:3]), max_size=4), large=large)
    def let_versions_queue_up(self, paths: list[str], large: bool) -> None:
        for path in paths:
            self.drop([path], large)
            self._let_settle()
            self.scan(None)

    @rule(paths=paths, large=large, faults=st.tuples(fault, fault, fault), order=order)
    def go_all_the_way(
        self, paths: list[str], large: bool, faults: tuple[Fault | None, Fault | None, Fault | None], order: int
    ) -> None:
        self.drop(paths, large)
        self._let_settle()
        self.scan(faults[0])
        self.upload(faults[1], order)
        self.poll(faults[2], order)

    @rule(faults=st.tuples(fault, fault), order=order)
    def go_on_from_queued(self, faults: tuple[Fault | None, Fault | None], order: int) -> None:
        self.sweep(True, None)
        self.upload(faults[0], order)
        self.poll(faults[1], order)

    @rule(sender=st.booleans(), fault=fault)
    def restart(self, sender: bool, fault: Fault | None) -> None:
        party: Party = self.ingest if sender else self.consume
        self._kill(party)
        self._work(party, party.recover, fault)

    @rule(seconds=st.sampled_from((SETTLE, VISIBILITY + 1)))
    def time_passes(self, seconds: int) -> None:
        if self.kind == "portable":
            self.user.write()  # there a file that rests is complete, whoever has it open
        self.clock.now += seconds

    @rule(which=which)
    def deliver_a_message_twice(self, which: int) -> None:
        self.judge.deliver_again(which)

    @rule(call=st.sampled_from(("upload", "look", "download", "send", "delete")), lost=st.booleans())
    def a_call_fails(self, call: str, lost: bool) -> None:
        trouble = (self.queue if call in ("send", "delete") else self.store).trouble
        (trouble.lost_answers if lost else trouble.queued)[call].append(LaterError("no answer"))

    @invariant()
    def everything_holds(self) -> None:
        """What is true after every step."""
        self.tally["steps"] += 1
        self.judge.after_a_step()

    def teardown(self) -> None:
        """Everything drains once the faults stop; whatever is found, nothing of the machine stays."""
        try:
            if sys.exc_info()[0] is None:
                self._drain()
        finally:
            for writer in self.user.writers.values():
                os.close(writer.fd)
            for party in (self.ingest, self.consume):
                party.end(set())
            self.patch.undo()
            shutil.rmtree(self.root)

    def _drain(self) -> None:
        for trouble in (self.store.trouble, self.queue.trouble):
            trouble.queued.clear()
            trouble.lost_answers.clear()
        while self.user.writers:
            self.user.finish()
        turns = 0
        while left := self.judge.left():
            turns += 1
            assert turns < _DRAIN_TURNS, f"I9: it does not drain: {left}"
            self.sweep(True, None)
            self.go_all_the_way([], False, (None, None, None), 0)
            self.clock.now += VISIBILITY + 1
        self.judge.at_rest()
        self.tally["arrived"] += self.judge.delivered().total()

    def _work(self, party: Party, work: Work, fault: Fault | None, order: int = 0) -> None:
        instant, what = fault or (-1, "kill")
        try:
            with self.effects.of_work(instant, partial(self._happen, what)):
                work()
                self.turns.run(random.Random(order) if order else None)
        except Killed:
            self.tally["kills"] += 1
            self._kill(party)
            self._work(party, party.recover, None)

    def _let_settle(self) -> None:
        if self.kind == "portable":
            self.scan(None)
            self.time_passes(SETTLE)

    def _happen(self, what: str) -> None:
        if self.kind == "portable" and what == "replace" and self.effects.call == "unlink":
            return  # POSIX has no unlink that looks at what it removes: between the two is a moment nobody can close
        doings: dict[str, Work] = {
            "kill": self.effects.kill,
            "time passes": partial(self.time_passes, VISIBILITY + 1),
            "drop": partial(self.user.drop, "a.csv", False),
            "replace": partial(self.user.replace, 0, False),
            "delete": partial(self.user.delete, 0),
        }
        doings[what]()

    def _kill(self, party: Party) -> None:
        self.turns.forget()
        party.end({writer.fd for writer in self.user.writers.values()})
        party.start()
        if party is self.ingest:
            for content in self.user.contents.values():
                content.calm = content.calm and content.announced > 0
