"""The proofs that are too long for every run of the tests: see `python -m tests.chaos --help`."""

import argparse
import functools
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.chaos import (
    consumers,
    crash_states,
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
from tests.chaos.endpoints import SERVERS
from tests.chaos.relay import ROOT, STORM, Relay, again
from tests.chaos.soak import run as soak
from tests.chaos.soak.disk import own_mounts
from tests.chaos.soak.files import SIZES
from tests.chaos.soak.outcome import Outcome as SoakOutcome
from tests.chaos.soak.plan import Plan as SoakPlan


class Outcome(Protocol):
    """What every proof ends with."""

    @property
    def violations(self) -> list[str]:
        """None, or the proof has failed."""

    def table(self) -> str:
        """For a person and for the log."""


_MUTANT = "a broken program: exit code 0 if and only if it breaks a promise that this proof knows"
_CRASHPOINTS = """kill -9 and four errors. All are some 56,000 points, of which a worker tries about 25 a minute, so
most of a day on two cores. It needs Linux 5.5 on x86-64, with user notification of seccomp. What a violation leaves is
kept, in a folder that is printed with it."""
_SEEDLESS = ("hold", "many", "model", "mutants")
"""Proofs that draw nothing."""


def main() -> int:
    """0 if nothing was violated; with a mutant, if a promise was."""
    parser = _parser()
    options = parser.parse_args()
    if options.what == "soak" and options.files < options.pairs:
        parser.error("soak: each pair needs a file")
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


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"at least {least}, not {value}")
        return value

    return number


_some = _at_least(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    proofs = parser.add_subparsers(dest="what", required=True)
    storm = proofs.add_parser("kills", help="files flow while processes are killed at random")
    storm.add_argument("--files", type=_some, default=2000)
    storm.add_argument("--kills", type=_some, default=200)
    storm.add_argument("--mutant", choices=mutants.IN_KILLS, help=_MUTANT)
    calm = proofs.add_parser("flow", help="one folder of mixed files, copied into Watch, arrives on the other side")
    calm.add_argument("--endpoint", choices=sorted(flow.ENDPOINTS), required=True)
    calm.add_argument("--files", type=_some, default=500)
    self_feeding = proofs.add_parser("mode4", help="a soak test, main.py -Mode 4")
    self_feeding.add_argument("--endpoint", choices=sorted(SERVERS), default="embedded")
    self_feeding.add_argument("--minutes", type=float, default=10)
    self_feeding.add_argument("--chaos", action="store_true", help="kill its processes meanwhile")
    taking = proofs.add_parser("consumers", help="consumers are killed, and messages come twice")
    taking.add_argument("--drops", type=_some, default=5000)
    taking.add_argument("--duplicates", type=float, default=0.1, help="of all deliveries, those of repeated messages")
    taking.add_argument("--kills", type=_some, default=100)
    taking.add_argument("--instances", type=_some, default=1, help="programs with a folder each on one queue")
    taking.add_argument("--lose-ledger", action="store_true", help="kill whole programs, and remove their ledgers")
    taking.add_argument("--mutant", choices=mutants.IN_CONSUMERS, help=_MUTANT)
    crowd = proofs.add_parser("many", help="many files in many folders: order, and memory that does not grow")
    crowd.add_argument("--files", type=_some, default=200_000)
    crowd.add_argument("--folders", type=_some, default=2_000)
    deluge = proofs.add_parser("flood", help="hostile messages among good ones, and links planted where files arrive")
    deluge.add_argument(
        "--messages", type=_at_least(100), default=10_000, help="hostile ones; one good for a hundred of them"
    )
    deluge.add_argument(
        "--deliveries", type=_some, default=20_000, help="among planted links, with each of the facilities"
    )
    patience = proofs.add_parser("hold", help="a download that takes much longer than its message stays hidden")
    patience.add_argument("--seconds", type=float, default=3600)
    patience.add_argument("--visibility", type=int, default=30)
    machine = proofs.add_parser("machine", help="a user, kills at every instant and a model, in one process")
    machine.add_argument("--steps", type=_some, default=5000, help="with each of the facilities")
    machine.add_argument(
        "--kind", choices=explore.KINDS, action="append", help="of what the kernel offers; default: both"
    )
    machine.add_argument("--no-reduce", action="store_true", help="show a failure as it was found")
    machine.add_argument("--mutant", choices=mutants.IN_MACHINE, help=_MUTANT)
    proofs.add_parser("model", help="every order of steps and faults over a model of the protocol")
    power = proofs.add_parser("powerloss", help="the power is cut at any instant of three files' way")
    power.add_argument("--states", type=_some, default=10_000)
    power.add_argument("--kind", choices=crash_states.KINDS, default="subset", help="of file system")
    power.add_argument("--each", action="store_true", help="leave out each fsync of the program: it must be missed")
    power.add_argument("--replay", type=Path, help="a state that a run saved, once more")
    everything = proofs.add_parser("soak", help="everything at once: all faults of processes, network and servers")
    _add_soak(everything)
    text = "kill, or fail, every process at every one of its system calls"
    points = proofs.add_parser("crashpoints", help=text, description=f"{text}: {_CRASHPOINTS}")
    points.add_argument("--all", action="store_const", const=0, dest="sample", default=200, help="every point")
    points.add_argument("--sample", type=_some, help="so many of them (200)")
    points.add_argument("--role", choices=crash_target.ROLES, action="append", help="default: all")
    points.add_argument("--fault", choices=crash_target.FAULTS, action="append", help="default: all")
    points.add_argument("--point", action="append", default=[], help="this one, as it was printed")
    points.add_argument("--minutes", type=float, default=0.0, help="begin no other point after so long")
    points.add_argument("--jobs", type=_some, default=os.cpu_count() or 1)
    points.add_argument("--report", type=Path, help="write the result of each point to this file, as JSON")
    points.add_argument("--mutant", choices=mutants.IN_CRASHPOINTS, help=_MUTANT)
    broken = proofs.add_parser("mutants", help="every protection is taken out in turn, and the tests must notice")
    broken.add_argument("--only", nargs="+", choices=sorted(mutants.MUTANTS), metavar="NAME", help="default: all")
    broken.add_argument(
        "--jobs", type=_some, default=os.cpu_count() or 1, help="mutants at a time; default: %(default)s"
    )
    for name, proof in proofs.choices.items():
        if name not in _SEEDLESS:
            proof.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
        if name != "model":
            proof.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    return parser


def _say(words: str) -> None:
    print(f"replay: {again(words)}", flush=True)


def _add_soak(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--files", type=_some, default=100_000)
    parser.add_argument("--kills", type=_some, default=2_100)
    parser.add_argument(
        "--pairs", type=_at_least(2), default=7, help="of a sender and a receiver; the last is not killed"
    )
    parser.add_argument("--sizes", choices=SIZES, default="small")
    parser.add_argument("--report", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--mutant", choices=mutants.IN_SOAK, help=_MUTANT)


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
