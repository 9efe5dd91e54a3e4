"""Watch → QueuedForUpload → the shared queue.

A full scan is the mechanism; kernel events only make it start sooner. The watcher, and only it, lists QueuedForUpload
and offers what lies there: at start, and again and again, because an offer may be lost and the folder is the truth.
"""

import fnmatch
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from pipeline.completeness import Completeness
from pipeline.folders import is_regular
from pipeline.names import printable
from pipeline.spool import Spool

log = logging.getLogger(__name__)

_BATCH = 128
"""Files claimed together: they are open at once (a process may often have only 1,024) and share their fsyncs."""
_SYNC_THREADS = 8


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
        report: Callable[[str, str], None] = lambda _what, _path: None,
    ) -> None:
        """`offer` gives a path to the uploaders; False if they have enough.

        `condemned`: paths that end processes, to be set aside; `report("end", path)` is told once that is done.
        """
        self._spool, self._completeness, self._offer = spool, completeness, offer
        self._ignored = _pattern(ignore)
        self._condemned, self._report = set(condemned), report
        self._offered: set[str] = set()
        self._warned: set[str] = set()
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
        self._warned &= present
        return claimed

    def sweep(self, *, again: bool) -> None:
        """Offer what lies in QueuedForUpload and was not offered yet; with `again` whatever lies there."""
        present = {path for path, _ in self._spool.queued.walk(self._complain)}
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

    def _candidates(self, present: set[str]) -> Iterator[tuple[str, int]]:
        """(path, open descriptor) of each complete file in Watch."""
        for path, is_file in self._spool.watch.walk(self._complain):
            if self._ignored(path):
                continue
            present.add(path)
            if not is_file:
                self._warn(path, "is no regular file: never opened, never followed, left where it is")
                continue
            fd = self._open(path)
            if fd is None:
                continue
            if is_regular(os.fstat(fd)) and self._completeness.judge(path, fd):
                yield path, fd
            else:
                self.pending += 1
                os.close(fd)

    def _open(self, path: str) -> int | None:
        try:
            return self._spool.watch.open(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(path, f"cannot be opened, it waits: {error.strerror}; let this user read it")
            return None

    def _claim(self, batch: list[tuple[str, int]]) -> int:
        """Steps 2: contents durable, renamed, folders durable, offered."""
        try:
            if self._spool.watch.durable:
                list(self._pool.map(os.fsync, [fd for _, fd in batch]))
            claims = {path: claimed for path, _ in batch if (claimed := self._claim_one(path))}
        finally:
            for _, fd in batch:
                os.close(fd)
        self._spool.sync_claims(claims)
        for path in claims.values():
            self._offer_one(path)
        return len(claims)

    def _claim_one(self, path: str) -> str | None:
        try:
            return self._spool.claim(path)
        except FileNotFoundError:
            log.info("vanished from Watch before it was taken: %s", path)
        except OSError as error:
            self._warn(path, f"cannot be moved to QueuedForUpload, it waits: {error}")
        return None

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
        self._report("end", path)
        log.error("set aside %s: %s", f"{self._spool.failed.path}/{failed}", reason)

    def _complain(self, path: str, error: OSError) -> None:
        self._warn(path, f"this folder cannot be read, its files wait: {error.strerror}")

    def _warn(self, path: str, problem: str) -> None:
        if path not in self._warned:
            self._warned.add(path)
            log.warning("%s %s", path or self._spool.watch.path, problem)


def _pattern(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether any component of a path matches any of the patterns."""
    expressions = [fnmatch.translate(pattern) for pattern in patterns]
    if not expressions:
        return lambda _path: False
    matches = re.compile("|".join(expressions)).match
    return lambda path: any(matches(part) for part in path.split("/"))
