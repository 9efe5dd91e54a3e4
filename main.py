"""Relay files from a folder to S3, announce them on SQS, and bring them to a folder on any other machine."""

import argparse
import functools
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import app_logger
import app_properties
from pipeline import start
from pipeline.local_aws import EmbeddedAws, EmbeddedAwsError
from pipeline.ports import EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE, StartupError
from pipeline.process import Context, child
from pipeline.supervisor import Role, Side, Supervisor

VERSION = "0.1.0"
HOME = Path(__file__).resolve().parent
_EXIT_CODES: dict[type[BaseException], int] = {
    app_properties.PropertiesError: EXIT_CONFIG,
    StartupError: EXIT_UNAVAILABLE,  # unless it says another
    EmbeddedAwsError: EXIT_UNAVAILABLE,
}
_HINTS = 4096  # paths waiting in the shared queue; the folder holds the rest


def main(arguments: list[str]) -> int:
    """Arguments → settings → logging → supervisor → exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.mode is None:
        parser.print_help()
        return EXIT_USAGE
    if options.mode == 4:
        print("Mode 4, the self-feeding soak test, is not part of this version.", file=sys.stderr)
        return EXIT_USAGE
    try:
        settings = app_properties.load(options.config, options.mode, HOME)
        start.make_folders(settings, options.mode)
        ingest_locks, consume_locks = start.lock(settings, options.mode)
        start.try_folders(settings, options.mode)  # not before: another instance would take what is tried for a drop
        embedded = EmbeddedAws.at(settings.own_folder / "embedded") if settings.aws_endpoint_url == "embedded" else None
        _open_log(settings)
    except (app_properties.PropertiesError, StartupError, EmbeddedAwsError, KeyboardInterrupt) as error:
        return _refuse(error)
    _greet(options, settings)
    context = Context(settings, HOME / "logging.conf", embedded, options.once)
    return _supervise(context, ingest_locks, consume_locks)


def _supervise(context: Context, ingest_locks: tuple[int, ...], consume_locks: tuple[int, ...]) -> int:
    settings = context.settings
    ingest = Side(
        "ingest",
        (_role("watcher", context, leads=True), _role("uploader", context, settings.upload_processes)),
        ingest_locks,
        functools.partial(_hints, _HINTS),
    )
    consume = Side("consume", (_role("poller", context, settings.poll_processes, leads=True),), consume_locks)
    services = [Side("embedded", (_role("embedded", context),))] if context.embedded else []
    sides = [side for side in (ingest, consume) if side.lock_fds]
    phases = [
        [Side("check", (_role("check", context, leads=True),))],
        *([[side] for side in sides] if context.once else [sides]),
    ]
    supervisor = Supervisor(settings.shutdown_seconds, frozenset({EXIT_UNAVAILABLE, EXIT_CONFIG}))
    code = supervisor.run(services, phases)
    logging.getLogger("relay").info("stopped, exit code %d", code)
    return code


def _open_log(settings: app_properties.Settings) -> None:
    try:
        app_logger.configure(HOME / "logging.conf", settings.log_file, "main")
    except OSError as error:
        raise StartupError(
            f"[General] logFilePath: {settings.log_file} cannot be written: {error}", EXIT_CONFIG
        ) from error


def _role(name: str, context: Context, count: int = 1, *, leads: bool = False) -> Role:
    return Role(name, child, (name, context), count, leads)


def _hints(size: int, context: Any) -> Any:
    return context.Queue(size)


def _greet(options: argparse.Namespace, settings: app_properties.Settings) -> None:
    log = logging.getLogger("relay")
    log.info("folder relay %s, Mode %d, %s", VERSION, options.mode, options.config)
    for key, folder in start.folders_of(settings, options.mode).items():
        log.info("%-26s %s", key, folder)


def _refuse(error: BaseException) -> int:
    print(f"main.py: {str(error) or 'interrupted before it began'}", file=sys.stderr)
    return error.code if isinstance(error, StartupError) else _EXIT_CODES.get(type(error), 128 + signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="main.py", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "-Mode", "--mode", type=int, choices=(1, 2, 3, 4), help="1 ingest, 2 consume, 3 both, 4 soak test"
    )
    parser.add_argument("--config", type=Path, default=HOME / "Application.properties", help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="do what is there, then end")
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
