"""Which files an uploader has in hand, and which it tries again when."""

import heapq
import threading
import time
from dataclasses import dataclass


@dataclass
class Again:
    """A file to be tried again, so many seconds later."""

    path: str
    seconds: float = 0.0


class Agenda:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._in_hand: set[str] = set()
        self._later: list[tuple[float, str]] = []
        self._waiting: set[str] = set()
        self._attempts: dict[str, int] = {}

    def begin(self, path: str) -> bool:
        """Whether to start now; not what is in hand, nor what waits for its next try."""
        with self._lock:
            if path in self._in_hand or path in self._waiting:
                return False
            self._in_hand.add(path)
            return True

    def end(self, path: str, again: Again | None) -> None:
        """The file is no longer in hand: settled, or to be tried again, perhaps under another name."""
        with self._lock:
            self._in_hand.discard(path)
            if again is None:
                self._attempts.pop(path, None)
            else:
                heapq.heappush(self._later, (time.monotonic() + again.seconds, again.path))
                self._waiting.add(again.path)
            if not self._in_hand:
                self._lock.notify_all()

    def in_hand(self) -> int:
        """How many are in hand."""
        return len(self._in_hand)

    def wait_until_none_in_hand(self, seconds: float | None) -> bool:
        """Wait until what is in hand has ended, for at most so many seconds; whether it has."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._in_hand, seconds)

    def is_empty(self) -> bool:
        """Whether nothing is in hand and nothing waits for another try."""
        with self._lock:
            return not self._in_hand and not self._later

    def count(self, path: str, path_now: str) -> int:
        """How often the file, which may have another name by now, was tried in vain before."""
        with self._lock:
            attempt = self._attempts.pop(path, 0)
            self._attempts[path_now] = attempt + 1
            return attempt

    def due(self) -> str | None:
        """A file whose next try is due."""
        with self._lock:
            if not self._later or self._later[0][0] > time.monotonic():
                return None
            path = heapq.heappop(self._later)[1]
            self._waiting.discard(path)
            return path

    def until_due(self) -> float:
        """Seconds until one is; infinite if none waits."""
        with self._lock:
            return max(0.0, self._later[0][0] - time.monotonic()) if self._later else float("inf")
