"""Whether it is one object that is refused, or all: the last one that could be read is read again."""

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from awscrt.s3 import S3ResponseError  # type: ignore[import-untyped]  # it ships no types
from botocore.exceptions import ClientError

from pipeline.aws.answers import Answer
from pipeline.aws.engine import Get
from pipeline.aws.errors import client_error, describe, is_denied
from pipeline.ports import DeniedError, PausedError, RefusedError, RelayError

Result = TypeVar("Result")

_ALONE = "others can be read: give this identity permission on this object and its KMS key, or remove the message"
_FRESH_SECONDS = 1.0
"""For which an answer holds: whoever may put objects can have any number of them refused."""


class Evidence:
    """Of what this process may read. Safe to use from several threads; nothing but `refusal` waits.

    Once nothing else can be read, the object is still remembered: it tells when that is over.
    """

    def __init__(self, get: Callable[[Get], Future[Answer]], clock: Callable[[], float] = time.monotonic) -> None:
        """`get` asks for a range, and wants none of its bytes."""
        self._get, self._clock = get, clock
        self._lock = threading.Lock()
        self._last: Get | None = None
        self._readable, self._fresh_until = False, 0.0
        self._asking: Future[bool] | None = None

    def note(self, get: Get) -> None:
        """A range that just arrived. HEAD would say less: it needs no KMS key."""
        with self._lock:
            self._last = Get(get.key, 0, 0, get.version_id)
            if not self._readable:
                self._fresh_until = 0.0

    def judged(self, future: Future[Result], what: str) -> Future[Result]:
        """The same outcome; a refusal says whether it is this object's own."""
        result: Future[Result] = Future()

        def settle(done: Future[Result]) -> None:
            error = done.exception()
            if error is None:
                result.set_result(done.result())
            elif isinstance(error, PausedError) and is_denied(error):
                self._others().add_done_callback(
                    lambda others: result.set_exception(_refusal(error, what, alone=others.result()))
                )
            else:
                result.set_exception(error)

        future.add_done_callback(settle)
        return result

    def refusal(self, error: PausedError, what: str) -> RelayError:
        """The same for what was raised."""
        return _refusal(error, what, alone=self._others().result()) if is_denied(error) else error

    def _others(self) -> Future[bool]:
        """Whether others can be read; those who ask at one time share a request."""
        with self._lock:
            fresh = self._clock() < self._fresh_until
            if fresh or self._last is None:
                return _known(fresh and self._readable)
            if self._asking is not None:
                return self._asking
            self._asking = asking = Future[bool]()
            last = self._last
        self._get(last).add_done_callback(functools.partial(self._answered, asking))
        return asking

    def _answered(self, asking: Future[bool], answer: Future[Answer]) -> None:
        readable = answer.exception() is None
        with self._lock:
            self._asking = None
            self._readable, self._fresh_until = readable, self._clock() + _FRESH_SECONDS
        asking.set_result(readable)


def _refusal(error: PausedError, what: str, *, alone: bool) -> RelayError:
    cause = error.__cause__
    cause = client_error(cause) if isinstance(cause, S3ResponseError) else cause
    if alone and isinstance(cause, ClientError):
        refused: RelayError = DeniedError(describe(cause, what, _ALONE))
    else:
        refused = RefusedError(str(error))
    refused.__cause__ = cause
    return refused


def _known(value: bool) -> Future[bool]:
    future: Future[bool] = Future()
    future.set_result(value)
    return future
