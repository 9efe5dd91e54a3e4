"""Carries out the schedule: kills, stops and freezes processes, keeps the programs running, and notes each decision."""

import heapq
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.chaos.soak.cloud import Cloud
from tests.chaos.soak.pair import Pair
from tests.chaos.soak.plan import DOWN, FREEZE, FULL, HOSTILE, KILL, PARENT, TERMINATE, Fault, Plan, schedule
from tests.chaos.soak.program import Program

_TICK_SECONDS = 0.02
_KEEP_SECONDS = 0.1
_AGAIN_SECONDS = 0.2
"""Until the next try, where there is no process of the role just then."""
_TRIES = 100


class Storm:
    """What happens to the programs of a run."""

    def __init__(self, plan: Plan, cloud: Cloud, pairs: Sequence[Pair], decisions: Path) -> None:
        self._cloud, self._pairs = cloud, pairs
        self._rng = random.Random(f"victims {plan.seed}")
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._file = decisions.open("w", encoding="utf-8", buffering=1)
        self._keep_at = self._up_again = 0.0
        self.done: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.missed = 0
        """Faults that found nobody of the role."""
        self._started = time.monotonic()
        for fault in schedule(plan):
            if fault.kind != FULL or pairs[fault.pair].disk:
                self._at(fault.at, partial(self._carry_out, fault, 0))

    def run(self, until: Callable[[], bool], also: Callable[[], None]) -> None:
        """Until that is so and everything has happened; `also`: what is to be done all the time beside it."""
        while self._agenda or not until():
            self.turn()
            also()
            time.sleep(_TICK_SECONDS)
        self._file.close()

    def turn(self) -> None:
        """What is due; and whatever has ended is started again."""
        while self._agenda and self._agenda[0][0] <= self._now():
            heapq.heappop(self._agenda)[2]()
        if self._now() >= self._keep_at:
            self._keep_at = self._now() + _KEEP_SECONDS
            for program in (program for pair in self._pairs for program in pair.programs):
                program.keep()

    def _carry_out(self, fault: Fault, tries: int) -> None:
        pair = self._pairs[fault.pair]
        did = self._act(fault, pair)
        if did is None and tries < _TRIES:
            self._at(self._now() + _AGAIN_SECONDS, partial(self._carry_out, fault, tries + 1))
            return
        if did is None:
            self.missed += 1
        elif fault.kind == KILL:
            self.kills[fault.role] += 1
        else:
            self.done[fault.kind] += 1
        line = {"now": round(self._now(), 3), **fault._asdict(), "did": did}
        self._file.write(json.dumps(line) + "\n")

    def _act(self, fault: Fault, pair: Pair) -> str | None:
        """What was done; None if that cannot be done now."""
        if fault.kind == HOSTILE:
            return _attack(pair)
        if fault.kind == DOWN:
            return self._go_down(fault.seconds)
        if fault.kind == FULL:
            return self._fill(pair, fault.seconds)
        program = pair.program(fault.side)
        if fault.kind == TERMINATE:
            return _terminate(program)
        victims = sorted(pid for pid, role in program.processes().items() if role == fault.role)
        if not victims:
            return None
        victim = self._rng.choice(victims)
        if fault.kind == KILL:
            program.kill(victim, fault.role)
            if self._now() < self._up_again:
                program.disturb()
        elif fault.kind == FREEZE:
            program.freeze(victim)
            self._at(self._now() + fault.seconds, program.resume)
        return f"{program.name} {fault.role} {victim}"

    def _go_down(self, seconds: float) -> str:
        self._cloud.down(seconds)
        self._up_again = self._now() + seconds
        for program in (program for pair in self._pairs for program in pair.programs):
            program.disturb()
        return f"{seconds:.1f} s"

    def _fill(self, pair: Pair, seconds: float) -> str:
        assert pair.disk
        pair.disk.fill()
        self._at(self._now() + seconds, pair.disk.free)
        pair.receiver.disturb()
        return f"{pair.receiver.name} {seconds:.1f} s"

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (moment, next(self._order), action))


def _terminate(program: Program) -> str | None:
    if not program.relay.is_running():
        return None
    program.terminate()
    return f"{program.name} {PARENT} {program.relay.pid}"


def _attack(pair: Pair) -> str | None:
    try:
        return pair.attack()
    except (BotoCoreError, ClientError):
        return None
