"""The two sides of the program as the state machine drives them: real classes, real folders, no threads, kills."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import acknowledger, agenda, durability, hand, kernel, pacing, poller, receiver, uploader
from pipeline.acceptance import Acceptance
from pipeline.aws.checksum import crc64nvme, crc64nvme_of
from pipeline.completeness import Completeness
from pipeline.dead_letters import keep_message
from pipeline.folders import Folder
from pipeline.keys import Keys
from pipeline.landing import Landing
from pipeline.offers import Offers
from pipeline.pacing import Gate
from pipeline.poller import Poller
from pipeline.selection import Selection
from pipeline.spool import Spool
from pipeline.storing import Checksums, Route
from pipeline.uploader import Uploader
from pipeline.watcher import Watcher
from tests.chaos.turns import Turns
from tests.fakes import FakeQueue, FakeStore
from tests.unit.places import facilities_of

INGEST = ("Watch", "QueuedForUpload", "UploadedToS3", "Failed")
SETTLE, VISIBILITY, KEY_FOLDER = 5, 60, "in"
_ROOM = 64
"""Places for what is in hand: without threads nobody would give one back to whoever waits for it."""
_STEPS = 50
"""Of an uploader until others have a turn: what it tries again at once could keep it busy for ever."""
_OFFERS = 4
"""Few, so that the uploaders' queue is full now and then."""

# Loaded before `Turns.install` looks for what starts threads.
_THREADED = (acknowledger, durability, receiver)
_SMALL = 100
"""Bytes up to which a file takes the short way here: half of them."""


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def install(patch: pytest.MonkeyPatch, turns: Turns, clock: Clock) -> None:
    """From now on the program has no threads, no pauses, and this clock."""
    turns.install(patch)
    for module in (hand, agenda):
        patch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    # No heartbeat: a consumer that is late, whenever time passes.
    beat = SimpleNamespace(start=lambda: None, join=lambda *_: None)
    patch.setattr(hand, "threading", SimpleNamespace(Condition=threading.Condition, Thread=lambda **_how: beat))
    patch.setattr(pacing, "delay", lambda *_values: 0.0)
    for module in (uploader, poller):
        patch.setattr(module, "_SMALL", _SMALL)


class Ingest:
    """Watch to UploadedToS3: a watcher and an uploader, which end together."""

    def __init__(self, root: Path, kind: str, clock: Clock, store: FakeStore, queue: FakeQueue) -> None:
        self.root, self._kind, self._clock, self._store, self._queue = root, kind, clock, store, queue
        self.start()

    def start(self) -> None:
        """New objects on the same folders; `recover` is the rest of a start."""
        facilities = facilities_of(self._kind, self.root)
        spool = Spool(*(Folder(self.root / name, facilities=facilities) for name in INGEST))
        self._hints: deque[Sequence[str]] = deque()
        self._offers = Offers(spool, self._offer)
        completeness = Completeness(
            leases=facilities.lease, settle_seconds=SETTLE, minimum_age=0, clock=self._clock.monotonic
        )
        self._watcher = Watcher(spool, completeness, self._offers, Selection())
        self._uploader = Uploader(
            spool,
            self._store,
            self._queue,
            Route(Keys(KEY_FOLDER), "key", "eu-west-1"),
            Checksums(crc64nvme, crc64nvme_of),
            concurrency=_ROOM,
            is_being_written=kernel.is_being_written if facilities.lease else lambda _fd: None,
        )
        self._uploader.gate = Gate(base=0.001, cap=0.001)

    def recover(self) -> None:
        """What a start does first: offer what an earlier process left."""
        self.sweep(again=True)

    def scan(self) -> None:
        """A look at Watch."""
        self._watcher.scan()

    def sweep(self, *, again: bool) -> None:
        """Offer what lies in QueuedForUpload."""
        self._offers.sweep(again=again)

    def upload(self) -> None:
        """Begin what was offered, and what is to be tried again."""
        for _ in range(_STEPS):
            if not self._uploader.step(lambda _seconds: self._hints.popleft() if self._hints else (), 0.0):
                return
            self._offers.feed()

    def end(self, keep: set[int]) -> None:
        """What the end of a process does: its descriptors close, and its locks go."""
        _close_all([self.root / name for name in INGEST], keep)

    def _offer(self, paths: Sequence[str]) -> bool:
        if len(self._hints) < _OFFERS:
            self._hints.append(tuple(paths))
            return True
        return False


class Consume:
    """The queue to DownloadedFromS3: a poller, its ledger and its hidden folder."""

    def __init__(self, root: Path, kind: str, store: FakeStore, queue: FakeQueue) -> None:
        self.root, self.top = root, root / "DownloadedFromS3"
        self._kind, self._store, self._queue = kind, store, queue
        self.start()

    def start(self) -> None:
        """New objects on the same folder; `recover` is the rest of a start."""
        self._landing = Landing(Folder(self.top, facilities=facilities_of(self._kind, self.root)), crc64nvme)
        self._poller = Poller(
            self._queue,
            self._store,
            self._landing,
            Acceptance(self._store.bucket, KEY_FOLDER, crc64nvme),
            partial(keep_message, self.root / "FailedMessages"),
            concurrency=_ROOM,
            visibility=VISIBILITY,
        )
        self._poller.gate = Gate(base=0.001, cap=0.001)

    def recover(self) -> None:
        """Finish what an earlier process left half published."""
        self._landing.recover()

    def poll(self) -> None:
        """Receive what there is."""
        self._poller.step(0, 0.0)

    def end(self, keep: set[int]) -> None:
        """What the end of a process does: its transaction is rolled back, its descriptors close, its locks go."""
        self._landing.ledger.close()
        _close_all([self.top], keep)


Party = Ingest | Consume
Work = Callable[[], None]


def _close_all(folders: Sequence[Path], keep: set[int]) -> None:
    inside = tuple(f"{folder}/" for folder in folders)
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the one that listed them
        if fd not in keep and f"{path}/".startswith(inside):
            os.close(fd)
