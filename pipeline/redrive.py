"""Send dead letters, and the messages that are kept in FailedMessages, back to the queue.

What was sent is removed only then: a kill in between has it sent twice, which the ledger recognises, and a FIFO queue
within five minutes. What dies again meanwhile came after the beginning and is left, else it would go round for ever.
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

from pipeline.dead_letters import kept_messages, read_message
from pipeline.hand import Hand, Held
from pipeline.names import printable
from pipeline.ports import QUEUE_BATCH, Message, MessageQueue, Received, RelayError

log = logging.getLogger(__name__)

UNIQUE_CHARACTERS = 128
"""Of a deduplication id (Amazon SQS API Reference, SendMessage)."""
_POLLS, _POLL_SECONDS = 3, 1
"""In a row without any dead letter: then none is left."""
_LATER_POLLS = 30
"""In a row with none from before the beginning: then none of those is left, though others keep coming."""
_LATE_SECONDS = 2
_WHOLE_NUMBER = re.compile("[0-9]{1,19}")


@dataclass
class Tally:
    """What became of the messages."""

    sent: int = 0
    later: int = 0
    """Dead letters that came after the beginning, and are left."""
    refused: Counter[str] = field(default_factory=Counter)
    """Why → how many could not be sent, and are left."""

    def __str__(self) -> str:
        """One line."""
        left = [("died after the beginning", self.later)] if self.later else []
        left += self.refused.most_common()
        return f"messages sent back: {self.sent}" + "".join(f"; left: {count} ({reason})" for reason, count in left)


def message_of(letter: Received) -> Message:
    """What is sent again: body, attributes and group as they were, without the reason that was added.

    Its deduplication id is another one than it had, and the same however often the letter is sent.
    """
    attributes = {name: _value(name, text) for name, text in letter.attributes.items() if name != "reason"}
    group = letter.group or "dead-letters"  # for a FIFO queue, which takes none without
    return Message(letter.body, attributes, group, f"redriven-{letter.id}"[:UNIQUE_CHARACTERS])


def _value(name: str, text: str) -> str | int:
    return int(text) if name == "size" and _WHOLE_NUMBER.fullmatch(text) else text


class Redrive:
    """Sends back to one queue, and counts in `tally`."""

    def __init__(
        self, queue: MessageQueue, tally: Tally, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """`waiting` is entered around every wait that a signal may cut."""
        self._queue, self._tally, self._waiting = queue, tally, waiting

    def send_dead_letters(self, dead: MessageQueue, started_ms: int, visibility: int) -> None:
        """Those that were sent to the dead letters before `started_ms`, by the clock of SQS. RelayError ends it.

        Those that a redrive that was killed had in hand are waited for. What is left is held until the end, or it would
        come again and again; then it is shown to others at once.
        """
        hand, empty, barren = Hand(dead, visibility), 0, 0
        waits_until = time.monotonic() + self._patience(dead, visibility)
        try:
            while (empty < _POLLS and barren < _LATER_POLLS) or time.monotonic() < waits_until:
                with self._waiting():
                    letters = dead.receive(QUEUE_BATCH, _POLL_SECONDS)
                empty = 0 if letters else empty + 1
                barren = 0 if any(letter.sent_ms < started_ms for letter in letters) else barren + 1
                for gone in self._send_old(dead, [hand.take(letter) for letter in letters], started_ms):
                    hand.let_go(gone)
        finally:
            hand.give_all_back()
            hand.close()

    def send_kept(self, folder: Path) -> None:
        """The messages in FailedMessages. RelayError ends it."""
        for path in kept_messages(folder):
            try:
                message = read_message(path)
            except FileNotFoundError:
                continue  # another redrive has sent it
            except (OSError, ValueError) as error:
                log.warning("left, as it is no kept message: %s: %s", path, error)
                self._tally.refused["no kept message"] += 1
                continue
            if all(self._send([message])):
                self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("sent back, but %s stays: %s; remove it, else it is sent again", path, error.strerror)
            self._tally.refused["sent, but its file cannot be removed"] += 1

    def _patience(self, dead: MessageQueue, visibility: int) -> float:
        try:
            in_hands = dead.depth().in_flight
        except RelayError as error:  # it is another right than to receive
            log.debug("%s", error)
            return 0.0
        if not in_hands:
            return 0.0
        log.info("%d dead letters are in somebody's hands: waiting up to %d s for them", in_hands, visibility)
        return float(visibility + _LATE_SECONDS)

    def _send_old(self, dead: MessageQueue, held: Sequence[Held], started_ms: int) -> list[Held]:
        """Send those that are to be sent, and delete them; the ones that are gone."""
        old = [each for each in held if each.message.sent_ms < started_ms]
        self._tally.later += len(held) - len(old)
        sent = list(compress(old, self._send([each.message for each in old])))
        outcomes = dead.delete([each.message.receipt for each in sent]) if sent else []
        for each, outcome in zip(sent, outcomes, strict=True):
            if outcome is not None:
                log.warning("sent back, but still among the dead letters: %s: %s", each.message.id, outcome)
        return [each for each, outcome in zip(sent, outcomes, strict=True) if outcome is None]

    def _send(self, letters: Sequence[Received]) -> list[bool]:
        """Which of them the queue accepted."""
        outcomes = self._queue.send([message_of(letter) for letter in letters]) if letters else []
        for letter, outcome in zip(letters, outcomes, strict=True):
            if outcome is None:
                log.debug("sent back %s  %s", letter.id, printable(letter.body[:200]))
                self._tally.sent += 1
            else:
                log.warning("left, as it cannot be sent: %s: %s", letter.id, outcome)
                self._tally.refused[str(outcome)] += 1
        return [outcome is None for outcome in outcomes]
