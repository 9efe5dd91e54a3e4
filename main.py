"""Relay files from a folder to S3, announce them on SQS, and bring them to a folder on any other machine."""

import argparse
import faulthandler
import logging
import os
import signal
import sys
from pathlib import Path

import app_logger
import app_properties
from pipeline import arguments, plan, start
from pipeline.local_aws import EmbeddedAwsError
from pipeline.names import printable
from pipeline.ports import EXIT_CONFIG, EXIT_RUNNING, EXIT_UNAVAILABLE, StartupError
from pipeline.supervisor import Supervisor

VERSION = "0.1.0"
HOME = Path(__file__).resolve().parent


def main(words: list[str]) -> int:
    """Arguments → settings → logging → supervisor → exit code."""
    faulthandler.register(signal.SIGUSR1)  # as in every child; without it the signal would end the program
    options = arguments.read(words, __doc__ or "", VERSION, HOME / "Application.properties")
    try:
        settings = app_properties.load(options.config, options.mode, HOME)
        job = plan.prepare(options, settings, HOME / "logging.conf")
        _open_log(job.settings)
    except (app_properties.PropertiesError, StartupError, EmbeddedAwsError) as error:
        return _refuse(str(error), error.code)
    except KeyboardInterrupt:
        return _refuse("interrupted before it began", 128 + signal.SIGINT)
    _greet(options, job)
    app_logger.show_on_console(job.console)
    supervisor = Supervisor(job.settings.shutdown_seconds, frozenset({EXIT_UNAVAILABLE, EXIT_RUNNING, EXIT_CONFIG}))
    code = supervisor.run(job.services, job.phases)
    logging.getLogger("relay").info("stopped, exit code %d", code)
    return code


def _open_log(settings: app_properties.Settings) -> None:
    try:
        settings.log_file.parent.mkdir(parents=True, exist_ok=True)
        settings.log_file.open("ab").close()
        app_logger.configure(HOME / "logging.conf", settings.log_file, "main")
    except OSError as error:
        text = f"[General] logFilePath: {settings.log_file} cannot be written: {error}"
        raise StartupError(text, EXIT_CONFIG) from error


def _greet(options: argparse.Namespace, job: plan.Job) -> None:
    log = logging.getLogger("relay")
    work = f"Mode {options.mode}" if options.mode else "redrive" if options.redrive else "reconcile"
    log.info("folder relay %s, %s, %s", VERSION, work, options.config)
    for key, place in {"logFilePath": job.settings.log_file, **job.folders}.items():
        real = os.path.realpath(place)
        log.info("%-26s %s", key, place if real == str(place) else f"{place} → {real}")
    for step in job.crossing:
        log.info("another file system, files are copied: %s", step)
    for exposure in start.exposed(options.config, job.settings, job.folders):
        log.warning("%s", exposure)


def _refuse(text: str, code: int) -> int:
    print(f"main.py: {printable(text)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
