"""Which files an uploader has in hand, which wait for others, and which it tries again when.

The versions of one name stand in one line: one of them is in hand, the next follows when it has ended, and while one
has to be tried again those after it wait. Large files have a limited number of places, so that small ones go past them.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_PATIENCE = 0.01
"""Seconds from the first look whether an earlier version has gone its way to the next; then twice as many each time."""
_LONGEST, _LOOKS = 0.1, 500
"""But so many at most, unless more look than makes so many looks a second."""
_WAKE_SECONDS = 0.1


@dataclass
class Again:
    """A file to be tried again, so many seconds later."""

    path: str
    seconds: float = 0.0


@dataclass
class _Line:
    """Files of one name that go one after the other: one is in hand, or shelved, or the first has its time."""

    waiting: list[tuple[int, str]] = field(default_factory=list)
    patience: float = _PATIENCE


class Agenda:
    """Safe to use from several threads."""

    def __init__(
        self, line_of: Callable[[str], tuple[str, int]] = lambda path: (path, 0), *, large_places: int = 1
    ) -> None:
        """`line_of`: the line in which a path stands, and its number there."""
        self._line_of, self._large_places = line_of, large_places
        self._lock = threading.Condition()
        self._in_hand: dict[str, str] = {}
        """Path → the line it stands in; a file that is renamed meanwhile stays in it."""
        self._waiting: dict[str, str] = {}
        """The same of those that are known and not in hand."""
        self._behind: set[str] = set()
        """Those of them that wait for another to end."""
        self._lines: dict[str, _Line] = {}
        self._later: list[tuple[float, str]] = []
        """When the first of which line is to be tried."""
        self._large: set[str] = set()
        self._shelf: deque[str] = deque()
        """Large files for which there was no place."""
        self._attempts: dict[str, int] = {}
        self._stopped = False

    def begin(self, path: str) -> bool:
        """Whether to start now; not what is in hand or waits, nor what others of its name are ahead of."""
        with self._lock:
            if path in self._in_hand or path in self._waiting:
                return False
            name, number = self._line_of(path)
            if name in self._lines:
                self._queue(name, number, path)
                self._behind.add(path)
                return False
            self._lines[name] = _Line()
            self._in_hand[path] = name
            return True

    def begin_large(self, path: str) -> bool:
        """Whether there is a place for a file in hand that turned out to be large; if not, it is to be shelved."""
        with self._lock:
            if path in self._large or len(self._large) < self._large_places:
                self._large.add(path)
                return True
            return False

    def shelve(self, path: str) -> list[str]:
        """The large file in hand waits for a place; if there is one by now, it is in hand still, to be started anew."""
        with self._lock:
            if len(self._large) < self._large_places:
                self._large.add(path)
                return [path]
            self._waiting[path] = self._in_hand.pop(path)
            self._shelf.append(path)
            self._tell_if_none()
            return []

    def defer(self, path: str) -> list[str]:
        """The file in hand has to wait for an earlier one of its name, which another process has.

        A large one gives its place up; what may be started in it is in hand now.
        """
        with self._lock:
            line = self._lines[self._in_hand[path]]
            again = Again(path, line.patience)
            line.patience = min(2 * line.patience, max(_LONGEST, len(self._later) / _LOOKS))
        return self.end(path, again)

    def end(self, path: str, again: Again | None) -> list[str]:
        """The file is no longer in hand: settled, or to be tried again, perhaps under another name.

        What waited for this alone is in hand now, and given back to be started.
        """
        with self._lock:
            large = path in self._large
            self._large.discard(path)
            if again is not None:
                self._set_aside(path, again)
                following = None
            else:
                following = self._next_in_line(path)
            started = [each for each in (following, self._next_large() if large else None) if each is not None]
            self._tell_if_none()
            return started

    def stop(self) -> None:
        """Nothing follows what is in hand."""
        with self._lock:
            self._stopped = True

    def in_hand(self) -> int:
        """How many are in hand."""
        return len(self._in_hand)

    def wait_until_none_in_hand(self, seconds: float | None) -> bool:
        """Wait until what is in hand has ended, for at most so many seconds; whether it has."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._in_hand, seconds)

    def is_empty(self) -> bool:
        """Whether nothing is in hand and nothing waits."""
        with self._lock:
            return not self._in_hand and not self._waiting

    def count(self, path: str, path_now: str) -> int:
        """How often the file, which may have another name by now, was tried in vain before."""
        with self._lock:
            attempt = self._attempts.pop(path, 0)
            self._attempts[path_now] = attempt + 1
            return attempt

    def due(self) -> str | None:
        """A file whose next try is due; it is in hand then."""
        with self._lock:
            if not self._later or self._later[0][0] > time.monotonic():
                return None
            return self._take_first(heapq.heappop(self._later)[1])

    def until_due(self) -> float:
        """Seconds until one is, or may turn out to be; infinite if none waits."""
        with self._lock:
            soon = _WAKE_SECONDS if self._behind else float("inf")
            return min(soon, max(0.0, self._later[0][0] - time.monotonic())) if self._later else soon

    def _queue(self, name: str, number: int, path: str) -> None:
        heapq.heappush(self._lines[name].waiting, (number, path))
        self._waiting[path] = name

    def _set_aside(self, path: str, again: Again) -> None:
        """It waits in its line again, which has its time."""
        name = self._in_hand.pop(path)
        if again.path not in self._waiting:  # it may have been offered under its new name meanwhile
            self._queue(name, self._line_of(again.path)[1], again.path)
        heapq.heappush(self._later, (time.monotonic() + again.seconds, name))

    def _next_in_line(self, path: str) -> str | None:
        name = self._in_hand.pop(path)
        self._attempts.pop(path, None)
        if self._lines[name].waiting and not self._stopped:
            return self._take_first(name)
        del self._lines[name]
        return None

    def _take_first(self, name: str) -> str:
        line = self._lines[name]
        path = heapq.heappop(line.waiting)[1]
        line.patience = _PATIENCE if path in self._behind else line.patience
        self._behind.discard(path)
        self._in_hand[path] = self._waiting.pop(path)
        return path

    def _next_large(self) -> str | None:
        if not self._shelf or self._stopped:
            return None
        path = self._shelf.popleft()
        self._large.add(path)
        self._in_hand[path] = self._waiting.pop(path)
        return path

    def _tell_if_none(self) -> None:
        if not self._in_hand:
            self._lock.notify_all()
