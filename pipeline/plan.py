"""Which processes a mode runs, on which side, in which order."""

import functools
from collections.abc import Sequence
from multiprocessing.context import SpawnContext
from typing import Any

from pipeline.process import Context, child
from pipeline.sides import Role, Side
from pipeline.start import Locks

_HINTS = 4096
"""Paths that wait in the shared queue; QueuedForUpload holds the rest."""


def services(context: Context) -> list[Side]:
    """What runs all the time: the embedded S3 and SQS, where it is selected."""
    return [Side("embedded", (_role("embedded", context),))] if context.embedded else []


def phases(context: Context, locks: Locks) -> Sequence[Sequence[Side]]:
    """First the check; then both sides at once, or, where the program is to end, one after the other."""
    settings = context.settings
    check = Side("check", (_role("check", context, leads=True),))
    watcher = _role("watcher", context, leads=True)
    uploaders = _role("uploader", context, settings.upload_processes)
    ingest = Side("ingest", (watcher, uploaders), locks.ingest, functools.partial(_hints, _HINTS))
    consume = Side("consume", (_role("poller", context, settings.poll_processes, leads=True),), locks.consume)
    sides = [side for side in (ingest, consume) if side.lock_fds]
    return [[check], *([[side] for side in sides] if context.once else [sides])]


def _role(name: str, context: Context, count: int = 1, *, leads: bool = False) -> Role:
    return Role(name, child, (name, context), count, leads)


def _hints(size: int, context: SpawnContext) -> Any:
    return context.Queue(size)
