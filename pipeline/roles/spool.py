"""The folders of the ingest side, opened for a process."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from app_properties import Settings
from pipeline import kernel, values
from pipeline.crossing import recover
from pipeline.folders import Folder, probe_within
from pipeline.process import Stop
from pipeline.roles.patience import opened
from pipeline.spool import Spool


def open_spool(settings: Settings, stop: Stop) -> Spool:
    """Watch, QueuedForUpload, UploadedToS3 and Failed; what is missing is made, moves that were cut off are ended.

    A folder that cannot be used any more, as it could at the start, is waited for. StopRequested if the program is to
    stop meanwhile.
    """
    return opened(stop, partial(_open, settings), (OSError,), partial(_describe, settings))


def _describe(settings: Settings, error: Exception) -> str:
    name = getattr(error, "filename", None)
    where = name if os.path.isabs(str(name)) else settings.queued
    return f"waiting: {where} cannot be used: {getattr(error, 'strerror', error)}; let this user write to it"


def _open(settings: Settings) -> Spool:
    paths = (settings.watch, settings.queued, settings.uploaded, settings.failed)
    for path in paths:  # there since the start, unless somebody removed one meanwhile
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    crosses = settings.cross_device_moves
    # Where they must not cross, all share the file system of one.
    facilities = _of_each(paths) if crosses else [probe_within(settings.queued)] * len(paths)
    with contextlib.ExitStack() as stack:
        folders = []
        for path, found in zip(paths, facilities, strict=True):
            folders.append(Folder(path, durable=settings.durable, facilities=found, takes_copies=crosses))
            stack.callback(folders[-1].close)
        watch, queued, uploaded, failed = folders
        for target in (queued, uploaded, failed) if crosses else ():
            recover(target, (watch, queued))
        stack.pop_all()  # they stay open
    return Spool(watch, queued, uploaded, failed, keeps_names=settings.on_name_conflict != values.VERSION)


def _of_each(paths: Sequence[Path]) -> list[kernel.Facilities]:
    """What each has; in Watch nothing is tried that has to be made there: moves out of it are QueuedForUpload's."""
    watch, *others = paths
    queued, *more = map(probe_within, others)
    with contextlib.closing(Folder(watch)) as top:
        own = kernel.probe(top.fd, moves=False)
    # One batch has files of Watch and folders of both.
    return [replace(own, noreplace=queued.noreplace, together=own.together and queued.together), queued, *more]
