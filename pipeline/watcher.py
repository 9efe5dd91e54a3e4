"""Watch → QueuedForUpload: what is complete is claimed, a batch at a time.

A full scan is the mechanism; kernel events only make it start sooner.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.arrivals import Arrived, oldest_first
from pipeline.backlog import Backlog
from pipeline.claims import Candidate, Claims
from pipeline.completeness import Completeness
from pipeline.durability import Durability
from pipeline.folders import TOO_MANY_OPEN, is_regular
from pipeline.listing import walk
from pipeline.names import within
from pipeline.offers import Offers
from pipeline.selection import Selection
from pipeline.spool import Spool
from pipeline.told import Told

_FIRST_BATCH, _GROWTH = 16, 4
"""The first files of a scan are on their way soon; after that, the more together, the less each costs."""
MOST = 1024
"""Descriptors of one batch, beyond which nothing is gained."""


class Watcher:
    """One turn: claim what is complete in Watch, the oldest first, and hand it on to be offered."""

    def __init__(
        self,
        spool: Spool,
        completeness: Completeness,
        offers: Offers,
        selection: Selection,
        *,
        most_files: int = 0,
        most_bytes: int = 0,
        batch: int = MOST // 2,
        patience: float = math.inf,
        stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most_files`, `most_bytes`: what may lie in QueuedForUpload; 0: any number.

        `patience`: seconds after which a look that waits for room there begins anew: an older file may be complete now.
        `batch`: how many descriptors may be open at once for it. `stopped`: whether a scan is to be cut short.
        """
        self._spool, self._completeness, self._offers = spool, completeness, offers
        self._selection, self._batch, self._stopped = selection, min(batch, MOST), stopped
        self._patience, self._clock, self._again_at = patience, clock, 0.0
        self._durability = Durability(together=spool.watch.facilities.together)
        self._told = Told(spool.watch.path)
        self._backlog = Backlog(spool.queued, most_files, most_bytes, offers.complain)
        self._files: Iterator[Arrived] = iter(())
        self._held: Arrived | None = None
        """The file that there was no room for: the look goes on with it."""
        self.pending = 0
        """Files that the last look saw and left, because they are not complete yet."""
        self.left = 0.0
        """The share of what the last look saw that it did not take."""
        self.limited = False
        """Whether files wait in Watch because enough of them lie in QueuedForUpload, or are open."""
        self._seen = self._taken = 0

    def scan(self) -> int:
        """Claim and offer every complete file in Watch, or as many as may be in QueuedForUpload; how many."""
        if self._held and self._clock() >= self._again_at:
            self._end_look()
        if not self._held:
            self.pending = self._seen = self._taken = 0
            self._files = oldest_first(self._look_around)
            self._again_at = self._clock() + self._patience
        claimed, room, more, self.limited = 0, _FIRST_BATCH, True, False
        while more and not self.limited:
            with Claims(self._spool, self._durability, self._told.warn) as batch:
                more = self._gather(batch, min(room, self._batch))
                claimed += self._claim(batch) if batch.files else 0
            room *= _GROWTH
        if not more:
            self._end_look()
        return claimed

    def close(self) -> None:
        """End the threads."""
        self._durability.close()

    def removed(self) -> list[Path]:
        """The folders whose path leads elsewhere now, or nowhere: what is done in them reaches nobody."""
        spool = self._spool
        folders = (spool.watch, spool.queued, spool.uploaded, spool.failed)
        return [folder.path for folder in folders if not folder.is_current()]

    def _end_look(self) -> None:
        self._held = None
        self._completeness.end_look()
        self._told.end_look()
        self.left = 1 - self._taken / self._seen if self._seen else 1.0

    def _look_around(self, again: bool) -> Iterator[Arrived]:
        """Each file in Watch that is to be relayed, as far as its name tells."""
        for listing in walk(self._spool.watch, self._told.complain, self._selection.enters, self._selection.chosen):
            if self._stopped():
                return
            self._seen += 0 if again else listing.seen + len(listing.others)
            for name in listing.others:
                if not self._selection.ignores(name):
                    problem = "is no regular file: never opened, never followed, left where it is"
                    self._told.warn(within(listing.head, name), problem)
            yield from listing.files

    def _gather(self, batch: Claims, room: int) -> bool:
        """Look at files until enough of them are complete; False once all were looked at."""
        while file := self._held or next(self._files, None):
            if self._stopped():
                return False
            self._held = None
            try:
                fits = self._look(batch, file.head, file.name)
            except OSError as error:
                self._told.warn("", f"no more files can be opened, they wait: {error.strerror}; raise that limit")
                fits = False
            if not fits:
                self._held, self.limited = file, not batch.files  # with those in the batch it may be another thing
                return True
            if batch.weight() >= room:
                return True
        return False

    def _look(self, batch: Claims, head: str, name: str) -> bool:
        """False if it is to be taken, and there is no room for it. OSError (EMFILE, ENFILE): no more can be open."""
        try:
            fd = batch.open(head, name)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in TOO_MANY_OPEN:
                raise
            problem = f"cannot be opened, it waits: {error.strerror}; let this user read it"
            self._told.warn(within(head, name), problem)
            return True
        status = os.fstat(fd)
        if is_to_go := self._is_to_go(batch, head, name, fd, status):
            fits = self._backlog.admits(status.st_size, may_count=not batch.files)
            if fits:
                self._backlog.add(status.st_size)
                batch.files.append(Candidate(head, name, fd, status))
                return True
        os.close(fd)
        return not is_to_go

    def _is_to_go(self, batch: Claims, head: str, name: str, fd: int, status: os.stat_result) -> bool:
        """Whether it is complete, and of a size that is relayed; if it may be so later, it is pending."""
        path = within(head, name)
        if (marker := self._selection.marker) and not (marked := batch.is_marked(head, name + marker, status)):
            if marked is not None:
                self._told.warn(path, f"was changed after its marker {name}{marker} was made, it waits: touch that")
            return False
        if not is_regular(status) or not self._completeness.judge(path, fd, status):
            self.pending += 1
            return False
        if refusal := self._selection.refusal(status.st_size):
            self._told.warn(path, refusal)
        return not refusal

    def _claim(self, batch: Claims) -> int:
        claimed = batch.take()
        self.pending += batch.changed
        self._taken += len(claimed)
        try:
            batch.sync_folders()
        except OSError as error:
            self._offers.warn(f"a power cut may undo the last moves to this folder: {error}; what came waits")
        else:
            self._offers.trust(batch.arrivals())
            self._offers.put(claimed)
        batch.remove_markers(self._selection.marker)
        return len(claimed)
