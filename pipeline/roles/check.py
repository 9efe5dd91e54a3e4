"""The first process: sees that bucket and queue answer, and tells the person where everything is."""

import logging

from pipeline.aws.sqs import Queue
from pipeline.link import Link
from pipeline.parent import follow_parent
from pipeline.ports import EXIT_RUNNING, RelayError, StartupError
from pipeline.process import Context, Stop
from pipeline.roles.clients import READY_SECONDS, aws_of
from pipeline.soak.run import Run

log = logging.getLogger(__name__)


def run(context: Context, _link: Link, stop: Stop, sends: bool, soak: Run | None = None) -> None:
    """StartupError where a person has to do something first. `sends`: the program uploads, too.

    A queue that cannot be reached now is no reason to let files wait in Watch, unless the program is to end.
    """
    log.info("kernel       %s", follow_parent())  # it is followed already; this says by which way
    if context.embedded:
        with stop.waiting():
            context.embedded.wait_ready(READY_SECONDS)
    settings, aws = context.settings, aws_of(context)
    credentials = aws.describe_credentials()
    with stop.waiting():  # an endpoint may take its time; a queue that was made just before is found the next time
        url = aws.check(sends=sends, patient=not (context.once or soak))
        if soak and not soak.options.in_place:
            _refuse_used(aws.queue())
    s3, sqs = aws.describe_endpoint("s3"), aws.describe_endpoint("sqs")
    log.info("bucket       s3://%s/%s", settings.aws_s3_bucket, settings.aws_s3_folder)
    log.info("queue        %s  (messages: %s)", url or settings.aws_sqs, settings.aws_sqs_message_format)
    log.info("endpoint     %s", s3 if s3 == sqs else f"{s3} (S3), {sqs} (SQS)")
    log.info("credentials  %s", credentials)
    log.info("transfer     %s", aws.describe_engine())
    if soak:
        log.info("soak test    %s, seed %d; Ctrl-C ends it, drains, and reports", soak.id, soak.seed)


def _refuse_used(queue: Queue) -> None:
    """What another soak test announced would be taken for hopeless here, and be buried."""
    try:
        depth = queue.depth()
    except RelayError as error:
        raise StartupError(str(error)) from error
    if count := depth.visible + depth.in_flight:
        raise StartupError(
            f"the queue of soak tests, {queue.url}, holds {count} messages: another one runs on it, or left them; "
            "wait for its end, or remove what was left with -Mode 4 --cleanup",
            EXIT_RUNNING,
        )
