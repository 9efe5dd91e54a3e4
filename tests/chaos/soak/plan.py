"""What a run does, drawn from its seed: the schedule of its faults, and the rates of those of network and servers."""

import random
from collections.abc import Iterator
from typing import NamedTuple

WATCHER, UPLOADER, POLLER, PARENT = "watcher", "uploader", "poller", "parent"
ROLES = (WATCHER, UPLOADER, POLLER, PARENT)
INGEST, CONSUME = "ingest", "consume"
KILL, TERMINATE, FREEZE, DOWN, HOSTILE, FULL = "kill", "terminate", "freeze", "down", "hostile", "full"
_AT_ONCE = 0.08
"""Of the kills, the share that follows its forerunner on the same program at once: into a start, or into a stop."""
_EVERY = {TERMINATE: 10.0, FREEZE: 15.0, DOWN: 100.0, FULL: 60.0}
"""Mean seconds from one to the next."""
_SECONDS = {TERMINATE: (0.0, 0.0), FREEZE: (0.3, 15.0), DOWN: (1.0, 12.0), FULL: (1.0, 6.0)}
"""How long it lasts; a freeze may be longer than a message stays hidden."""
_HOSTILE = 0.01
"""For each file, hostile messages."""


class Plan(NamedTuple):
    """What a run does."""

    seed: int
    minutes: float
    files: int
    kills: int
    pairs: int
    """Each is a sender and a receiver, with a queue and folders of their own."""
    sizes: str = "small"
    mutant: str = ""
    disks: bool = False
    """Whether receivers have small disks of their own, which get full; not where that is not to be had."""

    @property
    def seconds(self) -> float:
        """While files are dropped and faults happen."""
        return self.minutes * 60

    @property
    def replay(self) -> str:
        """The words of the command that does it again."""
        words = f"--seed {self.seed} --minutes {self.minutes:g} --files {self.files} --kills {self.kills}"
        words += f" --pairs {self.pairs} --sizes {self.sizes}" + (f" --mutant {self.mutant}" if self.mutant else "")
        return f"soak {words}"


class Fault(NamedTuple):
    """One decision."""

    at: float
    """Seconds from the beginning."""
    kind: str
    pair: int
    role: str = ""
    side: str = ""
    seconds: float = 0.0


def schedule(plan: Plan) -> list[Fault]:
    """All faults that somebody has to carry out, in their order; the last pair is spared all that ends or stops it."""
    rng = random.Random(f"faults {plan.seed}")
    found = [*_kills(plan, rng)]
    for kind, mean in _EVERY.items():
        for at in _times(plan, rng, max(1, round(plan.seconds / mean))):
            side, seconds = rng.choice((INGEST, CONSUME)), rng.uniform(*_SECONDS[kind])
            role = rng.choice((WATCHER, UPLOADER) if side == INGEST else (POLLER,))
            found.append(Fault(at, kind, rng.randrange(plan.pairs - 1), role, side, min(seconds, plan.seconds / 10)))
    for at in _times(plan, rng, max(1, round(plan.files * _HOSTILE))):
        found.append(Fault(at, HOSTILE, rng.randrange(plan.pairs)))
    return sorted(found)


def _kills(plan: Plan, rng: random.Random) -> Iterator[Fault]:
    """Each role as often as the others. Of two programs the one that was left alone for longer: most have started."""
    roles = list(ROLES) * -(-plan.kills // len(ROLES))
    rng.shuffle(roles)
    last = {(pair, side): 0.0 for pair in range(plan.pairs - 1) for side in (INGEST, CONSUME)}
    for number, at in enumerate(_times(plan, rng, plan.kills)):
        role = roles[number]
        side = rng.choice((INGEST, CONSUME)) if role == PARENT else CONSUME if role == POLLER else INGEST
        theirs = [program for program in last if program[1] == side]
        pair = min((rng.choice(theirs) for _ in range(2)), key=last.__getitem__)[0]
        if rng.random() < _AT_ONCE:
            pair = max(theirs, key=last.__getitem__)[0]
        last[pair, side] = at
        yield Fault(at, KILL, pair, role, side)


def _times(plan: Plan, rng: random.Random, count: int) -> list[float]:
    """Those of a Poisson process of which the count is known."""
    return sorted(rng.uniform(0.0, plan.seconds) for _ in range(count))
