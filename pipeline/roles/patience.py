"""Folders that cannot be used just now are waited for."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.process import Stop

log = logging.getLogger(__name__)

_LONGEST_SECONDS = 5.0
"""Between two tries; a person who mends a folder waits for it."""

Opened = TypeVar("Opened")


def opened(
    stop: Stop, open_it: Callable[[], Opened], errors: tuple[type[Exception], ...], describe: Callable[[Exception], str]
) -> Opened:
    """What `open_it` gives, once it raises none of `errors`. StopRequested if the program is to stop meanwhile."""
    failures = 0
    while True:
        try:
            return open_it()
        except errors as error:
            failures += 1
            log.log(logging.ERROR if failures == 1 else logging.DEBUG, "%s", describe(error))
        with stop.waiting():
            time.sleep(min(_LONGEST_SECONDS, failures))
