"""The queues themselves: what is ready, in flight, delayed."""

import copy
import heapq
import itertools
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from tests.strict.answers import RefusedError
from tests.strict.judge import Announced

HOURS_12 = 12 * 3600
"""The longest that a message can stay in flight, in seconds (ChangeMessageVisibility)."""
IN_FLIGHT_LIMIT = 120_000
"""Messages (Amazon SQS Developer Guide, "Message quotas")."""
_RECEIPT = re.compile(r"(\d+)-(\d+)-[0-9a-f-]{36}")
_serials = itertools.count(1)


class Message:
    """One message, or a copy of one. Times are those of the server's clock."""

    __slots__ = (
        *("attributes", "body", "digest", "first", "group", "id", "md5", "receives", "said", "sender", "sent"),
        *("serial", "system", "taken", "until"),
    )

    def __init__(self, body: str, md5: str, attributes: dict[str, Any], digest: str, now: float) -> None:
        """`digest`: the MD5 of the attributes, "" without any."""
        self.id, self.serial = str(uuid.uuid4()), next(_serials)
        self.body, self.md5, self.attributes, self.digest = body, md5, attributes, digest
        self.sent, self.sender, self.group = now, "", ""
        self.system: dict[str, str] = {}
        self.said: Announced | None = None
        self.first = 0.0  # when it was received first
        self.taken = 0.0  # when it was received last
        self.receives = 0
        self.until = 0.0  # when it can be received again

    @property
    def receipt(self) -> str:
        """The one that is valid now."""
        return f"{self.serial}-{self.receives}-{self.id}"

    def twin(self) -> "Message":
        """The same message, in another place."""
        other = copy.copy(self)
        other.serial = next(_serials)
        return other


