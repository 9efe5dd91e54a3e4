"""QueuedForUpload → S3 → SQS → UploadedToS3 (steps 3 to 5)."""

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext

from pipeline import pacing
from pipeline.agenda import Again, Agenda
from pipeline.announcer import Announcer, Sent, Work
from pipeline.drop import Drop
from pipeline.pacing import Gate, Summary
from pipeline.ports import (
    CancelledError,
    LaterError,
    NeverError,
    ObjectStore,
    PausedError,
    RelayError,
    Sender,
    StoredObject,
    TakenError,
)
from pipeline.spool import Queued, Spool
from pipeline.storing import Checksums, Route, Storing
from pipeline.threads import Pool

log = logging.getLogger(__name__)

_SMALL = 256 * 1024
"""Bytes up to which a file is read and sent by the thread that opens it."""
_THREADS = 16
"""Large files that are under way together."""
_RETRY_THREADS = 4
"""For small files that need a thread after all: they do not wait behind large ones."""
_LARGE_SHARE = 0.75
"""Of the files in hand, at most, that are large, waiting for a thread included: the others keep places."""


class Uploader:
    """Uploads, announces and archives the files whose paths it is given, many at a time.

    Small files go on by themselves: the thread of `step` opens one, and the transfer engine's answer puts it among
    those that are announced together. Whatever takes time or thought (a large file, a key that is taken) has a thread
    of its own.
    """

    def __init__(
        self,
        spool: Spool,
        store: ObjectStore,
        queue: Sender,
        route: Route,
        checksums: Checksums,
        *,
        concurrency: int,
        report: Callable[[str, Sequence[str]], None] = lambda _what, _paths: None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
        is_being_written: Callable[[int], bool | None] = lambda _fd: None,
    ) -> None:
        """`report("begin" | "end", paths)` is told of every file before and after its work.

        `waiting` is entered around every wait of `step`, where a signal may cut it. `is_being_written` asks the kernel
        about an open file, where its answer is to be believed.
        """
        self._spool, self._store = spool, store
        self._report = report
        self._wait_cuttable, self._is_being_written = waiting, is_being_written
        self._slots = threading.Semaphore(concurrency)
        self._pool = Pool(min(concurrency, _THREADS), "upload")
        self._troubles = Summary(log)
        large = min(max(_THREADS, int(_LARGE_SHARE * concurrency)), concurrency - 1)
        self._agenda = Agenda(spool.line_of, large_places=max(1, large))
        self._follower = Pool(1, "follow")
        self._cancelled = threading.Event()
        self._storing = Storing(spool, store, route, checksums, is_being_written, self._cancelled)
        self.gate = Gate()
        self._small_pool = Pool(_RETRY_THREADS, "again")
        self._announcer = Announcer(
            spool,
            queue,
            store.bucket,
            route,
            checksums,
            self.gate,
            end=self._end,
            fail=self._fail,
            in_hand=self._agenda.in_hand,
        )

    def step(self, hint: Callable[[float], Sequence[str]], idle: float) -> bool:
        """Start a retry that is due, else what `hint(seconds)` gives; False if there was neither."""
        with self._wait_cuttable():
            if not self.gate.wait():
                return False
            self._await_slot()
        paths, begun = self._begin(hint, idle)
        if begun:
            self._report("begin", begun)
        waiting = deque(begun)
        try:
            while waiting:
                self._take_slot()
                self._start(waiting.popleft())
        finally:
            for path in waiting:  # the wait was cut
                self._agenda.end(path, Again(path))
        return bool(paths)

    def _begin(self, hint: Callable[[float], Sequence[str]], idle: float) -> tuple[Sequence[str], list[str]]:
        """What there is, and those that are in hand from now on: outside of any wait that could be cut.

        What is in hand and never started would be waited for at the end.
        """
        due = self._agenda.due()
        if due is not None:
            return [due], [] if self._waits(due) else [due]
        with self._wait_cuttable():
            paths = hint(min(idle, self._agenda.until_due()))
        return paths, [path for path in paths if self._agenda.begin(path) and not self._waits(path)]

    def _waits(self, path: str) -> bool:
        """Whether an earlier version of its name is with another process: it is looked for again soon."""
        if not self._spool.has_earlier(path):
            return False
        self._start_all(self._agenda.defer(path))
        return True

    def step_alone(self, path: str) -> None:
        """Work on one file before anything else is in hand: if this process ends, the file is the reason."""
        if self._agenda.begin(path) and not self._waits(path):
            self._report("begin", (path,))
            self._take_slot()
            self._start(path)
            with self._wait_cuttable():
                self._agenda.wait_until_none_in_hand(None)

    def idle(self) -> bool:
        """Whether nothing is in hand and nothing waits for another try."""
        return self._agenda.is_empty()

    def close(self, seconds: float) -> None:
        """Finish what is in hand within so many seconds, cancel the rest; everything stays consistent."""
        self.gate.stop()
        self._agenda.stop()
        if not self._agenda.wait_until_none_in_hand(seconds):
            self._cancelled.set()
            self._store.cancel()
            self._agenda.wait_until_none_in_hand(None)
        self._follower.shutdown(wait=True)
        self._pool.shutdown(wait=True)
        self._small_pool.shutdown(wait=True)
        self._announcer.close()

    def _await_slot(self) -> None:
        with self._slots:
            pass  # one was free just now

    def _take_slot(self) -> None:
        """In the thread of `step`: a signal may cut the wait, but nothing between a slot that is taken and its work."""
        while not self._slots.acquire(blocking=False):
            with self._wait_cuttable():
                self._await_slot()

    def _follow(self, path: str) -> None:
        """In a thread of its own: start what waited for another to end."""
        if self._waits(path):
            return
        self._report("begin", (path,))
        self._slots.acquire()
        self._start(path)

    def _start(self, path: str) -> None:
        work = Work(path, time.monotonic())
        try:
            self._open(work)
        except Exception as error:  # noqa: BLE001  # not hidden: whatever it is, the work ends with it
            self._fail(work, error)

    def _open(self, work: Work) -> None:
        """Lock the file and send it on its way, by itself or in a thread."""
        work.queued = queued = self._spool.open(work.path)
        if queued is None:
            self._end(work)
            return
        if self._is_being_written(queued.fd):
            raise LaterError(f"{queued.path} is still being written")
        if queued.fingerprint().size > _SMALL:
            if self._agenda.begin_large(work.path):
                self._pool.submit(self._store_in_thread, work, queued)
            else:
                self._shelve(work, queued)
            return
        drop, future = self._storing.begin(queued)
        future.add_done_callback(functools.partial(self._on_stored, work, queued, drop))

    def _on_stored(self, work: Work, queued: Queued, drop: Drop, future: Future[StoredObject]) -> None:
        """In the transfer engine's thread: nothing here may wait."""
        try:
            stored = future.result()
            unchanged = queued.fingerprint() == drop.fingerprint
        except TakenError:
            self._small_pool.submit(self._store_in_thread, work, queued, refused=drop)
        except Exception as error:  # noqa: BLE001  # not hidden: whatever it is, the work ends with it
            self._fail(work, error)
        else:
            if unchanged:
                self._announcer.submit(Sent(work, queued, drop, stored))
            else:
                self._small_pool.submit(self._store_in_thread, work, queued, stale=stored)

    def _store_in_thread(
        self, work: Work, queued: Queued, *, refused: Drop | None = None, stale: StoredObject | None = None
    ) -> None:
        try:
            drop, stored = self._storing.store(queued, refused=refused, stale=stale)
        except Exception as error:  # noqa: BLE001  # not hidden: whatever it is, the work ends with it
            self._fail(work, error)
        else:
            self._announcer.submit(Sent(work, queued, drop, stored))

    def _fail(self, work: Work, error: Exception) -> None:
        """The end of a work that did not come to its own: when it is tried again, or where its file goes."""
        again: Again | None = None
        try:
            again = self._after(work, error)
        except OSError as problem:  # Failed cannot be written
            again = Again(work.path_now, pacing.delay(self._agenda.count(work.path, work.path_now)))
            self._troubles.note(problem)
        finally:
            self._end(work, again=again)

    def _after(self, work: Work, error: Exception) -> Again | None:
        again = Again(work.path_now)
        if isinstance(error, CancelledError):
            log.info("%s", error)
            return None
        if isinstance(error, NeverError) and work.queued:
            # Under its lock: by its first path another file may be meant by now.
            self._storing.set_aside(work.queued, error)
            return None
        if isinstance(error, PausedError):
            self.gate.shut(error)
            return again
        again.seconds = pacing.delay(attempt := self._agenda.count(work.path, again.path))
        if isinstance(error, RelayError | OSError):
            log.debug("again in %.1f s (try %d): %s", again.seconds, attempt + 2, error)
            self._troubles.note(error)
        else:
            problem = "an error of the program; it is tried again and stays in QueuedForUpload: %s"
            log.error(problem, again.path, exc_info=error)
        return again

    def _end(self, *works: Work, again: Again | None = None) -> None:
        """They are no longer in hand: settled, or to be tried again."""
        for work in works:
            if again is None:
                self._storing.forget(work.path_now)
            if work.queued is not None:
                work.queued.close()
        if works:
            self._report("end", [work.path for work in works])
        for work in works:
            following = self._agenda.end(work.path, again)
            self._slots.release()
            self._start_all(following)

    def _shelve(self, work: Work, queued: Queued) -> None:
        """It is large, and comes when there is a place for it."""
        queued.close()  # before another thread may want its lock
        self._report("end", [work.path])
        following = self._agenda.shelve(work.path)
        self._slots.release()
        self._start_all(following)

    def _start_all(self, following: list[str]) -> None:
        for path in following:
            self._follower.submit(self._follow, path)
