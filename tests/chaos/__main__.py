"""The proofs that are too long for every run of the tests: see `python -m tests.chaos --help`."""

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.chaos import (
    consumers,
    crash_target,
    crashpoints,
    explore,
    flood,
    flow,
    hold,
    kills,
    many,
    mode4,
    model,
    mutants,
    mutation,
    planted,
    powerloss,
    seccomp,
)
from tests.chaos.cast import Plan
from tests.chaos.options import parse
from tests.chaos.relay import ROOT, STORM, Relay, again
from tests.chaos.soak import run as soak
from tests.chaos.soak.disk import own_mounts
from tests.chaos.soak.outcome import Outcome as SoakOutcome
from tests.chaos.soak.plan import Plan as SoakPlan


class Outcome(Protocol):
    """What every proof ends with."""

    @property
    def violations(self) -> list[str]:
        """None, or the proof has failed."""

    def table(self) -> str:
        """For a person and for the log."""


def main() -> int:
    """0 if nothing was violated; with a mutant, if a promise was."""
    options = parse(__doc__)
    with tempfile.TemporaryDirectory(prefix="relay-chaos-") as temporary:
        folder = getattr(options, "keep", None) or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = _PROOFS[options.what](folder, options)
        print(outcome.table())
    if mutant := getattr(options, "mutant", None):
        kinds = mutants.caught_by(outcome.violations)
        print(f"{mutant}: caught by {', '.join(kinds)}" if kinds else f"{mutant}: SURVIVED")
        return 0 if kinds else 1
    return 1 if outcome.violations else 0


def _say(words: str) -> None:
    print(f"replay: {again(words)}", flush=True)


def _soak(folder: Path, options: argparse.Namespace) -> SoakOutcome:
    words = (options.seed, options.minutes, options.files, options.kills, options.pairs, options.sizes)
    plan = SoakPlan(*words, mutant=options.mutant or "", disks=own_mounts())
    _say(plan.replay)
    outcome = soak.run(folder, plan, mutants.make(options.mutant, folder) if options.mutant else ROOT)
    if options.report:
        outcome.write(options.report)
    return outcome


def _flow(folder: Path, options: argparse.Namespace) -> flow.Outcome:
    replay = f"--endpoint {options.endpoint} --files {options.files} --seed {options.seed}"
    _say(f"flow {replay}")
    return flow.run(folder, options.endpoint, files=options.files, seed=options.seed)


def _kills(folder: Path, options: argparse.Namespace) -> kills.Outcome:
    replay = f"--files {options.files} --kills {options.kills} --seed {options.seed}"
    replay += f" --mutant {options.mutant}" if options.mutant else ""
    _say(f"kills {replay}")
    code = mutants.make(options.mutant, folder) if options.mutant else ROOT
    relay = Relay(folder, code, keys=STORM)
    try:
        return kills.run(folder, relay, files=options.files, kills=options.kills, seed=options.seed)
    finally:
        relay.end()


def _consumers(folder: Path, options: argparse.Namespace) -> consumers.Outcome:
    plan = Plan(options.drops, options.duplicates, options.kills, options.instances, options.lose_ledger)
    replay = f"--drops {plan.drops} --duplicates {plan.duplicates} --kills {plan.kills} --instances {plan.instances}"
    replay += f" --seed {options.seed}" + " --lose-ledger" * plan.lose_ledger
    replay += f" --mutant {options.mutant}" if options.mutant else ""
    _say(f"consumers {replay}")
    code = mutants.make(options.mutant, folder) if options.mutant else ROOT
    return consumers.run(folder, plan, seed=options.seed, code=code)


def _mode4(folder: Path, options: argparse.Namespace) -> mode4.Outcome:
    words = ["--seed", str(options.seed), *(["--chaos"] if options.chaos else [])]
    replay = f"--endpoint {options.endpoint} --minutes {options.minutes:g} {' '.join(words)}"
    _say(f"mode4 {replay}")
    return mode4.run(folder, options.endpoint, words, options.minutes * 60)


