"""The folder of the consume side, opened for a process."""

import contextlib
import logging
import os
import sqlite3
from functools import partial

from app_properties import Settings
from aws_util import crc64nvme
from pipeline.command import Command
from pipeline.folders import Folder, probe_within
from pipeline.landing import Landing
from pipeline.process import Stop
from pipeline.roles.patience import opened

log = logging.getLogger(__name__)


def open_landing(settings: Settings, stop: Stop) -> Landing:
    """DownloadedFromS3 with its ledger, made if missing; what a kill cut off there is ended.

    One that cannot be written, for want of room for instance, is waited for. StopRequested if the program is to stop
    meanwhile.
    """
    return opened(stop, partial(_open, settings), (OSError, sqlite3.OperationalError), partial(_describe, settings))


def _describe(settings: Settings, error: Exception) -> str:
    name = getattr(error, "filename", None)
    where = name if os.path.isabs(str(name)) else settings.downloaded
    problem = getattr(error, "strerror", error)
    return (
        f"waiting, nothing is lost: cannot write to {where}: {problem}; free space or make it writable, receiving then "
        "goes on by itself"
    )


def _open(settings: Settings) -> Landing:
    settings.downloaded.mkdir(mode=0o750, parents=True, exist_ok=True)  # it may have been removed since the start
    facilities = probe_within(settings.downloaded)
    with contextlib.ExitStack() as stack:
        folder = Folder(settings.downloaded, durable=settings.durable, facilities=facilities)
        stack.callback(folder.close)
        landing = Landing(folder, crc64nvme, _command(settings))
        stack.callback(landing.close)
        if recovered := landing.recover():
            log.info("gave their names to %d downloads that were cut off right before", recovered)
        if not landing.command and (waived := landing.ledger.waive_commands()):
            log.info(
                "commandAfterDownload is empty now: %d files get no command any more, for which it was due", waived
            )
        stack.pop_all()  # they stay open
    return landing


def _command(settings: Settings) -> Command | None:
    words = settings.command_after_download
    if not words:
        return None
    return Command(words, settings.command_timeout_seconds, settings.command_tries, settings.command_concurrency)
