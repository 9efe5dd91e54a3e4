"""QueuedForUpload → S3 → SQS → UploadedToS3 (steps 3 to 5)."""

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from pipeline import pacing
from pipeline.agenda import Again, Agenda
from pipeline.batcher import Batcher
from pipeline.drop import Drop
from pipeline.names import human_size
from pipeline.notice import announce
from pipeline.pacing import Gate, Summary
from pipeline.ports import (
    QUEUE_BATCH,
    CancelledError,
    LaterError,
    Message,
    MessageQueue,
    NeverError,
    ObjectStore,
    PausedError,
    RelayError,
    StoredObject,
    TakenError,
)
from pipeline.spool import Queued, Spool
from pipeline.storing import Checksums, Route, Storing

log = logging.getLogger(__name__)

_SMALL = 256 * 1024
"""Bytes up to which a file is read and sent by the thread that opens it."""
_THREADS = 16
"""Large files that are under way together."""
_SEND_LINGER = 0.02
"""Seconds; files that are in hand are on their way to the same batch, and with none in hand nobody waits."""
_SEND_THREADS = 4
"""Calls under way: where the queue is 20 ms away, each carries 500 messages a second."""


@dataclass(eq=False)
class _Work:
    """One file on its way through steps 3 to 5."""

    path: str
    """As it was offered; the file may get another name meanwhile."""
    started: float
    """Monotonic second."""
    queued: Queued | None = None

    @property
    def path_now(self) -> str:
        return self.queued.path if self.queued else self.path


