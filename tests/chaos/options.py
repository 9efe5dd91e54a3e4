"""What `python -m tests.chaos` takes: each proof with its own options, and no option that it would ignore."""

import argparse
import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.chaos import crash_states, crash_target, explore, flow, mutants
from tests.chaos.endpoints import SERVERS
from tests.chaos.soak.files import SIZES

Parser = argparse.ArgumentParser
_MUTANT = "a broken program: exit code 0 if and only if it breaks a promise that this proof knows"
_CRASHPOINTS = """kill -9 and four errors. All are some 56,000 points, of which a worker tries about 25 a minute, so
most of a day on two cores. It needs Linux 5.5 on x86-64, with user notification of seccomp. What a violation leaves is
kept, in a folder that is printed with it."""
_SEEDLESS = ("hold", "many", "model", "mutants")
"""Proofs that draw nothing."""
_FOLDERLESS = ("model",)
"""Those that write nothing."""


def parse(description: str | None) -> argparse.Namespace:
    """What the command line says; it ends the process where that cannot be."""
    parser = Parser(prog="python -m tests.chaos", description=description)
    proofs = parser.add_subparsers(dest="what", required=True)
    for name, (text, add) in _PROOFS.items():
        proof = proofs.add_parser(name, help=text, description=text)
        add(proof)
        if name not in _SEEDLESS:
            proof.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
        if name not in _FOLDERLESS:
            proof.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    options = parser.parse_args()
    if options.what == "soak" and options.files < options.pairs:
        parser.error("soak: each pair needs a file")
    return options


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"at least {least}, not {value}")
        return value

    return number


_some = _at_least(1)


def _kills(parser: Parser) -> None:
    parser.add_argument("--files", type=_some, default=2000)
    parser.add_argument("--kills", type=_some, default=200)
    parser.add_argument("--mutant", choices=mutants.IN_KILLS, help=_MUTANT)


def _flow(parser: Parser) -> None:
    parser.add_argument("--endpoint", choices=sorted(flow.ENDPOINTS), required=True)
    parser.add_argument("--files", type=_some, default=500)


def _mode4(parser: Parser) -> None:
    parser.add_argument("--endpoint", choices=sorted(SERVERS), default="embedded")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--chaos", action="store_true", help="kill its processes meanwhile")


def _consumers(parser: Parser) -> None:
    parser.add_argument("--drops", type=_some, default=5000)
    parser.add_argument("--duplicates", type=float, default=0.1, help="of all deliveries, those of repeated messages")
    parser.add_argument("--kills", type=_some, default=100)
    parser.add_argument("--instances", type=_some, default=1, help="programs with a folder each on one queue")
    parser.add_argument("--lose-ledger", action="store_true", help="kill whole programs, and remove their ledgers")
    parser.add_argument("--mutant", choices=mutants.IN_CONSUMERS, help=_MUTANT)


def _many(parser: Parser) -> None:
    parser.add_argument("--files", type=_some, default=200_000)
    parser.add_argument("--folders", type=_some, default=2_000)


def _flood(parser: Parser) -> None:
    text = "hostile ones; one good for a hundred of them"
    parser.add_argument("--messages", type=_at_least(100), default=10_000, help=text)
    text = "among planted links, with each of the facilities"
    parser.add_argument("--deliveries", type=_some, default=20_000, help=text)


def _hold(parser: Parser) -> None:
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--visibility", type=int, default=30)


def _machine(parser: Parser) -> None:
    parser.add_argument("--steps", type=_some, default=5000, help="with each of the facilities")
    text = "of what the kernel offers; default: both"
    parser.add_argument("--kind", choices=explore.KINDS, action="append", help=text)
    parser.add_argument("--no-reduce", action="store_true", help="show a failure as it was found")
    parser.add_argument("--mutant", choices=mutants.IN_MACHINE, help=_MUTANT)


def _model(_parser: Parser) -> None:
    pass


def _powerloss(parser: Parser) -> None:
    parser.add_argument("--states", type=_some, default=10_000)
    parser.add_argument("--kind", choices=crash_states.KINDS, default="subset", help="of file system")
    parser.add_argument("--each", action="store_true", help="leave out each fsync of the program: it must be missed")
    parser.add_argument("--replay", type=Path, help="a state that a run saved, once more")


def _soak(parser: Parser) -> None:
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--files", type=_some, default=100_000)
    parser.add_argument("--kills", type=_some, default=2_100)
    text = "of a sender and a receiver; the last is not killed"
    parser.add_argument("--pairs", type=_at_least(2), default=7, help=text)
    parser.add_argument("--sizes", choices=SIZES, default="small")
    parser.add_argument("--report", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--mutant", choices=mutants.IN_SOAK, help=_MUTANT)


def _crashpoints(parser: Parser) -> None:
    parser.description = f"{parser.description}: {_CRASHPOINTS}"
    parser.add_argument("--all", action="store_const", const=0, dest="sample", default=200, help="every point")
    parser.add_argument("--sample", type=_some, help="so many of them (200)")
    parser.add_argument("--role", choices=crash_target.ROLES, action="append", help="default: all")
    parser.add_argument("--fault", choices=crash_target.FAULTS, action="append", help="default: all")
    parser.add_argument("--point", action="append", default=[], help="this one, as it was printed")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no other point after so long")
    parser.add_argument("--jobs", type=_some, default=os.cpu_count() or 1)
    parser.add_argument("--report", type=Path, help="write the result of each point to this file, as JSON")
    parser.add_argument("--mutant", choices=mutants.IN_CRASHPOINTS, help=_MUTANT)


def _mutants(parser: Parser) -> None:
    parser.add_argument("--only", nargs="+", choices=sorted(mutants.MUTANTS), metavar="NAME", help="default: all")
    text = "mutants at a time; default: %(default)s"
    parser.add_argument("--jobs", type=_some, default=os.cpu_count() or 1, help=text)


_PROOFS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "kills": ("files flow while processes are killed at random", _kills),
    "flow": ("one folder of mixed files, copied into Watch, arrives on the other side", _flow),
    "mode4": ("a soak test, main.py -Mode 4", _mode4),
    "consumers": ("consumers are killed, and messages come twice", _consumers),
    "many": ("many files in many folders: order, and memory that does not grow", _many),
    "flood": ("hostile messages among good ones, and links planted where files arrive", _flood),
    "hold": ("a download that takes much longer than its message stays hidden", _hold),
    "machine": ("a user, kills at every instant and a model, in one process", _machine),
    "model": ("every order of steps and faults over a model of the protocol", _model),
    "powerloss": ("the power is cut at any instant of three files' way", _powerloss),
    "soak": ("everything at once: all faults of processes, network and servers", _soak),
    "crashpoints": ("kill, or fail, every process at every one of its system calls", _crashpoints),
    "mutants": ("every protection is taken out in turn, and the tests must notice", _mutants),
}
