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
    parser = parser_of(about, version, config)
    found = parser.parse_args(arguments)
    _check_reconcile(parser, found)
    if found.redrive and (found.mode is not None or found.once or found.reconcile):
        parser.error("--redrive stands without -Mode, --once and --reconcile; it runs beside the program")
    if found.mode is None and not (found.reconcile or found.redrive):
        parser.print_help()
        parser.exit(2)
    if found.mode == SOAK_MODE and found.once:
        parser.error("--once belongs to Modes 1 to 3; a soak test ends after --duration or --max-bytes")
    if found.mode != SOAK_MODE and (foreign := soak.given(found)):
        parser.error(f"{', '.join(foreign)}: only Mode 4 has this; say -Mode 4 to run a soak test")
    return found


def parser_of(about: str, version: str, config: Path) -> argparse.ArgumentParser:
    """Every option there is."""
    parser = argparse.ArgumentParser(prog="main.py", description=about, allow_abbrev=False)
    parser.add_argument("-Mode", "--mode", type=int, choices=(1, 2, 3, 4), help="1 ingest, 2 consume, 3 both, 4 soak")
    parser.add_argument("--config", type=Path, default=config, help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="do what is there, then end; Modes 1 to 3")
    parser.add_argument("--redrive", action="store_true", help="without a mode: send dead letters back to the queue")
    parser.add_argument("--version", action="version", version=version)
    _add_reconcile(parser)
    soak.add_arguments(parser)
    return parser


def _add_reconcile(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("--reconcile, without a mode").add_argument
    add("--reconcile", action="store_true", help="say what is in S3 and was never delivered")
    add("--apply", action="store_true", help="announce it again")
    add(
        "--ledger", type=Path, action="append", default=[], metavar="FILE", help="of one more consumer; may be repeated"
    )
    add("--accept-copies", action="store_true", help="what a consumer has whose ledger is missing may come twice")


def _check_reconcile(parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
    given = [f"--{name.replace('_', '-')}" for name in ("apply", "ledger", "accept_copies") if getattr(found, name)]
    if not found.reconcile:
        if given:
            parser.error(f"{', '.join(given)}: only --reconcile has this")
        return
    if found.mode is not None or found.once:
        parser.error("--reconcile stands without -Mode and --once; it runs beside the program")
    if found.apply and not (found.ledger or found.accept_copies):
        parser.error(
            "--apply needs --ledger FILE for every consumer of the queue, this machine's own "
            "(DownloadedFromS3/.relay/ledger.sqlite3) included: what one has whose ledger is not given would come a "
            "second time; say --accept-copies where that may be"
        )
