"""What the workers ask of the world outside: an object store, a queue, and errors that answer "may I try again?".

The workers are given these; `aws_util` builds the real ones, the tests run one contract over real and fake.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.failures import (
    EXIT_CONFIG,
    EXIT_DONE,
    EXIT_LOSS,
    EXIT_RUNNING,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    CancelledError,
    ChangedError,
    DeniedError,
    LaterError,
    MissingError,
    NeverError,
    PausedError,
    ReceiptError,
    RefusedError,
    RelayError,
    RoomError,
    StartupError,
    TakenError,
    TriedError,
)

__all__ = [
    "EXIT_CONFIG", "EXIT_DONE", "EXIT_LOSS", "EXIT_RUNNING", "EXIT_UNAVAILABLE", "EXIT_USAGE", "CancelledError",
    "ChangedError", "DeniedError", "LaterError", "MissingError", "NeverError", "PausedError", "ReceiptError",
    "RefusedError", "RelayError", "RoomError", "StartupError", "TakenError", "TriedError",
]  # fmt: skip
"""The errors are part of what is asked for: whoever uses a port finds them here."""

QUEUE_BATCH = 10
"""Messages in one call (Amazon SQS Developer Guide, "Message quotas")."""


@dataclass(frozen=True)
class Content:
    """The bytes to upload: an open descriptor, read by position so that its offset is nobody's business.

    Of a small file they are `body` already, and `crc64nvme` was computed of that.
    """

    fd: int
    size: int
    crc64nvme: str
    """Of the whole content, base64 of the big-endian value, as in `x-amz-checksum-crc64nvme`."""
    content_type: str = "application/octet-stream"
    body: bytes | None = None


@dataclass(frozen=True)
class StoredObject:
    """What the store knows of an object."""

    key: str
    size: int
    etag: str
    """Without quotes."""
    version_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """User metadata, names in lower case."""
    request_id: str = ""
    multipart: bool = False
    modified: int | None = None
    """Seconds since the epoch; None where the answer does not say, as that of an upload."""


@dataclass(frozen=True)
class Listed:
    """One object, or one version of it, as a listing shows it: without its metadata."""

    key: str
    size: int
    modified: float
    """Seconds since the epoch, by the store's clock."""
    version_id: str | None = None
    """Only where versions were asked for."""


@dataclass(frozen=True)
class Message:
    """What is put on the queue. An `int` attribute travels as Number, a `str` as String."""

    body: str
    attributes: Mapping[str, str | int]
    group: str = ""
    """FIFO queues keep the order within a group, here a folder; ignored elsewhere."""
    unique: str = ""
    """FIFO queues accept one of these within five minutes and drop its equals; "": the attribute drop_id."""


@dataclass(frozen=True)
class Received:
    """A message in hand."""

    id: str
    receipt: str
    body: str
    attributes: Mapping[str, str]
    receive_count: int = 1
    group: str = ""
    """Of a FIFO queue: messages of one group are to be worked on one after the other."""
    sent_ms: int = 0
    """When the queue accepted it, by its own clock, in milliseconds since the epoch."""


@dataclass(frozen=True)
class Depth:
    """How many messages a queue holds, as far as it knows: SQS's numbers lag behind by up to a minute."""

    visible: int
    in_flight: int
    """Received and neither deleted nor visible again."""
    delayed: int
    dead: int | None
    """Visible ones among the dead letters; None if there is no such queue, or it cannot be asked."""


class ObjectStore(Protocol):
    """One bucket."""

    bucket: str

    def upload(
        self,
        content: Content,
        key: str,
        metadata: Mapping[str, str],
        *,
        replaces: str | None = None,
        cancelled: Callable[[], bool] = ...,
    ) -> StoredObject:
        """Store `content` under `key`, which must hold nothing (TakenError), or, with `replaces`, that ETag.

        MissingError where `replaces` is given and nothing is there; ChangedError if the file changed meanwhile.
        """
        ...

    def begin_upload(self, content: Content, key: str, metadata: Mapping[str, str]) -> Future[StoredObject]:
        """The same, which goes on by itself; the content stays open until the future is done.

        Meant for small ones, which it holds in memory; a larger one takes a thread, which nothing but `cancel` ends.
        """
        ...

    def look(self, key: str, version_id: str | None = None) -> StoredObject | None:
        """The object under `key`, or that version of it, or None."""
        ...

    def download(
        self,
        key: str,
        fd: int,
        *,
        size: int | None = None,
        version_id: str | None = None,
        admit: Callable[[int], None] = ...,
        cancelled: Callable[[], bool] = ...,
    ) -> StoredObject:
        """Write the object to `fd` by position; `size`: its bytes, as far as they are known.

        `admit` is told how many there will be before the first comes; what it raises ends the download. MissingError if
        there is none, ChangedError if it does not have `size` bytes, LaterError if it ended early,
        DeniedError if this object is refused and others are not, RefusedError if that is not known.
        """
        ...

    def begin_download(self, key: str, fd: int, *, size: int | None, version_id: str | None) -> Future[StoredObject]:
        """The same, which goes on by itself; `fd` stays open until the future is done. Meant for small objects.

        ChangedError if a small object does not have `size` bytes.
        """
        ...

    def cancel(self) -> None:
        """The program stops: end what is under way, as far as possible."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins with `prefix`, page by page, in no order to rely on."""
        ...

    def listed(self, prefix: str, *, versions: bool = False) -> Iterator[Listed]:
        """The same with what a listing says of each; with `versions` every version, those of a key in their order.

        A key whose object was deleted has none, whatever versions lie below.
        """
        ...

    def delete(self, key: str, version_id: str | None = None) -> None:
        """Remove the object; no error if there is none.

        Where the store keeps versions, `version_id` removes that one for good; without it the object is only hidden.
        """
        ...


class Sender(Protocol):
    """What the side that sends needs of a queue."""

    def send(self, messages: Sequence[Message]) -> list[RelayError | None]:
        """Send up to ten; one outcome each, None where the queue accepted it."""
        ...


class MessageQueue(Sender, Protocol):
    """One queue, and the place its undeliverable messages go to."""

    def receive(self, limit: int, wait: int) -> list[Received]:
        """Up to `limit` (at most 10) messages, waiting up to `wait` seconds (at most 20) for the first."""
        ...

    def delete(self, receipts: Sequence[str]) -> list[RelayError | None]:
        """Delete up to ten messages; one outcome each."""
        ...

    def extend(self, receipts: Sequence[str], seconds: int) -> list[RelayError | None]:
        """Make up to ten messages invisible for `seconds` from now (0 gives them back); one outcome each."""
        ...

    def bury(self, message: Received, reason: str) -> bool:
        """Copy a message that can never succeed to the dead letters; False if this queue has none."""
        ...

    def depth(self) -> Depth:
        """How many messages it holds now, approximately."""
        ...


def batches(items: Iterable[str], size: int = QUEUE_BATCH) -> Iterator[list[str]]:
    """`items` in lists of at most `size`."""
    batch: list[str] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
