"""Bodies of objects: checked against everything that the request says of them, and kept."""

import base64
import binascii
import hashlib
import io
import os
import uuid
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from awscrt import checksums  # type: ignore[import-untyped]  # it ships no types

from bench.wire import Request
from tests.strict.answers import RefusedError

KEPT_IN_MEMORY = 2048
"""Bytes; what is larger lies in a file."""
CHECKSUMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
_PREFIX = "x-amz-checksum-"
_PAYLOAD = "x-amz-content-sha256"
_BYTES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC in the form of hashlib's digests."""

    def __init__(self, compute: Callable[[memoryview, int], int], size: int) -> None:
        self._compute, self._size, self._value = compute, size, 0

    def update(self, data: memoryview) -> None:
        self._value = self._compute(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


_MAKE: Mapping[str, Callable[[], _Digest]] = {
    "crc32": lambda: _Crc(zlib.crc32, 4),
    "crc32c": lambda: _Crc(checksums.crc32c, 4),
    "crc64nvme": lambda: _Crc(checksums.crc64nvme, 8),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
}


class Content:
    """The bytes of one PUT."""

    def __init__(self, request: Request | None, folder: Path) -> None:
        self.size = 0
        self._folder = folder
        self._memory = io.BytesIO()
        self._path: Path | None = None
        self._file: io.FileIO | None = None
        self._values: dict[str, bytes] = {}
        self._digests = {name: _MAKE[name]() for name in {"md5", "crc64nvme", *_named(request)}}

    def add(self, data: memoryview) -> None:
        """See bench.wire.Body."""
        self.size += len(data)
        for digest in self._digests.values():
            digest.update(data)
        if self._file is None and self.size > KEPT_IN_MEMORY:
            self._path = self._folder / uuid.uuid4().hex
            self._file = io.FileIO(self._path, "w")
            self._file.write(self._memory.getbuffer())
            self._memory = io.BytesIO()
        (self._file or self._memory).write(data)  # a file of a local disk takes all of it

    def digest(self, name: str) -> bytes:
        """Its checksum, if that was asked for when it came; always MD5 and CRC64NVME."""
        return self._values[name] if self._values else self._digests[name].digest()

    def keep(self) -> None:
        """It has come to its end."""
        if self._file is not None:
            self._file.close()
        self._values = {name: digest.digest() for name, digest in self._digests.items()}
        self._digests = {}

    def read(self, start: int, size: int) -> bytes:
        """Some of it."""
        if self._path is None:
            return bytes(self._memory.getbuffer()[start : start + size])
        fd = os.open(self._path, os.O_RDONLY)
        try:
            return os.pread(fd, size, start)
        finally:
            os.close(fd)

    def forget(self) -> None:
        """Nobody needs it any more."""
        if self._file is not None:
            self._file.close()
        path, self._path = self._path, None
        if path is not None:
            path.unlink()


def verify(request: Request, content: Content) -> list[tuple[str, str]]:
    """The checksum headers that the object keeps; RefusedError where the body is not what the request says."""
    _verify_length(request, content)
    _verify_md5(request, content)
    _verify_payload(request, content)
    given = checksum_headers(request)
    for header, value in given:
        if base64.b64encode(content.digest(header.removeprefix(_PREFIX))).decode() != value:
            raise RefusedError(400, "BadDigest", f"The {header} you specified did not match the calculated checksum.")
    return given


def checksum_headers(request: Request) -> list[tuple[str, str]]:
    """Those of the head and of the trailer, one at most; RefusedError where one is none."""
    lines = [*request.headers.items(), *(_split(line) for line in request.trailers)]
    names = {f"{_PREFIX}{name}".encode(): _BYTES[name] for name in CHECKSUMS}
    found = [(name.decode(), value.decode("latin-1"), names[name]) for name, value in lines if name in names]
    if len(found) > 1:
        raise RefusedError(400, "InvalidRequest", "Expecting a single x-amz-checksum- header")
    for name, value, size in found:
        if _size(value) != size:
            raise RefusedError(400, "InvalidRequest", f"Value for {name} header is invalid.")
    promised = request.headers.get(b"x-amz-trailer", b"").decode("latin-1").lower()
    if promised.startswith(_PREFIX) and promised not in {name for name, _, _ in found}:
        raise RefusedError(400, "MalformedTrailerError", f"the trailer {promised} did not come")
    return [(name, value) for name, value, _ in found]


def _named(request: Request | None) -> set[str]:
    if request is None:
        return set()
    headers = {name.decode("latin-1") for name in request.headers}
    headers |= {request.headers.get(b"x-amz-trailer", b"").decode("latin-1").lower()}
    named = {name for name in CHECKSUMS if f"{_PREFIX}{name}" in headers}
    return named | ({"sha256"} if len(request.headers.get(_PAYLOAD.encode(), b"")) == 64 else set())


def _verify_length(request: Request, content: Content) -> None:
    decoded = request.headers.get(b"x-amz-decoded-content-length")
    if decoded is not None and int(decoded) != content.size:
        raise RefusedError(400, "IncompleteBody", "the body has not the length that was announced")


def _verify_md5(request: Request, content: Content) -> None:
    given = request.headers.get(b"content-md5")
    if given is None:
        return
    if _size(given.decode("latin-1")) != 16:
        raise RefusedError(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    if base64.b64decode(given) != content.digest("md5"):
        raise RefusedError(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


def _verify_payload(request: Request, content: Content) -> None:
    given = request.headers.get(_PAYLOAD.encode(), b"").decode("latin-1")
    if not given:
        raise RefusedError(400, "InvalidRequest", f"Missing required header for this request: {_PAYLOAD}")
    if given == "UNSIGNED-PAYLOAD" or given.startswith("STREAMING-"):
        return
    if content.digest("sha256").hex() != given if len(given) == 64 else True:
        text = f"The provided {_PAYLOAD} header does not match what was computed."
        raise RefusedError(400, "XAmzContentSHA256Mismatch", text)


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()


def _size(text: str) -> int:
    try:
        return len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return -1
