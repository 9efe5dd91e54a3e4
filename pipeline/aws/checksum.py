"""CRC64NVME, the checksum S3 keeps of whole objects, over an open file."""

import base64
import os

from awscrt.checksums import crc64nvme as _crc64nvme  # type: ignore[import-untyped]  # it ships no types

_CHUNK = 1024 * 1024


def crc64nvme(fd: int) -> str:
    """Base64 of the big-endian CRC64NVME of a whole file, as in `x-amz-checksum-crc64nvme`; reads by position."""
    value, offset = 0, 0
    while chunk := os.pread(fd, _CHUNK, offset):
        value = _crc64nvme(chunk, value)
        offset += len(chunk)
    return _text(value)


def crc64nvme_of(data: bytes) -> str:
    """The same of bytes in memory."""
    return _text(crc64nvme_value(data))


def crc64nvme_value(data: bytes) -> int:
    """The same as a number."""
    value: int = _crc64nvme(data)
    return value


def _text(value: int) -> str:
    return base64.b64encode(value.to_bytes(8, "big")).decode()
