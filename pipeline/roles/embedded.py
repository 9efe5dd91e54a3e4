"""The process that is the embedded S3 and SQS, or waits to take over from another instance's."""

import functools

from aws_util import Aws
from pipeline import local_aws
from pipeline.link import Link
from pipeline.ports import StartupError
from pipeline.process import Context, Stop
from pipeline.reannounce import announce_undelivered


def run(context: Context, _link: Link, _stop: Stop) -> None:
    """Serve until SIGTERM or the parent's death."""
    embedded, settings = context.embedded, context.settings
    if embedded is None:
        raise StartupError("the embedded S3 and SQS is not selected; set aws_endpoint_url=embedded")
    announce = functools.partial(announce_undelivered, settings, Aws(settings, embedded.url))
    local_aws.serve(embedded, settings.aws_s3_bucket, announce)
