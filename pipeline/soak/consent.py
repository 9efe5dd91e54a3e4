"""Before a soak test costs money: say how much, and ask."""

import sys
from dataclasses import replace

from app_properties import Settings
from aws_util import Aws
from pipeline.ports import EXIT_USAGE, StartupError
from pipeline.soak.estimate import DEFAULT_MAX_BYTES, estimate, is_loopback
from pipeline.soak.options import SoakOptions

_EMBEDDED = "http://127.0.0.1"
"""Where the embedded server will be: it is not started yet, and one of S3 and SQS may be elsewhere."""


def agree(asked: SoakOptions, settings: Settings) -> SoakOptions:
    """What was asked, within a limit of bytes where requests leave this machine; there a person has to agree.

    StartupError (exit code 2) where nobody does.
    """
    aws = Aws(settings, _EMBEDDED)
    endpoints = sorted({aws.describe_endpoint(service) for service in ("s3", "sqs")})
    if all(is_loopback(endpoint) for endpoint in endpoints):
        return asked
    limited = replace(asked, max_bytes=asked.max_bytes or DEFAULT_MAX_BYTES)
    print(_bill(limited, settings, endpoints), flush=True)
    if not asked.yes:
        _ask()
    return limited


def _bill(asked: SoakOptions, settings: Settings, endpoints: list[str]) -> str:
    most = estimate(
        asked.max_bytes or DEFAULT_MAX_BYTES,
        asked.sizes.mean,
        asked.duration,
        asked.rate,
        fifo=settings.aws_sqs.endswith(".fifo"),
        pollers=settings.poll_processes,
    )
    return (
        f"This soak test speaks to {' and '.join(endpoints)}, which may cost money:\n  {most}\n"
        "  It ends by itself there; --max-bytes and --duration set another limit."
    )


def _ask() -> None:
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed
        raise StartupError("nothing was started: nobody can be asked here; add --yes if that is agreed", EXIT_USAGE)
    try:
        answer = input("Begin? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise StartupError("nothing was started", EXIT_USAGE)
