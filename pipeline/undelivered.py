"""The drops under a prefix, and telling of them again. Which of them were delivered, others know."""

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from pipeline.drop import Origin, delivery_id, origin_of
from pipeline.names import NameRefusedError, checked_path
from pipeline.notice import announce
from pipeline.ports import (
    QUEUE_BATCH,
    Listed,
    Message,
    MessageQueue,
    ObjectStore,
    PausedError,
    RelayError,
    StoredObject,
)

_THREADS = 16
"""Objects that are looked at together: a listing says nothing of their metadata."""
_AHEAD = 4 * _THREADS


class Stored(NamedTuple):
    """An object of ours."""

    object: StoredObject
    origin: Origin
    listed: Listed

    @property
    def delivery_id(self) -> str:
        """What a ledger knows it by."""
        return delivery_id(self.origin.drop_id, self.object.key)


def look_at(
    store: ObjectStore, folder: str, listed: Iterable[Listed]
) -> Iterator[tuple[Listed, Stored | RelayError | None]]:
    """Each of them with what it is: an object of ours, None if not (any more), or why it cannot be looked at.

    In the order of `listed`, which is read as far as is needed. PausedError is raised: the rest would fare no better.
    """
    waiting = deque[tuple[Listed, Future[StoredObject | None]]]()
    pool = ThreadPoolExecutor(_THREADS, "look")
    try:
        for item in listed:
            waiting.append((item, pool.submit(store.look, item.key, item.version_id)))
            if len(waiting) >= _AHEAD:
                yield _seen(store.bucket, folder, *waiting.popleft())
        while waiting:
            yield _seen(store.bucket, folder, *waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def message_of(stored: Stored, bucket: str, form: str, region: str, unique: str = "") -> Message:
    """What tells of it again, now; `unique`: see Message."""
    again = announce(stored.object, bucket, stored.origin, form, region=region, now_ns=time.time_ns())
    return replace(again, unique=unique)


def send_all(queue: MessageQueue, messages: Iterable[Message]) -> Iterator[tuple[Message, RelayError | None]]:
    """Each message with its outcome, None where the queue accepted it. RelayError if the queue cannot be used."""
    rest = iter(messages)
    while batch := list(itertools.islice(rest, QUEUE_BATCH)):
        yield from zip(batch, queue.send(batch), strict=True)


def _seen(
    bucket: str, folder: str, listed: Listed, looked: Future[StoredObject | None]
) -> tuple[Listed, Stored | RelayError | None]:
    try:
        found = looked.result()
    except PausedError:
        raise
    except RelayError as error:
        return listed, error
    return listed, _of_ours(bucket, folder, listed, found) if found else None


def _of_ours(bucket: str, folder: str, listed: Listed, found: StoredObject) -> Stored | None:
    try:
        origin = origin_of(found, bucket, folder)
        checked_path(origin.path)
    except NameRefusedError:
        return None  # no consumer would give it its name
    return Stored(found, origin, listed) if origin.is_ours else None
