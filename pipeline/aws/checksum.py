"""CRC64NVME, the checksum S3 keeps of whole objects; as text, base64 of the big-endian value (S3's headers)."""

import base64
import os

from awscrt.checksums import crc64nvme as _crc64nvme  # type: ignore[import-untyped]  # it ships no types

_CHUNK = 1024 * 1024


class Crc64Nvme:
    """A checksum that grows with what is added to it."""

    def __init__(self) -> None:
        self._value = 0

    def add(self, data: bytes) -> None:
        """Continue with these bytes."""
        self._value = _crc64nvme(data, self._value)

    def __str__(self) -> str:
        return base64.b64encode(self._value.to_bytes(8, "big")).decode()


def crc64nvme(fd: int) -> str:
    """The checksum of a whole file; reads by position."""
    checksum, offset = Crc64Nvme(), 0
    while chunk := os.pread(fd, _CHUNK, offset):
        checksum.add(chunk)
        offset += len(chunk)
    return str(checksum)


def crc64nvme_of(data: bytes) -> str:
    """The checksum of bytes in memory."""
    checksum = Crc64Nvme()
    checksum.add(data)
    return str(checksum)


def crc64nvme_value(data: bytes) -> int:
    """The same as a number."""
    value: int = _crc64nvme(data)
    return value
