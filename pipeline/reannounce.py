"""After a kill of the embedded server its queues are gone: announce again what was never delivered.

The prefix says what was stored, the ledger what arrived. What was announced, received or deleted meanwhile is not
known, so some of it is announced twice; the ledger recognises that.
"""

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator

from app_properties import Settings
from aws_util import Aws
from pipeline.drop import delivery_id, origin_of
from pipeline.landing import LEDGER
from pipeline.ledger import Ledger
from pipeline.names import NameRefusedError, is_of_soak
from pipeline.notice import announce
from pipeline.ports import Message, ObjectStore

log = logging.getLogger(__name__)

_BATCH = 10
_PROGRESS_SECONDS = 10.0


def announce_undelivered(settings: Settings, aws: Aws) -> None:
    """Make the queue and announce every object of ours that was not delivered. RelayError if that fails."""
    queue = aws.queue()
    store = aws.store(settings.own_folder / "multipart", 4, writes=False)
    count = 0
    with _ledger(settings) as ledger:
        messages = _messages(settings, store, ledger)
        while batch := list(itertools.islice(messages, _BATCH)):
            for outcome in queue.send(batch):
                if outcome is not None:
                    raise outcome
            count += len(batch)
    log.info("announced %d objects again that were not delivered before the embedded server was killed", count)


@contextlib.contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger | None]:
    path = settings.downloaded / LEDGER
    if not settings.folder_for_downloaded_files or not path.exists():
        yield None
        return
    with contextlib.closing(Ledger(path)) as ledger:
        yield ledger


def _messages(settings: Settings, store: ObjectStore, ledger: Ledger | None) -> Iterator[Message]:
    folder = settings.aws_s3_folder
    said = time.monotonic()
    for looked, key in enumerate(store.keys(f"{folder}/" if folder else "")):
        if time.monotonic() - said >= _PROGRESS_SECONDS:
            said = time.monotonic()
            log.info("repairing the queue of the embedded server: looked at %d objects", looked)
        stored = None if is_of_soak(folder, key) else store.look(key)
        if stored is None:
            continue
        try:
            origin = origin_of(stored, store.bucket, folder)
        except NameRefusedError:
            continue  # not one of ours
        if origin.is_ours and not _is_delivered(ledger, delivery_id(origin.drop_id, key)):
            form, now = settings.aws_sqs_message_format, time.time_ns()
            yield announce(stored, store.bucket, origin, form, region=settings.aws_region, now_ns=now)


def _is_delivered(ledger: Ledger | None, drop: str) -> bool:
    """Not while it is `publishing`: that is not done, and the message that would have it done is gone."""
    row = ledger.find(drop) if ledger is not None else None
    return row is not None and row.state == "delivered"
