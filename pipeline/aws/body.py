"""What a request sends of an open file: bytes, or, where these would be too many, a reader by position."""

import io
import os
from collections.abc import Iterator
from typing import Any

from pipeline.aws.checksum import Crc64Nvme
from pipeline.ports import LaterError

PART_SIZE = 8 * 1024 * 1024
"""Bytes of a part (S3 asks for at least 5 MiB), and of a file that one thread holds at most."""
PART_LIMIT = 10_000
"""Parts of one upload (Amazon S3 User Guide, "Multipart upload limits")."""
_CHUNK = 1024 * 1024


class Section(io.RawIOBase):
    """Part of an open file, read by position: the descriptor's own offset stays where it is."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd, self._start, self._size, self._at = fd, start, size, 0

    def readable(self) -> bool:
        """As io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """As io.RawIOBase; botocore rewinds to sign, and to try again."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As io.RawIOBase."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """As io.RawIOBase; LaterError where the file ends before the section does."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        got = os.preadv(self._fd, [memoryview(buffer)[:wanted]], self._start + self._at)
        if not got:
            raise LaterError("the file became shorter while it was uploaded")
        self._at += got
        return got


def body_of(fd: int, start: int, size: int) -> bytes | Section:
    """So many bytes of an open file; LaterError where it ends before (a request would wait for the rest)."""
    if size > PART_SIZE:
        return Section(fd, start, size)
    data = os.pread(fd, size, start)  # all at once: readall() would ask for 8 KiB a time, and grow what it has
    while len(data) < size:
        more = os.pread(fd, size - len(data), start + len(data))
        if not more:
            raise LaterError("the file became shorter while it was uploaded")
        data += more
    return data


def checksum_of(body: bytes | Section, *further: Crc64Nvme) -> Crc64Nvme:
    """The checksum of a body, which is added to further ones as well."""
    checksum = Crc64Nvme()
    for chunk in _chunks(body):
        for each in (checksum, *further):
            each.add(chunk)
    return checksum


def ranges(size: int) -> Iterator[tuple[int, int, int]]:
    """(part number, offset, bytes) of each part; parts grow where PART_LIMIT of them would not do."""
    part = max(PART_SIZE, -(-size // PART_LIMIT))
    for number, offset in enumerate(range(0, size, part), 1):
        yield number, offset, min(part, size - offset)


def _chunks(body: bytes | Section) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    while chunk := body.read(_CHUNK):
        yield chunk
    body.seek(0)
