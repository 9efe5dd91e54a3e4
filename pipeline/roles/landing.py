"""The folder of the consume side, opened for a process."""

import contextlib
import logging
import os
import sqlite3
import time

from app_properties import Settings
from aws_util import crc64nvme
from pipeline.command import Command
from pipeline.folders import Folder, probe_within
from pipeline.landing import Landing
from pipeline.process import Stop

log = logging.getLogger(__name__)

_LONGEST_SECONDS = 5.0
"""Between two tries; a person who makes room waits for it."""


def open_landing(settings: Settings, stop: Stop) -> Landing:
    """DownloadedFromS3 with its ledger, made if missing; what a kill cut off there is ended.

    One that cannot be written, for want of room for instance, is waited for. StopRequested if the program is to stop
    meanwhile.
    """
    failures = 0
    while True:
        try:
            return _open(settings)
        except (OSError, sqlite3.OperationalError) as error:
            failures += 1
            level = logging.ERROR if failures == 1 else logging.DEBUG
            where = error.filename if isinstance(error, OSError) and os.path.isabs(str(error.filename)) else None
            problem = error.strerror if isinstance(error, OSError) else error
            log.log(
                level,
                "waiting, nothing is lost: cannot write to %s: %s; free space or make it writable, receiving then goes "
                "on by itself",
                where or settings.downloaded,
                problem,
            )
        with stop.waiting():
            time.sleep(min(_LONGEST_SECONDS, failures))


def _open(settings: Settings) -> Landing:
    settings.downloaded.mkdir(mode=0o750, parents=True, exist_ok=True)  # it may have been removed since the start
    facilities = probe_within(settings.downloaded)
    with contextlib.ExitStack() as opened:
        folder = Folder(settings.downloaded, durable=settings.durable, facilities=facilities)
        opened.callback(folder.close)
        landing = Landing(folder, crc64nvme, _command(settings))
        opened.callback(landing.close)
        if recovered := landing.recover():
            log.info("gave their names to %d downloads that were cut off right before", recovered)
        if not landing.command and (waived := landing.ledger.waive_commands()):
            log.info(
                "commandAfterDownload is empty now: %d files get no command any more, for which it was due", waived
            )
        opened.pop_all()  # they stay open
    return landing


def _command(settings: Settings) -> Command | None:
    words = settings.command_after_download
    if not words:
        return None
    return Command(words, settings.command_timeout_seconds, settings.command_tries, settings.command_concurrency)
