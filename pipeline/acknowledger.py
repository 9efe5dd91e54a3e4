"""How a message ends: deleted once its file is safe (step 8), or kept elsewhere if it never can be."""

import logging
import threading
from collections.abc import Callable, Sequence

from pipeline import pacing
from pipeline.batcher import Batcher
from pipeline.groups import Groups
from pipeline.hand import Hand, Held
from pipeline.names import printable
from pipeline.ports import QUEUE_BATCH, MessageQueue, ReceiptError, Received, RelayError
from pipeline.shapes import TEST_EVENT

log = logging.getLogger(__name__)

_THREADS = 4
"""Calls under way: where the queue is 20 ms away, each carries 500 messages a second."""
_LINGER = 0.02
"""Seconds; messages in hand are on their way to the same batch, and with none in hand nobody waits."""
_TRIES = 3


class Acknowledger:
    """Deletes messages, several with one call."""

    def __init__(
        self,
        queue: MessageQueue,
        hand: Hand,
        groups: Groups,
        keep_message: Callable[[Received, str], None],
        hurry: threading.Event,
    ) -> None:
        """`keep_message` keeps a hopeless message, with its reason, where the queue has no dead letters.

        `hurry` ends the waits between two tries.
        """
        self._queue, self._groups, self._keep_message, self._hurry = queue, groups, keep_message, hurry
        self._lock = threading.Lock()
        self._passed_over, self._was_tested = 0, False
        self._batcher: Batcher[Held, None] = Batcher(
            self._delete, QUEUE_BATCH, _LINGER, _THREADS, alone=lambda size: hand.count() <= size
        )

    def submit(self, held: Held) -> None:
        """Delete a message, soon."""
        self._groups.settled(held)  # before it may be let go, with what waits for it
        self._batcher.submit(held)

    def bury(self, message: Received, reason: str) -> None:
        """Keep a message that can never succeed elsewhere; it is not deleted yet."""
        if self._queue.bury(message, reason):
            log.error("to the dead letters: %s", reason)
        else:
            self._keep_message(message, reason)
            log.error("to FailedMessages: %s", reason)
        log.debug("what can never succeed: %s", printable(message.body[:200]))

    def pass_over(self, events: Sequence[str]) -> None:
        """Count, and tell of, what a message said that brings no file: it is deleted as any other."""
        with self._lock:
            self._passed_over += len(events)
            count, was_tested = self._passed_over, self._was_tested
            self._was_tested |= TEST_EVENT in events
        told = [event for event in events if event != TEST_EVENT or not was_tested]
        if told:
            log.info("acknowledged, and no file comes of it: %s (%d so far)", printable(", ".join(told)[:200]), count)

    def close(self) -> None:
        """Delete what was submitted, and end."""
        self._batcher.close()

    def _delete(self, batch: Sequence[Held]) -> list[None]:
        """A message that cannot be deleted comes again and is recognised."""
        left = list(batch)
        try:
            for attempt in range(_TRIES):
                left = self._try(left, attempt)
                if not left or self._hurry.wait(pacing.delay(attempt)):
                    break
        except Exception:
            log.exception("an error of the program; messages that were settled come again, and are recognised")
        for held in batch:
            self._groups.let_go(held)
        return [None] * len(batch)

    def _try(self, batch: Sequence[Held], attempt: int) -> list[Held]:
        """Those that may be tried again."""
        try:
            outcomes = self._queue.delete([held.message.receipt for held in batch])
        except RelayError as error:
            outcomes = [error] * len(batch)
        again = []
        for held, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, ReceiptError):
                log.debug("%s", outcome)
            elif outcome is not None:
                log.info("delivered, but its message could not be deleted (try %d): %s", attempt + 1, outcome)
                again.append(held)
        return again
