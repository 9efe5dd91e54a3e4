"""What the sink holds: objects, and multipart uploads under way."""

import hashlib
import itertools
import time
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.sendfile import Piece

KEPT_IN_MEMORY = 1024 * 1024
"""Bytes up to which a body is kept in memory."""
_numbers = itertools.count(1)


class Content(Protocol):
    """A body on its way in, and then what is left of it."""

    size: int

    def add(self, data: memoryview) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """16 bytes; the same for all that was taken."""

    def pieces(self) -> list[bytes | Piece] | None:
        """What was taken; None if it was dropped."""


class Dropped:
    """Counted and dropped: a null sink."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = next(_numbers).to_bytes(16, "big")

    def add(self, data: memoryview) -> None:
        """See Content."""
        self.size += len(data)

    def digest(self) -> bytes:
        """Unique, and says nothing about the content, which would cost more than all else here."""
        return self._digest

    def pieces(self) -> list[bytes | Piece] | None:
        """See Content."""
        return [] if not self.size else None


class InMemory(Dropped):
    """Kept in memory; its ETag is MD5 only where asked for."""

    def __init__(self, *, md5: bool) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._md5 = md5

    def add(self, data: memoryview) -> None:
        """See Content."""
        self.size += len(data)
        self._parts.append(bytes(data))

    def digest(self) -> bytes:
        """See Content."""
        return hashlib.md5(b"".join(self._parts), usedforsecurity=False).digest() if self._md5 else self._digest

    def pieces(self) -> list[bytes | Piece] | None:
        """See Content."""
        return list(self._parts)


class InFile:
    """Kept in a file of its own, with its MD5."""

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self._path = folder / uuid.uuid4().hex
        self._file = self._path.open("wb", buffering=0)
        self._hash = hashlib.md5(usedforsecurity=False)

    def add(self, data: memoryview) -> None:
        """See Content."""
        self.size += len(data)
        self._file.write(data)  # a file of a local disk takes all of it
        self._hash.update(data)

    def digest(self) -> bytes:
        """See Content."""
        self._file.close()
        return self._hash.digest()

    def pieces(self) -> list[bytes | Piece] | None:
        """See Content."""
        return [Piece(self._path, 0, self.size)]


class Local(Dropped):
    """A file that was there before, named by a manifest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.size = path.stat().st_size
        self._path = path

    def pieces(self) -> list[bytes | Piece] | None:
        """See Content."""
        return [Piece(self._path, 0, self.size)] if self.size else []


@dataclass(slots=True)
class Object:
    """An object that can be seen."""

    size: int
    etag: str  # without quotes
    headers: list[tuple[str, str]]  # those the client gave and gets back
    pieces: list[bytes | Piece] | None  # None: the body was dropped
    modified: float = field(default_factory=time.time)


@dataclass(slots=True)
class Upload:
    """A multipart upload under way."""

    key: str
    headers: list[tuple[str, str]]
    parts: dict[int, tuple[int, str, list[bytes | Piece] | None]] = field(default_factory=dict)  # size, ETag, pieces

    def complete(self, numbers: list[int]) -> Object:
        """The object of these parts; KeyError if one is missing."""
        parts = [self.parts[number] for number in numbers]
        digests = b"".join(bytes.fromhex(etag) for _, etag, _ in parts)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        kept = [pieces for _, _, pieces in parts if pieces is not None]
        whole = list(itertools.chain.from_iterable(kept)) if len(kept) == len(parts) else None
        return Object(sum(size for size, _, _ in parts), etag, self.headers, whole)


class Bucket:
    """Objects by key, listed in order; a change costs O(1), the first listing after it a sort."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}
        self._sorted: list[str] = []

    def put(self, key: str, stored: Object) -> None:
        """Store or replace."""
        if key not in self.objects:
            self._sorted = []
        self.objects[key] = stored

    def remove(self, key: str) -> None:
        """Remove, if it is there."""
        if self.objects.pop(key, None):
            self._sorted = []

    def after(self, prefix: str, start: str) -> Iterator[str]:
        """The keys with a prefix that come after `start`, in order of their UTF-8."""
        keys = self._sorted = self._sorted or sorted(self.objects)  # Python's order of text is that of its UTF-8
        first = bisect_right(keys, start) if start >= prefix else bisect_right(keys, prefix) - (prefix in self.objects)
        return itertools.takewhile(lambda key: key.startswith(prefix), itertools.islice(keys, first, None))


def slice_of(pieces: list[bytes | Piece], start: int, size: int) -> list[bytes | Piece]:
    """So many bytes from `start` on."""
    found: list[bytes | Piece] = []
    for piece in pieces:
        length = piece.size if isinstance(piece, Piece) else len(piece)
        take = min(size, length - start)
        if take > 0:
            found.append(
                piece._replace(offset=piece.offset + start, size=take)
                if isinstance(piece, Piece)
                else piece[start : start + take]
            )
            size, start = size - take, 0
        else:
            start -= length
    return found
