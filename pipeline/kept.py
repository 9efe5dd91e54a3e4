"""Which files in QueuedForUpload a power cut leaves there: no other is offered.

What this process claimed, it made durable. What it finds there somebody else moved, who may have been killed before he
came to that: an earlier watcher, one that ends while this one works, or an uploader that gave a file another number.
Were it sent all the same, a power cut would put it back into Watch, and it would be sent once more.
"""

from collections.abc import Callable, Iterable, Sequence

from pipeline.arrivals import Arrived
from pipeline.listing import Listing
from pipeline.names import split_version, within
from pipeline.spool import Spool

MOST = 262_144
"""Files that are remembered of one look, about 70 bytes each; what others there are is made durable at every look."""


class Kept:
    """The files that are durable where they are, by path and time: a name that comes again is another file."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        # Hashes, of 64 bits: should ever two files share one, one of them is not made durable a second time.
        self._before: set[int] = set()
        self._now: set[int] = set()

    def begin_look(self) -> None:
        """Forget what the last look did not find."""
        self._before, self._now = self._now, set()

    def note(self, files: Iterable[Arrived]) -> None:
        """These are durable."""
        for file in files:
            if len(self._now) < MOST:
                self._now.add(_mark(file))

    def keep(self, listing: Listing, tell: Callable[[str, str], None]) -> Sequence[Arrived]:
        """The files of a folder, all of them durable now; those only that were so before where that is refused."""
        known = [file for file in listing.files if (mark := _mark(file)) in self._now or mark in self._before]
        self.note(known)
        if len(known) == len(listing.files):
            return known
        try:
            self._sync(listing.head)
        except OSError as error:
            tell(listing.head, f"a power cut may undo the last moves to this folder: {error}; what came waits")
            return known
        self.note(listing.files)
        return listing.files

    def _sync(self, head: str) -> None:
        """Make durable what may have been moved, or made, in any of the folders, and no more."""
        spool = self._spool
        for folder in (spool.queued, spool.uploaded, spool.failed):
            folder.sync({within(head, "x")})
        spool.watch.sync({within(origin, "x") for origin in self._origins(head)})

    def _origins(self, head: str) -> set[str]:
        """The folders of Watch from which files may have come to one of QueuedForUpload, as far as they are there.

        There a part of the path that is a file got a number: `a/b` became `a-Version-2/b`.
        """
        found, last = {""}, {""}
        for part in head.split("/") if head else ():
            version = split_version(part)
            names = {part, version.stem + version.suffix}
            below = {within(above, name) for above in last for name in names}
            last = {path for path in below if self._spool.watch.status(path) is not None}
            found |= last
        return found


def _mark(file: Arrived) -> int:
    return hash((file.head, file.name, file.arrived))
