"""CRC64NVME, the checksum S3 keeps of whole objects; as text, base64 of the big-endian value (S3's headers)."""

import base64
import os

from awscrt import checksums  # type: ignore[import-untyped]  # it ships no types

_CHUNK = 1024 * 1024


def crc64nvme(fd: int) -> str:
    """The checksum of a whole file; reads by position."""
    value, offset, size = 0, 0, os.fstat(fd).st_size
    wanted = min(size + 1, _CHUNK)  # a buffer of the whole chunk costs more than to read a small file
    while chunk := os.pread(fd, wanted, offset):
        value = checksums.crc64nvme(chunk, value)
        offset += len(chunk)
        if len(chunk) < wanted and offset >= size:
            break  # it asked for more than there is
    return as_text(value)


def crc64nvme_of(data: bytes) -> str:
    """The checksum of bytes in memory."""
    return as_text(crc64nvme_value(data))


def crc64nvme_value(data: bytes) -> int:
    """The same as a number."""
    value: int = checksums.crc64nvme(data)
    return value


def combine_crc64nvme(first: int, second: int, second_size: int) -> int:
    """The checksum of two pieces, one after the other, from theirs; `second_size` in bytes."""
    value: int = checksums.combine_crc64nvme(first, second, second_size)
    return value


def as_text(value: int) -> str:
    """A checksum as S3's headers have it."""
    return base64.b64encode(value.to_bytes(8, "big")).decode()
