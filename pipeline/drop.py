"""A drop: one file dropped once. What identifies it, and what its object carries of its origin. Pure values.

Metadata names have hyphens: proxies in front of S3-compatible stores (nginx by default) lose headers with underscores.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pipeline.names import Key, NameRefusedError, decode_path, encode_path, path_of_key
from pipeline.ports import StoredObject

DROP_ID, CHECKSUM, MTIME, KEY_ENCODING = "drop-id", "crc64nvme", "mtime", "key-encoding"
PATH, LONG_PATH = "path", "path-base64"
OWN_METADATA = frozenset({DROP_ID, CHECKSUM, MTIME, KEY_ENCODING, PATH, LONG_PATH})
"""Every name above: what the program's objects carry of themselves."""

_PATH_LIMIT, _LONG_PATH_LIMIT = 1000, 1416
"""Bytes of a path in the metadata, which S3 limits to 2 KB in all: percent-encoded, and in base64."""
_FOREIGN = "s3-"
_DROP_ID = re.compile(rf"(?!{_FOREIGN})[a-z0-9-]{{1,64}}")
"""Without `/` and _FOREIGN what a ledger knows a drop by is that of no other key, nor of another program's object."""
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?Z?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Fingerprint(NamedTuple):
    """What `fstat` says of one content; a file whose fingerprint differs was changed or replaced."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Drop:
    """A file as it is in QueuedForUpload now."""

    path: str
    fingerprint: Fingerprint
    crc64nvme: str
    key: Key

    @property
    def id(self) -> str:
        """26 characters of base32 (130 bits): the same after a restart, another once the file is dropped again."""
        return drop_id(self.path, self.fingerprint, self.crc64nvme)

    @property
    def origin(self) -> "Origin":
        """The same as a consumer will read it from the object."""
        return Origin(self.id, self.path, self.crc64nvme, self.fingerprint.mtime_ns, is_ours=True)

    @property
    def mtime(self) -> str:
        """ISO 8601, UTC, to the nanosecond, so that the copy's is equal; "" if there is no such year."""
        return format_time(self.fingerprint.mtime_ns)

    def metadata(self) -> dict[str, str]:
        """What the object carries; NameRefusedError if its path is too long for that."""
        metadata = {DROP_ID: self.id, CHECKSUM: self.crc64nvme, **path_metadata(self.path)}
        metadata |= {MTIME: self.mtime} if self.mtime else {}
        return metadata | ({KEY_ENCODING: "percent"} if self.key.quoted else {})


@dataclass(frozen=True)
class Origin:
    """What a stored object says of where it came from."""

    drop_id: str
    path: str
    crc64nvme: str | None
    mtime_ns: int | None
    is_ours: bool


@lru_cache(maxsize=256)  # the key of a file may hold it, and its object and message do
def drop_id(path: str, seen: Fingerprint, crc64nvme: str) -> str:
    """What a drop is known by, whatever its key."""
    return _digest(encode_path(path), seen.inode, seen.mtime_ns, seen.ctime_ns, seen.size, crc64nvme)


def path_metadata(path: str) -> dict[str, str]:
    """A path as an object carries it, whatever its key; NameRefusedError if it is too long for that."""
    text = encode_path(path)
    if len(text) <= _PATH_LIMIT:
        return {PATH: text}
    raw = unquote_to_bytes(text)
    text = base64.b64encode(raw).decode()
    if len(text) > _LONG_PATH_LIMIT:
        limit = _LONG_PATH_LIMIT // 4 * 3
        raise NameRefusedError(f"its path has {len(raw)} bytes and an object can carry {limit}; shorten a name in it")
    return {LONG_PATH: text}


def origin_of(stored: StoredObject, bucket: str, folder: str) -> Origin:
    """Read an object's metadata; an object of another program gets an identity of key and version.

    NameRefusedError if the key does not lie under the folder, or the drop id is none; UnicodeError or ValueError never.
    """
    metadata = stored.metadata
    path = path_of_key(folder, stored.key)
    ours = DROP_ID in metadata
    if ours and not is_drop_id(metadata[DROP_ID]):
        raise NameRefusedError("its drop id is none")
    if ours and LONG_PATH in metadata:
        path = _decode_long_path(metadata[LONG_PATH])
    elif ours and PATH in metadata:
        path = decode_path(metadata[PATH])
    elif metadata.get(KEY_ENCODING) == "percent":  # an earlier version of the program left the path to the key
        path = decode_path(path)
    identity = metadata[DROP_ID] if ours else foreign_id(bucket, stored)
    return Origin(identity, path, metadata.get(CHECKSUM), parse_time(metadata), ours)


def foreign_id(bucket: str, stored: StoredObject) -> str:
    """What identifies the object of another program: its version, or else what it is and since when.

    Not the ETag alone: the same content may be put there every day. The version "null" is any number of contents, one
    after the other: those of a bucket that keeps none (any more).
    """
    if stored.version_id not in (None, "null"):
        return foreign_version_id(bucket, stored.key, stored.version_id or "")
    return _FOREIGN + _digest(bucket, stored.key, stored.etag, stored.modified or 0)


def foreign_version_id(bucket: str, key: str, version_id: str) -> str:
    """The same, of one version."""
    return _FOREIGN + _digest(bucket, key, version_id)


def is_drop_id(text: str) -> bool:
    """Whether an object, or a message, may carry this as the id of a drop."""
    return _DROP_ID.fullmatch(text) is not None


def delivery_id(drop_id: str, key: str) -> str:
    """What a ledger knows a drop by.

    The key is part of it: an object that carries the id of another, because somebody copied it within the bucket or
    forged it, never stands for the other.
    """
    return f"{drop_id}/{key}"


def split_delivery_id(text: str) -> tuple[str, str]:
    """The drop id and the key."""
    drop_id, _, key = text.partition("/")  # a drop id has none
    return drop_id, key


@lru_cache(maxsize=256)  # an object and its message say the same
def format_time(nanoseconds: int) -> str:
    """A time since the epoch as ISO 8601 with nine decimals; "" beyond the years 1 to 9999, which a file may have."""
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return ""
    return f"{moment.replace(tzinfo=None).isoformat()}.{nanos:09d}Z"


def parse_time(metadata: Mapping[str, str]) -> int | None:
    """The reverse; None if there is no time, or none that can be read."""
    found = _TIME.fullmatch(metadata.get(MTIME, ""))
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(found.group(1)).replace(tzinfo=UTC)
    except ValueError:  # the 30th of February
        return None
    nanos = int((found.group(2) or "0").ljust(9, "0")[:9])
    return ((moment - _EPOCH) // timedelta(seconds=1)) * 1_000_000_000 + nanos


def _decode_long_path(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "surrogateescape")
    except ValueError:
        raise NameRefusedError("its path is not base64") from None


def _digest(*parts: str | int) -> str:
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return base64.b32encode(digest).decode()[:26].lower()
