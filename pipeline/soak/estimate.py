"""What a soak test would cost on AWS, before it begins: list prices, rounded up, so that nobody is surprised."""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from pipeline.names import human_size

DEFAULT_MAX_BYTES = 1 << 30
"""Where requests may cost money, and no other limit was given: 1 GiB."""

# US dollars, list prices of us-east-1: S3 Standard (PUT and LIST, GET and HEAD), SQS (standard and FIFO, above the free
# million), data transfer out to the internet. Other regions cost up to twice that.
_PUT, _GET = 0.005 / 1_000, 0.0004 / 1_000
_SQS, _SQS_FIFO = 0.40 / 1_000_000, 0.50 / 1_000_000
_OUT = 0.09 / 1_000**3
_PUTS_A_FILE, _GETS_A_FILE, _MESSAGES_A_FILE = 1.1, 3.3, 3.0
"""With parts and repeats: PUT; GET and two HEAD; send, receive and delete (batches make it fewer)."""
_POLLS_A_SECOND, _DEPTHS_A_SECOND = 1 / 20, 2
"""An idle long poll takes 20 s; the depths of the queue and of its dead letters are asked for once a second."""
_OVERHEAD = 1 << 10
"""Bytes that the headers of its requests weigh, about: the least that a file counts for, or limits in bytes would let
empty files go on for ever."""


class Estimate(NamedTuple):
    """Of one run, at most."""

    files: int
    requests_s3: int
    requests_sqs: int
    bytes_out: int
    dollars: float

    def __str__(self) -> str:
        return (
            f"about {self.files:,} files: {human_size(self.bytes_out)} up and as much down,"
            f" {self.requests_s3:,} requests to S3, {self.requests_sqs:,} to SQS;"
            f" list price in us-east-1 about ${self.dollars:,.2f}, with transfer out to the internet"
        )


def estimate(
    max_bytes: int,
    mean_size: float,
    seconds: float | None,
    rate: float | None,
    *,
    fifo: bool = False,
    pollers: int = 1,
) -> Estimate:
    """For `max_bytes` sent and received in files of `mean_size`, or as few as `rate` and `seconds` allow."""
    files = max_bytes / 2 / max(mean_size, _OVERHEAD)
    one_way = files * mean_size
    if rate is not None and seconds is not None:
        files = min(files, rate * seconds)
        one_way = min(one_way, files * mean_size)
    polls = (_POLLS_A_SECOND * pollers + _DEPTHS_A_SECOND) * (seconds or (files / rate if rate else 3_600))
    s3, sqs = files * (_PUTS_A_FILE + _GETS_A_FILE), files * _MESSAGES_A_FILE + polls
    dollars = files * (_PUTS_A_FILE * _PUT + _GETS_A_FILE * _GET) + sqs * (_SQS_FIFO if fifo else _SQS) + one_way * _OUT
    return Estimate(round(files), round(s3), round(sqs), round(one_way), dollars)


def counted(size: int) -> int:
    """What a file of `size` bytes counts for towards --max-bytes, there and back."""
    return 2 * max(size, _OVERHEAD)


def is_loopback(url: str) -> bool:
    """Whether an endpoint lies on this very machine, so that nobody bills it."""
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: whatever it may resolve to, it is not known to be here
        return False
