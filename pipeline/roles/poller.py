"""An SQS poller process."""

import functools

from aws_util import crc64nvme
from pipeline.acceptance import Acceptance
from pipeline.dead_letters import keep_message
from pipeline.forgetting import Forgetting
from pipeline.link import Link
from pipeline.poller import Poller, log
from pipeline.process import Context, Stop
from pipeline.roles.clients import connect
from pipeline.roles.landing import open_landing
from pipeline.room import Room

_WAIT_SECONDS = 20  # the longest poll SQS knows
_ONCE_WAIT_SECONDS = 2
_ONCE_POLLS = 3


def run(context: Context, _link: Link, stop: Stop) -> None:
    """Receive until SIGTERM; with `once` until three polls in a row brought nothing and nothing is in hand."""
    settings = context.settings
    store, messages = connect(context, stop, settings.download_concurrency)
    landing = open_landing(settings, stop)
    log.info("kernel       %s", landing.folder.facilities.describe())
    room = Room(landing.folder, largest=settings.max_object_bytes, spare=settings.min_free_bytes)
    poller = Poller(
        messages,
        store,
        landing,
        Acceptance(
            store.bucket,
            settings.aws_s3_folder,
            crc64nvme,
            flat=settings.folder_layout == "flat",
            outside=settings.accept_keys_outside_folder,
        ),
        functools.partial(keep_message, settings.failed_messages),
        concurrency=settings.download_concurrency,
        visibility=settings.visibility_seconds,
        room=room.take,
        waiting=stop.waiting,
    )
    forgetting = Forgetting(landing.ledger, landing.folder, settings.ledger_days)
    forgetting.start()
    wait = _ONCE_WAIT_SECONDS if context.once else _WAIT_SECONDS
    empty = 0
    try:
        while not stop.requested and not (context.once and empty >= _ONCE_POLLS):
            if not landing.folder.is_current():
                log.error(
                    "removed or replaced while the program ran: %s; this process ends, the next one uses what is there "
                    "now",
                    settings.downloaded,
                )
                raise SystemExit(1)
            got = poller.step(wait, settings.sleep_poll_sqs)
            empty = empty + 1 if got == 0 and poller.idle() else 0
    finally:
        forgetting.close()
        poller.close(settings.shutdown_seconds)
        store.close()
