"""SQS → S3 → DownloadedFromS3 → delete (steps 6 to 8)."""

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from pipeline import pacing
from pipeline.batcher import Batcher
from pipeline.drop import Origin, delivery_id, origin_of
from pipeline.folders import Folder
from pipeline.hand import Hand, Held
from pipeline.landing import Arrival, Landing
from pipeline.names import (
    NameRefusedError,
    checked_path,
    human_size,
    is_of_other_soak,
    is_of_soak,
    path_of_key,
    printable,
)
from pipeline.notice import Notice, UnreadableError, decode
from pipeline.pacing import Gate
from pipeline.ports import (
    CancelledError,
    LaterError,
    MessageQueue,
    MissingError,
    NeverError,
    ObjectStore,
    PausedError,
    ReceiptError,
    Received,
    RelayError,
    StoredObject,
)

log = logging.getLogger(__name__)

_PUBLISH_BATCH = 64
_DELETE_LINGER = 0.004
_DELETE_TRIES = 3
_CANCEL_SECONDS = 1.0
"""What a download that runs may take to notice that it is cancelled."""
_SIDE_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""What will be true for every other file as well; anything else may be this file's own name or folder."""


class Poller:
    """Brings announced objects into DownloadedFromS3, several at a time."""

    def __init__(
        self,
        queue: MessageQueue,
        store: ObjectStore,
        landing: Landing,
        folder: str,
        checksum: Callable[[int], str],
        keep_message: Callable[[Received, str], None],
        *,
        threads: int,
        visibility: int,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`keep_message` keeps a hopeless message, with its reason, where the queue has no dead letters.

        `waiting` is entered around every wait of `step`, where a signal may cut it.
        """
        self._queue, self._store, self._landing, self._folder = queue, store, landing, folder
        self._checksum, self._keep_message = checksum, keep_message
        self._hand = Hand(queue, visibility)
        self._publisher: Batcher[Arrival, str | None] = Batcher(landing.publish, _PUBLISH_BATCH, 0.0)
        self._deleter: Batcher[str, None] = Batcher(queue.delete, 10, _DELETE_LINGER, 2)
        self._pool = ThreadPoolExecutor(threads, "download")
        self._slots = threading.Semaphore(threads)
        self._waiting = waiting
        self._stopping, self._cancelled = threading.Event(), threading.Event()
        self.gate = Gate()

    def step(self, wait: int, idle: float) -> int | None:
        """Receive what there are free workers for, waiting up to `wait` seconds; how many, None if it could not ask."""
        started = time.monotonic()
        with self._waiting():
            if not self.gate.wait():
                return None
            free = self._free_slots()
            messages = self._receive(free, wait)
        for message in messages or ():
            self._pool.submit(self._handle, self._hand.take(message))
        if unused := free - len(messages or ()):
            self._slots.release(unused)
        if messages == [] and time.monotonic() - started < min(1, wait):
            with self._waiting():
                self._stopping.wait(idle)  # this queue does not know long polling
        return None if messages is None else len(messages)

    def _receive(self, limit: int, wait: int) -> list[Received] | None:
        try:
            messages = self._queue.receive(limit, wait)
        except RelayError as error:
            self.gate.shut(error)
            return None
        self.gate.passed()
        return messages

    def idle(self) -> bool:
        """Whether no message is in hand."""
        return self._hand.count() == 0

    def close(self, seconds: float) -> None:
        """Finish what is in hand within so many seconds, give the rest back."""
        self._stopping.set()
        self.gate.stop()
        settled = self._hand.wait_until_empty(seconds)
        if not settled:
            self._cancelled.set()
            settled = self._hand.wait_until_empty(_CANCEL_SECONDS)
        self._hand.give_all_back()  # a download that stalls does not keep its message from the next taker
        self._pool.shutdown(wait=settled)
        self._publisher.close()
        self._deleter.close()
        self._hand.close()

    def _free_slots(self) -> int:
        """Take one free worker, waiting for it, and up to nine more that are free now."""
        self._slots.acquire()
        free = 1
        while free < 10 and self._slots.acquire(blocking=False):
            free += 1
        return free

    def _handle(self, held: Held) -> None:
        try:
            self._settle(held)
        except CancelledError:
            self._hand.give_back(held, 0)
        except ReceiptError as error:
            log.info("%s", error)
            self._hand.let_go(held)
        except MissingError as error:
            log.warning("not there yet, the message goes back: %s", error)
            self._hand.give_back(held, 5 + pacing.delay(held.message.receive_count))
        except RelayError as error:
            log.warning("the message goes back: %s", error)
            self._hand.give_back(held, pacing.delay(held.message.receive_count))
        except Exception:
            log.exception("an error of the program; the message goes back: %s", printable(held.message.body[:200]))
            self._hand.give_back(held, 30)
        finally:
            self._slots.release()

    def _settle(self, held: Held) -> None:
        """All that a message announces, then its end; while the whole side has to wait, the message is held."""
        while True:
            if self._stopping.is_set():
                raise CancelledError("stopping")
            try:
                self._deliver_or_bury(held)
                return self._delete(held)
            except PausedError as error:
                self.gate.shut(error)
            except (OSError, sqlite3.Error) as error:
                self.gate.shut(_local_trouble(error, self._landing.folder))
            self.gate.wait()
            if not self._hand.is_ours(held):
                raise ReceiptError("waited too long, the message goes to the next taker")

    def _deliver_or_bury(self, held: Held) -> None:
        try:
            self._deliver_all(held)
        except NeverError as error:
            hopeless = str(error)
        else:
            return
        self._bury(held, hopeless)

    def _deliver_all(self, held: Held) -> None:
        message = held.message
        try:
            notices = decode(message.body, message.attributes, self._store.bucket)
        except UnreadableError as error:
            raise NeverError(f"a message that cannot be read ({error}): {printable(message.body[:200])}") from None
        if not notices:
            log.info("a message that announces no file was acknowledged: %s", printable(message.body[:200]))
        for notice in notices:
            self._check(notice)
            if is_of_soak(self._folder, notice.key):  # the bucket announces here what a soak test stores
                log.info("a message about a file of a soak test was acknowledged: %s", printable(notice.key[:200]))
            else:
                self._deliver(held, notice)

    def _check(self, notice: Notice) -> None:
        """NeverError for whatever must not even be asked for, LaterError for what somebody else is to have."""
        if notice.bucket != self._store.bucket:
            raise NeverError(f"a message about another bucket, {printable(notice.bucket[:100])!r}")
        if is_of_other_soak(self._folder, notice.key):
            raise LaterError(f"a message of another soak test, which shares this queue: {printable(notice.key[:200])}")
        try:
            path_of_key(self._folder, notice.key)
        except NameRefusedError as error:
            raise NeverError(f"a message about {printable(notice.key[:200])!r}: {error}") from None

    def _deliver(self, held: Held, notice: Notice) -> None:
        started = time.monotonic()
        if notice.drop_id and self._landing.resume(delivery_id(notice.drop_id, notice.key)):
            log.debug("had it already: %s", notice.key)
            return
        arrival = self._landing.open_arrival()
        try:
            stored = self._store.download(
                notice.key, arrival.fd, version_id=notice.version_id, cancelled=lambda: self._is_over(held)
            )
            self._accept(arrival, notice, stored)
            if not self._hand.is_ours(held):
                raise ReceiptError(f"{arrival.path}: the message is no longer ours, nothing was published")
            path = self._publisher.submit(arrival).result()
        finally:
            self._landing.discard(arrival)
        if path is None:
            self._landing.resume(arrival.drop_id)
            return
        name = stored.key if stored.key.endswith(path) else f"{stored.key} → {path}"
        log.info("received  %s  %s  %.2f s", name, human_size(stored.size), time.monotonic() - started)

    def _accept(self, arrival: Arrival, notice: Notice, stored: StoredObject) -> None:
        """End of step 6: the bytes are those that were announced, and durable."""
        try:
            origin = origin_of(stored, self._store.bucket, self._folder)
            arrival.path = checked_path(origin.path, _other_separators())
        except NameRefusedError as error:
            raise NeverError(f"the object {printable(notice.key[:200])!r}: {error}") from None
        arrival.drop_id, arrival.checksum = delivery_id(origin.drop_id, stored.key), self._checksum(arrival.fd)
        _refuse_contradiction(notice, origin, stored)
        size = os.fstat(arrival.fd).st_size
        if size != stored.size or origin.crc64nvme not in (None, arrival.checksum):
            raise LaterError(
                f"{notice.key!r} arrived damaged: {size} of {stored.size} bytes, checksum {arrival.checksum} "
                f"instead of {origin.crc64nvme}"
            )
        self._landing.keep(arrival, origin.mtime_ns)

    def _delete(self, held: Held) -> None:
        """Step 8. A message that cannot be deleted comes again and is recognised."""
        for attempt in range(_DELETE_TRIES):
            try:
                self._deleter.submit(held.message.receipt).result()
                break
            except ReceiptError as error:
                log.debug("%s", error)
                break
            except RelayError as error:
                log.info("delivered, but its message could not be deleted (try %d): %s", attempt + 1, error)
                self._cancelled.wait(pacing.delay(attempt))
        self._hand.let_go(held)

    def _bury(self, held: Held, reason: str) -> None:
        """A message that can never succeed is kept elsewhere before it is deleted here."""
        if self._queue.bury(held.message, reason):
            log.error("to the dead letters: %s", reason)
        else:
            self._keep_message(held.message, reason)
            log.error("to FailedMessages: %s", reason)

    def _is_over(self, held: Held) -> bool:
        return self._cancelled.is_set() or held.lost


def _other_separators() -> str:
    return "".join(mark for mark in (os.sep, os.altsep) if mark and mark != "/")


def _refuse_contradiction(notice: Notice, origin: Origin, stored: StoredObject) -> None:
    """The ledger believes the object; a message that says otherwise could mark another drop as delivered."""
    said_of = (
        ("drop_id", notice.drop_id, origin.drop_id if origin.is_ours else None),
        ("crc64nvme", notice.crc64nvme, origin.crc64nvme),
        ("path", notice.path, origin.path if origin.is_ours else None),
        ("size", notice.size, stored.size),
    )
    for name, said, known in said_of:
        if said is not None and said != known:
            raise NeverError(f"the message about {printable(notice.key[:200])!r} and the object differ in {name}")


def _local_trouble(error: OSError | sqlite3.Error, folder: Folder) -> PausedError:
    """The whole side waits while nothing can be written; LaterError where it is this one file that cannot."""
    where = f"{folder.path}: {error}"
    if isinstance(error, OSError) and error.errno not in _SIDE_TROUBLE and os.access(folder.path, os.W_OK):
        raise LaterError(f"cannot write this file to {where}") from error
    return PausedError(f"cannot write to {where}; free space or make it writable, receiving then goes on by itself")
