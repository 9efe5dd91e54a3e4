"""The order of a FIFO queue: of the messages in hand those of one group are worked on one after the other.

While one of a group is in flight SQS hands out no further ones, but a single answer may bring several. The first is
begun, the others wait in hand; each of them is begun once the one before it is settled: its file is there for good, or
it was kept elsewhere. To wait until it is deleted would buy nothing: after a kill before that, or where it fails, the
message comes again before all that SQS did not hand out yet, and the ledger knows it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from pipeline.hand import Hand, Held
from pipeline.ports import Received


class Groups:
    """Begins what comes into the hand when it is its turn, and gives back what follows one that goes back.

    A message without a group, as all of a standard queue are, waits for none and is followed by none.
    """

    def __init__(self, hand: Hand, begin: Callable[[Held], None], ended: Callable[[], None]) -> None:
        """`begin` starts to work on a message; `ended` is called for each that is no longer in hand."""
        self._hand, self._begin, self._ended = hand, begin, ended
        self._lock = threading.Lock()
        self._lines: dict[str, deque[Held]] = {}
        """Group → its messages in hand; the first is the one that is worked on."""

    def take(self, messages: Iterable[Received]) -> None:
        """Hold what one call brought, and begin of it what has not to wait for others of its group.

        All of it is lined up first: one that fails right when it is begun is followed by the others of its call.
        """
        held = [self._hand.take(message) for message in messages]
        for first in list(filter(self._line_up, held)):
            self._begin(first)

    def settled(self, held: Held) -> None:
        """It has only to be deleted: begin the next one of its group."""
        if held.message.group and (following := self._next_after(held)):
            self._begin(following)

    def give_back(self, held: Held, seconds: float) -> None:
        """Show it to the next taker after so many seconds, and with it what follows: nothing may overtake it."""
        followers = self._followers(held)
        self._hand.give_back(held, seconds, *followers)
        for _ in (held, *followers):
            self._ended()

    def let_go(self, held: Held) -> None:
        """It is deleted, or not ours any more; what still waits for it goes back at once."""
        self._hand.let_go(held)
        if held.message.group:
            self.give_back(held, 0)  # but for itself: it was let go
        else:
            self._ended()

    def _line_up(self, held: Held) -> bool:
        """Line it up; whether nothing is before it."""
        if not held.message.group:
            return True
        with self._lock:
            line = self._lines.setdefault(held.message.group, deque())
            line.append(held)
            return len(line) == 1

    def _next_after(self, held: Held) -> Held | None:
        with self._lock:
            if not self._is_first(held):
                return None
            line = self._lines[held.message.group]
            line.popleft()
            if not line:
                del self._lines[held.message.group]
            return line[0] if line else None

    def _followers(self, held: Held) -> list[Held]:
        """Those that wait for it; they do so no more."""
        with self._lock:
            return list(self._lines.pop(held.message.group))[1:] if self._is_first(held) else []

    def _is_first(self, held: Held) -> bool:
        """Whether it is the one of its group that is worked on; false without a group."""
        return self._lines.get(held.message.group, (None,))[0] is held
