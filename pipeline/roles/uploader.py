"""An uploader process."""

import functools
import queue
import socket
from typing import Any

from aws_util import crc64nvme, crc64nvme_of
from pipeline import kernel
from pipeline.keys import Keys, host_field
from pipeline.link import Link
from pipeline.process import Context, Stop
from pipeline.roles.clients import connect_to_send
from pipeline.roles.spool import open_spool
from pipeline.storing import Checksums, Route
from pipeline.uploader import Uploader, log


def run(context: Context, link: Link, stop: Stop) -> None:
    """Upload what is offered until SIGTERM, then finish what is in hand."""
    settings = context.settings
    store, messages = connect_to_send(context, stop, settings.upload_concurrency)
    if abandoned := store.abandon_uploads(settings.multipart_max_age_hours * 3600):
        log.info("aborted %d multipart uploads that an earlier run left", abandoned)
    spool = open_spool(settings, stop)
    believed = spool.queued.facilities.lease and settings.completion_check == "auto"
    uploader = Uploader(
        spool,
        store,
        messages,
        Route(
            Keys(settings.aws_s3_folder, settings.aws_s3_key_template, host_field(socket.gethostname())),
            settings.aws_sqs_message_format,
            settings.aws_region,
            settings.on_name_conflict,
            dict(settings.aws_s3_extra_metadata),
        ),
        Checksums(crc64nvme, crc64nvme_of),
        concurrency=settings.upload_concurrency,
        report=link.report,
        waiting=stop.waiting,
        is_being_written=kernel.is_being_written if believed else lambda _fd: None,
    )
    try:
        for path in link.suspects:
            if not stop.requested:
                uploader.step_alone(path)
        hint = functools.partial(_hint, link.shared)
        while not stop.requested:
            uploader.step(hint, settings.sleep_upload_to_s3)
    finally:
        uploader.close(settings.shutdown_seconds)
        store.close()


def _hint(hints: Any, seconds: float) -> tuple[str, ...]:
    try:
        paths: tuple[str, ...] = hints.get(timeout=max(0.001, seconds))
    except queue.Empty:
        return ()
    return paths
