"""Hit every process of the program at every one of its system calls, and see what is left: `crashpoints`.

A first run of each role counts its calls; each of them, with each fault, is a point then. Calls of the interpreter's
own start are none: it has touched nothing of ours by then.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests import bench_servers
from tests.chaos.crash_target import FAULTS, KILL, ROLES, Point, Verdict
from tests.chaos.relay import ROOT
from tests.chaos.syscalls import may_happen

_MEMORY = Path("/dev/shm")
"""What a kill leaves does not depend on the disk, and an fsync costs nothing here."""
_COUNTING = 2
"""Runs that count: what waits calls a few times more or less."""
_REACHED = 0.9
"""Of the points, those that a run has to come by: not all, as what waits does so in more calls or fewer."""


class Plan(NamedTuple):
    """Which points."""

    roles: Sequence[str] = ROLES
    faults: Sequence[str] = FAULTS
    sample: int = 0
    """So many of them; 0: all."""
    seed: int = 0
    jobs: int = 2
    minutes: float = 0.0
    """After which no other point is begun; 0: any number."""
    only: Sequence[str] = ()
    """These instead, as they were printed."""


@dataclass
class Outcome:
    """What a run found; `violations` must be empty."""

    verdicts: list[tuple[Point, Verdict]] = field(default_factory=list)
    replay: str = ""
    seconds: float = 0.0
    due: int = 0
    """Points of the plan."""
    calls: dict[str, Counter[str]] = field(default_factory=dict)
    """Role → name of a call → how often it is made where nobody is hit."""

    @property
    def violations(self) -> list[str]:
        """Each with the command that shows it again."""
        return [*self.found(), *self._lacking()]

    def found(self) -> list[str]:
        """Those of the program."""
        return [
            "\n".join(
                (
                    f"{point}: {'; '.join(verdict.violations)}",
                    f"  left: {verdict.folder}",
                    f"  again: {self.replay} --point {point}",
                )
            )
            for point, verdict in self.verdicts
            if verdict.violations
        ]

    def _lacking(self) -> Iterator[str]:
        """What did not happen: a process that is never hit withstands everything."""
        yield from (f"TOO LITTLE: no call of a {role} was counted" for role, calls in self.calls.items() if not calls)
        reached, tried = sum(verdict.reached for _, verdict in self.verdicts), len(self.verdicts)
        if reached < _REACHED * tried or not tried:
            yield f"TOO LITTLE: {reached} of {tried} points were reached"

    def table(self) -> str:
        """For a person and for the log."""
        kinds = sorted({(point.role, point.fault) for point, _ in self.verdicts}, key=_in_order)
        head = ["| role | fault | points | reached | started again | violations |", "|---|---|---|---|---|---|"]
        rows = ["| {} | {} | {:,} | {:,} | {:,} | {:,} |".format(*kind, *self._count(*kind)) for kind in kinds]
        reached = sum(verdict.reached for _, verdict in self.verdicts)
        roles = len({role for role, _ in kinds})
        end = (
            f"{len(self.verdicts):,} of {self.due:,} crash points ({reached:,} of them reached), {roles} roles, "
            f"{len(self.violations)} violations, {self.seconds:,.0f} s"
        )
        return "\n".join([*head, *rows, end, *self.violations[:10]])

    def _count(self, role: str, fault: str) -> tuple[int, int, int, int]:
        those = [verdict for point, verdict in self.verdicts if (point.role, point.fault) == (role, fault)]
        return (
            len(those),
            sum(verdict.reached for verdict in those),
            sum(verdict.lives > 1 for verdict in those),
            sum(bool(verdict.violations) for verdict in those),
        )

    def write(self, path: Path) -> None:
        """The same, point by point; the calls are those that were counted before."""
        points = [asdict(verdict) for _, verdict in self.verdicts]
        for point in points:
            del point["calls"]
        figures = {"seconds": self.seconds, "replay": self.replay, "calls": self.calls, "points": points}
        path.write_text(json.dumps(figures, indent=1))


def _in_order(kind: tuple[str, str]) -> tuple[int, int]:
    return ROLES.index(kind[0]), FAULTS.index(kind[1])


def run(plan: Plan, code: Path = ROOT, *, folder: Path | None = None, replay: str = "") -> Outcome:
    """Count, try every point of the plan, and tell of each violation as it is found."""
    outcome, started = Outcome(replay=replay), time.monotonic()
    with _workplace(folder, outcome) as place, _crew(place, code, plan.jobs) as crew:
        outcome.calls = {} if plan.only else _counts(plan.roles, crew)
        points = [*map(Point.read, plan.only)] or _points(plan, outcome.calls)
        outcome.due, until = len(points), started + plan.minutes * 60
        for point, verdict in crew(itertools.takewhile(lambda _: not plan.minutes or time.monotonic() < until, points)):
            outcome.verdicts.append((point, verdict))
            if verdict.violations:
                print(outcome.found()[-1], flush=True)
    outcome.seconds = time.monotonic() - started
    return outcome


_Crew = Callable[[Iterable[Point]], Iterator[tuple[Point, Verdict]]]


def _counts(roles: Sequence[str], crew: _Crew) -> dict[str, Counter[str]]:
    """Role → name of a call → how often it is made."""
    found: dict[str, Counter[str]] = {role: Counter() for role in roles}
    for point, verdict in crew([Point(role, KILL, "", 0) for role in roles for _ in range(_COUNTING)]):
        assert not verdict.violations, f"undisturbed, too: {verdict.violations}"
        found[point.role] |= Counter(verdict.calls)
    return found


def _points(plan: Plan, counts: dict[str, Counter[str]]) -> list[Point]:
    every = {
        (role, fault): [
            Point(role, fault, call, number)
            for call, n in counts[role].items()
            if may_happen(call, fault)
            for number in range(1, n + 1)
        ]
        for fault in plan.faults
        for role in plan.roles
    }
    if not plan.sample:
        # The first of each name first: what is read a thousand times comes last.
        return sorted((point for points in every.values() for point in points), key=lambda point: point.number)
    rng, kinds = random.Random(plan.seed), sorted((kind for kind in every if every[kind]), key=_in_order)
    rng.shuffle(kinds)
    return [_draw(every[kinds[number % len(kinds)]], rng) for number in range(plan.sample if kinds else 0)]


def _draw(points: Sequence[Point], rng: random.Random) -> Point:
    """By name first: a file is renamed twice, and read a thousand times."""
    call = rng.choice(sorted({point.call for point in points}))
    return rng.choice([point for point in points if point.call == call])


@contextlib.contextmanager
def _workplace(folder: Path | None, outcome: Outcome) -> Iterator[Path]:
    """Where all happens; one of our own is removed, but for what violations left."""
    if folder is not None:
        yield folder
        return
    made = Path(tempfile.mkdtemp(prefix="relay-crash-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        yield made
    finally:
        if not outcome.found():
            shutil.rmtree(made)


@contextlib.contextmanager
def _crew(folder: Path, code: Path, jobs: int) -> Iterator[_Crew]:
    """So many workers, each with servers of its own."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker(folder / f"job-{number}", code)) for number in range(jobs)]
        yield lambda points: _share_out(points, workers)


