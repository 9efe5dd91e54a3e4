"""Which processes a mode runs, on which side, in which order."""

import argparse
import functools
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from app_properties import Settings
from pipeline import start
from pipeline.arguments import SOAK_MODE
from pipeline.local_aws import EmbeddedAws
from pipeline.process import Context, child
from pipeline.reconcile import ReconcileOptions
from pipeline.sides import Role, Side
from pipeline.soak import cleanup, feasible, options, run
from pipeline.values import EMBEDDED

_HINTS = 128
"""Offers that wait in the shared queue, of 1 to 32 paths each; QueuedForUpload holds the rest."""


@dataclass(frozen=True)
class Job:
    """What the supervisor is to run, and with which settings."""

    settings: Settings
    folders: Mapping[str, Path]
    """Key → the folder that is used."""
    services: Sequence[Side]
    phases: Sequence[Sequence[Side]]
    crossing: Sequence[str] = ()
    """The steps of a file's way that lead to another file system."""
    console: int = logging.NOTSET
    """The lowest level that the parent shows on the console."""


def prepare(asked: argparse.Namespace, settings: Settings, logging_conf: Path) -> Job:
    """All that has to be true before a process starts. StartupError, EmbeddedAwsError: it is not."""
    if asked.reconcile:
        wish = ReconcileOptions(asked.apply, tuple(asked.ledger), asked.accept_copies)
        return _beside(settings, logging_conf, "reconcile", wish)
    if asked.redrive:
        return _beside(settings, logging_conf, "redrive")
    if asked.mode != SOAK_MODE:
        return _relay(asked, settings, logging_conf)
    soak = options.read(asked)
    if soak.cleanup is not None:
        return _cleanup(soak, settings, logging_conf)
    return _soak(soak, asked.config, settings, logging_conf)


def _relay(asked: argparse.Namespace, settings: Settings, logging_conf: Path) -> Job:
    """First the check; then both sides at once, or, where the program is to end, one after the other."""
    locks = start.prepare(settings, asked.mode)  # makes the folders; the embedded server's lies in one of them
    context = Context(settings, logging_conf, _embedded(settings), asked.once)
    sides = _sides(context, locks)
    phases = [
        [_side("check", context, asked.mode in start.INGEST_MODES)],
        *([[side] for side in sides] if asked.once else [sides]),
    ]
    return Job(settings, start.folders_of(settings, asked.mode), _services(context), phases, locks.crossing)


def _soak(asked: options.SoakOptions, config: Path, settings: Settings, logging_conf: Path) -> Job:
    """The relay as in Mode 3, on places of the test's own, and beside it the feeder and the judge, who end it.

    What the relay has to say is shown by the judge: on a terminal its picture has the screen for itself.
    """
    asked = _agreed(asked, settings)
    feasible.check(asked, settings)
    test = run.begin(settings, asked, config)
    own = run.settings_for(test, settings)
    run.note(test, settings)
    locks = start.prepare(own, SOAK_MODE)
    context = Context(own, logging_conf, _embedded(own))
    relay = replace(context, console=logging.CRITICAL if sys.stdout.isatty() else logging.WARNING)
    soak = Side(
        "soak",
        (_role("judge", relay, test, leads=True), _role("feeder", relay, test)),
        share=_pipe,
        restarts=False,
        stop_seconds=test.stop_seconds(own),
    )
    lasting = [replace(side, lasts=True) for side in _sides(relay, locks)]
    phases = [[_side("check", context, True, test)], [*lasting, soak]]
    return Job(own, start.folders_of(own, SOAK_MODE), _services(relay), phases, locks.crossing, relay.console)


def _agreed(asked: options.SoakOptions, settings: Settings) -> options.SoakOptions:
    if settings.all_embedded:
        return asked
    from pipeline.soak.consent import agree  # noqa: PLC0415  # it brings boto3, which no other parent needs

    return agree(asked, settings)


def _cleanup(asked: options.SoakOptions, settings: Settings, logging_conf: Path) -> Job:
    """Remove what soak tests left. Those on an embedded S3 and SQS of their own need none to run."""
    left = cleanup.find(settings, asked.cleanup or options.ALL, in_place=asked.in_place)
    here = [test for test in left if not test.elsewhere]
    cleanup.lock(here, settings)  # held as long as this process lives
    needed = any(cleanup.needs_aws(test, settings) for test in here)
    context = Context(settings, logging_conf, _embedded(settings) if needed else None)
    return Job(settings, {}, _services(context), [[_side("cleanup", context, tuple(left))]])


def _beside(settings: Settings, logging_conf: Path, name: str, *work: object) -> Job:
    """One process that ends. It locks nothing: it runs beside the program."""
    context = Context(settings, logging_conf, _embedded(settings))
    return Job(settings, {}, _services(context), [[replace(_side(name, context, *work), restarts=False)]])


def _embedded(settings: Settings) -> EmbeddedAws | None:
    return EmbeddedAws.at(settings.own_folder / "embedded") if settings.aws_endpoint_url == EMBEDDED else None


def _services(context: Context) -> list[Side]:
    """What runs all the time: the embedded S3 and SQS, where it is selected."""
    return [Side("embedded", (_role("embedded", context),))] if context.embedded else []


def _sides(context: Context, locks: start.Locks) -> list[Side]:
    """Ingest and consume, those of them that the mode has."""
    settings = context.settings
    watcher = _role("watcher", context, leads=True)
    uploaders = _role("uploader", context, count=settings.upload_processes)
    pollers = _role("poller", context, count=settings.poll_processes, leads=True)
    ingest = Side("ingest", (watcher, uploaders), locks.ingest, functools.partial(_hints, _HINTS))
    consume = Side("consume", (pollers,), locks.consume)
    return [side for side in (ingest, consume) if side.lock_fds]


def _side(name: str, context: Context, *work: object) -> Side:
    """One process that has something to do and ends."""
    return Side(name, (_role(name, context, *work, leads=True),))


def _role(name: str, context: Context, *work: object, count: int = 1, leads: bool = False) -> Role:
    return Role(name, child, (name, context, *work), count, leads)


def _hints(size: int, context: SpawnContext) -> Any:
    return context.Queue(size)


def _pipe(context: SpawnContext) -> Any:
    return context.Pipe()
