"""What a soak test measures over time, in a memory that does not grow with its length."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping

from pipeline.soak.facts import Latency, Series

_ROWS = 1_200
_STEP = math.log(1.05)
_SHORTEST = 1e-4
"""Seconds; what is faster counts as this."""
_RECENT = 1_000


class Recorder:
    """Rows of measurements. When there are `rows` of them, each two neighbours become one, their mean."""

    def __init__(self, rows: int = _ROWS) -> None:
        """`rows`: the most that are kept, at least 2."""
        self._limit = rows
        self._seconds: list[float] = []
        self._columns: dict[str, list[float | None]] = {}
        self._merged = 1
        self._pending: list[tuple[float, dict[str, float | None]]] = []

    def add(self, seconds: float, values: Mapping[str, float | None]) -> None:
        """One measurement; a column that is new or left out has None in the rows that lack it."""
        self._pending.append((seconds, dict(values)))
        if len(self._pending) < self._merged:
            return
        self._flush()
        if len(self._seconds) >= self._limit:
            self._seconds = [_mean(pair) or 0.0 for pair in _pairs(self._seconds)]
            self._columns = {name: [_mean(pair) for pair in _pairs(old)] for name, old in self._columns.items()}
            self._merged *= 2

    def series(self) -> Series:
        """What was measured so far."""
        if self._pending:
            self._flush()
        return Series(list(self._seconds), {name: list(column) for name, column in self._columns.items()})

    def _flush(self) -> None:
        """One row of what is pending."""
        for name in (name for _, values in self._pending for name in values):
            self._columns.setdefault(name, [None] * len(self._seconds))
        self._seconds.append(_mean([seconds for seconds, _ in self._pending]) or 0.0)
        for name, column in self._columns.items():
            column.append(_mean([values.get(name) for _, values in self._pending]))
        self._pending.clear()


def _pairs(items: list[float] | list[float | None]) -> list[list[float | None]]:
    return [list(items[at : at + 2]) for at in range(0, len(items), 2)]


def _mean(values: list[float | None] | list[float]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class Latencies:
    """Every latency in buckets of 5 %, the last 1,000 as they were, and those since they were asked for. Seconds."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._new: list[float] = []
        self._highest = 0.0

    def add(self, seconds: float) -> None:
        """One file."""
        self._buckets[math.ceil(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _STEP)] += 1
        self._recent.append(seconds)
        self._new.append(seconds)
        self._highest = max(self._highest, seconds)

    def recent(self) -> Latency:
        """Of the last 1,000 files, exactly; no buckets."""
        return _exact(self._recent)

    def take_new(self) -> Latency:
        """Of the files since the last call, exactly; no buckets."""
        new, self._new = self._new, []
        return _exact(new)

    def all(self) -> Latency:
        """Of every file: percentiles as the upper bound of their bucket, at most 5 % too high."""
        if not self._buckets:
            return Latency()
        numbers = range(min(self._buckets), max(self._buckets) + 1)
        buckets = tuple((_SHORTEST * math.exp(number * _STEP), self._buckets[number]) for number in numbers)
        return Latency(_at(buckets, 0.5, self._highest), _at(buckets, 0.99, self._highest), self._highest, buckets)


def _exact(latencies: Iterable[float]) -> Latency:
    ordered = sorted(latencies)
    return Latency(_rank(ordered, 0.5), _rank(ordered, 0.99), ordered[-1]) if ordered else Latency()


def _rank(ordered: list[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _at(buckets: tuple[tuple[float, int], ...], share: float, highest: float) -> float:
    wanted, seen = share * sum(count for _, count in buckets), 0
    for bound, count in buckets:
        seen += count
        if seen >= wanted:
            return min(bound, highest)
    return highest
