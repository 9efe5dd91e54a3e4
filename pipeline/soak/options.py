"""The options of Mode 4 as they stand on the command line."""

import argparse
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.soak import content
from pipeline.soak.content import Sizes

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_T = TypeVar("_T")
_RUN = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
ALL = "all"
"""Of `--cleanup`: every run that left something."""


@dataclass(frozen=True)
class SoakOptions:
    """What a person asked of a soak test. Times are seconds, sizes bytes; None: no limit."""

    duration: float | None = None
    files: int = 20
    sizes: Sizes = content.DEFAULT
    rate: float | None = None
    """New files per second, over all."""
    seed: int | None = None
    max_bytes: int | None = None
    """Sent and received together."""
    deadline: float = 300.0
    """A file that has not come so long after it was dropped is lost."""
    report: Path | None = None
    in_place: bool = False
    chaos: bool = False
    yes: bool = False
    cleanup: str | None = None
    """A run, or ALL."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option of Mode 4; `read` finds them again."""
    group = parser.add_argument_group("Mode 4, the soak test")
    add = group.add_argument
    add(
        "--duration",
        type=_reader(duration),
        metavar="TIME",
        help="how long, such as 90s, 10m, 2h30m; else until Ctrl-C",
    )
    add("--files", type=_reader(_count), metavar="N", help="files in circulation; default 20")
    add("--sizes", type=_reader(content.sizes), help="such as 1KiB-8MiB (the default), 64KiB, or mix")
    add("--rate", type=_reader(_rate), metavar="N", help="at most so many files per second; 5 or 5/s")
    add("--seed", type=_reader(_seed), metavar="N", help="of the contents; default: another one each time")
    add(
        "--max-bytes",
        type=_reader(_bytes),
        metavar="SIZE",
        help="end after so much was sent and received, such as 10GB",
    )
    add("--deadline", type=_reader(duration), metavar="TIME", help="what has not come by then is lost; default 5m")
    add("--report", type=Path, metavar="DIR", help="where the report goes")
    add(
        "--in-place",
        action="store_true",
        help="with the configured folders, key prefix and queue; nothing else may run",
    )
    add("--chaos", action="store_true", help="kill a process of the relay every few seconds meanwhile")
    add("--yes", action="store_true", help="do not ask before it costs money")
    add(
        "--cleanup",
        nargs="?",
        const=ALL,
        type=_reader(_run),
        metavar="RUN",
        help="remove what a run, or every run, left",
    )


def read(options: argparse.Namespace) -> SoakOptions:
    """What was given, and the defaults for what was not."""
    return SoakOptions(**{name: value for name, value in vars(options).items() if name in _NAMES and value is not None})


def given(options: argparse.Namespace) -> list[str]:
    """The options of Mode 4 that stand on the command line: no other mode knows them."""
    found = {name: getattr(options, name, None) for name in SoakOptions.__dataclass_fields__}
    return [f"--{name.replace('_', '-')}" for name, value in found.items() if value not in (None, False)]


def command(options: SoakOptions, seed: int, config: str) -> str:
    """The command line that repeats a run."""
    words = ["python", "main.py", "-Mode", "4", "--config", config, "--seed", str(seed)]
    words += ["--files", str(options.files), "--sizes", str(options.sizes), "--deadline", f"{options.deadline:.0f}s"]
    if options.duration is not None:
        words += ["--duration", f"{options.duration:.0f}s"]
    if options.rate is not None:
        words += ["--rate", f"{options.rate:.9g}"]
    if options.max_bytes is not None:
        words += ["--max-bytes", f"{options.max_bytes}B"]
    words += [f"--{name}" for name, on in (("in-place", options.in_place), ("chaos", options.chaos)) if on]
    return shlex.join(words)


def duration(text: str) -> float:
    """`90s`, `10m`, `2h30m`, `1d` or plain seconds; ValueError otherwise."""
    found = _DURATION.fullmatch(text)
    parts = zip(found.groups(), _UNITS.values(), strict=True) if found else ()
    seconds = float(text) if text.isdecimal() else sum(int(number or 0) * unit for number, unit in parts)
    if not 0 < seconds <= 366 * 86_400:
        raise ValueError(f"{text!r} is no time such as 90s, 10m or 2h30m")
    return float(seconds)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise ValueError(f"{text!r} is no number from 1 to 10000")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise ValueError(f"{text!r} is no whole number of at most 18 digits")
    return int(text)


def _rate(text: str) -> float:
    number = text.removesuffix("/s")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", number) or float(number) <= 0:
        raise ValueError(f"{text!r} is no rate such as 5/s or 0.5")
    return float(number)


def _bytes(text: str) -> int:
    number = content.size(text)
    if number < 1:
        raise ValueError("nothing could be transferred")
    return number


def is_run(text: str) -> bool:
    """Whether it has the form of a run's id."""
    return bool(_RUN.fullmatch(text))


def _run(text: str) -> str:
    if text != ALL and not is_run(text):
        raise ValueError(f"{text!r} is no run such as 20261124-101500-ab12")
    return text


def _reader(convert: Callable[[str], _T]) -> Callable[[str], _T]:
    """`convert` with its own complaint: argparse swallows the text of a ValueError."""

    def read_argument(text: str) -> _T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_argument


_NAMES = frozenset(SoakOptions.__dataclass_fields__)
