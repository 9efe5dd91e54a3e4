"""How much is measured: the workloads, the command line, and the three scales. Pure."""

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers import PEERS

WORKLOADS = {
    "W1": "many small files, ingest",
    "W2": "a few large files, ingest",
    "W3": "many small files, consume",
    "W4": "a few large files, consume",
    "W5": "one file at idle, dropped to delivered",
    "W6": "20 ms from the store and the queue",
    "W7": "growth: files and memory",
    "W8": "idle",
}
SINK, SEAWEEDFS = "sink", "seaweedfs"
KIB, MIB, GIB = 1024, 1024**2, 1024**3


@dataclass(frozen=True)
class Scale:
    """How many files and runs."""

    small: int = 10_000
    small_size: int = 10 * KIB
    small_runs: int = 3
    slow_small: int = 300
    """Small files for the aws CLI, which takes as long for these as others for all."""
    store: int = 1_000
    """Small files on the real store."""
    store_runs: int = 1
    large: int = 16
    large_size: int = 256 * MIB
    large_in: int = 12
    """So many of them at most are received, which takes longest of all."""
    large_runs: int = 2
    sweep_small: int = 400
    """Files of each try of a peer's settings."""
    sweep_large: int = 1
    drops: int = 300
    far_drops: int = 60
    far: int = 2_000
    far_runs: int = 1
    growth: tuple[int, ...] = (1_000, 10_000, 100_000)
    growth_size: int = KIB
    huge: int = 5 * GIB
    """Bytes of the one file whose memory is measured; 0: none."""
    idle: int = 100_000
    idle_seconds: int = 60
    sweep: bool = True
    """Whether peers try several settings; else each takes one in the middle."""


DEFAULT = Scale()
QUICK = Scale(
    small=500,
    small_runs=1,
    slow_small=500,
    store=300,
    store_runs=1,
    large=2,
    large_size=64 * MIB,
    large_runs=1,
    drops=30,
    far_drops=10,
    far=100,
    far_runs=1,
    growth=(200, 1_000),
    huge=0,
    idle=1_000,
    idle_seconds=5,
    sweep=False,
)
FULL = dataclasses.replace(
    DEFAULT, small_runs=7, slow_small=10_000, store=10_000, store_runs=3, large_runs=5, far_runs=5
)


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    scale: Scale
    only: tuple[str, ...]
    peers: tuple[str, ...]
    stores: tuple[str, ...]
    out: Path
    work: Path | None
    tools: Path
    update_docs: bool


_EXPECTED = {"W1": 100.0, "W2": 100.0, "W3": 90.0, "W4": 100.0, "W5": 45.0, "W6": 60.0, "W7": 90.0, "W8": 75.0}
"""Seconds of the default scale on two cores; only for what a person is told."""
_AT_LEAST = 0.1
"""Of these seconds: what has to be started and stopped however little is measured."""


def expected(workload: str, options: Options) -> float:
    """Seconds that a workload may take; after the first one the pace of this machine is known."""
    found, usual = options.scale, DEFAULT
    large = found.large * found.large_size * found.large_runs / (usual.large * usual.large_size * usual.large_runs)
    share = {
        "W2": large,
        "W4": large,
        "W5": found.drops / usual.drops,
        "W6": found.far * found.far_runs / (usual.far * usual.far_runs),
        "W7": found.growth[-1] / usual.growth[-1],
        "W8": found.idle_seconds / usual.idle_seconds,
    }.get(workload, found.small * found.small_runs / (usual.small * usual.small_runs))
    return _EXPECTED[workload] * max(_AT_LEAST, share)


def read(words: Sequence[str], root: Path, doc: str) -> Options:
    """The command line; ends the program where it is wrong."""
    parser = _parser(root, doc)
    asked = parser.parse_args(words)
    scale = FULL if asked.full else QUICK if asked.quick else DEFAULT
    changes: dict[str, int] = {}
    if asked.files:
        small = ("small", "slow_small", "store", "sweep_small", "far", "idle")
        changes |= {name: min(asked.files, getattr(scale, name)) for name in small} | {"small": asked.files}
    if asked.large_files:
        changes["large"] = asked.large_files
    if asked.runs:
        changes |= dict.fromkeys(("small_runs", "store_runs", "large_runs", "far_runs"), asked.runs)
    peers = tuple(name for name in dict.fromkeys(asked.peers) if name != "none")
    return Options(
        scale=dataclasses.replace(scale, **changes),  # type: ignore[arg-type]  # the named fields are numbers
        only=tuple(name for name in WORKLOADS if name in asked.only),
        peers=peers,
        stores=tuple(dict.fromkeys(asked.stores)),
        out=asked.out.resolve(),
        work=asked.work and asked.work.resolve(),
        tools=asked.tools.resolve(),
        update_docs=asked.update_docs,
    )


def _parser(root: Path, doc: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=doc,
        epilog="Workloads: " + "; ".join(f"{name} {what}" for name, what in WORKLOADS.items()) + ".",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_true", help="a sample of everything in about a minute; its figures say little"
    )
    size.add_argument("--full", action="store_true", help="more runs, and all files for everybody; takes much longer")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="W", help="W1 … W8")
    parser.add_argument("--peers", nargs="+", choices=[*PEERS, "none"], default=list(PEERS), help="default: all")
    parser.add_argument(
        "--stores", nargs="+", choices=[SINK, SEAWEEDFS], default=[SINK, SEAWEEDFS], help="for W1 and W3; default: both"
    )
    parser.add_argument(
        "--files", type=_positive, metavar="N", help="small files of W1 and W3, and at most so many elsewhere"
    )
    parser.add_argument("--large-files", type=_positive, metavar="N", help="large files of W2 and W4")
    parser.add_argument("--runs", type=_positive, metavar="N", help="runs of each contestant")
    parser.add_argument(
        "--out", type=Path, default=root / "bench-results", help="for the results; default: %(default)s"
    )
    parser.add_argument(
        "--work", type=Path, help="for the files that travel; default: a folder below the system's temp"
    )
    parser.add_argument(
        "--tools", type=Path, default=root / ".bench", help="the peers' environment; default: %(default)s"
    )
    parser.add_argument(
        "--update-docs", action="store_true", help="put the last result into docs/performance.md; measures nothing"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number
