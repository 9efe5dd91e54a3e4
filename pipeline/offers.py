"""QueuedForUpload → the shared queue: whatever lies there is offered to the uploaders, as many as they have room for.

An offer may be lost, and the folder is the truth: it is listed at start and again and again, and what came first goes
first. Memory does not grow with what lies there: the last offers are remembered, and of a listing a limited number.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pipeline.arrivals import Arrived, oldest_first
from pipeline.kept import Kept
from pipeline.listing import walk
from pipeline.names import printable, within
from pipeline.spool import Spool
from pipeline.told import Told

log = logging.getLogger(__name__)

MOST = 32
"""Paths in one offer."""
_SHARES = 4
"""Into at least so many offers a batch is divided: there may be several uploader processes."""
_REMEMBERED = 8192
"""More than wait in the shared queue and are in hand: of these no second offer is made."""


class Offers:
    """Offers what was just claimed at once, and by sweeps whatever lies in QueuedForUpload."""

    def __init__(
        self,
        spool: Spool,
        offer: Callable[[Sequence[str]], bool],
        *,
        condemned: Iterable[str] = (),
        report: Callable[[str, Sequence[str]], None] = lambda _what, _paths: None,
    ) -> None:
        """`offer` gives 1 to 32 paths to one uploader process; False if they have enough.

        `condemned`: paths that end processes, to be set aside; `report("end", paths)` is told once that is done.
        """
        self._spool, self._offer = spool, offer
        self._condemned, self._report = set(condemned), report
        self._told, self._kept = Told(spool.queued.path), Kept(spool)
        self._recent: dict[str, None] = {}
        self._earlier: dict[str, None] = {}
        self._sweep: Iterator[str] | None = None
        self._next: list[str] = []
        self._missed = False
        self.queued = 0
        """Files that the last sweep saw in QueuedForUpload; it is not 0 while a sweep is under way."""

    @property
    def behind(self) -> bool:
        """Whether something waits until the uploaders have room: then `feed` is to be called."""
        return self._sweep is not None

    def put(self, paths: list[str]) -> None:
        """Offer what was just claimed; what they have no room for, a sweep offers."""
        if self._sweep is None and self._give(paths):
            self._begin()
        elif self._sweep is not None:  # what came earlier goes first
            self._missed = True
            for path in paths:
                self._recent.pop(path, None)
                self._earlier.pop(path, None)
        self.feed()

    def trust(self, claimed: Iterable[Arrived]) -> None:
        """These were made durable: a sweep that meets them need not do it."""
        self._kept.note(claimed)

    def sweep(self, *, again: bool) -> None:
        """Offer what lies in QueuedForUpload and was not offered lately; with `again` whatever lies there."""
        if again:
            self._recent, self._earlier = {}, {}
        if self._sweep is None:
            self._begin()
        self.feed()

    def feed(self) -> None:
        """Go on with a sweep, until it is through or they have enough."""
        while self._sweep is not None:
            self._next = self._next or list(islice(self._sweep, MOST * _SHARES))
            if not self._next:
                self._end()
            elif rest := self._give(self._next):
                self._next = rest
                return
            else:
                self._next = []

    def complain(self, path: str, error: OSError) -> None:
        """Tell of a folder in QueuedForUpload that cannot be listed, once until a sweep is through."""
        self._told.complain(path, error)

    def warn(self, problem: str) -> None:
        """Tell of QueuedForUpload, once until a sweep is through."""
        self._told.warn("", problem)

    def _begin(self) -> None:
        self._sweep, self.queued, self._missed = self._list(), 0, False
        self._earlier, self._recent = self._recent, {}  # what this sweep does not meet may come again
        self._kept.begin_look()

    def _end(self) -> None:
        self._sweep = None
        self._told.end_look()
        if self._missed:
            self._begin()

    def _list(self) -> Iterator[str]:
        """Every file in QueuedForUpload that was not offered lately."""
        for file in oldest_first(self._look):
            path = within(file.head, file.name)
            if path in self._condemned:
                self._condemn(path)
            elif path in self._earlier or path in self._recent:
                self._remember([path])
            else:
                yield path

    def _look(self, again: bool) -> Iterator[Arrived]:
        for listing in walk(self._spool.queued, self._told.complain):
            for name in listing.others:
                self._told.warn(within(listing.head, name), "is no regular file: it is not sent; take it away")
            self.queued += 0 if again else len(listing.files)
            yield from self._kept.keep(listing, self._told.warn)

    def _give(self, paths: list[str]) -> list[str]:
        """Offer all of these, in shares; those that they had no room for."""
        share = max(1, min(MOST, len(paths) // _SHARES))
        for start in range(0, len(paths), share):
            part = paths[start : start + share]
            if not self._offer(part):
                return paths[start:]
            self._remember(part)
        return []

    def _remember(self, paths: list[str]) -> None:
        self._recent.update(dict.fromkeys(paths))
        for path in list(islice(self._recent, max(0, len(self._recent) - _REMEMBERED))):
            del self._recent[path]

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
