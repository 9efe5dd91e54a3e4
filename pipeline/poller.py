"""SQS → S3 → DownloadedFromS3 → delete (steps 6 to 8)."""

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext

from pipeline.acceptance import Acceptance
from pipeline.acknowledger import Acknowledger
from pipeline.batcher import Batcher
from pipeline.groups import Groups
from pipeline.hand import Hand, Held
from pipeline.handling import Handling
from pipeline.landing import Arrival, Landing
from pipeline.names import human_size
from pipeline.notice import Notice
from pipeline.pacing import Gate
from pipeline.ports import (
    ChangedError,
    LaterError,
    MessageQueue,
    NeverError,
    ObjectStore,
    ReceiptError,
    Received,
    RelayError,
    StoredObject,
)
from pipeline.processing import Processing
from pipeline.receiver import Receiver
from pipeline.threads import Pool

log = logging.getLogger(__name__)

_SMALL = 256 * 1024
"""Bytes up to which a file is received by the threads that everything goes through."""
_THREADS = 16
"""Large files that are under way together."""
_PUBLISH_BATCH = 64
"""Files that get their names together; more would wait for each other longer than for the disk."""
_SPARE = 8
"""One place of so many is kept for others while it is not known whether anything can be read."""
_CANCEL_SECONDS = 1.0
"""What a download that runs may take to notice that it is cancelled."""


