"""After a kill of the embedded server its queues are gone: announce again what was never delivered.

The prefix says what was stored, the ledger what arrived. What was announced, received or deleted meanwhile is not
known, so some of it is announced twice; the ledger recognises that.
"""

import contextlib
import logging
import time
from collections.abc import Iterator

from app_properties import Settings
from aws_util import Aws
from pipeline.landing import LEDGER
from pipeline.ledgers import ReadLedger
from pipeline.names import is_of_program
from pipeline.ports import Listed, Message, ObjectStore, RelayError
from pipeline.undelivered import look_at, message_of, send_all

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 10.0


def announce_undelivered(settings: Settings, aws: Aws) -> None:
    """Make the queue and announce every object of ours that was not delivered. RelayError if that fails."""
    queue = aws.queue()
    store = aws.store(settings.own_folder / "multipart", 4, writes=False)
    count = 0
    with _ledger(settings) as ledger:
        for _, outcome in send_all(queue, _messages(settings, store, ledger)):
            if outcome is not None:
                raise outcome
            count += 1
    log.info("announced %d objects again that were not delivered before the embedded server was killed", count)


@contextlib.contextmanager
def _ledger(settings: Settings) -> Iterator[ReadLedger | None]:
    path = settings.downloaded / LEDGER
    if not settings.folder_for_downloaded_files or not path.exists():
        yield None
        return
    with contextlib.closing(ReadLedger(path)) as ledger:
        yield ledger


def _messages(settings: Settings, store: ObjectStore, ledger: ReadLedger | None) -> Iterator[Message]:
    for _, found in look_at(store, settings.aws_s3_folder, _candidates(settings, store)):
        if isinstance(found, RelayError):
            raise found
        if found is not None and not (ledger and ledger.has(found.delivery_id)):
            yield message_of(found, store.bucket, settings.aws_sqs_message_format, settings.aws_region)


def _candidates(settings: Settings, store: ObjectStore) -> Iterator[Listed]:
    folder = settings.aws_s3_folder
    said = time.monotonic()
    for looked, listed in enumerate(store.listed(f"{folder}/" if folder else "")):
        if time.monotonic() - said >= _PROGRESS_SECONDS:
            said = time.monotonic()
            log.info("repairing the queue of the embedded server: looked at %d objects", looked)
        if not is_of_program(folder, listed.key):
            yield listed