def _many(folder: Path, options: argparse.Namespace) -> many.Outcome:
    return many.run(folder, files=options.files, folders=options.folders)


def _flood(folder: Path, options: argparse.Namespace) -> Outcome:
    words = f"--messages {options.messages} --deliveries {options.deliveries} --seed {options.seed}"
    _say(f"flood {words}")
    for kind in planted.KINDS:
        (folder / kind).mkdir()
        links = planted.run(folder / kind, kind, deliveries=options.deliveries, seed=options.seed)
        print(links.table(), flush=True)
        if links.violations:
            return links
    return flood.run(folder, hostile_messages=options.messages, good=options.messages // 100, seed=options.seed)


def _hold(folder: Path, options: argparse.Namespace) -> hold.Outcome:
    return hold.run(folder, seconds=options.seconds, visibility=options.visibility)


def _machine(folder: Path, options: argparse.Namespace) -> explore.Outcome:
    kinds = options.kind or explore.KINDS
    words = ["--steps", str(options.steps), "--seed", str(options.seed), *(f"--kind={kind}" for kind in kinds)]
    words += ["--no-reduce"] if options.no_reduce else []
    broken = f" --mutant {options.mutant}" if options.mutant else ""
    _say(f"machine {' '.join(words)}{broken}")
    if options.mutant is None:
        return explore.run(options.steps, options.seed, kinds, reduce=not options.no_reduce)
    done = explore.run_mutant(options.mutant, folder, words)
    if done.returncode not in (0, 1):
        sys.exit(f"machine: over {options.mutant} it ended with {done.returncode}: {done.stdout}{done.stderr}")
    return explore.Outcome(violations=[done.stdout + done.stderr] if done.returncode else [])


def _model(_folder: Path, _options: argparse.Namespace) -> model.Outcome:
    return model.run()


def _powerloss(folder: Path, options: argparse.Namespace) -> Outcome:
    if options.replay:
        return powerloss.replay(options.replay)
    if options.each:
        return powerloss.run_without_each(options.states, options.seed)
    outcome = powerloss.run(options.states, options.seed, options.kind)
    if outcome.failed:
        kept = folder if options.keep else Path(tempfile.mkdtemp(prefix="relay-powerloss-"))
        file = kept / f"{options.kind}-{options.seed}.state"
        outcome.save(file)
        _say(f"powerloss --replay {file}")
    return outcome


def _crashpoints(folder: Path, options: argparse.Namespace) -> crashpoints.Outcome:
    if problem := seccomp.missing():
        sys.exit(f"crashpoints: {problem}")
    roles, faults = options.role or crash_target.ROLES, options.fault or crash_target.FAULTS
    plan = crashpoints.Plan(roles, faults, options.sample, options.seed, options.jobs, options.minutes, options.point)
    command = "crashpoints" + (f" --mutant {options.mutant}" if options.mutant else "")
    words = [f"--role={role}" for role in options.role or ()] + [f"--fault={fault}" for fault in options.fault or ()]
    size = f"--sample {plan.sample} --seed {plan.seed}" if plan.sample else "--all"
    _say(" ".join([command, size, *words]))
    code = mutants.make(options.mutant, folder) if options.mutant else ROOT
    outcome = crashpoints.run(plan, code, folder=options.keep, replay=again(command))
    if options.report:
        outcome.write(options.report)
    return outcome


def _mutants(folder: Path, options: argparse.Namespace) -> mutation.Outcome:
    tell = functools.partial(print, flush=True)
    return mutation.run(folder, options.only or list(mutants.MUTANTS), jobs=options.jobs, tell=tell)


_PROOFS: dict[str, Callable[[Path, argparse.Namespace], Outcome]] = {
    "consumers": _consumers,
    "crashpoints": _crashpoints,
    "flood": _flood,
    "flow": _flow,
    "hold": _hold,
    "kills": _kills,
    "many": _many,
    "mode4": _mode4,
    "mutants": _mutants,
    "machine": _machine,
    "model": _model,
    "powerloss": _powerloss,
    "soak": _soak,
}


if __name__ == "__main__":
    sys.exit(main())