class Poller:
    """Brings announced objects into DownloadedFromS3, many at a time.

    A message about one small file goes on by itself: the transfer engine's answer puts the file among those that get
    their names together. Whatever takes time or thought (a large file, an error, several files) has a thread.
    """

    def __init__(
        self,
        queue: MessageQueue,
        store: ObjectStore,
        landing: Landing,
        acceptance: Acceptance,
        keep_message: Callable[[Received, str], None],
        *,
        concurrency: int,
        visibility: int,
        room: Callable[[int, int], None] = lambda _fd, _size: None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`keep_message`: see Acknowledger; `room`: see Room.take.

        `waiting` is entered around every wait of `step` that a signal may cut. The command of `landing` is run for each
        file before its message is deleted.
        """
        self._store, self._landing, self._acceptance = store, landing, acceptance
        self._hand = Hand(queue, visibility)
        self._publisher: Batcher[tuple[Held, Arrival], str | None] = Batcher(self._publish, _PUBLISH_BATCH, 0.0)
        self._pool = Pool(min(concurrency, _THREADS), "download")
        self._slots = threading.Semaphore(concurrency)
        self._room, self._waiting = room, waiting
        self._stopping, self._cancelled = threading.Event(), threading.Event()
        self._groups = Groups(self._hand, self._start, self._slots.release)
        self._acknowledger = Acknowledger(queue, self._hand, self._groups, keep_message, self._cancelled)
        self.gate = Gate()
        self._handling = Handling(
            self._hand,
            self._groups,
            self._acknowledger,
            landing.folder,
            lambda: self.gate,
            self._stopping,
            concurrency - max(1, concurrency // _SPARE),
        )
        self._processing = (
            Processing(landing.command, landing, store.bucket, self._handling, self._acknowledger, self._cancelled)
            if landing.command
            else None
        )
        self._receiver = Receiver(queue, self._slots, lambda: self.gate, self._groups.take)

    def step(self, wait: int, idle: float) -> int | None:
        """Receive what there is room for, waiting up to `wait` seconds; how many, None if it could not ask."""
        started = time.monotonic()
        with self._waiting():
            if not all(gate.wait() for gate in self._gates()):
                return None
            room, messages = self._receiver.receive(wait)
        self._receiver.hand_over(messages, room)
        if messages == [] and time.monotonic() - started < min(1, wait):
            with self._waiting():
                self._stopping.wait(idle)  # this queue does not know long polling
        return None if messages is None else len(messages)

    def idle(self) -> bool:
        """Whether no message is in hand."""
        return self._hand.count() == 0

    def close(self, seconds: float) -> None:
        """Finish what is in hand within so many seconds, give the rest back."""
        self._stopping.set()
        for gate in self._gates():
            gate.stop()
        self._receiver.close()
        settled = self._hand.wait_until_empty(seconds)
        if not settled:
            self._cancelled.set()
            self._store.cancel()
            settled = self._hand.wait_until_empty(_CANCEL_SECONDS)
        self._publisher.close()  # what is about to get its name gets it, before its message may be another's
        self._hand.give_all_back()  # a download that stalls does not keep its message from the next taker
        self._pool.shutdown(wait=settled)
        if self._processing:
            self._processing.close(wait=settled)
        self._acknowledger.close()
        self._hand.close()

    def _gates(self) -> list[Gate]:
        """Nothing is received before all of them are open."""
        gates = [self.gate, self._acknowledger.gate]
        return [*gates, self._processing.gate] if self._processing else gates

    def _start(self, held: Held) -> None:
        """Begin the download of a small file, or give the message to a thread."""
        if self._stopping.is_set():
            return self._to_thread(held)
        try:
            notices, others = self._acceptance.announced(held.message)
            if len(notices) == 1 and not others and 0 < (notices[0].size or 0) <= _SMALL:
                return self._begin(held, notices[0])
        except Exception as error:  # noqa: BLE001  # not hidden: the thread deals with it
            return self._to_thread(held, error)
        return self._to_thread(held)

    def _begin(self, held: Held, notice: Notice) -> None:
        started = time.monotonic()
        if drop := self._find(notice):
            self._finish(held, [drop])
            return
        arrival = self._landing.open_arrival()
        try:
            self._room(arrival.fd, notice.size or 0)
            future = self._store.begin_download(notice.key, arrival.fd, size=notice.size, version_id=notice.version_id)
        except BaseException:
            self._landing.discard(arrival)
            raise
        future.add_done_callback(functools.partial(self._on_arrived, held, notice, arrival, started))

    def _on_arrived(
        self, held: Held, notice: Notice, arrival: Arrival, started: float, future: Future[StoredObject]
    ) -> None:
        """In the transfer engine's thread: nothing here may wait."""
        try:
            stored = future.result()
            self._acceptance.accept(arrival, notice, stored)
        except Exception as error:  # noqa: BLE001  # not hidden: the thread deals with it
            self._give_up(held, arrival, None if isinstance(error, ChangedError) else error)
        else:
            published = self._publisher.submit((held, arrival))
            published.add_done_callback(functools.partial(self._on_published, held, arrival, stored, started))

    def _on_published(
        self, held: Held, arrival: Arrival, stored: StoredObject, started: float, future: Future[str | None]
    ) -> None:
        try:
            self._note_published(arrival, stored, future.result(), started)
        except Exception as error:  # noqa: BLE001  # not hidden: the thread deals with it
            self._give_up(held, arrival, error)
            return
        try:
            self._landing.discard(arrival)  # where the drop was known this asks the ledger
        finally:
            self._finish(held, [arrival.drop_id])

    def _give_up(self, held: Held, arrival: Arrival, error: Exception | None) -> None:
        try:
            self._landing.discard(arrival)  # it may have to ask the ledger, which may be what is broken
        finally:
            self._to_thread(held, error)

    def _to_thread(self, held: Held, error: Exception | None = None) -> None:
        self._handling.submit(self._pool, held, functools.partial(self._deliver_all, held), error)

    def _deliver_all(self, held: Held) -> None:
        notices, others = self._acceptance.announced(held.message)
        drops, troubles = [], []
        for notice in notices:  # each for itself: whoever sent it may have put a file beside another's
            try:
                drops.append(self._find(notice) or self._deliver(held, notice))
            except (NeverError, LaterError) as error:
                troubles.append(error)
        if not troubles:
            self._acknowledger.pass_over(others)
        self._finish(held, drops, _worst(troubles))

    def _finish(self, held: Held, drops: Sequence[str], trouble: RelayError | None = None) -> None:
        """Step 7c, if there is one, and step 8; with `trouble`, what that means for the message instead."""
        if self._processing and drops:
            self._processing.submit(held, drops, trouble)
        elif trouble:
            raise trouble
        else:
            self._acknowledger.submit(held)

    def _deliver(self, held: Held, notice: Notice) -> str:
        started = time.monotonic()
        arrival = self._landing.open_arrival()
        try:
            stored = self._download(held, notice, arrival)
            self._acceptance.accept(arrival, notice, stored)
            self._note_published(arrival, stored, self._publisher.submit((held, arrival)).result(), started)
            return arrival.drop_id
        finally:
            self._landing.discard(arrival)

    def _download(self, held: Held, notice: Notice, arrival: Arrival) -> StoredObject:
        admit = functools.partial(self._room, arrival.fd)
        download = functools.partial(
            self._store.download, notice.key, arrival.fd, version_id=notice.version_id, admit=admit,
            cancelled=lambda: self._cancelled.is_set() or held.lost,
        )  # fmt: skip
        try:
            return download(size=notice.size)
        except ChangedError as error:
            if notice.size is None:
                raise
            if notice.drop_id is not None:
                raise NeverError(f"the message and the object differ in size: {error}") from error
        return download(size=None)  # another program's object, which was replaced since

    def _find(self, notice: Notice) -> str | None:
        """The delivery id of what a message names, if it is here; what a kill left half published is finished.

        NeverError or LaterError if it must not be asked for.
        """
        self._acceptance.check(notice)
        known_as = self._acceptance.known_as(notice)
        if known_as is None or not self._landing.resume(known_as):
            return None
        log.debug("had it already: %s", notice.key)
        return known_as

    def _publish(self, batch: Sequence[tuple[Held, Arrival]]) -> list[str | Exception | None]:
        """Names for those whose message nobody else can have by now."""
        ours = [arrival for held, arrival in batch if self._may_publish(held)]
        paths: dict[int, str | Exception | None] = dict(
            zip(map(id, ours), self._landing.publish(ours) if ours else (), strict=True)
        )
        refused = ReceiptError("the message is no longer ours, nothing was published")
        return [paths.get(id(arrival), refused) for _, arrival in batch]

    def _may_publish(self, held: Held) -> bool:
        return self._hand.is_ours(held) and not self._cancelled.is_set()

    def _note_published(self, arrival: Arrival, stored: StoredObject, path: str | None, started: float) -> None:
        self.gate.passed()
        if path is None:
            self._landing.resume(arrival.drop_id)
            return
        name = stored.key if self._acceptance.says(stored.key, path) else f"{stored.key} → {path}"
        log.info("received  %s  %s  %.2f s", name, human_size(stored.size), time.monotonic() - started)


def _worst(troubles: Sequence[RelayError]) -> RelayError | None:
    """What becomes of a message by what came of its records: while any may still come, it comes again."""
    never = [str(error) for error in troubles if isinstance(error, NeverError)]
    if len(never) == len(troubles):
        return NeverError("; ".join(never)) if never else None
    return next(error for error in troubles if not isinstance(error, NeverError))
