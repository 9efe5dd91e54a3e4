"""After a kill of the embedded server its queues are gone: announce again what was never delivered.

The prefix says what was stored, the ledger what arrived. What was announced, received or deleted meanwhile is not
known, so some of it is announced twice; the ledger recognises that.
"""

import logging
import time
from collections.abc import Iterator

from app_properties import Settings
from aws_util import Aws
from pipeline.drop import Origin, delivery_id, format_time, origin_of
from pipeline.landing import LEDGER
from pipeline.ledger import Ledger
from pipeline.names import NameRefusedError
from pipeline.notice import Event, Notice, encode
from pipeline.ports import Message, ObjectStore, StoredObject

log = logging.getLogger(__name__)

_BATCH = 10


def announce_undelivered(settings: Settings, aws: Aws) -> None:
    """Make the queue and announce every object of ours that the ledger lacks. RelayError if that fails."""
    queue = aws.queue()
    store = aws.store(settings.own_folder / "multipart", 4, writes=False)
    messages = list(_messages(settings, store))
    for start in range(0, len(messages), _BATCH):
        for outcome in queue.send(messages[start : start + _BATCH]):
            if outcome is not None:
                raise outcome
    log.info("announced %d objects again that were not delivered before the embedded server was killed", len(messages))


def _messages(settings: Settings, store: ObjectStore) -> Iterator[Message]:
    folder = settings.aws_s3_folder
    path = settings.downloaded / LEDGER
    ledger = Ledger(path) if settings.folder_for_downloaded_files and path.exists() else None
    for key in store.keys(f"{folder}/" if folder else ""):
        stored = store.look(key)
        if stored is None:
            continue
        try:
            origin = origin_of(stored, store.bucket, folder)
        except NameRefusedError:
            continue  # not one of ours
        if origin.is_ours and (ledger is None or ledger.find(delivery_id(origin.drop_id, key)) is None):
            yield _message(stored, origin, store.bucket, settings)
    if ledger is not None:
        ledger.close()


def _message(stored: StoredObject, origin: Origin, bucket: str, settings: Settings) -> Message:
    notice = Notice(
        bucket,
        stored.key,
        path=origin.path,
        size=stored.size,
        crc64nvme=origin.crc64nvme,
        drop_id=origin.drop_id,
        mtime=None if origin.mtime_ns is None else format_time(origin.mtime_ns),
        etag=stored.etag,
        version_id=stored.version_id,
        sequencer=f"{time.time_ns():016X}",
    )
    when = format_time(time.time_ns())[:23] + "Z"
    return encode(notice, settings.aws_sqs_message_format, Event(settings.aws_region, when, stored.request_id))
