"""Messages about refused objects, while nothing says whether any other can be read."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from pipeline import pacing
from pipeline.groups import Groups
from pipeline.hand import Held

_BASE_SECONDS, _LONGEST_SECONDS = 30.0, 3600.0
"""Pauses of one that goes back: if all are refused, a weekend long, it is not to use up its receive count."""


class Doubts:
    """Holds most of them, as in any pause; the others go back, so that one can come that settles it.

    Whoever may put objects could take every place in hand else, and nothing would be received any more.
    """

    def __init__(self, groups: Groups, most: int, wait: Callable[[], bool]) -> None:
        """`most` are held; `wait` returns once it is time to try again, or the program stops."""
        self._groups, self._most, self._wait = groups, most, wait
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._served = False

    def take(self, pool: Executor, held: Held, again: Callable[[], None]) -> None:
        """Hold a message until `again` is called, in a thread of the pool, or give it back."""
        with self._lock:
            # What follows one in its group takes places, too, and nobody counts them here.
            stays = not held.message.group and len(self._waiting) < self._most
            if stays:
                self._waiting.append(again)
            begins = stays and not self._served
            self._served = self._served or begins
        if not stays:
            self._groups.give_back(held, pacing.delay(held.message.receive_count, _BASE_SECONDS, _LONGEST_SECONDS))
        if begins:
            pool.submit(self._serve)

    def _serve(self) -> None:
        """One after the other: if that is refused, too, the next one waits."""
        self._wait()
        while again := self._next():
            again()
            self._wait()  # at a stop it does not, and each gives its message back

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            self._served = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None
