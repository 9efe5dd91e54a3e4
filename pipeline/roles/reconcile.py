"""The process that looks for what was never delivered, and announces it again if that is asked for."""

import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from os.path import realpath

from app_properties import Settings
from aws_util import Aws, crc64nvme
from pipeline.landing import LEDGER
from pipeline.ledgers import Ledgers, ReadLedger
from pipeline.link import Link
from pipeline.names import human_size
from pipeline.ports import EXIT_LOSS, MessageQueue, RelayError, StartupError
from pipeline.process import Context, Stop, StopRequested
from pipeline.reconcile import TO_ANNOUNCE, Fate, Inbox, ReconcileOptions, Reconciliation, Rules
from pipeline.roles.clients import READY_SECONDS, aws_of
from pipeline.undelivered import Stored, message_of, send_all
from pipeline.values import OVERWRITE

log = logging.getLogger(__name__)

_SHOWN = 100
"""Lines on the console; the log has all of them."""
_DAY = 86_400
_CLOCKS = 3_600
"""What the clocks of S3 and of a consumer may differ by; S3 refuses who is a quarter of an hour off."""


def run(context: Context, _link: Link, stop: Stop, asked: ReconcileOptions) -> None:
    """Exit code 1: something is missing, or it is not known whether. StartupError where it cannot be found out."""
    try:
        with stop.waiting():
            if context.embedded:
                context.embedded.wait_ready(READY_SECONDS)
            done = _reconcile(context, asked)
    except StopRequested:
        log.warning("stopped before everything was looked at")
        done = False
    except StartupError:
        raise
    except RelayError as error:
        raise StartupError(str(error)) from error
    if not done:
        raise SystemExit(EXIT_LOSS)


def _reconcile(context: Context, asked: ReconcileOptions) -> bool:
    settings, aws = context.settings, aws_of(context)
    with contextlib.ExitStack() as stack:
        log.info("bucket       s3://%s/%s", settings.aws_s3_bucket, settings.aws_s3_folder)
        own, ledgers = _ledgers(settings, asked)
        stack.callback(ledgers.close)
        folder = settings.downloaded if settings.folder_for_downloaded_files else None
        inbox = Inbox(folder, own, crc64nvme, flat=settings.folder_layout == "flat")
        stack.callback(inbox.close)
        queue = _queue(aws, asked)
        store = aws.store(settings.own_folder / "multipart", 4, writes=False)
        stack.callback(store.close)
        found = Reconciliation(store, ledgers, inbox.holds, rules_of(settings, time.time()))
        missing = _shown(found.missing())
        if asked.apply and queue:
            refused = _send(settings, store.bucket, queue, _once_more(queue, asked, missing))
        else:
            refused = sum(0 for _ in missing)
    _sum_up(found.counts, asked, refused)
    return not (found.counts[Fate.UNSEEN] or refused or (_wanted(found.counts) and not asked.apply))


def _ledgers(settings: Settings, asked: ReconcileOptions) -> tuple[ReadLedger | None, Ledgers]:
    """This machine's own ledger, if there is one; and it together with those of the other consumers."""
    path = settings.downloaded / LEDGER
    own = ReadLedger(path) if settings.folder_for_downloaded_files and path.exists() else None
    others = {realpath(other): other for other in asked.ledgers}
    if own:
        others.pop(realpath(path), None)
    ledgers = [*([own] if own else []), *map(ReadLedger, others.values())]
    log.info("ledgers      %s", ", ".join(str(ledger.path) for ledger in ledgers) or "none")
    return own, Ledgers(ledgers)


def _queue(aws: Aws, asked: ReconcileOptions) -> MessageQueue | None:
    """The queue; None if there is none and none is needed. StartupError (69) if what it holds is in the way."""
    queue = aws.queue() if asked.apply else next(iter(aws.existing_queues()), None)
    if queue:
        _refuse_used(queue, asked)
    return queue


def _refuse_used(queue: MessageQueue, asked: ReconcileOptions) -> None:
    depth = queue.depth()
    if count := depth.visible + depth.in_flight + depth.delayed:
        holds = (
            f"the queue holds {count} messages ({depth.visible} visible, {depth.in_flight} in flight, {depth.delayed} "
            "delayed), which may announce the very files that are missing"
        )
        if asked.apply and not asked.accept_copies:
            raise StartupError(f"{holds}; let the consumers empty it first, or say --accept-copies")
        log.warning("%s", holds)
    if depth.dead:
        log.warning("%d messages lie among the dead letters, which may announce some of them", depth.dead)


def rules_of(settings: Settings, now: float) -> Rules:
    """Which objects are looked at, `now` in seconds since the epoch."""
    days = settings.ledger_days
    return Rules(
        settings.aws_s3_folder,
        since=now - days * _DAY + _CLOCKS if days else 0.0,
        until=now - settings.reconcile_min_age,
        versions=settings.on_name_conflict == OVERWRITE,
    )


def _shown(missing: Iterable[Stored]) -> Iterator[Stored]:
    for count, stored in enumerate(missing):
        level = logging.INFO if count < _SHOWN else logging.DEBUG
        age = _age(time.time() - stored.listed.modified)
        log.log(level, "missing   %s  %s  %s old", stored.object.key, human_size(stored.object.size), age)
        if count == _SHOWN:
            log.info("missing   … more; the log names all of them")
        yield stored


def _once_more(queue: MessageQueue, asked: ReconcileOptions, missing: Iterable[Stored]) -> Iterator[Stored]:
    """Look at the queue again before the first is sent: to find it may have taken hours."""
    for number, stored in enumerate(missing):
        if number == 0:
            _refuse_used(queue, asked)
        yield stored


def _send(settings: Settings, bucket: str, queue: MessageQueue, missing: Iterable[Stored]) -> int:
    """Announce them; how many were refused. A FIFO queue drops what has the name of an earlier message."""
    once = secrets.token_hex(4)
    form, region = settings.aws_sqs_message_format, settings.aws_region
    messages = (
        message_of(stored, bucket, form, region, f"{stored.origin.drop_id}-{once}-{number}")
        for number, stored in enumerate(missing)
    )
    refused = 0
    for message, outcome in send_all(queue, messages):
        if outcome is not None:
            refused += 1
            log.error("cannot be announced: %s: %s", message.body[:200], outcome)
    return refused


def _sum_up(counts: Counter[Fate], asked: ReconcileOptions, refused: int) -> None:
    found = ", ".join(f"{counts[fate]} {fate}" for fate in Fate if counts[fate])
    log.info("looked at %d objects: %s", counts.total(), found or "nothing is there")
    if asked.apply:
        log.info("announced again: %d; refused: %d", _wanted(counts) - refused, refused)
    elif _wanted(counts):
        log.info("nothing was announced; --apply does that")


def _wanted(counts: Counter[Fate]) -> int:
    return sum(counts[fate] for fate in TO_ANNOUNCE)


def _age(seconds: float) -> str:
    """For a person: 42 min, 5 h, 3 d."""
    for unit, size in (("d", _DAY), ("h", 3600)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 60:.0f} min"