class _Sent(NamedTuple):
    """One that is in the store, and is to be announced."""

    work: _Work
    queued: Queued
    drop: Drop
    stored: StoredObject


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
        queue: MessageQueue,
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
        self._spool, self._store, self._queue, self._route = spool, store, queue, route
        self._checksums, self._report = checksums, report
        self._wait_cuttable, self._is_being_written = waiting, is_being_written
        self._slots = threading.Semaphore(concurrency)
        self._pool = ThreadPoolExecutor(min(concurrency, _THREADS), "upload")
        self._announcer: Batcher[_Sent, None] = Batcher(
            self._announce, QUEUE_BATCH, _SEND_LINGER, _SEND_THREADS, alone=lambda size: self._agenda.in_hand() <= size
        )
        self._announced: set[str] = set()
        self._troubles = Summary(log)
        self._agenda = Agenda()
        self._cancelled = threading.Event()
        self._storing = Storing(spool, store, route, checksums, is_being_written, self._cancelled)
        self.gate = Gate()

    def step(self, hint: Callable[[float], Sequence[str]], idle: float) -> bool:
        """Start a retry that is due, else what `hint(seconds)` gives; False if there was nothing to start."""
        with self._wait_cuttable():
            if not self.gate.wait():
                return False
            self._await_slot()
            due = self._agenda.due()
            paths = hint(min(idle, self._agenda.until_due())) if due is None else (due,)
        begun = [path for path in paths if self._agenda.begin(path)]
        if begun:
            self._report("begin", begun)
        waiting = deque(begun)
        try:
            while waiting:
                with self._wait_cuttable():
                    self._await_slot()
                self._start(waiting.popleft())
        finally:
            for path in waiting:  # the wait was cut
                self._agenda.end(path, None)
        return bool(begun)

    def step_alone(self, path: str) -> None:
        """Work on one file before anything else is in hand: if this process ends, the file is the reason."""
        if self._agenda.begin(path):
            self._report("begin", (path,))
            self._start(path)
            with self._wait_cuttable():
                self._agenda.wait_until_none_in_hand(None)

    def idle(self) -> bool:
        """Whether nothing is in hand and nothing waits for another try."""
        return self._agenda.is_empty()

    def close(self, seconds: float) -> None:
        """Finish what is in hand within so many seconds, cancel the rest; everything stays consistent."""
        self.gate.stop()
        if not self._agenda.wait_until_none_in_hand(seconds):
            self._cancelled.set()
            self._store.cancel()
            self._agenda.wait_until_none_in_hand(None)
        self._pool.shutdown(wait=True)
        self._announcer.close()

    def _await_slot(self) -> None:
        with self._slots:
            pass  # a free slot exists now; only this thread fills them

    def _start(self, path: str) -> None:
        work = _Work(path, time.monotonic())
        self._slots.acquire()
        try:
            self._open(work)
        except Exception as error:  # noqa: BLE001  # not hidden: whatever it is, the work ends with it
            self._fail(work, error)

    def _open(self, work: _Work) -> None:
        """Lock the file and send it on its way, by itself or in a thread."""
        work.queued = queued = self._spool.open(work.path)
        if queued is None:
            self._end(work)
            return
        if self._is_being_written(queued.fd):
            raise LaterError(f"{queued.path} is still being written")
        if queued.fingerprint().size > _SMALL:
            self._pool.submit(self._store_in_thread, work, queued)
            return
        drop, future = self._storing.begin(queued)
        future.add_done_callback(functools.partial(self._on_stored, work, queued, drop))

    def _on_stored(self, work: _Work, queued: Queued, drop: Drop, future: Future[StoredObject]) -> None:
        """In the transfer engine's thread: nothing here may wait."""
        try:
            stored = future.result()
            unchanged = queued.fingerprint() == drop.fingerprint
        except TakenError:
            self._pool.submit(self._store_in_thread, work, queued, refused=drop)
        except Exception as error:  # noqa: BLE001  # not hidden: whatever it is, the work ends with it
            self._fail(work, error)
        else:
            if unchanged:
                self._announcer.submit(_Sent(work, queued, drop, stored))
            else:
                self._pool.submit(self._store_in_thread, work, queued, stale=stored)

    def _store_in_thread(
        self, work: _Work, queued: Queued, *, refused: Drop | None = None, stale: StoredObject | None = None
    ) -> None:
        try:
            drop, stored = self._storing.store(queued, refused=refused, stale=stale)
        except Exception as error:  # noqa: BLE001  # not hidden: whatever it is, the work ends with it
            self._fail(work, error)
        else:
            self._announcer.submit(_Sent(work, queued, drop, stored))

    def _announce(self, sent: Sequence[_Sent]) -> list[None]:
        """Steps 4 and 5 for several files; one that was announced before is only moved."""
        new = [each for each in sent if each.drop.id not in self._announced]
        try:
            outcomes: Sequence[Exception | None] = self._queue.send(list(map(self._message, new))) if new else ()
        except Exception as error:  # noqa: BLE001  # not hidden: every one of them ends with it
            outcomes = [error] * len(new)
        refused = {id(each): outcome for each, outcome in zip(new, outcomes, strict=True) if outcome is not None}
        for each in sent:
            if outcome := refused.get(id(each)):
                self._fail(each.work, outcome)
        self._end(*(each.work for each in sent if id(each) not in refused and self._is_finished(each)))
        return [None] * len(sent)

    def _is_finished(self, sent: _Sent) -> bool:
        """Step 5 of what the queue accepted; False if the work ended otherwise."""
        self._announced.add(sent.drop.id)  # a move that fails is tried again without another message
        try:
            self.gate.passed()
            # What was written later was never sent: it follows, as a drop of its own.
            moved = self._spool.finish(sent.queued) is not None if self._is_still(sent) else False
        except Exception as error:  # noqa: BLE001  # not hidden: whatever it is, the work ends with it
            self._fail(sent.work, error)
            return False
        self._announced.discard(sent.drop.id)
        size, took = human_size(sent.stored.size), time.monotonic() - sent.work.started
        log.info("sent      %s  %s  %.2f s", sent.drop.key.text, size, took)
        if not moved:
            log.warning("%s was announced and then changed in QueuedForUpload; what it is now follows", sent.drop.path)
            self._end(sent.work, again=Again(sent.queued.path))
        return moved

    def _fail(self, work: _Work, error: Exception) -> None:
        """The end of a work that did not come to its own: when it is tried again, or where its file goes."""
        again: Again | None = None
        try:
            again = self._after(work, error)
        except OSError as problem:  # Failed cannot be written
            again = Again(work.path_now, pacing.delay(self._agenda.count(work.path, work.path_now)))
            self._troubles.note(problem)
        finally:
            self._end(work, again=again)

    def _after(self, work: _Work, error: Exception) -> Again | None:
        again = Again(work.path_now)
        if isinstance(error, CancelledError):
            log.info("%s", error)
            return None
        if isinstance(error, NeverError) and work.queued:
            self._storing.set_aside(
                work.queued, error
            )  # under its lock: by its first path another file may be meant by now
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

    def _end(self, *works: _Work, again: Again | None = None) -> None:
        """They are no longer in hand: settled, or to be tried again."""
        for work in works:
            if work.queued is not None:
                work.queued.close()
        if works:
            self._report("end", [work.path for work in works])
        for work in works:
            self._agenda.end(work.path, again)
            self._slots.release()

    def _is_still(self, sent: _Sent) -> bool:
        """Whether the open file holds what was sent. A chmod, or a hard link that went, changes ctime alone."""
        now, then = sent.queued.fingerprint(), sent.drop.fingerprint
        if now == then:
            return True
        same = (now.size, now.mtime_ns) == (then.size, then.mtime_ns)
        return same and self._checksums.of_file(sent.queued.fd) == sent.drop.crc64nvme

    def _message(self, sent: _Sent) -> Message:
        route, now = self._route, time.time_ns()
        return announce(sent.stored, self._store.bucket, sent.drop.origin, route.form, region=route.region, now_ns=now)
