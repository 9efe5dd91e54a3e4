"""The process that sends dead letters and kept messages back to the queue."""

import logging

from pipeline.link import Link
from pipeline.ports import EXIT_LOSS, RelayError, StartupError
from pipeline.process import Context, Stop
from pipeline.redrive import Redrive, Tally
from pipeline.roles.clients import READY_SECONDS, aws_of

log = logging.getLogger(__name__)


def run(context: Context, _link: Link, stop: Stop) -> None:
    """Send back what is there now, and end. Exit code 1: some of it was refused. StartupError: SQS cannot be used."""
    if context.embedded:
        with stop.waiting():
            context.embedded.wait_ready(READY_SECONDS)
    tally = Tally()
    try:
        _redrive(context, stop, tally)
    except RelayError as error:
        raise StartupError(str(error)) from error
    finally:
        log.info("%s", tally)
    if tally.refused:
        raise SystemExit(EXIT_LOSS)


def _redrive(context: Context, stop: Stop, tally: Tally) -> None:
    settings = context.settings
    with stop.waiting():
        queues = aws_of(context).existing_queues()
    if not queues:
        raise StartupError(f"there is no queue {settings.aws_sqs!r}; start the program once, which makes it")
    queue, *dead_letters = queues
    redrive = Redrive(queue, tally, waiting=stop.waiting)
    started_ms = queue.now_ms()
    redrive.send_kept(settings.failed_messages)
    for dead in dead_letters:
        redrive.send_dead_letters(dead, started_ms, settings.visibility_seconds)
