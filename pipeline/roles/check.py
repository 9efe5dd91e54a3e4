"""The first process: sees that bucket and queue answer, and tells the person where everything is."""

import logging

from pipeline.link import Link
from pipeline.parent import follow_parent
from pipeline.process import Context, Stop
from pipeline.roles.clients import READY_SECONDS, aws_of

log = logging.getLogger(__name__)


def run(context: Context, _link: Link, stop: Stop) -> None:
    """StartupError where a person has to do something first."""
    log.info("kernel       %s", follow_parent())  # it is followed already; this says by which way
    if context.embedded:
        with stop.waiting():
            context.embedded.wait_ready(READY_SECONDS)
    settings, aws = context.settings, aws_of(context)
    credentials = aws.describe_credentials()
    with stop.waiting():  # an endpoint may take its time; a queue that was made just before is found the next time
        url = aws.check()
    s3, sqs = aws.describe_endpoint("s3"), aws.describe_endpoint("sqs")
    log.info("bucket       s3://%s/%s", settings.aws_s3_bucket, settings.aws_s3_folder)
    log.info("queue        %s  (messages: %s)", url, settings.aws_sqs_message_format)
    log.info("endpoint     %s", s3 if s3 == sqs else f"{s3} (S3), {sqs} (SQS)")
    log.info("credentials  %s", credentials)