class Queue:
    """One standard queue."""

    fifo = False

    def __init__(self, name: str, attributes: dict[str, str], now: float) -> None:
        self.name, self.attributes, self.created, self.changed = name, attributes, now, now
        self.dead: Queue | None = None
        self.max_receives = 0  # after so many a message goes to `dead`
        self.of_dead = False  # whether it is another's `dead`
        self.in_flight_limit = IN_FLIGHT_LIMIT
        self.waiters: dict[object, Callable[[], bool]] = {}  # those who wait, the longest first; True: served
        self.messages: dict[int, Message] = {}  # by serial number
        self.on_expired: Callable[[Queue, Message], None] = lambda _queue, _message: None
        self.on_buried: Callable[[Queue, Message], None] = lambda _queue, _message: None
        self._ready: deque[Message] = deque()
        self._hidden: list[tuple[float, int, int]] = []  # a heap of moments and serial numbers; some no longer hold
        self._order = itertools.count()
        self._flight: set[int] = set()
        self._delayed: set[int] = set()
        self._looked = 0.0

    def number(self, name: str, default: int) -> int:
        """An attribute that is a number."""
        return int(self.attributes.get(name, default))

    def counts(self, now: float) -> tuple[int, int, int]:
        """Messages that can be received, those in flight, and the delayed ones."""
        self.settle(now)
        flying, delayed = len(self._flight), len(self._delayed)
        return len(self.messages) - flying - delayed, flying, delayed

    def add(self, message: Message, now: float, delay: float = 0) -> None:
        """Take a message in."""
        self.messages[message.serial] = message
        if delay > 0:
            self._delayed.add(message.serial)
            self._hide(message, now + delay)
        else:
            message.until = now
            self._ready.append(message)

    def receive(self, limit: int, visibility: float, now: float) -> list[Message]:
        """Take so many messages at most; RefusedError if too many are in flight."""
        self.settle(now)
        if len(self._flight) >= self.in_flight_limit:
            raise RefusedError(403, "OverLimit", f"Too many messages in flight: {len(self._flight)}")
        found: list[Message] = []
        for message in self._available(now):
            if self._is_worn_out(message):
                self._bury(message, now)
                continue
            if len(found) == limit:
                self._ready.appendleft(message)
                break
            self._take(message, visibility, now)
            found.append(message)
        return found

    def delete(self, receipt: str, now: float) -> Message | None:
        """The message, which is gone now; None, and nothing is done, if the receipt is not its latest."""
        del now
        message = self._latest(receipt)
        if message is not None:
            self._forget(message)
        return message

    def extend(self, receipt: str, seconds: float, now: float) -> None:
        """Hide a message in flight for so long from now; RefusedError if it is not, or would be for over 12 hours."""
        self.settle(now)
        message = self._latest(receipt)
        if message is None:
            text = f"Value {receipt} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not "
            raise RefusedError(400, "InvalidParameterValue", f"{text}available for visibility timeout change.")
        if message.until <= now:
            raise RefusedError(400, "MessageNotInflight", "The specified message is not in flight.")
        if now + seconds > message.taken + HOURS_12:
            text = f"Total VisibilityTimeout for the message is beyond the limit [{HOURS_12} seconds]"
            raise RefusedError(400, "InvalidParameterValue", text)
        self._hide(message, now + seconds)
        self.settle(now)

    def purge(self) -> list[Message]:
        """Forget all messages: those that were there."""
        gone = list(self.messages.values())
        self.messages.clear()
        for each in (self._ready, self._hidden, self._flight, self._delayed):
            each.clear()
        return gone

    def next_change(self) -> float | None:
        """When the next hidden message may show."""
        return self._hidden[0][0] if self._hidden else None

    def shuffle(self, places: int) -> None:
        """Let those that are ready come in another order."""
        self._ready.rotate(-places)

    def settle(self, now: float) -> None:
        """Make visible what is no longer hidden, and forget what is too old."""
        while self._hidden and self._hidden[0][0] <= now:
            until, _, serial = heapq.heappop(self._hidden)
            message = self.messages.get(serial)
            if message is not None and message.until == until:
                self._show(message)
        if now - self._looked >= 1:
            self._looked = now
            self._expire(now - self.number("MessageRetentionPeriod", 345_600))

    def _expire(self, oldest: float) -> None:
        for message in list(itertools.takewhile(lambda each: each.sent <= oldest, self.messages.values())):
            self._forget(message)
            self.on_expired(self, message)

    def _available(self, now: float) -> Iterator[Message]:
        while self._ready:
            message = self._ready.popleft()
            if (
                message.serial in self.messages and message.until <= now
            ):  # neither expired nor deleted since it came back
                yield message

    def _forget(self, message: Message) -> None:
        del self.messages[message.serial]
        self._flight.discard(message.serial)
        self._delayed.discard(message.serial)

    def _take(self, message: Message, visibility: float, now: float) -> None:
        message.receives += 1
        message.first = message.first or now
        message.taken = now
        self._flight.add(message.serial)
        self._hide(message, now + visibility)

    def _hide(self, message: Message, until: float) -> None:
        message.until = until
        heapq.heappush(self._hidden, (until, next(self._order), message.serial))

    def _show(self, message: Message) -> None:
        self._flight.discard(message.serial)
        self._delayed.discard(message.serial)
        self._ready.append(message)

    def _latest(self, receipt: str) -> Message | None:
        found = _RECEIPT.fullmatch(receipt)
        if found is None:
            text = "The input receipt handle is invalid."
            raise RefusedError(400, "ReceiptHandleIsInvalid", text)
        message = self.messages.get(int(found[1]))
        return message if message is not None and message.receipt == receipt else None

    def _is_worn_out(self, message: Message) -> bool:
        return self.dead is not None and message.receives >= self.max_receives

    def _bury(self, message: Message, now: float) -> None:
        assert self.dead is not None
        self._forget(message)
        letter = message.twin()  # it keeps its id and its age
        self.dead.add(letter, now)
        self.on_buried(self, letter)
