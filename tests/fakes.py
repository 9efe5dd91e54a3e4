"""An object store and a queue in memory, as `pipeline.ports` describes them; the contract suite runs over them too.

They are honest: conditions are checked and fulfilled in one step, checksums are compared, receipts go stale, a message
that is not deleted comes again. What a test wants to go wrong it says beforehand: `trouble` makes calls fail, `before`
and `after` run something at the instant of an effect.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import random
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from pipeline.aws.checksum import crc64nvme_of
from pipeline.ports import (
    CancelledError,
    ChangedError,
    Content,
    DeniedError,
    Depth,
    LaterError,
    Listed,
    Message,
    MissingError,
    NeverError,
    ReceiptError,
    Received,
    RefusedError,
    RelayError,
    StoredObject,
    TakenError,
)

KEY_BYTES, METADATA_BYTES, BODY_BYTES, ATTRIBUTES, BATCH = 1024, 2048, 1024 * 1024, 10, 10
DEDUPLICATION_SECONDS = 300
LONGEST_FLIGHT, MOST_IN_FLIGHT = 43_200, 120_000
# What XML 1.0 cannot carry, SQS refuses.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Hook = Callable[[str], None]


def _never() -> bool:
    return False


def _any_size(_size: int) -> None:
    return


@dataclass
class Journal:
    """One total order of effects, over store and queue."""

    entries: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, subject: str) -> None:
        with self._lock:
            self.entries.append((what, subject))

    def of(self, what: str) -> list[str]:
        """The subjects of one kind of effect, in order."""
        with self._lock:
            return [subject for kind, subject in self.entries if kind == what]


@dataclass
class Trouble:
    """What is to go wrong: the errors that the next calls of an operation raise, before they have an effect."""

    queued: defaultdict[str, deque[Exception]] = field(default_factory=lambda: defaultdict(deque))
    lost_answers: defaultdict[str, deque[Exception]] = field(default_factory=lambda: defaultdict(deque))
    """Raised after the effect: the answer was lost on its way."""

    def strike(self, operation: str) -> None:
        if self.queued[operation]:
            raise self.queued[operation].popleft()

    def lose(self, operation: str) -> None:
        if self.lost_answers[operation]:
            raise self.lost_answers[operation].popleft()


@dataclass(frozen=True)
class _Version:
    body: bytes
    stored: StoredObject
    modified: float = field(default_factory=time.time)


class FakeStore:
    """One bucket in memory; see ports.ObjectStore. With `versioned` every version stays and has an id."""

    def __init__(self, bucket: str = "relay", journal: Journal | None = None, *, versioned: bool = False) -> None:
        self.bucket = bucket
        self.journal = journal or Journal()
        self.versioned = versioned
        self.trouble = Trouble()
        self.before: dict[str, Hook] = {}
        """Operation → called with the key before anything is read or written."""
        self.after: dict[str, Hook] = {}
        """Operation → called with the key after the effect, before the answer."""
        self.damage: Callable[[str, bytes], bytes] = lambda _key, body: body
        """What arrives instead of the bytes that were stored."""
        self.denies: Callable[[str], bool] = lambda _key: False
        """Whether a key's object may not be read."""
        self._read = ""
        """The key that was read last."""
        self._versions: dict[str, list[_Version]] = {}
        self._hidden: set[str] = set()
        """Keys under a delete marker: versions stay, and nothing is there for whoever names none."""
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def upload(
        self,
        content: Content,
        key: str,
        metadata: Mapping[str, str],
        *,
        replaces: str | None = None,
        cancelled: Callable[[], bool] = _never,
    ) -> StoredObject:
        """See ports.ObjectStore."""
        if cancelled():
            raise CancelledError(f"PUT {key}: stopped")
        self._begin("upload", key)
        if not 0 < len(key.encode()) <= KEY_BYTES:
            raise NeverError(f"PUT {key}: no key")
        if sum(len(name) + len(value.encode()) for name, value in metadata.items()) > METADATA_BYTES:
            raise NeverError(f"PUT {key}: too much metadata")
        if not all(value.isascii() and value.isprintable() for value in metadata.values()):
            raise NeverError(f"PUT {key}: metadata that is no header")
        body = os.pread(content.fd, content.size, 0) if content.size else b""
        if len(body) != content.size or crc64nvme_of(body) != content.crc64nvme:
            raise LaterError(f"PUT {key}: damaged on the way")
        stored = self._store(key, body, metadata, replaces)
        self._end("upload", key)
        return stored

    def begin_upload(self, content: Content, key: str, metadata: Mapping[str, str]) -> Future[StoredObject]:
        """See ports.ObjectStore."""
        return _begun(lambda: self.upload(content, key, metadata))

    def look(self, key: str, version_id: str | None = None) -> StoredObject | None:
        """See ports.ObjectStore."""
        self._begin("look", key)
        with self._lock:
            found = self._find(key, version_id)
        self._end("look", key)
        return found.stored if found else None

    def download(
        self,
        key: str,
        fd: int,
        *,
        size: int | None = None,
        version_id: str | None = None,
        admit: Callable[[int], None] = _any_size,
        cancelled: Callable[[], bool] = _never,
    ) -> StoredObject:
        """See ports.ObjectStore."""
        if cancelled():
            raise CancelledError(f"GET {key}: stopped")
        self._begin("download", key)
        with self._lock:
            found = self._find(key, version_id)
        self._refuse_denied(key)
        if found is None:
            raise MissingError(f"GET {key}: no such object")
        length = found.stored.size
        if size not in (None, length):
            raise ChangedError(f"GET {key}: it has {length} bytes, not {size}")
        admit(length)
        _write(fd, self.damage(key, found.body))
        self._read = key if length else self._read
        self._end("download", key)
        if cancelled():
            raise CancelledError(f"GET {key}: stopped")
        return found.stored

    def begin_download(self, key: str, fd: int, *, size: int | None, version_id: str | None) -> Future[StoredObject]:
        """See ports.ObjectStore."""
        return _begun(lambda: self.download(key, fd, size=size, version_id=version_id))

    def cancel(self) -> None:
        """See ports.ObjectStore: nothing is ever under way."""

    def keys(self, prefix: str) -> Iterator[str]:
        """See ports.ObjectStore."""
        self._begin("keys", prefix)
        with self._lock:
            found = [key for key in self._versions if key.startswith(prefix) and self._current(key)]
        yield from found

    def listed(self, prefix: str, *, versions: bool = False) -> Iterator[Listed]:
        """See ports.ObjectStore."""
        for key in self.keys(prefix):
            with self._lock:
                found = list(self._versions[key])
            for item in found if versions else found[-1:]:
                version_id = item.stored.version_id if versions else None
                yield Listed(key, item.stored.size, item.modified, version_id)

    def delete(self, key: str, version_id: str | None = None) -> None:
        """See ports.ObjectStore."""
        self._begin("delete object", key)
        with self._lock:
            self._delete(key, version_id)
        self.journal.add("removed", key)
        self._end("delete object", key)

    def put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        *,
        size: int | None = None,
        modified: float | None = None,
    ) -> StoredObject:
        """Another program's PUT: it asks nothing and replaces what is there. `size`: what the store then reports.

        `modified`: when that was, in seconds since the epoch; else now.
        """
        stored = self._store(key, body, metadata or {}, "", force=True)
        stored = stored if size is None else replace(stored, size=size)
        self._versions[key][-1] = _Version(body, stored, time.time() if modified is None else modified)
        return self._versions[key][-1].stored

    def remove(self, key: str) -> None:
        """Another program's DELETE."""
        with self._lock:
            del self._versions[key]

    def body(self, key: str) -> bytes:
        """What is stored under a key; KeyError if nothing is."""
        with self._lock:
            return self._versions[key][-1].body

    def contents(self) -> dict[str, bytes]:
        """Every object."""
        with self._lock:
            return {key: versions[-1].body for key, versions in self._versions.items() if key not in self._hidden}

    def _refuse_denied(self, key: str) -> None:
        if not self.denies(key):
            return
        if self._read and self._current(self._read) and not self.denies(self._read):
            raise DeniedError(f"GET {key}: AccessDenied; others can be read")
        raise RefusedError(f"GET {key}: AccessDenied")

    def _find(self, key: str, version_id: str | None) -> _Version | None:
        if version_id is None:
            return self._current(key)
        return next((item for item in self._versions.get(key, []) if item.stored.version_id == version_id), None)

    def _current(self, key: str) -> _Version | None:
        return None if key in self._hidden else self._versions.get(key, [None])[-1]

    def _delete(self, key: str, version_id: str | None) -> None:
        known = self._versions.get(key, [])
        if self.versioned and version_id is None:
            self._hidden.add(key)
            return
        rest = [item for item in known if version_id not in (None, item.stored.version_id)]
        if rest:
            self._versions[key] = rest
        else:
            self._versions.pop(key, None)

    def _store(
        self, key: str, body: bytes, metadata: Mapping[str, str], replaces: str | None, *, force: bool = False
    ) -> StoredObject:
        with self._lock:
            known = self._versions.get(key, [])
            current = self._current(key)
            etag = current.stored.etag if current else None
            if replaces and not current:
                raise MissingError(f"PUT {key}: the key holds nothing that could be replaced")
            if not force and etag != replaces:
                raise TakenError(f"PUT {key}: the key holds {etag}, not {replaces}")
            number = next(self._numbers)
            stored = StoredObject(
                key,
                len(body),
                hashlib.md5(body).hexdigest(),
                f"version-{number}" if self.versioned else None,
                {name.lower(): value for name, value in metadata.items()},
                f"request-{number}",
                modified=number,  # its clock is the number of writes
            )
            self._versions[key] = [*(known if self.versioned else []), _Version(body, stored)]
            self._hidden.discard(key)
        self.journal.add("stored", key)
        return stored

    def _begin(self, operation: str, key: str) -> None:
        self.journal.add(operation, key)
        self.before.get(operation, _nothing)(key)
        self.trouble.strike(operation)

    def _end(self, operation: str, key: str) -> None:
        self.after.get(operation, _nothing)(key)
        self.trouble.lose(operation)


