"""Queues that keep the order of each group."""

import itertools

from tests.strict.answers import RefusedError
from tests.strict.queues import Message, Queue

_DEDUPLICATION_SECONDS = 300
_WINDOW = 20_000
"""Messages that are looked through for a group that is free (Amazon SQS Developer Guide, "FIFO queue quotas")."""


class FifoQueue(Queue):
    """A queue that keeps the order of each group, and takes the same message once within five minutes."""

    fifo = True

    def __init__(self, name: str, attributes: dict[str, str], now: float) -> None:
        super().__init__(name, attributes, now)
        self._seen: dict[str, tuple[float, Message]] = {}  # by deduplication id

    def known(self, unique: str, now: float) -> Message | None:
        """The message that has been sent with this id in the last five minutes."""
        for key, (moment, _) in list(self._seen.items()):
            if now - moment < _DEDUPLICATION_SECONDS:
                break
            del self._seen[key]
        found = self._seen.get(unique)
        return found[1] if found else None

    def remember(self, unique: str, message: Message, now: float) -> None:
        """The same is not taken again."""
        self._seen[unique] = now, message

    def receive(self, limit: int, visibility: float, now: float) -> list[Message]:
        """See Queue; nothing of a group of which anything is in flight."""
        self.settle(now)
        window = list(itertools.islice(self.messages.values(), _WINDOW))
        barred = {message.group for message in window if message.until > now}
        found: list[Message] = []
        for message in window:
            if len(found) == limit:
                break
            if message.group in barred:
                continue
            if self._is_worn_out(message):
                self._bury(message, now)
                continue
            self._take(message, visibility, now)
            found.append(message)
        return found

    def delete(self, receipt: str, now: float) -> Message | None:
        """See Queue; RefusedError once the visibility has ended."""
        message = self._latest(receipt)
        if message is not None and message.until <= now:
            text = f"Value {receipt} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
            raise RefusedError(400, "InvalidParameterValue", text)
        return super().delete(receipt, now)

    def shuffle(self, places: int) -> None:
        """See Queue: never here."""

    def _show(self, message: Message) -> None:
        super()._show(message)
        self._ready.clear()  # it has kept its place
