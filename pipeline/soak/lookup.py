"""Look for the objects of files, several at a time, and again while they are missing."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.pacing import Summary
from pipeline.ports import ObjectStore, RelayError, StoredObject
from pipeline.soak.content import File

log = logging.getLogger(__name__)

_THREADS = 8
_FIRST_SECONDS, _LONGEST_SECONDS = 1.0, 60.0
"""Between two looks at one file; each time twice as long, as a lost one may never come."""


class Lookup:
    """Times are seconds of the clock whose time `ask` is given."""

    def __init__(self, store: ObjectStore, key: Callable[[File], str]) -> None:
        self._store, self._key = store, key
        self._pool = ThreadPoolExecutor(_THREADS, "look")
        self._troubles = Summary(log)
        self._asked: dict[File, Future[StoredObject | None]] = {}
        self._again: dict[File, tuple[float, float]] = {}
        """File → when it is asked for again, and how long that is after the time before."""

    def ask(self, files: Iterable[File], now: float) -> Iterator[tuple[File, StoredObject]]:
        """What was found since the last call; and see that those of `files` that are due are looked for."""
        for file in [file for file, answer in self._asked.items() if answer.done()]:
            if (stored := self._answer(self._asked.pop(file))) is not None:
                yield file, stored
        for file in files:
            due, pause = self._again.get(file, (now, _FIRST_SECONDS))
            if file not in self._asked and due <= now:
                self._again[file] = (now + pause, min(2 * pause, _LONGEST_SECONDS))
                self._asked[file] = self._pool.submit(self._store.look, self._key(file))

    def forget(self, file: File) -> None:
        """It is not looked for any more."""
        self._again.pop(file, None)

    def close(self) -> None:
        """Wait for no store."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, asked: "Future[StoredObject | None]") -> StoredObject | None:
        try:
            return asked.result()
        except RelayError as error:
            self._troubles.note(error)
            return None
