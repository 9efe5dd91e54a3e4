"""Store and queue of a worker process."""

import logging
import time

from aws_util import Aws
from pipeline.aws.sqs import Queue
from pipeline.aws.store import S3Store
from pipeline.local_aws import EmbeddedAwsTimeoutError
from pipeline.ports import RelayError, StartupError
from pipeline.process import Context, Stop

_JUDGES_CONNECTIONS = 8
_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)

READY_SECONDS = 60.0
"""How long the embedded S3 and SQS may be silent; while it says that it repairs its queue it is waited for."""


def aws_of(context: Context) -> Aws:
    """Where this program's S3 and SQS are."""
    return Aws(context.settings, context.embedded.url if context.embedded else "")


def connect(context: Context, stop: Stop, concurrency: int, *, writes: bool) -> tuple[S3Store, Queue]:
    """The clients of this process, made once. An endpoint that went away since the start is waited for.

    StopRequested if the program is to stop meanwhile.
    """
    failures = 0
    while True:
        try:
            if context.embedded:
                with stop.waiting():
                    context.embedded.wait_ready(READY_SECONDS)
            return _clients(context, concurrency, writes=writes)
        except (RelayError, EmbeddedAwsTimeoutError) as error:
            failures += 1
            log.log(logging.ERROR if failures == 1 else logging.DEBUG, "waiting: %s", error)
        with stop.waiting():
            time.sleep(min(30.0, failures))


def connect_to_judge(context: Context, stop: Stop, seconds: float) -> tuple[S3Store, Queue]:
    """The same for those who have to give an account: being asked to stop does not end them.

    StartupError if the endpoint is away by then, or for so many seconds.
    """
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            if context.embedded:
                context.embedded.wait_ready(READY_SECONDS)
            return _clients(context, _JUDGES_CONNECTIONS, writes=False)
        except (RelayError, EmbeddedAwsTimeoutError) as error:
            if stop.requested or time.monotonic() >= give_up_at:
                raise StartupError(f"the soak test could not begin: {error}") from error
            log.debug("waiting: %s", error)
        time.sleep(_AGAIN_SECONDS)


def _clients(context: Context, concurrency: int, *, writes: bool) -> tuple[S3Store, Queue]:
    aws = aws_of(context)
    return aws.store(context.settings.own_folder / "multipart", concurrency, writes=writes), aws.queue()
