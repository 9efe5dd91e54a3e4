"""Everything at once: files of every name and size, users who take, spoil and move them, and all faults, for minutes.

One seed decides workload and faults. While it lasts every file is judged in the instant it is seen; once the faults
have ended, everything has to arrive, and then to rest.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.kills import remains
from tests.chaos.relay import ROOT
from tests.chaos.soak.cloud import SECRET, cloud
from tests.chaos.soak.enough import lacking, slow
from tests.chaos.soak.outcome import Outcome
from tests.chaos.soak.pair import Pair
from tests.chaos.soak.plan import Plan
from tests.chaos.soak.program import Program
from tests.chaos.soak.sampler import Sampler
from tests.chaos.soak.storm import Storm

_START_SECONDS, _DRAIN_SECONDS = 120.0, 300.0
_MUTANTS_SECONDS = 60.0
"""What a program that is broken on purpose gets instead: some of its files never arrive."""
_SAY_SECONDS = 30.0
_UNDER_WAY = 2000
"""Drops of one pair that have not arrived: beyond that its user waits."""


def run(folder: Path, plan: Plan, code: Path = ROOT) -> Outcome:
    """Drop, break, wait until all rests, judge."""
    outcome, started = Outcome(plan), time.monotonic()
    outside = _Outside(folder)
    with cloud(folder, plan.seed) as services:
        pairs = [Pair(folder, plan, number, services, code) for number in range(plan.pairs)]
        programs = [program for pair in pairs for program in pair.programs]
        sampler = Sampler(SECRET)
        try:
            _start(programs)
            services.judge((pair.receiver.relay.downloaded, pair.user.taken) for pair in pairs)
            services.spoil()
            storm = Storm(plan, services, pairs, folder / "decisions.jsonl")
            for pair in pairs:
                share = plan.files * (pair.number + 1) // plan.pairs - plan.files * pair.number // plan.pairs
                pair.user.begin(share, plan.seconds, _UNDER_WAY)
            said = _Progress(pairs, storm)

            def beside() -> None:
                sampler.look(programs, pairs[-1].programs)
                said.say()

            storm.run(lambda: _all_dropped(pairs), beside)
            outcome.faults, outcome.kills, outcome.missed = storm.done, storm.kills, storm.missed
            services.calm()
            outcome.violations += _drain(pairs, outcome)
            for program in programs:
                program.stop()
            outcome.violations += [problem for pair in pairs for problem in _judge(pair)]
            outcome.violations += services.violations()
            outcome.cloud = services.counts()
        finally:
            for program in programs:
                program.relay.end()
            for pair in pairs:
                pair.give_back()
    outcome.violations += [*outside.changes(), *sampler.violations, *sampler.grown()]
    _fill(outcome, pairs, sampler)
    outcome.seconds = time.monotonic() - started
    return outcome


class _Progress:
    """A line now and then."""

    def __init__(self, pairs: Sequence[Pair], storm: Storm) -> None:
        self._pairs, self._storm = pairs, storm
        self._started = self._said = time.monotonic()

    def say(self) -> None:
        """If it is time."""
        now = time.monotonic()
        if now < self._said + _SAY_SECONDS:
            return
        self._said = now
        dropped, arrived = (sum(each) for each in zip(*(pair.counts() for pair in self._pairs), strict=True))
        wrong = [problem for pair in self._pairs for problem in pair.violations()]
        head = f"{now - self._started:.0f} s: {self._storm.kills.total()} kills, {dropped} dropped, {arrived} arrived"
        print(f"{head}, {len(wrong)} violations", *wrong[-3:], sep="\n  ", flush=True)


class _Outside:
    """Files beside those of the programs, which nobody may touch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "outside"
        for number in range(10):
            path = self._folder / f"d{number}" / "canary"
            path.parent.mkdir(parents=True)
            path.write_text(f"canary {number}")
        self._before = self._listing()

    def changes(self) -> list[str]:
        """What is not as it was."""
        escaped = [f"OUTSIDE: {path}" for path in self._folder.parent.rglob("*escaped*")]
        return escaped + ([] if self._listing() == self._before else [f"OUTSIDE: {self._folder} was changed"])

    def _listing(self) -> list[tuple[str, int, str]]:
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return [(str(path), path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def _start(programs: Sequence[Program]) -> None:
    for program in programs:
        program.relay.start()
    deadline = time.monotonic() + _START_SECONDS
    while not all(program.works() for program in programs):
        assert time.monotonic() < deadline, "the programs did not start"
        time.sleep(0.05)


def _all_dropped(pairs: Sequence[Pair]) -> bool:
    for pair in pairs:
        assert pair.user.failure is None, pair.user.failure
    return all(pair.user.has_dropped() for pair in pairs)


def _drain(pairs: Sequence[Pair], outcome: Outcome) -> Iterator[str]:
    """Wait until everything has arrived and no message is left; what has not by then."""
    started = time.monotonic()
    for pair in pairs:
        pair.user.rest()
        for program in pair.programs:
            program.resume()
    open_: list[str] = []
    patience = _MUTANTS_SECONDS if outcome.plan.mutant else _DRAIN_SECONDS
    while time.monotonic() < started + patience:
        for pair in pairs:
            assert pair.user.failure is None, pair.user.failure
            for program in pair.programs:
                program.keep()
        open_ = [f"{problem} (pair {pair.number})" for pair in pairs for problem in pair.open()]
        if not open_:
            break
        time.sleep(0.5)
    outcome.drained = time.monotonic() - started
    yield from open_


def _judge(pair: Pair) -> Iterator[str]:
    """What was seen, what is left, and what is in the queue for dead letters."""
    pair.user.finish()
    yield from pair.violations()
    yield from pair.left_behind()
    yield from remains(pair.receiver.relay)
    yield from pair.dead_letters()


def _fill(outcome: Outcome, pairs: Sequence[Pair], sampler: Sampler) -> None:
    for pair in pairs:
        outcome.dropped += pair.user.dropped
        outcome.bytes += pair.user.bytes
        outcome.delivered += pair.user.book.arrived()
        outcome.spoiled += pair.user.book.spoiled()
        for program in pair.programs:
            outcome.recoveries += program.recovery.seconds
            outcome.unfinished += program.recovery.unfinished
            outcome.censored += program.recovery.censored
            outcome.ends += program.ends
    outcome.most, outcome.growth = dict(sampler.most()), sampler.growth()
    outcome.violations += [*slow(outcome.recoveries), *lacking(outcome)]
