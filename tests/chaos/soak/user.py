"""Whoever uses the folders of one pair of programs: drops, spoils, writes slowly, takes away, moves back."""

import contextlib
import heapq
import itertools
import os
import random
import select
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.chaos.relay import Relay
from tests.chaos.soak.book import Book
from tests.chaos.soak.files import CUT, MOVED, REMOVED, WRITTEN, File, draw
from tests.chaos.soak.folder import Seen
from tests.chaos.soak.plan import Plan

_TAKEN, _BACK = 0.95, 0.03
"""Of what is seen, the share that its user takes away; of what lies in UploadedToS3, that which is dropped again."""
_KEPT_SECONDS = 20.0
"""The longest that a file lies there before it is taken away."""
_REMEMBERED_SECONDS = 300.0
"""How long what was taken out of DownloadedFromS3 is kept."""
_SPOILED_SECONDS = 0.5
"""The same between the drop of a file and what spoils it."""
_PAUSE_SECONDS = 0.6
"""The longest pause of a slow writer."""
_BURSTS = (1, 1, 1, 4, 20)
"""Files that are dropped at once."""
_LOOK_SECONDS = 0.5
_LONGEST = 255
"""Bytes of a name."""
Action = Callable[[], None]


class User(threading.Thread):
    """One thread for both folders of a pair: what it is to do is in a heap by its time."""

    def __init__(self, pair: int, relays: tuple[Relay, Relay], staging: Path, taken: Path, plan: Plan) -> None:
        """`taken`: where what arrived is kept for a while, on the disk of the receiver."""
        super().__init__(name=f"user-{pair}", daemon=True)
        sender, receiver = relays
        self._pair, self._sender, self._sizes = pair, sender, plan.sizes
        self._staging, self.taken = staging, taken
        self._rng = random.Random(f"user {plan.seed} {pair}")
        self.book = Book()
        # Whom it cuts a file for may have moved it there in that instant.
        self._archive = Seen(sender.uploaded, lambda content, _name: self.book.archive(content), written=True)
        self._arrivals = Seen(receiver.downloaded, self.book.arrive)
        self._agenda: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self.dropped, self.bytes = 0, 0
        self._left, self._spacing, self._due, self._at_once = 0, 0.0, 0.0, 0
        self.writing = 0
        self._rests = False
        self._done = threading.Event()
        self.failure: BaseException | None = None
        staging.mkdir(parents=True)
        sender.watch.mkdir(parents=True)

    def begin(self, files: int, seconds: float, at_once: int) -> None:
        """Drop so many files over so many seconds, and never have more than `at_once` under way."""
        self._left, self._spacing, self._at_once = files, seconds / files, at_once
        self._due = time.monotonic()
        self._soon(0.0, self._drop_some)
        self.start()

    @property
    def violations(self) -> list[str]:
        """What was seen and must not be."""
        return self._archive.violations + self._arrivals.violations

    def rest(self) -> None:
        """Take, and drop nothing more."""
        self._rests = True

    def has_dropped(self) -> bool:
        """Whether all is dropped and written."""
        return not self._left and not self.writing

    def run(self) -> None:
        try:
            while not self._done.is_set():
                self._turn()
        except BaseException as error:
            self.failure = error
            raise

    def finish(self) -> None:
        """Look at what is there for the last time."""
        self._done.set()
        self.join()
        self._look()
        self._archive.finish()
        self._arrivals.finish()

    def _turn(self) -> None:
        pause = min(_LOOK_SECONDS, max(0.0, self._agenda[0][0] - time.monotonic())) if self._agenda else _LOOK_SECONDS
        select.select([self._archive.sight, self._arrivals.sight], [], [], pause)
        self._look()
        while self._agenda and self._agenda[0][0] <= time.monotonic():
            heapq.heappop(self._agenda)[2]()

    def _look(self) -> None:
        for path in self._arrivals.look():
            if self._rng.random() < _TAKEN:
                self._later(_KEPT_SECONDS, partial(self._fetch, path))
        for path in self._archive.look():
            dice = self._rng.random()
            if dice < _BACK and path.parent.name.startswith("d"):
                self._later(_KEPT_SECONDS, partial(self._move_back, path))
            elif dice < _TAKEN:
                self._later(_KEPT_SECONDS, partial(self._remove, path))

    def _fetch(self, path: Path) -> None:
        """Out of DownloadedFromS3, and keep it for as long as its message may come again."""
        target = self.taken / path.relative_to(self._arrivals.folder)
        if target.exists():
            target = target.with_name(f"{target.name}.{next(self._order)}")

        def move(source: Path, content: bytes) -> bool:
            if len(os.fsencode(target.name)) > _LONGEST:  # a second copy, which was told of already
                return _unlink(source, content)
            self._soon(_REMEMBERED_SECONDS, target.unlink)
            return _move(source, target)

        self._arrivals.take(path, move)
        _tidy(path.parent, self._arrivals.folder)

    def _remove(self, path: Path) -> None:
        self._archive.take(path, _unlink)
        _tidy(path.parent, self._archive.folder)

    def _move_back(self, path: Path) -> None:
        """Into Watch again, as a drop of its own, never over another."""
        if self._rests:
            return
        target = self._sender.watch / path.relative_to(self._sender.uploaded)

        def move(source: Path, content: bytes) -> bool:
            self.book.drop_again(content)
            moved = _move(source, target)
            if not moved:
                self.book.drop_again(content, times=-1)
            return moved

        self._archive.take(path, move)

    def _drop_some(self) -> None:
        if self.book.under_way < self._at_once:
            for _ in range(min(self._left, self._rng.choice(_BURSTS))):
                file = draw(self._pair, self.dropped, self._sizes, self._rng)
                self.dropped += 1
                self.bytes += file.size
                self._left -= 1
                self._drop(file)
                self._due += self._spacing
        if self._left:
            self._soon(max(0.01, self._due - time.monotonic()), self._drop_some)

    def _drop(self, file: File) -> None:
        """Note it first: it may be on its way before this thread comes to itself."""
        self.book.drop(file.digest(), file.name, spoiled=file.how in (REMOVED, CUT))
        if file.how == CUT:
            self.book.drop(file.digest(file.size // 2), file.name, spoiled=True)
        if file.how == WRITTEN:
            self.writing += 1
            self._write(file, None, b"".join(file.blocks()))
            return
        source = self._staging / str(file.number)
        with source.open("xb") as target:
            target.writelines(file.blocks())
        self._move_in(file, source)

    def _move_in(self, file: File, source: Path) -> None:
        """As `mv -n`; again later if the name is still taken."""
        if not _move(source, self._sender.watch / file.name):
            self._later(_SPOILED_SECONDS, partial(self._move_in, file, source))
            return
        if file.how != MOVED:
            self._later(_SPOILED_SECONDS, partial(self._spoil, file))
        self._later(_KEPT_SECONDS, partial(_tidy, (self._sender.watch / file.name).parent, self._sender.watch))

    def _spoil(self, file: File) -> None:
        """Wherever it lies by now; one that was sent stays."""
        for folder in (self._sender.watch, self._sender.queued):
            with contextlib.suppress(FileNotFoundError):
                if file.how == REMOVED:
                    (folder / file.name).unlink()
                else:
                    os.truncate(folder / file.name, file.size // 2)
                return

    def _write(self, file: File, fd: int | None, rest: bytes) -> None:
        """A piece now, and the next one after a pause; it is open all the time."""
        fd = _create(self._sender.watch / file.name) if fd is None else fd
        piece = 1 + len(rest) // 3
        os.write(fd, rest[:piece])
        if len(rest) > piece:
            self._later(_PAUSE_SECONDS, partial(self._write, file, fd, rest[piece:]))
        else:
            os.close(fd)
            self.writing -= 1

    def _later(self, seconds: float, action: Action) -> None:
        """At some time within so many seconds."""
        self._soon(self._rng.uniform(0.0, seconds), action)

    def _soon(self, seconds: float, action: Action) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._order), action))


def _unlink(path: Path, _content: bytes) -> bool:
    path.unlink()
    return True


def _tidy(folder: Path, top: Path) -> None:
    """Remove it, and those above it below `top`, as far as they are empty."""
    with contextlib.suppress(OSError):  # it is not empty, or gone already
        while folder != top:
            folder.rmdir()
            folder = folder.parent


def _create(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the program tidied the folder away just then
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)


def _move(source: Path, target: Path) -> bool:
    """Rename it to a name that nobody has; nobody else makes names in Watch."""
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() or not source.exists():
            return False
        with contextlib.suppress(FileNotFoundError):  # the program tidied the folder away just then
            source.rename(target)
            return True
