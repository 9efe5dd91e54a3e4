"""How much memory, descriptors and threads the processes hold while it runs, and whether that grows."""

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.chaos.soak.program import Program

_EVERY_SECONDS = 5.0
_GROWN_BYTES, _GROWN_NUMBER = 30e6, 20.0
"""Between the first third of a run and its last: more is growth."""

_ENOUGH = 12
"""Samples in a third of a run: what a process takes for itself in its first minute is no growth."""


class Sample(NamedTuple):
    """Of one process, or the mean of several."""

    rss: float
    fds: float
    threads: float


class Sampler:
    """Looks at all processes now and then; those of the programs that nobody kills are what may not grow."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._next, self._started = 0.0, time.monotonic()
        self._most: dict[str, Sample] = defaultdict(lambda: Sample(0, 0, 0))
        self._calm: dict[str, list[Sample]] = defaultdict(list)
        self.violations: set[str] = set()

    def look(self, programs: Iterable[Program], calm: Iterable[Program]) -> None:
        """If it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_SECONDS
        spared = set(calm)
        for program in programs:
            for pid, role in program.processes().items():
                with contextlib.suppress(OSError):  # it has ended
                    self._note(role, self._sample(pid, role), calm=program in spared)

    def _note(self, role: str, sample: Sample, *, calm: bool) -> None:
        self._most[role] = Sample(*map(max, self._most[role], sample))
        if calm:
            self._calm[role].append(sample)

    def _sample(self, pid: int, role: str) -> Sample:
        folder = Path("/proc", str(pid))
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        for place in ("cmdline", "environ"):
            if self._secret in (folder / place).read_bytes():
                self.violations.add(f"SECRET: in {place} of a {role}")
        fds = len(list((folder / "fd").iterdir()))
        return Sample(int(status.get("VmRSS", "0").split()[0]) * 1024, fds, int(status["Threads"]))

    def most(self) -> Mapping[str, Sample]:
        """Of each role, over all processes."""
        return self._most

    def growth(self) -> dict[str, Sample]:
        """Of each role of the spared programs, what the last third of the run has beyond the first."""
        found = {}
        for role, samples in self._calm.items():
            third = len(samples) // 3
            if third >= _ENOUGH:
                first, last = _middle(samples[:third]), _middle(samples[-third:])
                found[role] = Sample(*(b - a for a, b in zip(first, last, strict=True)))
        return found

    def grown(self) -> list[str]:
        """Where that is too much."""
        return [
            f"GREW: {role} by {grown.rss / 1e6:.0f} MB, {grown.fds:.0f} descriptors, {grown.threads:.0f} threads"
            for role, grown in self.growth().items()
            if grown.rss > _GROWN_BYTES or grown.fds > _GROWN_NUMBER or grown.threads > _GROWN_NUMBER
        ]


def _middle(samples: list[Sample]) -> Sample:
    return Sample(*(statistics.median(column) for column in zip(*samples, strict=True)))
