"""Store and queue of a worker process."""

import logging
import time

from aws_util import Aws
from pipeline.aws.classic import ClassicStore
from pipeline.aws.sqs import Queue
from pipeline.local_aws import EmbeddedAwsTimeoutError
from pipeline.ports import RelayError
from pipeline.process import Context, Stop

log = logging.getLogger(__name__)

READY_SECONDS = 60.0
"""How long the embedded S3 and SQS may be silent; while it says that it repairs its queue it is waited for."""


def aws_of(context: Context) -> Aws:
    """Where this program's S3 and SQS are."""
    return Aws(context.settings, context.embedded.url if context.embedded else "")


def connect(context: Context, stop: Stop, concurrency: int, *, writes: bool) -> tuple[ClassicStore, Queue]:
    """The clients of this process, made once. An endpoint that went away since the start is waited for."""
    aws, journal = aws_of(context), context.settings.own_folder / "multipart"
    failures = 0
    while True:
        try:
            if context.embedded:
                with stop.waiting():
                    context.embedded.wait_ready(READY_SECONDS)
            return aws.store(journal, concurrency, writes=writes), aws.queue(concurrency)
        except (RelayError, EmbeddedAwsTimeoutError) as error:
            failures += 1
            log.log(logging.ERROR if failures == 1 else logging.DEBUG, "waiting: %s", error)
        with stop.waiting():
            time.sleep(min(30.0, failures))