@dataclass
class Mischief:
    """What a standard queue may do to anybody, each with its probability; one seed decides it all."""

    seed: int
    twice: float = 0.0
    """A message that was accepted is there two times."""
    undead: float = 0.0
    """A message that was deleted comes once more."""
    vain: float = 0.0
    """A delete answers OK and deletes nothing."""
    disorder: bool = False
    """Messages come in any order, and fewer than were asked for."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def strikes(self, probability: float) -> bool:
        return self._random.random() < probability

    def some_of(self, messages: list[_Waiting], limit: int) -> list[_Waiting]:
        """Those that a receive hands out."""
        if not self.disorder:
            return messages[:limit]
        return self._random.sample(messages, self._random.randint(1, min(limit, len(messages)))) if messages else []


@dataclass
class _Waiting:
    id: str
    body: str
    attributes: dict[str, str]
    visible_at: float = 0.0
    received_at: float = 0.0
    receipt: str = ""
    count: int = 0
    group: str = ""
    sent_ms: int = 0


class FakeQueue:
    """One queue in memory; see ports.MessageQueue. Its clock is the test's: receipts age as that one goes.

    With `fifo` it keeps the order of each group: nothing of a group is handed out while one of it is in flight, unless
    by the same answer; of messages with one deduplication id it takes the first within five minutes.
    """

    def __init__(
        self,
        journal: Journal | None = None,
        *,
        visibility: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        dead_letters: bool = True,
        fifo: bool = False,
    ) -> None:
        self.journal = journal or Journal()
        self.trouble = Trouble()
        self.before: dict[str, Hook] = {}
        """"accept" or "delete" → called with the message's body right before that happens to it."""
        self.refuse: Callable[[str, str], RelayError | None] = lambda _operation, _body: None
        """The outcome of one message of a batch, by operation ("send", "delete", "extend") and body."""
        self.buried: list[tuple[Received, str]] = []
        self.mischief = Mischief(0)
        self.vain_deletes = False
        """A delete with a receipt that has expired answers OK, as SQS may, and deletes nothing."""
        self.retention, self.most_in_flight = math.inf, MOST_IN_FLIGHT
        self._visibility, self._clock, self._dead_letters = visibility, clock, dead_letters
        self._fifo = fifo
        self._accepted: dict[str, float] = {}
        """Deduplication id → when a FIFO queue took it."""
        self._messages: list[_Waiting] = []
        self._gone: set[str] = set()
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)

    def send(self, messages: Sequence[Message]) -> list[RelayError | None]:
        """See ports.MessageQueue."""
        self._begin("send", len(messages))
        outcomes = [self._accept(message) for message in messages]
        self.trouble.lose("send")
        return outcomes

    def receive(self, limit: int, wait: int) -> list[Received]:
        """See ports.MessageQueue."""
        self.trouble.strike("receive")
        if not 1 <= limit <= BATCH or not 0 <= wait <= 20:
            raise ValueError(f"receive({limit}, {wait})")
        deadline = time.monotonic() + wait
        with self._changed:
            while not (found := self._visible()) and (left := deadline - time.monotonic()) > 0:
                # A message comes back without a notification when the injected clock has moved on.
                self._changed.wait(min(left, 0.01))
            if sum(message.visible_at > self._clock() for message in self._messages) >= self.most_in_flight:
                raise LaterError("too many messages are in flight (OverLimit)")
            return [self._hand_out(message) for message in self.mischief.some_of(found, limit)]

    def delete(self, receipts: Sequence[str]) -> list[RelayError | None]:
        """See ports.MessageQueue. An old receipt of a message that others have received since deletes nothing."""
        self._begin("delete", len(receipts))
        outcomes = [self._delete(receipt) for receipt in receipts]
        self.trouble.lose("delete")
        return outcomes

    def extend(self, receipts: Sequence[str], seconds: int) -> list[RelayError | None]:
        """See ports.MessageQueue."""
        self._begin("extend", len(receipts))
        if not 0 <= seconds <= 43_200:
            raise ValueError(f"a visibility of {seconds} s")
        return [self._extend(receipt, seconds) for receipt in receipts]

    def bury(self, message: Received, reason: str) -> bool:
        """See ports.MessageQueue."""
        self.trouble.strike("bury")
        if self._dead_letters:
            self.journal.add("buried", message.body)
            self.buried.append((message, reason))
        return self._dead_letters

    def depth(self) -> Depth:
        """See ports.MessageQueue."""
        self.trouble.strike("depth")
        with self._changed:
            now, held = self._clock(), len(self._messages)
            visible = sum(message.visible_at <= now for message in self._messages)
        return Depth(visible, held - visible, 0, len(self.buried) if self._dead_letters else None)

    def put(self, body: str, attributes: Mapping[str, str] | None = None, group: str = "") -> None:
        """A message of somebody else, whatever is in it."""
        with self._changed:
            number, now_ms = next(self._numbers), int(self._clock() * 1000)
            self._messages.append(_Waiting(f"m-{number}", body, dict(attributes or {}), group=group, sent_ms=now_ms))
            self._changed.notify_all()

    def bodies(self) -> list[str]:
        """Of every message that is not deleted, visible or not."""
        with self._changed:
            return [message.body for message in self._messages]

    def messages(self) -> list[tuple[str, dict[str, str]]]:
        """Body and attributes of every message that is not deleted."""
        with self._changed:
            return [(message.body, message.attributes) for message in self._messages]

    def visible(self) -> int:
        """How many could be received now."""
        with self._changed:
            return len(self._visible())

    def _begin(self, operation: str, count: int) -> None:
        self.trouble.strike(operation)
        if not 1 <= count <= BATCH:
            raise ValueError(f"{operation} of {count}")

    def _accept(self, message: Message) -> RelayError | None:
        if refused := self.refuse("send", message.body) or _invalid(message):
            return refused
        if self._fifo and self._has_had(message.unique or str(message.attributes["drop_id"])):
            return None
        self.before.get("accept", _nothing)(message.body)
        for _ in range(1 + self.mischief.strikes(self.mischief.twice)):
            self.put(message.body, {name: str(value) for name, value in message.attributes.items()}, message.group)
        self.journal.add("accepted", message.body)
        return None

    def _has_had(self, unique: str) -> bool:
        with self._changed:
            now = self._clock()
            had = self._accepted.get(unique, float("-inf")) > now - DEDUPLICATION_SECONDS
            if not had:
                self._accepted[unique] = now
            return had

    def _visible(self) -> list[_Waiting]:
        now = self._clock()
        self._messages = [message for message in self._messages if now - message.sent_ms / 1000 < self.retention]
        locked = {message.group for message in self._messages if message.visible_at > now} if self._fifo else set()
        return [message for message in self._messages if message.visible_at <= now and message.group not in locked]

    def _hand_out(self, message: _Waiting) -> Received:
        message.received_at = self._clock()
        message.visible_at = message.received_at + self._visibility
        message.count += 1
        message.receipt = f"{message.id}/{message.count}"
        self.journal.add("received", message.body)
        group = message.group if self._fifo else ""
        attributes, count, sent_ms = dict(message.attributes), message.count, message.sent_ms
        return Received(message.id, message.receipt, message.body, attributes, count, group, sent_ms)

    def _delete(self, receipt: str) -> RelayError | None:
        with self._changed:
            found = self._find(receipt)
            gone = receipt.partition("/")[0] in self._gone
            if isinstance(found, ReceiptError):
                return None if gone or self.vain_deletes else found
            if self.vain_deletes and found.visible_at <= self._clock():
                return None
        if refused := self.refuse("delete", found.body):
            return refused
        self.before.get("delete", _nothing)(found.body)
        if self.mischief.strikes(self.mischief.vain):
            return None
        with self._changed:
            if found in self._messages:
                self._messages.remove(found)
            self._gone.add(found.id)
        self.journal.add("deleted", found.body)
        if self.mischief.strikes(self.mischief.undead):
            self.put(found.body, found.attributes, found.group)
        return None

    def _extend(self, receipt: str, seconds: int) -> RelayError | None:
        with self._changed:
            found = self._find(receipt)
            if isinstance(found, ReceiptError):
                return found
            if refused := self.refuse("extend", found.body):
                return refused
            if found.visible_at <= self._clock():
                return ReceiptError(f"{receipt}: the message is not in flight")
            if self._clock() + seconds > found.received_at + LONGEST_FLIGHT:
                return ReceiptError(f"{receipt}: beyond the limit of {LONGEST_FLIGHT} seconds")
            found.visible_at = self._clock() + seconds
            self._changed.notify_all()
        self.journal.add("extended" if seconds else "given back", found.body)
        return None

    def _find(self, receipt: str) -> _Waiting | ReceiptError:
        for message in self._messages:
            if message.receipt == receipt and receipt:
                return message
        return ReceiptError(f"{receipt}: this receipt is not valid any more")


def _begun(work: Callable[[], StoredObject]) -> Future[StoredObject]:
    """As a transfer engine does it: in a thread that is nobody's."""
    future: Future[StoredObject] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001  # not hidden: whoever waits for the future raises it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _invalid(message: Message) -> RelayError | None:
    texts = [message.body, *(str(value) for value in message.attributes.values())]
    if "" in texts or len(message.attributes) > ATTRIBUTES:
        return NeverError("a text is empty, or there are too many attributes")
    if any(_NOT_XML.search(text) for text in texts) or len(message.body.encode()) > BODY_BYTES:
        return NeverError("a character that is not allowed, or too many of them")
    return None


def _write(fd: int, body: bytes) -> None:
    offset = 0
    while offset < len(body):
        offset += os.pwrite(fd, body[offset:], offset)


def _nothing(_subject: str) -> None:
    return
