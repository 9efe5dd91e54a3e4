"""Watch → QueuedForUpload → the shared queue.

A full scan is the mechanism; kernel events only make it start sooner. The watcher, and only it, lists QueuedForUpload
and offers what lies there: at start, and again and again, because an offer may be lost and the folder is the truth.
"""

import fnmatch
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.completeness import Completeness
from pipeline.folders import is_regular
from pipeline.names import printable
from pipeline.spool import Spool

log = logging.getLogger(__name__)

_BATCH = 128
"""Files claimed together: they are open at once (a process may often have only 1,024) and share their fsyncs."""
_SYNC_THREADS = 8


class _Candidate(NamedTuple):
    """A file that was judged complete, open; `status` is what was judged."""

    path: str
    fd: int
    status: os.stat_result


class _Told:
    """Problems in one folder: each is told once, until a look no longer finds it."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._before: set[str] = set()
        self._now: set[str] = set()

    def warn(self, path: str, problem: str) -> None:
        """Tell of a file or folder below, unless it was told."""
        if path not in self._before and path not in self._now:
            log.warning("%s %s", self._top / path, problem)
        self._now.add(path)

    def complain(self, path: str, error: OSError) -> None:
        """Tell of a folder that cannot be listed."""
        self.warn(path, f"this folder cannot be read, its files wait: {error.strerror}")

    def end_look(self) -> None:
        """Forget what this look did not find."""
        self._before, self._now = self._now, set()


class Watcher:
    """One turn: claim what is complete in Watch, offer what lies in QueuedForUpload."""

    def __init__(
        self,
        spool: Spool,
        completeness: Completeness,
        offer: Callable[[str], bool],
        *,
        ignore: Iterable[str] = (),
        condemned: Iterable[str] = (),
        report: Callable[[str, Sequence[str]], None] = lambda _what, _paths: None,
    ) -> None:
        """`offer` gives a path to the uploaders; False if they have enough.

        `condemned`: paths that end processes, to be set aside; `report("end", paths)` is told once that is done.
        """
        self._spool, self._completeness, self._offer = spool, completeness, offer
        self._ignored = _pattern(ignore)
        self._condemned, self._report = set(condemned), report
        self._offered: set[str] = set()
        self._watch_told, self._queue_told = _Told(spool.watch.path), _Told(spool.queued.path)
        self._pool = ThreadPoolExecutor(_SYNC_THREADS, "sync")
        self.pending = 0
        """Files that the last scan saw and left, because they are not complete yet."""
        self.queued = 0
        """Files that the last sweep saw in QueuedForUpload."""

    def scan(self) -> int:
        """Claim and offer every complete file in Watch; how many."""
        self.pending = 0
        claimed = 0
        present: set[str] = set()
        candidates = self._candidates(present)
        while batch := list(islice(candidates, _BATCH)):
            claimed += self._claim(batch)
        self._completeness.forget_except(present)
        self._watch_told.end_look()
        return claimed

    def sweep(self, *, again: bool) -> None:
        """Offer what lies in QueuedForUpload and was not offered yet; with `again` whatever lies there."""
        present = set()
        for path, is_file in self._spool.queued.walk(self._queue_told.complain):
            if is_file:
                present.add(path)
            else:
                self._queue_told.warn(path, "is no regular file: it is not sent; take it away")
        self._queue_told.end_look()
        self._offered = set() if again else self._offered & present
        self.queued = len(present)
        condemned = self._condemned & present
        for path in sorted(condemned):
            self._condemn(path)
        for path in sorted(present - self._offered - condemned):
            if not self._offer_one(path):
                break

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def removed(self) -> list[Path]:
        """The folders whose path leads elsewhere now, or nowhere: what is done in them reaches nobody."""
        spool = self._spool
        folders = (spool.watch, spool.queued, spool.uploaded, spool.failed)
        return [folder.path for folder in folders if not folder.is_current()]

    def _candidates(self, present: set[str]) -> Iterator[_Candidate]:
        """Each complete file in Watch."""
        for path, is_file in self._spool.watch.walk(self._watch_told.complain):
            if self._ignored(path):
                continue
            present.add(path)
            if not is_file:
                self._watch_told.warn(path, "is no regular file: never opened, never followed, left where it is")
                continue
            fd = self._open(path)
            if fd is None:
                continue
            status = os.fstat(fd)
            if is_regular(status) and self._completeness.judge(path, fd):
                yield _Candidate(path, fd, status)
            else:
                self.pending += 1
                os.close(fd)

    def _open(self, path: str) -> int | None:
        try:
            return self._spool.watch.open(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._watch_told.warn(path, f"cannot be opened, it waits: {error.strerror}; let this user read it")
            return None

    def _claim(self, batch: list[_Candidate]) -> int:
        """Steps 2: contents durable, renamed, folders durable, offered."""
        try:
            synced = self._pool.map(self._sync, batch) if self._spool.watch.durable else [None] * len(batch)
            whole = [self._is_synced(item, error) for item, error in zip(batch, synced, strict=True)]
            claims = {
                item.path: claimed
                for item, is_whole in zip(batch, whole, strict=True)
                if is_whole and (claimed := self._claim_one(item))
            }
        finally:
            for item in batch:
                os.close(item.fd)
        try:
            self._spool.sync_claims(claims)
        except OSError as error:
            self._queue_told.warn("", f"a power cut may undo the last moves to this folder: {error}")
            return len(claims)  # the sweep offers them
        for path in claims.values():
            self._offer_one(path)
        return len(claims)

    @staticmethod
    def _sync(item: _Candidate) -> OSError | None:
        try:
            os.fsync(item.fd)
        except OSError as error:
            return error
        return None

    def _is_synced(self, item: _Candidate, error: OSError | None) -> bool:
        if error is not None:
            self._watch_told.warn(item.path, f"cannot be made durable, it waits: {error}; look at the disk")
        return error is None

    def _claim_one(self, item: _Candidate) -> str | None:
        """The path it has in QueuedForUpload; None if it is no longer what was judged, and waits for the next look."""
        path = item.path
        try:
            if not self._is_what_was_judged(item):
                self.pending += 1
                return None
            claimed = self._spool.claim(path)
            if claimed is None:
                log.info("was taken before, and only its name had been left in Watch: %s", path)
            return claimed
        except FileNotFoundError:
            log.info("vanished from Watch before it was taken: %s", path)
        except OSError as error:
            self._watch_told.warn(path, f"cannot be moved to QueuedForUpload, it waits: {error}")
        return None

    def _is_what_was_judged(self, item: _Candidate) -> bool:
        status, judged = self._spool.watch.status(item.path), item.status
        return (
            status is not None
            and os.path.samestat(status, judged)
            and (status.st_size, status.st_mtime_ns) == (judged.st_size, judged.st_mtime_ns)
        )

    def _offer_one(self, path: str) -> bool:
        taken = self._offer(path)
        if taken:
            self._offered.add(path)
        return taken

    def _condemn(self, path: str) -> None:
        with self._spool.take(path) as queued:
            if queued is None:
                return
            reason = "three processes that worked on this file alone ended while they did"
            failed = self._spool.fail(
                queued, {"path": printable(path), "reason": reason, "next": "report it, then retry"}
            )
        self._condemned.discard(path)
        self._report("end", (path,))
        log.error("set aside %s: %s", f"{self._spool.failed.path}/{failed}", reason)


def _pattern(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether any component of a path matches any of the patterns."""
    expressions = [fnmatch.translate(pattern) for pattern in patterns]
    if not expressions:
        return lambda _path: False
    matches = re.compile("|".join(expressions)).match
    return lambda path: any(matches(part) for part in path.split("/"))
