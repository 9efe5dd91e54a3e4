"""Stored → announced → UploadedToS3 (steps 4 and 5), several files together."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pipeline.agenda import Again
from pipeline.batcher import Batcher
from pipeline.drop import Drop
from pipeline.names import human_size
from pipeline.notice import announce
from pipeline.pacing import Gate
from pipeline.ports import QUEUE_BATCH, Message, Sender, StoredObject
from pipeline.spool import Queued, Spool
from pipeline.storing import Checksums, Route

log = logging.getLogger(__name__)

_SEND_LINGER = 0.02
"""Seconds; files that are in hand are on their way to the same batch, and with none in hand nobody waits."""
_SEND_THREADS = 4
"""Calls under way: where the queue is 20 ms away, each carries 500 messages a second."""


@dataclass(eq=False)
class Work:
    """One file on its way through steps 3 to 5."""

    path: str
    """As it was offered; the file may get another name meanwhile."""
    started: float
    """Monotonic second."""
    queued: Queued | None = None

    @property
    def path_now(self) -> str:
        """Relative to QueuedForUpload."""
        return self.queued.path if self.queued else self.path


class Sent(NamedTuple):
    """One that is in the store, and is to be announced."""

    work: Work
    queued: Queued
    drop: Drop
    stored: StoredObject


class End(Protocol):
    """What is told of works that came to an end."""

    def __call__(self, *works: Work, again: Again | None = None) -> None:
        """They are settled, or, with `again`, to be taken up once more."""
        ...


class Announcer:
    """Sends what is stored in batches, and moves what the queue accepted."""

    def __init__(
        self,
        spool: Spool,
        queue: Sender,
        bucket: str,
        route: Route,
        checksums: Checksums,
        gate: Gate,
        *,
        end: End,
        fail: Callable[[Work, Exception], None],
        in_hand: Callable[[], int],
    ) -> None:
        """Every file ends with `end` or with `fail`; `gate` is told that the queue answered.

        `in_hand`: how many files are under way, the ones that are submitted included.
        """
        self._spool, self._queue, self._bucket, self._route = spool, queue, bucket, route
        self._checksums, self._gate, self._end, self._fail = checksums, gate, end, fail
        self._announced: set[str] = set()
        """Drops that the queue accepted and that were not moved yet."""
        self._batcher: Batcher[Sent, None] = Batcher(
            self._announce, QUEUE_BATCH, _SEND_LINGER, _SEND_THREADS, alone=lambda size: in_hand() <= size
        )

    def submit(self, sent: Sent) -> None:
        """Announce it, with others, and move it then."""
        self._batcher.submit(sent).add_done_callback(_tell_error)

    def close(self) -> None:
        """End the threads, once nothing is under way."""
        self._batcher.close()

    def _announce(self, sent: Sequence[Sent]) -> list[None]:
        """Those that were announced before are only moved."""
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

    def _is_finished(self, sent: Sent) -> bool:
        """Step 5 of what the queue accepted; False if the work ended otherwise."""
        self._announced.add(sent.drop.id)  # a move that fails is tried again without another message
        try:
            self._gate.passed()
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

    def _is_still(self, sent: Sent) -> bool:
        """Whether the open file holds what was sent. A chmod, or a hard link that went, changes ctime alone."""
        now, then = sent.queued.fingerprint(), sent.drop.fingerprint
        if now == then:
            return True
        same = (now.size, now.mtime_ns) == (then.size, then.mtime_ns)
        return same and self._checksums.of_file(sent.queued.fd) == sent.drop.crc64nvme

    def _message(self, sent: Sent) -> Message:
        route, now = self._route, time.time_ns()
        return announce(sent.stored, self._bucket, sent.drop.origin, route.form, region=route.region, now_ns=now)


def _tell_error(future: Future[None]) -> None:
    """What ended a whole batch is an error of the program; nobody else looks at it."""
    if not future.cancelled() and (error := future.exception()):
        log.error("an error of the program; files that were announced may wait for the next start", exc_info=error)
