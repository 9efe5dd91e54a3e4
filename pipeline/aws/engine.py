"""What a transfer engine does for `pipeline.aws.store`: single requests that carry content, several at a time."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pipeline.aws.answers import Answer
from pipeline.aws.errors import translated

OWNER = "ExpectedBucketOwner"
"""The one argument, in botocore's names, that every request carries where it is given."""


@dataclass(frozen=True)
class Put:
    """One object, or with `part` one part of one, sent in one request."""

    key: str
    body: bytes
    crc64nvme: str
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    if_none_match: str = ""
    """"*" where nothing may be stored under the key yet."""
    if_match: str = ""
    """The ETag, without quotes, of what is to be replaced."""
    upload_id: str = ""
    part: int = 0
    """From 1; 0: the object itself."""


@dataclass(frozen=True)
class Get:
    """Bytes `start` to `end` (inclusive) of an object."""

    key: str
    start: int
    end: int
    version_id: str = ""
    if_match: str = ""


class Engine(Protocol):
    """Both engines; every future raises what botocore raises, or awscrt's AwsCrtError. Safe from several threads."""

    name: str

    def put(self, put: Put) -> Future[Answer]:
        """Send an object or a part."""
        ...

    def get(self, get: Get, write: Callable[[bytes, int], None]) -> Future[Answer]:
        """Ask for a range; `write(data, offset)` is called, in any thread, before the future is done.

        An object that is empty has no range: ClientError, HTTP 416.
        """
        ...

    def cancel(self) -> None:
        """End what is under way as far as the engine can; those futures raise."""
        ...

    def close(self) -> None:
        """Give threads and connections back. What is under way is cancelled."""
        ...


Result = TypeVar("Result")


def then(future: Future[Answer], read: Callable[[Answer], Result], what: str) -> Future[Result]:
    """What `read` makes of an answer; whatever goes wrong comes as a RelayError that names `what` was tried."""
    result: Future[Result] = Future()

    def settle(done: Future[Answer]) -> None:
        try:
            with translated(what):
                value = read(done.result())
        except Exception as error:  # noqa: BLE001  # not hidden: whoever waits for the result raises it
            result.set_exception(error)
        else:
            result.set_result(value)

    future.add_done_callback(settle)
    return result
