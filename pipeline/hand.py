"""The messages in hand: kept invisible to others while we work on them, given back when we stop.

One thread serves all of them, those that wait for a worker included. It runs on monotonic time: a clock that is set
must not make a receipt look alive.
"""

import logging
import threading
import time
from dataclasses import dataclass, field

from pipeline.ports import LaterError, MessageQueue, ReceiptError, Received, RelayError, batches

log = logging.getLogger(__name__)

LONGEST_SECONDS = 12 * 3600
"""How long a message can stay in flight (Amazon SQS Developer Guide, "Visibility timeout")."""
_RETRY_SECONDS = 1.0


@dataclass(eq=False)
class Held:
    """One message in hand."""

    message: Received
    deadline: float
    """Monotonic second at which SQS shows it to others."""
    last: float
    """Monotonic second after which it can no longer be extended."""
    renew: float
    lost: bool = False
    done: bool = field(default=False)


class Hand:
    """Extends the visibility of every message in hand at half of its time."""

    def __init__(self, queue: MessageQueue, visibility: int) -> None:
        self._queue, self._visibility = queue, visibility
        self._changed = threading.Condition()
        self._held: dict[str, Held] = {}
        self._leaving = 0
        """Messages that are being given back: not extended any more, and the queue is still to be told."""
        self._closed = False
        self._asleep = False
        """Whether the heartbeat waits for nothing in particular: there is none that it could extend."""
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def take(self, message: Received) -> Held:
        """Begin to hold a message that was just received."""
        now = time.monotonic()
        held = Held(message, now + self._visibility, now + LONGEST_SECONDS, now + self._visibility / 2)
        with self._changed:
            self._held[message.receipt] = held
            if self._asleep:  # else it waits for one that is due sooner than this
                self._changed.notify_all()
        return held

    def is_ours(self, held: Held) -> bool:
        """Whether nobody else can have the message by now; asked right before something becomes visible."""
        return not held.lost and not held.done and time.monotonic() < held.deadline

    def let_go(self, held: Held) -> None:
        """The message is settled: deleted, or not ours any more."""
        with self._changed:
            held.done = True
            self._drop(held)

    def give_back(self, held: Held, seconds: float, *followers: Held) -> None:
        """Stop holding a message, and others with it, and show them to the next taker after so many seconds."""
        with self._changed:
            ours = [each for each in (held, *followers) if not each.done]
            self._leaving += len(ours)
            for each in ours:
                each.done = True
                self._drop(each)
        try:
            self._show(ours, seconds)
        finally:
            with self._changed:
                self._leaving -= len(ours)
                self._tell_if_empty()

    def _show(self, ours: list[Held], seconds: float) -> None:
        longest = min((each.last for each in ours), default=0.0) - time.monotonic()
        for receipts in batches(each.message.receipt for each in ours if not each.lost):
            outcomes = self._change(receipts, max(0, int(min(seconds, longest))))
            if kept := [outcome for outcome in outcomes if outcome and not isinstance(outcome, ReceiptError)]:
                log.info("%d messages come back only when their visibility ends: %s", len(kept), kept[0])

    def _drop(self, held: Held) -> None:
        self._held.pop(held.message.receipt, None)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not self.count():
            self._changed.notify_all()

    def give_all_back(self) -> None:
        """Show whatever is still held to the next taker at once; nobody here may publish it any more."""
        if everything := list(self._held.values()):
            self.give_back(everything[0], 0, *everything[1:])

    def wait_until_empty(self, seconds: float) -> bool:
        """Wait until every message is settled; whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.count(), seconds)

    def count(self) -> int:
        """How many messages are in hand, those included that are just being given back."""
        return len(self._held) + self._leaving

    def close(self) -> None:
        """End the thread; what is still held comes back when its visibility ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not self._due():
                    pause = self._pause()
                    self._asleep = pause is None
                    self._changed.wait(pause)
                if self._closed:
                    return
                due = self._due()
            for receipts in batches([held.message.receipt for held in due]):
                self._extend(receipts)

    def _due(self) -> list[Held]:
        now = time.monotonic()
        return [held for held in self._held.values() if held.renew <= now]

    def _pause(self) -> float | None:
        # A lost message is never renewed, and no wait is endless: wait(inf) would end this thread.
        due = [held.renew for held in self._held.values() if not held.lost]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _extend(self, receipts: list[str]) -> None:
        asked = time.monotonic()
        outcomes = self._change(receipts, self._visibility)
        with self._changed:
            for receipt, outcome in zip(receipts, outcomes, strict=True):
                if receipt in self._held:
                    self._note(self._held[receipt], outcome, asked)

    def _change(self, receipts: list[str], seconds: int) -> list[RelayError | None]:
        """The outcome of each. Nothing is raised: the heartbeat has to go on, and whoever gives back, too."""
        try:
            return self._queue.extend(receipts, seconds)
        except RelayError as error:
            return [error] * len(receipts)
        except Exception as error:
            log.exception("an error of the program; messages may come back when their visibility ends")
            return [LaterError(str(error))] * len(receipts)

    def _note(self, held: Held, outcome: RelayError | None, asked: float) -> None:
        if outcome is None:
            held.deadline = asked + self._visibility
            held.renew = min(asked + self._visibility / 2, max(held.last - self._visibility, asked + _RETRY_SECONDS))
        else:
            held.renew = asked + _RETRY_SECONDS
        if isinstance(outcome, ReceiptError) or time.monotonic() >= min(held.deadline, held.last):
            held.lost, held.renew = True, float("inf")
            log.warning("a message is no longer ours, its download is given up: %s", outcome or "12 hours in flight")
