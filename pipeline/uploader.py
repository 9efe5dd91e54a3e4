"""QueuedForUpload → S3 → SQS → UploadedToS3 (steps 3 to 5)."""

import logging
import mimetypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline import pacing
from pipeline.agenda import Again, Agenda
from pipeline.batcher import Batcher
from pipeline.drop import DROP_ID, Drop
from pipeline.names import NameRefusedError, decode_path, human_size, key_for, printable, versions_prefix
from pipeline.notice import announce
from pipeline.pacing import Gate, Summary
from pipeline.ports import (
    CancelledError,
    Content,
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

log = logging.getLogger(__name__)

_SEND_LINGER = 0.004
_SEND_THREADS = 2
_WRITER_SECONDS = 0.2


def content_type(path: str) -> str:
    """Guessed from the suffix alone: `guess_type` reads a whole name as a URL, and `data:` lets it choose the type."""
    stem = f"x{os.path.splitext(path)[1]}"
    return mimetypes.guess_type(stem, strict=False)[0] or "application/octet-stream"


@dataclass(frozen=True)
class Route:
    """Where drops go, and in which form they are announced."""

    folder: str
    form: str
    region: str
    on_conflict: str = "version"
    extra_metadata: Mapping[str, str] = field(default_factory=dict)
    """What every object carries beside the program's own."""


class Uploader:
    """Uploads, announces and archives the files whose paths it is given, several at a time."""

    def __init__(
        self,
        spool: Spool,
        store: ObjectStore,
        queue: MessageQueue,
        route: Route,
        checksum: Callable[[int], str],
        *,
        threads: int,
        report: Callable[[str, str], None] = lambda _what, _path: None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
        is_being_written: Callable[[int], bool | None] = lambda _fd: None,
    ) -> None:
        """`report("begin" | "end", path)` is told of every file before and after its work.

        `waiting` is entered around every wait of `step`, where a signal may cut it. `is_being_written` asks the kernel
        about an open file, where its answer is to be believed.
        """
        self._spool, self._store, self._route, self._checksum, self._report = spool, store, route, checksum, report
        self._announcer: Batcher[Message, None] = Batcher(queue.send, 10, _SEND_LINGER, _SEND_THREADS)
        self._pool = ThreadPoolExecutor(threads, "upload")
        self._slots = threading.Semaphore(threads)
        self._wait_cuttable, self._is_being_written = waiting, is_being_written
        self._announced: set[str] = set()
        self._troubles = Summary(log)
        self._agenda = Agenda()
        self._cancelled = threading.Event()
        self.gate = Gate()

    def step(self, hint: Callable[[float], str | None], idle: float) -> bool:
        """Start one file: a retry that is due, else what `hint(seconds)` gives; False if there was nothing to start."""
        with self._wait_cuttable():
            if not self.gate.wait():
                return False
            with self._slots:
                pass  # a free slot exists now; only this thread fills them
            path = self._agenda.due() or hint(min(idle, self._agenda.until_due()))
        if path is None or not self._agenda.begin(path):
            return False
        self._slots.acquire()
        self._pool.submit(self._work, path)
        return True

    def step_alone(self, path: str) -> None:
        """Work on one file before anything else is in hand: if this process ends, the file is the reason."""
        if self._agenda.begin(path):
            self._slots.acquire()
            self._work(path)

    def idle(self) -> bool:
        """Whether nothing is in hand and nothing waits for another try."""
        return self._agenda.is_empty()

    def close(self, seconds: float) -> None:
        """Finish what is in hand within so many seconds, cancel the rest; everything stays consistent."""
        self.gate.stop()
        timer = threading.Timer(seconds, self._cancelled.set)
        timer.daemon = True
        timer.start()
        self._pool.shutdown(wait=True)
        timer.cancel()
        self._announcer.close()

    def _work(self, path: str) -> None:
        again: Again | None = None
        try:
            self._report("begin", path)
            again = self._try(path)
        finally:
            self._agenda.end(path, again)
            self._report("end", path)
            self._slots.release()

    def _try(self, path: str) -> Again | None:
        """Relay one file; when to try which path again, or None if it is settled."""
        again = Again(path)
        try:
            return self._relay(again)
        except CancelledError as error:
            log.info("%s", error)
            return None
        except PausedError as error:
            self.gate.shut(error)
            return again
        except (RelayError, OSError) as error:
            again.seconds = pacing.delay(attempt := self._agenda.count(path, again.path))
            log.debug("again in %.1f s (try %d): %s", again.seconds, attempt + 2, error)
            self._troubles.note(error)
        except Exception:
            log.exception("an error of the program; it is tried again and stays in QueuedForUpload: %s", path)
            again.seconds = pacing.delay(self._agenda.count(path, again.path))
        return again

    def _relay(self, again: Again) -> Again | None:
        with self._spool.take(again.path) as queued:
            if queued is None:
                return None
            if self._is_being_written(queued.fd):
                raise LaterError(f"{queued.path} is still being written")
            try:
                return None if self._send(queued) else again
            except NeverError as error:
                self._set_aside(queued, error)  # under this lock: by its first path another file may be meant by now
                return None
            finally:
                again.path = queued.path  # it may have got the next version of its name

    def _send(self, queued: Queued) -> bool:
        """Steps 3 to 5; False if the file was written to after it was announced."""
        started = time.monotonic()
        drop, stored = self._store_drop(queued)
        if drop.id not in self._announced:  # a move that fails is tried again without another message
            self._announcer.submit(self._message(drop, stored)).result()
            self._announced.add(drop.id)
        self.gate.passed()
        # What was written later was never sent: it follows, as a drop of its own.
        archived = self._spool.finish(queued) if self._is_still(queued, drop) else None
        self._announced.discard(drop.id)
        if archived is None:
            log.warning("%s was announced and then changed in QueuedForUpload; what it is now follows", drop.path)
        log.info("sent      %s  %s  %.2f s", drop.key.text, human_size(stored.size), time.monotonic() - started)
        return archived is not None

    def _is_still(self, queued: Queued, drop: Drop) -> bool:
        """Whether the open file holds what was sent. A chmod, or a hard link that went, changes ctime alone."""
        now, then = queued.fingerprint(), drop.fingerprint
        if now == then:
            return True
        same = (now.size, now.mtime_ns) == (then.size, then.mtime_ns)
        return same and self._checksum(queued.fd) == drop.crc64nvme

    def _store_drop(self, queued: Queued) -> tuple[Drop, StoredObject]:
        """Step 3: the object that is exactly this drop, under a key that nothing else held."""
        replaces = None
        while True:
            drop = self._identify(queued)
            try:
                stored = self._upload(queued, drop, replaces)
            except TakenError:
                known = self._own_earlier_try(queued, drop)
                replaces = None
                if known is None:
                    continue
                stored = known
            if queued.fingerprint() == drop.fingerprint:
                return drop, stored
            log.info("%s changed while it was uploaded; nobody was told, it is taken again", drop.path)
            replaces = stored.etag
            self._await_writer(queued)

    def _await_writer(self, queued: Queued) -> None:
        while self._is_being_written(queued.fd):
            if self._cancelled.wait(_WRITER_SECONDS):
                raise CancelledError(f"{queued.path} is being written; it is taken up again")

    def _identify(self, queued: Queued) -> Drop:
        seen = queued.fingerprint()
        checksum = self._checksum(queued.fd)
        try:
            key = key_for(self._route.folder, queued.path)
        except NameRefusedError as error:
            raise NeverError(f"{queued.path}: {error}") from None
        return Drop(queued.path, seen, checksum, key)

    def _upload(self, queued: Queued, drop: Drop, replaces: str | None) -> StoredObject:
        content = Content(queued.fd, drop.fingerprint.size, drop.crc64nvme, content_type(drop.path))
        metadata = {**self._route.extra_metadata, **drop.metadata()}
        return self._store.upload(content, drop.key.text, metadata, replaces=replaces, cancelled=self._cancelled.is_set)

    def _own_earlier_try(self, queued: Queued, drop: Drop) -> StoredObject | None:
        """The key is taken: by this very drop, its object; by another, None, and the file has its next version."""
        found = self._store.look(drop.key.text)
        if found is not None and found.metadata.get(DROP_ID) == drop.id:
            if found.size == drop.fingerprint.size:
                return found
            return self._upload(queued, drop, replaces=found.etag)  # a store that was killed in the middle of our PUT
        if self._route.on_conflict == "fail":
            raise NeverError(
                f"the key {printable(drop.key.text)} holds another object and onNameConflict is fail; "
                "rename the file, or set version"
            )
        # The rename comes before the PUT, so that the queued path always is the key's path.
        self._spool.renumber(queued, self._taken(drop))
        log.info("%s is taken in the store: it goes on as %s", drop.path, queued.path)
        return None

    def _taken(self, drop: Drop) -> list[str]:
        """The names of the numbered versions of a drop's name that the store holds."""
        try:
            prefix = key_for(self._route.folder, versions_prefix(drop.path)).text
        except NameRefusedError:
            return []  # longer than a key: whether the next version fits shows when it is tried
        head = prefix.rpartition("/")[0]
        names = [key[len(head) :].lstrip("/") for key in self._store.keys(prefix)]
        return [decode_path(name) if drop.key.quoted else name for name in names if "/" not in name]

    def _message(self, drop: Drop, stored: StoredObject) -> Message:
        route, now = self._route, time.time_ns()
        return announce(stored, self._store.bucket, drop.origin, route.form, region=route.region, now_ns=now)

    def _set_aside(self, queued: Queued, error: NeverError) -> None:
        if not self._spool.still_there(queued):
            log.warning("%s can never be sent (%s), but another file has its name now", queued.path, error)
            return
        when = datetime.now(UTC).isoformat(timespec="seconds")
        reason = {"path": printable(queued.path), "reason": printable(str(error)), "time": when}
        failed = self._spool.fail(queued, reason)
        log.error("set aside as %s: %s", self._spool.failed.path / failed, error)
