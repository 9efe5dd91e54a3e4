"""The queues of the SQS server: every step costs O(1), or O(log n) of the messages in flight, at any depth."""

import heapq
import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

_receipts = itertools.count(1)


class Message:
    """One message."""

    __slots__ = ("attributes", "body", "digest", "first", "id", "md5", "receipt", "receives", "sent", "until")

    def __init__(self, body: str, md5: str, attributes: dict[str, Any], digest: str) -> None:
        """`digest`: the MD5 of the attributes, "" without any."""
        self.id = str(uuid.uuid4())
        self.body, self.md5, self.attributes, self.digest = body, md5, attributes, digest
        self.sent = time.time()
        self.first = 0.0  # when it was received first
        self.receives = 0
        self.receipt = ""  # while it is in flight
        self.until = 0.0  # when it can be received again, on time.monotonic's clock


class Queue:
    """One queue. Times are seconds; `now` is time.monotonic's."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes, self.created = name, attributes, time.time()
        self.dead: Queue | None = None
        self.max_receives = 0  # after so many a message goes to `dead`
        self.waiters: dict[object, Callable[[], None]] = {}  # those whom a message would wake, the longest first
        self._ready: deque[Message] = deque()
        self._flight: dict[str, Message] = {}  # by receipt
        self._hidden: list[tuple[float, int, Message]] = []  # a heap; entries that no longer hold are skipped
        self._delayed = 0
        self._order = itertools.count()

    def number(self, name: str, default: int) -> int:
        """An attribute that is a number."""
        return int(self.attributes.get(name, default))

    def counts(self) -> tuple[int, int, int]:
        """Messages that can be received, those in flight, and the delayed ones."""
        self._show()
        return len(self._ready), len(self._flight), self._delayed

    def send(self, message: Message, delay: float) -> None:
        """Add a message."""
        if delay > 0:
            self._delayed += 1
            self._hide(message, delay)
        else:
            self._ready.append(message)

    def wake(self) -> None:
        """Serve those who wait, as long as there is something for them."""
        while self._ready and self.waiters:
            self.waiters.pop(next(iter(self.waiters)))()

    def receive(self, limit: int, visibility: float) -> list[Message]:
        """Take so many messages at most."""
        self._show()
        found: list[Message] = []
        while self._ready and len(found) < limit:
            message = self._ready.popleft()
            if self._bury(message):
                continue
            message.receives += 1
            message.first = message.first or time.time()
            message.receipt = f"{next(_receipts)}-{message.id}"
            self._flight[message.receipt] = message
            self._hide(message, visibility)
            found.append(message)
        return found

    def delete(self, receipt: str) -> bool:
        """Whether the receipt was valid; the message is gone then."""
        message = self._flight.pop(receipt, None)
        if message is None:
            return False
        message.receipt = ""
        return True

    def extend(self, receipt: str, seconds: float) -> bool:
        """Whether the receipt was valid; the message is hidden for so long from now."""
        message = self._flight.get(receipt)
        if message is None:
            return False
        self._hide(message, seconds)
        self._show()
        return True

    def purge(self) -> None:
        """Forget all messages."""
        self._ready.clear()
        self._flight.clear()
        self._hidden.clear()
        self._delayed = 0

    def next_change(self) -> float | None:
        """When the next hidden message may show, on time.monotonic's clock."""
        return self._hidden[0][0] if self._hidden else None

    def _hide(self, message: Message, seconds: float) -> None:
        message.until = time.monotonic() + seconds
        heapq.heappush(self._hidden, (message.until, next(self._order), message))

    def _show(self) -> None:
        """Make visible what is no longer hidden."""
        now = time.monotonic()
        while self._hidden and self._hidden[0][0] <= now:
            until, _, message = heapq.heappop(self._hidden)
            if message.until != until:  # it was extended
                continue
            if self._flight.pop(message.receipt, None):
                self._ready.append(message)
            elif not message.receives:
                self._delayed -= 1
                self._ready.append(message)

    def _bury(self, message: Message) -> bool:
        if self.dead is None or message.receives < self.max_receives:
            return False
        self.dead.send(message, 0)
        self.dead.wake()
        return True
