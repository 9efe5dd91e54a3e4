"""What the program promises, judged at the instant at which something takes effect (I3, I5, I14).

Only what the program itself announces is judged: what is sent with a key that is judged. It has to say what it is
about, drop and checksum, or nobody could judge it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.strict.consumers import Consumer
from tests.strict.log import Log
from tests.strict.shelf import Object

Find = Callable[[str, str, str], Object | None]
"""The object of a bucket, key and version."""


@dataclass(frozen=True)
class Announced:
    """What a message says of an object."""

    bucket: str
    key: str
    version_id: str
    drop_id: str
    size: str
    crc64nvme: str


class Judge:
    """Holds every effect against the promises."""

    def __init__(self, log: Log, find: Find) -> None:
        self._log, self._find = log, find
        self.consumers: Sequence[Consumer] = ()
        """Where files arrive; without any, deletions are not judged."""
        self._alive: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        """Messages by drop, in queues and among dead letters (True)."""
        self.judged = 0
        """Messages that were held against what they announce."""
        self._arrived: set[str] = set()
        """Drops whose content was seen at a consumer: a user may have taken it away since."""

    def wrote(self, place: str, stored: Object, before: Object | None, *, versioned: bool, matched: bool) -> None:
        """An object is about to be seen under a key, in the place of another."""
        if before is None or versioned:
            return
        old, new = before.metadata("drop-id"), stored.metadata("drop-id")
        if old and old != new and (before.announced or not matched):
            why = "which was announced" if before.announced else "without If-Match"
            self._log.violation(f"I14: drop {new} replaces drop {old} at {place}, {why}")

    def accepted(self, said: Announced | None, *, dead: bool) -> None:
        """A message has been accepted."""
        if said is None:
            return
        self._alive[dead][said.drop_id] += 1
        if dead:
            return
        self.judged += 1
        stored = self._find(said.bucket, said.key, said.version_id)
        if problem := _difference(said, stored):
            self._log.violation(f"I3: drop {said.drop_id} is announced, and s3://{said.bucket}/{said.key} {problem}")
        if stored is not None:
            stored.announced = True

    def accepted_mute(self, message: str) -> None:
        """One that says nothing has been accepted, of a sender whose messages have to."""
        self._log.violation(f"I3: message {message} does not say which drop it announces, or its checksum")

    def deleted(self, said: Announced | None, *, dead: bool) -> None:
        """A message has been deleted by whoever received it."""
        if said is None:
            return
        self.dropped(said, dead=dead)
        if dead:
            kept = said.drop_id in self._arrived or self._alive[False][said.drop_id] > 0
        else:
            kept = self._has_arrived(said) or self._alive[True][said.drop_id] > 0
        if not kept:
            self._log.violation(f"I5: the message of drop {said.drop_id} is deleted, and {said.key} is nowhere whole")

    def dropped(self, said: Announced | None, *, dead: bool) -> None:
        """A message is gone, through nobody's deed."""
        if said is None:
            return
        self._alive[dead][said.drop_id] -= 1
        if not self._alive[dead][said.drop_id]:
            del self._alive[dead][said.drop_id]

    def returned(self, said: Announced | None, *, dead: bool) -> None:
        """A copy of a message has come into being that nobody sent."""
        if said is not None:
            self._alive[dead][said.drop_id] += 1

    def buried(self, said: Announced | None) -> None:
        """The queue itself has put a message among its dead letters."""
        self.dropped(said, dead=False)
        if said is not None:
            self._alive[True][said.drop_id] += 1

    def _has_arrived(self, said: Announced) -> bool:
        if not self.consumers or said.drop_id in self._arrived:
            return True
        for _ in range(2):  # a user who moves a file between two looks is not seen at the first
            if any(consumer.has(said.drop_id, said.key, said.crc64nvme) for consumer in self.consumers):
                self._arrived.add(said.drop_id)
                return True
        return False


def said_by(key: str | None, attributes: Mapping[str, Mapping[str, Any]]) -> Announced | None:
    """What a message of the program announces; None of any other. `key`: the one in its body."""
    text = {name: str(item.get("StringValue", "")) for name, item in attributes.items()}
    if key is None or not text.get("crc64nvme") or not text.get("drop_id"):
        return None
    names = ("version_id", "drop_id", "size", "crc64nvme")
    return Announced(text.get("bucket", ""), key, *(text.get(name, "") for name in names))


def _difference(said: Announced, stored: Object | None) -> str:
    if stored is None or stored.deleted:
        return "is not there"
    if (str(stored.size), stored.crc64nvme) != (said.size, said.crc64nvme):
        return f"has {stored.size} bytes with checksum {stored.crc64nvme}, not {said.size} with {said.crc64nvme}"
    if stored.metadata("drop-id") not in ("", said.drop_id):
        return f"is drop {stored.metadata('drop-id')}"
    return ""
