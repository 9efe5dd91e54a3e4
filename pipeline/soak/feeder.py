"""Drop files into Watch, and feed back what the judge has settled."""

import itertools
import logging
import math
import random
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app_properties import Settings
from pipeline.pacing import Summary
from pipeline.ports import LaterError, ObjectStore, PausedError, StoredObject
from pipeline.process import Stop
from pipeline.selection import Selection
from pipeline.soak.content import File
from pipeline.soak.estimate import counted
from pipeline.soak.run import Run
from pipeline.soak.usage import kill, victims

log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.02
_RETRY_SECONDS = 1.0
_SWEEPERS = 8
_VICTIMS = ("watcher", "uploader", "poller", "embedded")
_CHAOS_SECONDS = (2.0, 6.0)


class Feeder:
    """Keeps `--files` files in circulation until a limit is reached; then it only sweeps."""

    def __init__(self, run: Run, settings: Settings, store: ObjectStore, judge: "Connection[Any, Any]") -> None:
        """`judge`: says what is settled, and is told what was done."""
        self._run, self._settings, self._store, self._judge = run, settings, store, judge
        self._recipe, self._selection = run.recipe, Selection(ignore=settings.ignore_patterns)
        self._numbers = itertools.count(run.options.files + 1)
        self._ready: deque[File] = deque(File(number, 1) for number in range(1, run.options.files + 1))
        self._sending = threading.Lock()
        self._bytes = 0
        self._began = self._next_at = time.monotonic()
        self._random = random.Random(run.seed)  # noqa: S311  # which process is killed is no secret
        self._kill_at = self._next_at + _CHAOS_SECONDS[0]
        self._finished = self._done = False
        self._sweeps: deque[Future[None]] = deque()
        """Those that are over."""
        self._over = threading.Event()
        self._troubles = Summary(log)

    def feed(self, stop: Stop) -> None:
        """Until the judge says that it is done. What ends it before is told to the judge as well."""
        with ThreadPoolExecutor(_SWEEPERS, "sweeper") as pool:
            try:
                self._feed(stop, pool)
            except Exception as error:
                self._tell("failed", f"{type(error).__name__}: {error}")
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._over.set()  # or a delete that is tried again and again would be waited for

    def _feed(self, stop: Stop, pool: ThreadPoolExecutor) -> None:
        self._settings.watch.joinpath(self._run.subfolder).mkdir(parents=True, exist_ok=True)
        while not self._done:
            self._raise_failures()
            self._finish_at_limit(stop)
            busy = self._drop_next()
            if self._run.options.chaos and not self._finished:
                self._kill_one()
            while self._judge.poll(0 if busy else _WAIT_SECONDS):
                self._take(self._judge.recv(), pool)
                busy = True

    def _tell(self, *words: object) -> None:
        with self._sending:
            self._judge.send(words)

    def _finish_at_limit(self, stop: Stop) -> None:
        options = self._run.options
        reason = ""
        if stop.requested:
            reason = "Ctrl-C"
        elif options.duration is not None and time.monotonic() - self._began >= options.duration:
            reason = "duration"
        elif options.max_bytes is not None and self._bytes + self._next_bytes() > options.max_bytes:
            reason = "max-bytes"
        if reason and not self._finished:
            self._finished = True
            self._tell("finished", reason)

    def _next_bytes(self) -> int:
        """What the next file counts for; 0 while none is ready."""
        return counted(self._recipe.size(self._ready[0])) if self._ready else 0

    def _drop_next(self) -> bool:
        """Drop a file, if there is one and its time has come."""
        now = time.monotonic()
        if self._finished or not self._ready or now < self._next_at:
            return False
        if self._run.options.rate is not None:
            self._next_at = max(self._next_at + 1 / self._run.options.rate, now - 1.0)
        self._drop(self._ready.popleft())
        return True

    def _drop(self, file: File) -> None:
        """Every other file is written in place, as a slow copy does; the rest appears whole, by a rename.

        That is, where the relay passes over the name that it has before; else all are written in place.
        """
        self._tell("generated", file)
        target = self._settings.watch / self._run.path(file.name)
        hidden = target.with_name(f".{file.name}.tmp")
        place = hidden if self._selection.ignores(hidden.name) and file.drop % 2 == 0 else target
        with place.open("xb") as output:
            for block in self._recipe.blocks(file):
                output.write(block)
        if place != target:
            place.rename(target)
        self._bytes += counted(self._recipe.size(file))
        self._tell("dropped", file, time.monotonic())

    def _take(self, words: tuple[Any, ...], pool: ThreadPoolExecutor) -> None:
        what, *rest = words
        if what == "settled":
            pool.submit(self._sweep, *rest).add_done_callback(self._sweeps.append)
        elif what == "lost":
            self._ready.append(File(next(self._numbers), 1))
        else:
            self._done = True

    def _sweep(self, file: File, stored: StoredObject, replaced: bool) -> None:
        """Remove what is left of a settled file, and let its next version follow, unless another took its place.

        `stored`: its object, as it was found.
        """
        path = self._run.path(file.name)
        self._remove(file, stored)
        for folder in (self._settings.downloaded, self._settings.uploaded):
            try:
                Path(folder, path).unlink()
            except FileNotFoundError:
                self._tell("vanished", file, folder.name)
        self._tell("swept", file)
        if not replaced:
            self._ready.append(file.next)

    def _remove(self, file: File, stored: StoredObject) -> None:
        """Its object: tried again until the run is over. The judge is told once, when a file's time has passed."""
        late_at = time.monotonic() + self._run.options.deadline
        while not self._over.is_set():
            try:
                found = self._store.look(stored.key)
                if found is None or (found.etag, found.version_id) != (stored.etag, stored.version_id):
                    self._tell("vanished", file, "the bucket")
                self._store.delete(stored.key, stored.version_id)
            except (LaterError, PausedError) as error:
                if time.monotonic() >= late_at:
                    late_at = math.inf
                    self._tell("stuck", file, str(error))
                self._troubles.note(error)
                self._over.wait(_RETRY_SECONDS)
            else:
                return

    def _raise_failures(self) -> None:
        """What a sweeper could not do is an error of the run."""
        while self._sweeps:
            self._sweeps.popleft().result()

    def _kill_one(self) -> None:
        now = time.monotonic()
        if now < self._kill_at:
            return
        self._kill_at = now + self._random.uniform(*_CHAOS_SECONDS)
        if living := victims(self._run.parent, _VICTIMS):
            role, process = self._random.choice(living)
            if kill(process):
                self._tell("killed", role)
