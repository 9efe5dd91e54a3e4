"""The process that removes what soak tests left."""

import logging
from dataclasses import replace

from pipeline.link import Link
from pipeline.names import STORE_PROBE
from pipeline.ports import EXIT_CONFIG, RelayError, StartupError
from pipeline.process import Context, Stop
from pipeline.roles.clients import READY_SECONDS, aws_of
from pipeline.soak import cleanup
from pipeline.soak.cleanup import Left

_COUNTS_LAG_SECONDS = 5.0
log = logging.getLogger(__name__)


def run(context: Context, _link: Link, stop: Stop, left: tuple[Left, ...]) -> None:
    """Remove one after the other, and say what was removed. StartupError where S3 or SQS cannot be used."""
    if context.embedded:
        with stop.waiting():
            context.embedded.wait_ready(READY_SECONDS)
    for one in left:
        if not one.elsewhere:
            try:
                _remove(one, context)
            except (RelayError, OSError) as error:
                raise StartupError(f"soak test {one.run} is not cleaned up: {error}") from error
    if not left:
        log.info("no soak test left anything on this machine")
    if others := [f"{one.run} (--config {one.elsewhere})" for one in left if one.elsewhere]:
        text = f"left alone, as they have another bucket, queue or endpoint: {', '.join(others)}"
        raise StartupError(f"{text}; clean them up with their own properties file", EXIT_CONFIG)


def _remove(left: Left, context: Context) -> None:
    """Messages first: what they announce is there until then."""
    settings = context.settings
    messages = objects = 0
    if cleanup.needs_aws(left, settings):
        places, prefix = left.places(settings), left.prefix(settings)
        aws = aws_of(replace(context, settings=places))
        store = aws.store(places.own_folder / "multipart", 4, writes=False)
        patience = settings.visibility_seconds + _COUNTS_LAG_SECONDS
        messages = sum(
            cleanup.remove_messages(queue, store.bucket, prefix, patience) for queue in aws.existing_queues()
        )
        store.abandon_uploads(0)
        objects = cleanup.remove_objects(store, prefix, left.run, () if left.in_place else (f"{prefix}{STORE_PROBE}",))
    folders = cleanup.remove_folders(left, settings)
    where = ", ".join(map(str, folders)) or "no folder"
    log.info("soak test %s: removed %d messages, %d objects, %s", left.run, messages, objects, where)
