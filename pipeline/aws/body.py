"""What a request sends of an open file."""

import os
from collections.abc import Iterator

from pipeline.ports import ChangedError, Content

PART_SIZE = 8 * 1024 * 1024
"""Bytes of a part; S3 asks for at least 5 MiB."""
PART_LIMIT = 10_000
"""Parts of one upload (Amazon S3 User Guide, "Multipart upload limits")."""


def body_of(fd: int, start: int, size: int) -> bytes:
    """So many bytes of an open file; ChangedError where it ends before (a request would wait for the rest)."""
    data = os.pread(fd, size, start)  # all at once: readall() would ask for 8 KiB a time, and grow what it has
    while len(data) < size:
        more = os.pread(fd, size - len(data), start + len(data))
        if not more:
            raise ChangedError("the file became shorter while it was uploaded")
        data += more
    return data


def part_size_of(size: int) -> int:
    """Bytes of a part of an object of `size` bytes; parts grow where PART_LIMIT of them would not do."""
    return max(PART_SIZE, -(-size // PART_LIMIT))


def ranges(size: int) -> Iterator[tuple[int, int, int]]:
    """(part number, offset, bytes) of each part."""
    part = part_size_of(size)
    for number, offset in enumerate(range(0, size, part), 1):
        yield number, offset, min(part, size - offset)


def refuse_changed(read: str, content: Content, what: str) -> None:
    """ChangedError if what was read is not what the caller computed the checksum of."""
    if read != content.crc64nvme:
        raise ChangedError(f"{what}: the file changed while it was uploaded")
