"""What every process of the program uses: memory and CPU, by role, for as long as it runs."""

import sys
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import psutil

from pipeline.soak.facts import ProcessUse

_STEADY_SECONDS = 5.0
"""From when on a process counts as started: what it imports and opens at its start is there."""


@dataclass(frozen=True)
class Reading:
    """One process at one moment."""

    process: Hashable
    """What tells it from every other, also from a later one with its number."""
    role: str | None
    """None: a child that has not yet given itself its name."""
    age: float
    """Seconds since it started."""
    rss: int
    """Resident bytes."""
    cpu: float
    """Seconds of CPU since it started."""


@dataclass
class _Role:
    """The memory of one role; of all its processes that live at the same time."""

    eldest: Hashable
    """The first that had it."""
    first: int = 0
    peak: int = 0
    last: int = 0
    steady: bool = False
    """Whether `first` is final."""

    def note(self, eldest: Reading, rss: int) -> None:
        """Take the sum of one moment, at which `eldest` is the oldest process of the role."""
        self.steady = self.steady or eldest.process != self.eldest  # the first one ended early
        if not self.steady:
            self.first, self.steady = rss, eldest.age >= _STEADY_SECONDS
        self.peak, self.last = max(self.peak, rss), rss


class Tally:
    """Adds up readings; knows no clock and asks no process."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, Reading] = {}  # the last of each that lives
        self._ended: dict[str, tuple[int, float]] = {}  # role → how many, and their seconds of CPU
        self._roles: dict[str, _Role] = {}
        self._now: float | None = None

    def add(self, readings: Iterable[Reading], now: float) -> dict[str, tuple[int, float]]:
        """Role → resident bytes and percent of one core since the call before (at the first one 0.0).

        `now` is in seconds, of a clock that never goes back.
        """
        groups: dict[str, list[tuple[Reading, float]]] = {}
        readings = list(readings)
        self._fold({reading.process for reading in readings})
        for reading in readings:
            before = self._seen.get(reading.process)
            self._seen[reading.process] = reading
            if reading.role is not None:
                groups.setdefault(reading.role, []).append((reading, reading.cpu - (before.cpu if before else 0.0)))
        passed = 0.0 if self._now is None else now - self._now
        self._now = now
        return {role: self._sum(role, group, passed) for role, group in groups.items()}

    def _sum(self, role: str, group: list[tuple[Reading, float]], passed: float) -> tuple[int, float]:
        eldest = max((reading for reading, _ in group), key=lambda reading: reading.age)
        rss = sum(reading.rss for reading, _ in group)
        self._roles.setdefault(role, _Role(eldest.process)).note(eldest, rss)
        return rss, 100 * sum(cpu for _, cpu in group) / passed if passed > 0 else 0.0

    def processes(self) -> list[ProcessUse]:
        """All that ever were, one line for each role, in the order they came."""
        uses = [self._use(role, memory) for role, memory in self._roles.items()]
        return [use for use in uses if use.processes]  # none: a name its only process had before that of its role

    def _fold(self, alive: set[Hashable]) -> None:
        """Of what has ended only the sum is kept: there may be thousands."""
        for process in self._seen.keys() - alive:
            ended = self._seen.pop(process)
            if ended.role is not None:
                count, cpu = self._ended.get(ended.role, (0, 0.0))
                self._ended[ended.role] = (count + 1, cpu + ended.cpu)

    def _use(self, role: str, memory: _Role) -> ProcessUse:
        count, ended = self._ended.get(role, (0, 0.0))
        cpu = [reading.cpu for reading in self._seen.values() if reading.role == role]
        return ProcessUse(role, count + len(cpu), memory.first, memory.peak, memory.last, ended + sum(cpu))


class Usage:
    """Measures a parent, which is called main, and everything it started; what ended keeps its last measurement."""

    def __init__(self, parent_pid: int) -> None:
        """psutil.NoSuchProcess if there is no such parent."""
        self._parent = psutil.Process(parent_pid)
        self._tally = Tally()

    def sample(self) -> dict[str, tuple[int, float]]:
        """Measure now: role → resident bytes and percent of one core since the sample before (at the first one 0.0)."""
        readings = [self._read(process) for process in (self._parent, *_children(self._parent, deep=True))]
        return self._tally.add([reading for reading in readings if reading], time.monotonic())

    def processes(self) -> list[ProcessUse]:
        """What each role used until the last sample."""
        return self._tally.processes()

    def _read(self, process: psutil.Process) -> Reading | None:
        try:
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    return None  # its memory is gone already
                age = time.time() - process.create_time()
                role = "main" if process == self._parent else _role_of(process, age)
                times = process.cpu_times()
                return Reading(process, role, age, process.memory_info().rss, times.user + times.system)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile, or another user's
            return None


def victims(parent_pid: int, roles: Iterable[str]) -> list[tuple[str, psutil.Process]]:
    """The living children of a parent that have one of these roles (`uploader`: uploader, uploader-1, …), by name.

    A `Process` that has ended refuses to be killed (psutil.NoSuchProcess) even where another got its number.
    """
    wanted, found = set(roles), []
    try:
        children = _children(psutil.Process(parent_pid), deep=False)
    except psutil.NoSuchProcess:
        return []
    for process in children:
        try:
            name, alive = process.name(), process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if alive and (name in wanted or name.rpartition("-")[0] in wanted):
            found.append((name, process))
    return found


def kill(process: psutil.Process) -> bool:
    """Kill a process; False if it ended by itself just before."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def _children(parent: psutil.Process, *, deep: bool) -> list[psutil.Process]:
    try:
        return parent.children(recursive=deep)
    except psutil.NoSuchProcess:
        return []


def _role_of(process: psutil.Process, age: float) -> str | None:
    name = process.name()
    if not name.lower().startswith("python"):
        return name
    command = process.cmdline()
    if any("resource_tracker" in part for part in command):
        return "resource-tracker"
    # A child of multiprocessing names itself once Python runs in it; where no process can, all keep this name.
    young = age < _STEADY_SECONDS and sys.platform == "linux"
    return None if young and "--multiprocessing-fork" in command else name
