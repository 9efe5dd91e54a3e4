"""How a message ends: deleted once its file is safe (step 8), or kept elsewhere if it never can be."""

import logging
import threading
from collections.abc import Callable, Sequence

from pipeline import pacing
from pipeline.batcher import Batcher
from pipeline.groups import Groups
from pipeline.hand import Hand, Held
from pipeline.names import printable
from pipeline.pacing import Gate
from pipeline.ports import QUEUE_BATCH, MessageQueue, PausedError, ReceiptError, Received, RelayError
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
        self.gate = Gate()
        """Shut while nothing can be deleted: what is received meanwhile would only come again."""
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
        left, tries = list(batch), 0
        try:
            while left and tries < _TRIES:
                left, paused = self._try(left)
                tries += not paused
                if left and not self._wait(tries, paused=paused):
                    break
        except Exception:
            log.exception("an error of the program; messages that were settled come again, and are recognised")
        for held in batch:
            self._groups.let_go(held)
        return [None] * len(batch)

    def _wait(self, tries: int, *, paused: bool) -> bool:
        """Before another try; False if the program stops. While the whole side has to wait, messages are held."""
        return self.gate.wait() if paused else not self._hurry.wait(pacing.delay(tries - 1))

    def _try(self, batch: Sequence[Held]) -> tuple[list[Held], bool]:
        """Those that may be tried again, and whether everything has to wait until then."""
        try:
            outcomes = self._queue.delete([held.message.receipt for held in batch])
        except RelayError as error:
            outcomes = [error] * len(batch)
        if paused := next((outcome for outcome in outcomes if isinstance(outcome, PausedError)), None):
            self.gate.shut(paused)
        elif None in outcomes:
            self.gate.passed()
        again = []
        for held, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, ReceiptError):
                log.debug("%s", outcome)
            elif outcome is not None:
                say = log.debug if paused else log.info  # the gate says so, once a minute
                say("delivered, but its message could not be deleted yet: %s", outcome)
                again.append(held)
        return again, paused is not None
