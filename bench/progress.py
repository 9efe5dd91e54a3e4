"""A line for each run, with how much is done and how long the rest may take."""

import time
from collections.abc import Callable, Mapping


class Progress:
    """What a person who watches is told."""

    def __init__(
        self,
        expected: Mapping[str, float],
        write: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`expected`: seconds that each workload may take."""
        self._expected, self._write, self._clock = dict(expected), write, clock
        self._started = self._began = clock()  # all of it; the workload in hand
        self._done, self._workload = 0.0, ""

    def begin(self, workload: str, title: str) -> None:
        """A workload begins; the one before has ended."""
        self._done += self._expected.pop(self._workload, 0.0)
        self._workload, self._began = workload, self._clock()
        self.line(f"{workload}: {title}")

    def line(self, text: str) -> None:
        """Tell something."""
        spent = int(self._clock() - self._started)
        self._write(f"{spent // 60:3}:{spent % 60:02}  {text:<95}  {self._left()}".rstrip())

    def _left(self) -> str:
        """By how long the finished workloads took beside what was expected of them."""
        pace = max(0.2, min(5.0, (self._began - self._started) / self._done)) if self._done else 1.0
        left = pace * sum(self._expected.values()) - (self._clock() - self._began)
        return f"about {max(1, round(left / 60))} min left"