@contextlib.contextmanager
def _worker(folder: Path, code: Path) -> Iterator[subprocess.Popen[str]]:
    keep = folder / "objects"
    keep.mkdir(parents=True)
    with bench_servers.start("tests.chaos.shore", folder, "--keep", str(keep)) as shore:
        command = [sys.executable, "-P", "-m", "tests.chaos.crash_worker", "--folder", str(folder)]
        command += ["--code", str(code), "--endpoint", shore.endpoint]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(code), str(ROOT)))}
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        ) as worker:
            yield worker
            assert worker.stdin
            worker.stdin.close()


def _share_out(points: Iterable[Point], workers: Sequence[subprocess.Popen[str]]) -> Iterator[tuple[Point, Verdict]]:
    """Each worker takes the next one when it is done with its last."""
    left, taking, done = iter(points), threading.Lock(), queue.Queue[tuple[Point, Verdict] | BaseException | None]()

    def work(worker: subprocess.Popen[str]) -> None:
        try:
            while True:
                with taking:
                    point = next(left, None)
                if point is None:
                    done.put(None)
                    return
                done.put((point, _try(point, worker)))
        except BaseException as error:
            done.put(error)
            raise

    for worker in workers:
        threading.Thread(target=work, args=(worker,), daemon=True).start()
    busy = len(workers)
    while busy:
        result = done.get()
        if isinstance(result, BaseException):
            raise result
        if result is None:
            busy -= 1
        else:
            yield result


def _try(point: Point, worker: subprocess.Popen[str]) -> Verdict:
    assert worker.stdin
    assert worker.stdout
    print(point, file=worker.stdin, flush=True)
    answer = worker.stdout.readline()
    assert answer, f"the worker ended at {point}: exit code {worker.wait()}"
    return Verdict(**json.loads(answer))
