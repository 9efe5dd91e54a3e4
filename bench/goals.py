"""What the program is to reach, and whether it does in this run. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.samples import CEILING, MB, OURS, Sample, contestants, counted, percentile, rate, spread, workloads


class Goal(NamedTuple):
    """One goal, and what was found."""

    text: str
    found: float | None  # None: not measured
    bound: float
    least: bool  # the bound is a least, else a most
    unit: str

    @property
    def holds(self) -> bool | None:
        """None: not measured."""
        if self.found is None:
            return None
        return self.found >= self.bound if self.least else self.found <= self.bound


def goals(samples: Sequence[Sample], latencies: Mapping[str, Sequence[float]], idle: Mapping[str, float]) -> list[Goal]:
    """All of them, in order."""
    drops = latencies.get("W5")
    return [
        Goal("W1: files/s of s5cmd", ratio(samples, "W1", "s5cmd"), 1.0, True, "×"),
        Goal("W1: files/s of the aws CLI", ratio(samples, "W1", "aws"), 3.0, True, "×"),
        Goal("W1: CPU a file, all processes", _cpu(samples, "W1"), 0.5, False, "ms"),
        Goal("W2: MB/s of the fastest peer", _of_fastest(samples, "W2"), 0.9, True, "×"),
        Goal("W3: files/s of s5cmd", ratio(samples, "W3", "s5cmd"), 0.8, True, "×"),
        Goal("W4: MB/s of the fastest peer", _of_fastest(samples, "W4"), 0.9, True, "×"),
        Goal("W5: median latency", percentile(drops, 50) if drops else None, 50, False, "ms"),
        Goal("W5: 99th percentile of latency", percentile(drops, 99) if drops else None, 200, False, "ms"),
        Goal("W7: flow with most files beside fewest", _growth(samples), 0.8, True, "×"),
        Goal("W7: RSS of all processes, most files", _most_memory(samples), 400, False, "MB"),
        Goal("W7: RSS of all processes, one huge file", _huge_memory(samples), 400, False, "MB"),
        Goal("W8: CPU at idle, of one core", idle.get("cpu_percent"), 1.0, False, "%"),
    ]


def ratio(samples: Sequence[Sample], workload: str, peer: str) -> float | None:
    """Our median rate beside a peer's; None where one of them was not measured."""
    ours, theirs = counted(samples, workload, OURS), counted(samples, workload, peer)
    if not ours or not theirs:
        return None
    return spread(map(rate, ours)).median / spread(map(rate, theirs)).median


def _of_fastest(samples: Sequence[Sample], workload: str) -> float | None:
    peers = [who for who in contestants(samples, workload) if who not in (OURS, CEILING)]
    found = [each for each in (ratio(samples, workload, who) for who in peers) if each is not None]
    return min(found, default=None)


def _cpu(samples: Sequence[Sample], workload: str) -> float | None:
    found = counted(samples, workload, OURS)
    return spread(each.cpu_per_file for each in found).median if found else None


def _grown(samples: Sequence[Sample]) -> list[Sample]:
    """W7 by number of files, the huge one left out."""
    names = [name for name in workloads(samples) if name.startswith("W7")]
    found = [each for name in names for each in counted(samples, name, OURS) if each.files > 1]
    return sorted(found, key=lambda each: each.files)


def _growth(samples: Sequence[Sample]) -> float | None:
    found = [each for each in _grown(samples) if each.flow]
    return found[-1].flow / found[0].flow if len(found) > 1 else None


def _most_memory(samples: Sequence[Sample]) -> float | None:
    found = _grown(samples)
    return found[-1].rss / MB if found else None


def _huge_memory(samples: Sequence[Sample]) -> float | None:
    found = [each for each in samples if each.workload.startswith("W7") and each.files == 1]
    return found[-1].rss / MB if found else None
