"""One run's figures, and what is made of several."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

OURS, CEILING = "relay", "ceiling"
MB = 1_000_000
LARGE = 16 * MB
"""Bytes from which a file is a large one."""


@dataclass(frozen=True)
class Sample:
    """One run of one contestant."""

    workload: str
    who: str
    setting: str
    files: int
    size: int
    """Bytes of each file."""
    seconds: float
    """From its start until everything was where it has to be."""
    cpu: float
    """Seconds of all its processes."""
    pss: int
    """Bytes: the peak of all its processes together, shared pages counted once."""
    rss: int
    """The same with shared pages counted in each."""
    flow: float = 0.0
    """Files per second between the first and the last that arrived: without start and end. 0: not known."""
    exit_seconds: float = 0.0
    """Until its process had ended."""
    error: str = ""
    """Why it does not count."""

    @property
    def files_per_s(self) -> float:
        """Files per second, start-up included."""
        return self.files / self.seconds

    @property
    def mb_per_s(self) -> float:
        """10^6 bytes per second, start-up included."""
        return self.files * self.size / MB / self.seconds

    @property
    def cpu_per_file(self) -> float:
        """Milliseconds of CPU for each file."""
        return self.cpu * 1000 / self.files

    @property
    def cpu_per_gb(self) -> float:
        """Seconds of CPU for 10^9 bytes."""
        return self.cpu / (self.files * self.size / 1e9)

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self)


def is_large(sample: Sample) -> bool:
    """Whether bytes per second are what counts, and not files per second."""
    return sample.size >= LARGE


def rate(sample: Sample) -> float:
    """MB/s of large files, files/s of small ones."""
    return sample.mb_per_s if is_large(sample) else sample.files_per_s


class Range(NamedTuple):
    """Median, least and greatest of some figures."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Range:
    """The range of some figures; ValueError without any."""
    found = sorted(values)
    if not found:
        raise ValueError("no values")
    return Range(statistics.median(found), found[0], found[-1])


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that at least so many percent of them do not exceed (nearest rank)."""
    found = sorted(values)
    rank = -(-len(found) * percent // 100)
    return found[max(0, int(rank) - 1)]


def counted(samples: Iterable[Sample], workload: str, who: str) -> list[Sample]:
    """The runs of one contestant that verified."""
    return [each for each in samples if (each.workload, each.who, each.error) == (workload, who, "")]


def contestants(samples: Iterable[Sample], workload: str) -> list[str]:
    """Who ran a workload at all, in order of appearance, the ceiling last."""
    found = list(dict.fromkeys(each.who for each in samples if each.workload == workload))
    return sorted(found, key=lambda who: (who == CEILING, who != OURS))


def workloads(samples: Iterable[Sample]) -> list[str]:
    """Each once, in order of appearance."""
    return list(dict.fromkeys(each.workload for each in samples))
