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
from tests.chaos.relay import ROOT, STORM, Relay
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


def main() -> int:
    """0 if nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    proofs = parser.add_subparsers(dest="what", required=True)
    storm = proofs.add_parser("kills", help="files flow while processes are killed at random")
    storm.add_argument("--files", type=int, default=2000)
    storm.add_argument("--kills", type=int, default=200)
    storm.add_argument("--mutant", choices=mutants.IN_KILLS, help="a broken program, which must be caught")
    calm = proofs.add_parser("flow", help="one folder of mixed files, copied into Watch, arrives on the other side")
    calm.add_argument("--endpoint", choices=sorted(flow.ENDPOINTS), required=True)
    calm.add_argument("--files", type=int, default=500)
    self_feeding = proofs.add_parser("mode4", help="a soak test, main.py -Mode 4")
    self_feeding.add_argument("--endpoint", choices=sorted(SERVERS), default="embedded")
    self_feeding.add_argument("--minutes", type=float, default=10)
    self_feeding.add_argument("--chaos", action="store_true", help="kill its processes meanwhile")
    taking = proofs.add_parser("consumers", help="consumers are killed, and messages come twice")
    taking.add_argument("--drops", type=int, default=5000)
    taking.add_argument("--duplicates", type=float, default=0.1, help="of all deliveries, those of repeated messages")
    taking.add_argument("--kills", type=int, default=100)
    taking.add_argument("--instances", type=int, default=1, help="programs with a folder each on one queue")
    taking.add_argument("--lose-ledger", action="store_true", help="kill whole programs, and remove their ledgers")
    taking.add_argument("--mutant", choices=mutants.IN_CONSUMERS, help="broken consumers, which must be caught")
    crowd = proofs.add_parser("many", help="many files in many folders: order, and memory that does not grow")
    crowd.add_argument("--files", type=int, default=200_000)
    crowd.add_argument("--folders", type=int, default=2_000)
    deluge = proofs.add_parser("flood", help="hostile messages among good ones, and links planted where files arrive")
    deluge.add_argument("--messages", type=int, default=10_000, help="hostile ones; one good for a hundred of them")
    deluge.add_argument(
        "--deliveries", type=int, default=20_000, help="among planted links, with each of the facilities"
    )
    patience = proofs.add_parser("hold", help="a download that takes much longer than its message stays hidden")
    patience.add_argument("--seconds", type=float, default=3600)
    patience.add_argument("--visibility", type=int, default=30)
    machine = proofs.add_parser("machine", help="a user, kills at every instant and a model, in one process")
    machine.add_argument("--steps", type=int, default=5000, help="with each of the facilities")
    machine.add_argument(
        "--kind", choices=explore.KINDS, action="append", help="of what the kernel offers; default: both"
    )
    machine.add_argument("--no-reduce", action="store_true", help="show a failure as it was found")
    machine.add_argument("--mutant", choices=mutants.IN_MACHINE, help="a broken program, which must be caught")
    order = proofs.add_parser("model", help="every order of steps and faults over a model of the protocol")
    power = proofs.add_parser("powerloss", help="the power is cut at any instant of three files' way")
    power.add_argument("--states", type=int, default=10_000)
    power.add_argument("--kind", choices=crash_states.KINDS, default="subset", help="of file system")
    power.add_argument("--each", action="store_true", help="leave out each fsync of the program: it must be missed")
    power.add_argument("--replay", type=Path, help="a state that a run saved, once more")
    everything = proofs.add_parser("soak", help="everything at once: all faults of processes, network and servers")
    _add_soak(everything)
    points = proofs.add_parser("crashpoints", help="kill, or fail, every process at every one of its system calls")
    points.add_argument("--all", action="store_const", const=0, dest="sample", default=200, help="every point")
    points.add_argument("--sample", type=int, help="so many of them (200)")
    points.add_argument("--role", choices=crash_target.ROLES, action="append", help="default: all")
    points.add_argument("--fault", choices=crash_target.FAULTS, action="append", help="default: all")
    points.add_argument("--point", action="append", default=[], help="this one, as it was printed")
    points.add_argument("--minutes", type=float, default=0.0, help="begin no other point after so long")
    points.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    points.add_argument("--report", type=Path, help="write the result of each point to this file, as JSON")
    points.add_argument("--mutant", choices=mutants.IN_CRASHPOINTS, help="a broken program, which must be caught")
    broken = proofs.add_parser("mutants", help="every protection is taken out in turn, and the tests must notice")
    broken.add_argument("--only", nargs="+", choices=sorted(mutants.MUTANTS), metavar="NAME", help="default: all")
    broken.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time; default: %(default)s")
    for proof in (
        *(storm, calm, self_feeding, taking, crowd, deluge, patience),
        *(machine, order, power, everything, points),
    ):
        proof.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    for proof in proofs.choices.values():
        proof.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-chaos-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = _PROOFS[options.what](folder, options)
        print(outcome.table())
    return 1 if outcome.violations else 0


def _add_soak(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=2_100)
    parser.add_argument("--pairs", type=int, default=7, help="of a sender and a receiver; the last is not killed")
    parser.add_argument("--sizes", choices=SIZES, default="small")
    parser.add_argument("--report", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--mutant", choices=mutants.IN_SOAK, help="a broken program, which must be caught")


def _soak(folder: Path, options: argparse.Namespace) -> SoakOutcome:
    words = (options.seed, options.minutes, options.files, options.kills, options.pairs, options.sizes)
    plan = SoakPlan(*words, mutant=options.mutant or "", disks=own_mounts())
    print(f"replay: {plan.replay}", flush=True)
    outcome = soak.run(folder, plan, mutants.make(options.mutant, folder) if options.mutant else ROOT)
    if options.report:
        outcome.write(options.report)
    return outcome


def _flow(folder: Path, options: argparse.Namespace) -> flow.Outcome:
    replay = f"--endpoint {options.endpoint} --files {options.files} --seed {options.seed}"
    print(f"replay: python -m tests.chaos flow {replay}", flush=True)
    return flow.run(folder, options.endpoint, files=options.files, seed=options.seed)


def _kills(folder: Path, options: argparse.Namespace) -> kills.Outcome:
    replay = f"--files {options.files} --kills {options.kills} --seed {options.seed}"
    replay += f" --mutant {options.mutant}" if options.mutant else ""
    print(f"replay: python -m tests.chaos kills {replay}", flush=True)
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
    print(f"replay: python -m tests.chaos consumers {replay}", flush=True)
    code = mutants.make(options.mutant, folder) if options.mutant else ROOT
    return consumers.run(folder, plan, seed=options.seed, code=code)


def _mode4(folder: Path, options: argparse.Namespace) -> mode4.Outcome:
    words = ["--seed", str(options.seed), *(["--chaos"] if options.chaos else [])]
    replay = f"--endpoint {options.endpoint} --minutes {options.minutes:g} {' '.join(words)}"
    print(f"replay: python -m tests.chaos mode4 {replay}", flush=True)
    return mode4.run(folder, options.endpoint, words, options.minutes * 60)


def _many(folder: Path, options: argparse.Namespace) -> many.Outcome:
    return many.run(folder, files=options.files, folders=options.folders)


def _flood(folder: Path, options: argparse.Namespace) -> Outcome:
    words = f"--messages {options.messages} --deliveries {options.deliveries} --seed {options.seed}"
    print(f"replay: python -m tests.chaos flood {words}", flush=True)
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
    print(f"replay: python -m tests.chaos machine {' '.join(words)}{broken}", flush=True)
    if options.mutant is None:
        return explore.run(options.steps, options.seed, kinds, reduce=not options.no_reduce)
    done = explore.run_mutant(options.mutant, folder, words)
    print(done.stdout + done.stderr)
    return explore.Outcome(violations=[f"{options.mutant} was caught"] if done.returncode else [])


def _model(_folder: Path, _options: argparse.Namespace) -> model.Outcome:
    return model.run()


def _powerloss(_folder: Path, options: argparse.Namespace) -> Outcome:
    if options.replay:
        return powerloss.replay(options.replay)
    if options.each:
        return powerloss.run_without_each(options.states, options.seed)
    outcome = powerloss.run(options.states, options.seed, options.kind)
    if outcome.failed:
        file = Path(f"powerloss-{options.kind}-{options.seed}.state")
        outcome.save(file)
        print(f"replay: python -m tests.chaos powerloss --replay {file}", flush=True)
    return outcome


def _crashpoints(folder: Path, options: argparse.Namespace) -> crashpoints.Outcome:
    if problem := seccomp.missing():
        sys.exit(f"crashpoints: {problem}")
    roles, faults = options.role or crash_target.ROLES, options.fault or crash_target.FAULTS
    plan = crashpoints.Plan(roles, faults, options.sample, options.seed, options.jobs, options.minutes, options.point)
    again = "python -m tests.chaos crashpoints" + (f" --mutant {options.mutant}" if options.mutant else "")
    words = [f"--role={role}" for role in options.role or ()] + [f"--fault={fault}" for fault in options.fault or ()]
    size = f"--sample {plan.sample} --seed {plan.seed}" if plan.sample else "--all"
    print("replay:", again, size, *words, flush=True)
    code = mutants.make(options.mutant, folder) if options.mutant else ROOT
    outcome = crashpoints.run(plan, code, folder=options.keep, replay=again)
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
