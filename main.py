"""Relay files from a folder to S3, announce them on SQS, and bring them to a folder on any other machine."""

import argparse
import faulthandler
import logging
import signal
import sys
from pathlib import Path

import app_logger
import app_properties
from pipeline import plan, start
from pipeline.local_aws import EmbeddedAws, EmbeddedAwsError
from pipeline.ports import EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE, StartupError
from pipeline.process import Context
from pipeline.supervisor import Supervisor

VERSION = "0.1.0"
HOME = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Arguments → settings → logging → supervisor → exit code."""
    faulthandler.register(signal.SIGUSR1)  # as in every child; without it the signal would end the program
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.mode is None:
        parser.print_help()
        return EXIT_USAGE
    if options.mode == 4:
        return _refuse("Mode 4, the self-feeding soak test, is not part of this version", EXIT_USAGE)
    try:
        settings = app_properties.load(options.config, options.mode, HOME)
        locks = start.prepare(settings, options.mode)
        embedded = EmbeddedAws.at(settings.own_folder / "embedded") if settings.aws_endpoint_url == "embedded" else None
        _open_log(settings)
    except (app_properties.PropertiesError, StartupError, EmbeddedAwsError) as error:
        return _refuse(str(error), error.code)
    except KeyboardInterrupt:
        return _refuse("interrupted before it began", 128 + signal.SIGINT)
    _greet(options, settings)
    context = Context(settings, HOME / "logging.conf", embedded, options.once)
    supervisor = Supervisor(settings.shutdown_seconds, frozenset({EXIT_UNAVAILABLE, EXIT_CONFIG}))
    code = supervisor.run(plan.services(context), plan.phases(context, locks))
    logging.getLogger("relay").info("stopped, exit code %d", code)
    return code


def _open_log(settings: app_properties.Settings) -> None:
    try:
        app_logger.configure(HOME / "logging.conf", settings.log_file, "main")
    except OSError as error:
        text = f"[General] logFilePath: {settings.log_file} cannot be written: {error}"
        raise StartupError(text, EXIT_CONFIG) from error


def _greet(options: argparse.Namespace, settings: app_properties.Settings) -> None:
    log = logging.getLogger("relay")
    log.info("folder relay %s, Mode %d, %s", VERSION, options.mode, options.config)
    for key, place in {"logFilePath": settings.log_file, **start.folders_of(settings, options.mode)}.items():
        log.info("%-26s %s", key, place)


def _refuse(text: str, code: int) -> int:
    print(f"main.py: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="main.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("-Mode", "--mode", type=int, choices=(1, 2, 3, 4), help="1 ingest, 2 consume, 3 both, 4 soak")
    parser.add_argument("--config", type=Path, default=HOME / "Application.properties", help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="do what is there, then end")
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
