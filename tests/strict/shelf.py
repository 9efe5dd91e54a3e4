"""Buckets: objects by key, their versions where those are kept, uploads under way, and writers who meet."""

import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from bench.shelf import Bucket as Listing
from tests.strict.bodies import Content

ENABLED, SUSPENDED = "Enabled", "Suspended"


@dataclass(slots=True, eq=False)
class Object:
    """One object, or one version of it."""

    size: int
    etag: str  # without quotes
    crc64nvme: str  # of all its bytes, as they were stored
    headers: list[tuple[str, str]]  # those the client gave and gets back
    contents: list[Content]
    modified: float = 0.0
    version_id: str = ""  # "": the bucket keeps none
    announced: bool = False
    deleted: bool = False  # it is a delete marker

    def metadata(self, name: str) -> str:
        """What the client said of it; "" if nothing."""
        return dict(self.headers).get(f"x-amz-meta-{name}", "")

    def read(self, start: int, end: int) -> bytes:
        """Bytes from `start` to before `end`."""
        found, offset = [], 0
        for content in self.contents:
            first, last = max(start, offset), min(end, offset + content.size)
            if first < last:
                found.append(content.read(first - offset, last - first))
            offset += content.size
        return b"".join(found)

    def forget(self) -> None:
        """Its bytes are needed no more."""
        for content in self.contents:
            content.forget()


@dataclass(slots=True, eq=False)
class Part:
    """One part of an upload."""

    size: int
    etag: str
    checksums: dict[str, str]  # those that the client gave, by header
    content: Content
    modified: float = 0.0


@dataclass(slots=True, eq=False)
class Upload:
    """A multipart upload under way."""

    key: str
    id: str
    headers: list[tuple[str, str]]
    algorithm: str  # in lower case; "" without one
    full_object: bool
    begun: float
    parts: dict[int, Part] = field(default_factory=dict)

    def forget(self) -> None:
        """Its parts are needed no more."""
        for part in self.parts.values():
            part.content.forget()


@dataclass(slots=True, eq=False)
class Write:
    """A conditional PUT that has begun."""

    key: str
    overtaken: bool = False
    """Whether another write or delete of the key took effect meanwhile."""


class Bucket(Listing):
    """One bucket; `objects` are those that are there now."""

    objects: dict[str, Any]  # Object instead of bench's
    uploads: dict[str, Any]  # Upload instead of bench's

    def __init__(self, region: str) -> None:
        super().__init__()
        self.region = region
        self.versioning = ""
        self.versions: dict[str, list[Object]] = {}  # the latest last; of keys written since versions are kept
        self._writes: dict[str, list[Write]] = {}
        self._numbers = itertools.count(1)

    def begin(self, key: str) -> Write:
        """Somebody begins to write; end it with `end`."""
        write = Write(key)
        self._writes.setdefault(key, []).append(write)
        return write

    def end(self, write: Write) -> None:
        """He is done, or gone."""
        others = self._writes[write.key]
        others.remove(write)
        if not others:
            del self._writes[write.key]

    def store(self, key: str, stored: Object) -> Object | None:
        """Put it there; the object that it takes the place of, whose bytes are gone unless versions are kept."""
        before: Object | None = self.objects.get(key)
        self._overtake(key)
        if self.versioning:
            self._append(key, stored, before)
        elif before is not None:
            before.forget()
        self.put(key, stored)  # type: ignore[arg-type]  # Object instead of bench's
        return before

    def delete(self, key: str, now: float) -> Object | None:
        """Remove it, or hide it behind a marker where versions are kept: the marker."""
        before: Object | None = self.objects.get(key)
        self._overtake(key)
        marker = None
        if self.versioning:
            marker = Object(0, "", "", [], [], now, deleted=True)
            self._append(key, marker, before)
        elif before is not None:
            before.forget()
        self.remove(key)
        return marker

    def delete_version(self, key: str, version_id: str) -> Object | None:
        """Remove it for good; the version that was there, if any."""
        self._overtake(key)
        versions = self.versions.get(key) or [each for each in (self.find(key, "null"),) if each is not None]
        gone = next((each for each in versions if (each.version_id or "null") == version_id), None)
        if gone is None:
            return None
        versions.remove(gone)
        gone.forget()
        self.remove(key)
        if versions and not versions[-1].deleted:
            self.put(key, versions[-1])  # type: ignore[arg-type]  # Object instead of bench's
        if not versions:
            self.versions.pop(key, None)
        return gone

    def find(self, key: str, version_id: str = "") -> Object | None:
        """The object that is there now, or one version, delete markers included."""
        if not version_id or (version_id == "null" and key not in self.versions):
            return self.objects.get(key)
        return next((each for each in self.versions.get(key, []) if each.version_id == version_id), None)

    def _append(self, key: str, stored: Object, before: Object | None) -> None:
        if key not in self.versions:
            self.versions[key] = [before] if before is not None else []
            if before is not None:
                before.version_id = "null"
        stored.version_id = f"{next(self._numbers):08x}{secrets.token_hex(12)}"
        if self.versioning == SUSPENDED:
            stored.version_id = "null"
            for each in [each for each in self.versions[key] if each.version_id == "null"]:
                self.versions[key].remove(each)
                each.forget()
        self.versions[key].append(stored)

    def _overtake(self, key: str) -> None:
        for write in self._writes.get(key, ()):
            write.overtaken = True


def stamp(moment: float) -> str:
    """A time as S3's documents have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"
