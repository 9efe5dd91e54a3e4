"""Watch → QueuedForUpload: what is complete is claimed, a batch at a time.

A full scan is the mechanism; kernel events only make it start sooner.
"""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.claims import Candidate, Claims
from pipeline.completeness import Completeness
from pipeline.durability import Durability
from pipeline.folders import is_regular
from pipeline.names import within
from pipeline.offers import Offers
from pipeline.spool import Spool
from pipeline.told import Told

_FIRST_BATCH, _GROWTH = 16, 4
"""The first files of a scan are on their way soon; after that, the more together, the less each costs."""
MOST = 1024
"""Descriptors of one batch, beyond which nothing is gained."""


class Watcher:
    """One turn: claim what is complete in Watch and hand it on to be offered."""

    def __init__(
        self,
        spool: Spool,
        completeness: Completeness,
        offers: Offers,
        *,
        ignore: Iterable[str] = (),
        batch: int = MOST // 2,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`batch`: how many descriptors may be open at once for it. `stopped`: whether a scan is to be cut short."""
        self._spool, self._completeness, self._offers = spool, completeness, offers
        self._ignored, self._batch, self._stopped = _pattern(ignore), min(batch, MOST), stopped
        self._durability = Durability(together=spool.watch.facilities.together)
        self._told = Told(spool.watch.path)
        self.pending = 0
        """Files that the last scan saw and left, because they are not complete yet."""
        self.left = 0.0
        """The share of what the last scan saw that it did not take."""
        self._seen = 0

    def scan(self) -> int:
        """Claim and offer every complete file in Watch; how many."""
        self.pending = self._seen = claimed = 0
        files, room, more = self._files(), _FIRST_BATCH, True
        while more:
            with Claims(self._spool, self._durability, self._told.warn) as batch:
                more = self._gather(batch, files, min(room, self._batch))
                claimed += self._claim(batch) if batch.files else 0
            room *= _GROWTH
        self._completeness.end_look()
        self._told.end_look()
        self.left = 1 - claimed / self._seen if self._seen else 1.0
        return claimed

    def close(self) -> None:
        """End the threads."""
        self._durability.close()

    def removed(self) -> list[Path]:
        """The folders whose path leads elsewhere now, or nowhere: what is done in them reaches nobody."""
        spool = self._spool
        folders = (spool.watch, spool.queued, spool.uploaded, spool.failed)
        return [folder.path for folder in folders if not folder.is_current()]

    def _files(self) -> Iterator[tuple[str, str]]:
        """Each file in Watch, as its folder and its name, until the scan is to be cut short."""
        for head, names, others, _ in self._spool.watch.walk(self._told.complain):
            if head and self._ignored(head):
                continue
            self._seen += len(names) + len(others)
            for name in others:
                if not self._ignored(name):
                    problem = "is no regular file: never opened, never followed, left where it is"
                    self._told.warn(within(head, name), problem)
            for name in names:
                if self._stopped():
                    return
                if not self._ignored(name):
                    yield head, name

    def _gather(self, batch: Claims, files: Iterator[tuple[str, str]], room: int) -> bool:
        """Look at files until enough of them are complete; False once all were looked at."""
        for head, name in files:
            self._look(batch, head, name)
            if batch.weight() >= room:
                return True
        return False

    def _look(self, batch: Claims, head: str, name: str) -> None:
        try:
            fd = batch.open(head, name)
        except FileNotFoundError:
            return
        except OSError as error:
            problem = f"cannot be opened, it waits: {error.strerror}; let this user read it"
            self._told.warn(within(head, name), problem)
            return
        status = os.fstat(fd)
        if is_regular(status) and self._completeness.judge(within(head, name), fd, status):
            batch.files.append(Candidate(head, name, fd, status))
        else:
            self.pending += 1
            os.close(fd)

    def _claim(self, batch: Claims) -> int:
        claimed = batch.take()
        self.pending += batch.changed
        try:
            batch.sync_folders()
        except OSError as error:
            self._offers.warn(f"a power cut may undo the last moves to this folder: {error}")
            return len(claimed)  # the sweep offers them
        self._offers.put(claimed)
        return len(claimed)


def _pattern(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether any component of a path matches any of the patterns."""
    expressions = [fnmatch.translate(pattern) for pattern in patterns]
    if not expressions:
        return lambda _path: False
    matches = re.compile("|".join(expressions)).match
    return lambda path: any(map(matches, path.split("/")))
