"""Store and queue of a worker process."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from aws_util import Aws
from pipeline.aws.late import LateQueue
from pipeline.aws.sqs import Queue
from pipeline.aws.store import S3Store
from pipeline.local_aws import EmbeddedAwsTimeoutError
from pipeline.pacing import Gate
from pipeline.ports import PausedError, RelayError, StartupError
from pipeline.process import Context, Stop

_JUDGES_CONNECTIONS = 8
_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)

Clients = TypeVar("Clients")

READY_SECONDS = 60.0
"""How long the embedded S3 and SQS may be silent; while it says that it repairs its queue it is waited for."""


def aws_of(context: Context) -> Aws:
    """Where this program's S3 and SQS are."""
    return Aws(context.settings, context.embedded.url if context.embedded else "")


def connect(context: Context, stop: Stop, concurrency: int) -> tuple[S3Store, Queue]:
    """The clients of a process that receives, made once. An endpoint that went away since the start is waited for.

    StopRequested if the program is to stop meanwhile.
    """
    return _patiently(context, stop, lambda aws: (_store(context, aws, concurrency, writes=False), aws.queue()))


def connect_to_send(context: Context, stop: Stop, concurrency: int) -> tuple[S3Store, LateQueue]:
    """The same for one that sends, which needs the store to begin, and not the queue."""
    return _patiently(context, stop, lambda aws: (_store(context, aws, concurrency, writes=True), _queue_or_later(aws)))


def _queue_or_later(aws: Aws) -> LateQueue:
    queue = LateQueue(aws.queue)
    try:
        queue.look()
    except PausedError as error:
        log.debug("files are stored, and announced once the queue is found: %s", error)
    return queue


def _patiently(context: Context, stop: Stop, make: Callable[[Aws], Clients]) -> Clients:
    gate = Gate()
    while True:
        try:
            if context.embedded:
                with stop.waiting():
                    context.embedded.wait_ready(READY_SECONDS)
            made = make(aws_of(context))
        except (RelayError, EmbeddedAwsTimeoutError) as error:
            gate.shut(error)
        else:
            gate.passed()
            return made
        with stop.waiting():
            gate.wait()


def connect_to_judge(context: Context, stop: Stop, seconds: float) -> tuple[S3Store, Queue]:
    """The same for those who have to give an account: being asked to stop does not end them.

    StartupError if the endpoint is away by then, or for so many seconds.
    """
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            if context.embedded:
                context.embedded.wait_ready(READY_SECONDS)
            aws = aws_of(context)
            return _store(context, aws, _JUDGES_CONNECTIONS, writes=False), aws.queue()
        except (RelayError, EmbeddedAwsTimeoutError) as error:
            if stop.requested or time.monotonic() >= give_up_at:
                raise StartupError(f"the soak test could not begin: {error}") from error
            log.debug("waiting: %s", error)
        time.sleep(_AGAIN_SECONDS)


def _store(context: Context, aws: Aws, concurrency: int, *, writes: bool) -> S3Store:
    return aws.store(context.settings.own_folder / "multipart", concurrency, writes=writes)
