"""The command line of main.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.soak import options as soak

SOAK_MODE = 4


def read(arguments: Sequence[str], about: str, version: str, config: Path) -> argparse.Namespace:
    """What was asked for; SystemExit(2) where it makes no sense, 0 after --help and --version.

    `config` is the properties file that is used if none is given. Without arguments the help is shown, and it is 2.
    """
    parser = argparse.ArgumentParser(prog="main.py", description=about, allow_abbrev=False)
    parser.add_argument("-Mode", "--mode", type=int, choices=(1, 2, 3, 4), help="1 ingest, 2 consume, 3 both, 4 soak")
    parser.add_argument("--config", type=Path, default=config, help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="do what is there, then end; Modes 1 to 3")
    parser.add_argument("--version", action="version", version=version)
    soak.add_arguments(parser)
    found = parser.parse_args(arguments)
    if found.mode is None:
        parser.print_help()
        parser.exit(2)
    if found.mode == SOAK_MODE and found.once:
        parser.error("--once belongs to Modes 1 to 3; a soak test ends after --duration or --max-bytes")
    if found.mode != SOAK_MODE and (foreign := soak.given(found)):
        parser.error(f"{', '.join(foreign)}: only Mode 4 has this; say -Mode 4 to run a soak test")
    return found
