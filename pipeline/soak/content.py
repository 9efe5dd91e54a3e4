"""What the files of a soak test are called and hold: everything follows from (run, seed, drop, version).

The first line of a file says which one it is; the rest is the output of SHAKE-128, so that a byte out of its place, a
piece of another file or a hole cannot pass for it. Who knows the recipe needs no copy of the file to compare with.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 1 << 20
"""Bytes that are made at a time."""

HEAD = 200
"""Bytes that hold the first line of a file."""

MULTIPART = (32 << 20) + 1
"""Bytes of the one file of the mix that travels in parts: just above what the uploader sends in one request."""

MIX = "mix"
_SMALL = (1, 512, 4 << 10, 64 << 10, 256 << 10, 1 << 20)
_UNITS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,15})\s*(B|[KMG]i?B)?")
_NAME = re.compile(r"drop-([0-9]{6,9})(?:-Version-([1-9][0-9]{0,8}))?\.bin")
_HEADER = re.compile(rb"folder relay soak ([0-9A-Za-z-]{1,64}) drop ([0-9]{1,9}) version ([0-9]{1,9}) size [0-9]+\n")
LARGEST = 5 << 30
"""Bytes. Sizes above are no soak test but a full disk."""


class File(NamedTuple):
    """One version of one drop; versions begin at 1."""

    drop: int
    version: int

    @property
    def name(self) -> str:
        """As the relay itself numbers the versions of a name."""
        mark = f"-Version-{self.version}" if self.version > 1 else ""
        return f"drop-{self.drop:06d}{mark}.bin"

    @property
    def next(self) -> "File":
        """The version that it is fed back as."""
        return File(self.drop, self.version + 1)


class Sizes(NamedTuple):
    """From `low` to `high` bytes, log-uniform; or the fixed mix."""

    low: int
    high: int
    mix: bool = False

    def __str__(self) -> str:
        return MIX if self.mix else f"{self.low}B-{self.high}B"

    def of(self, file: File, seed: int) -> int:
        """The size of a file in bytes."""
        if self.mix:
            return {1: 0, 2: MULTIPART}.get(file.drop, _SMALL[file.drop % len(_SMALL)])
        share = int.from_bytes(hashlib.blake2b(f"{seed} {file.drop} {file.version}".encode()).digest()[:7]) / (1 << 56)
        low, high = max(self.low, 1), max(self.high, 1)
        return min(self.high, int(math.exp(math.log(low) + share * (math.log(high + 1) - math.log(low)))))

    @property
    def mean(self) -> float:
        """Bytes of an average file, for the estimate; the mix counts twenty files."""
        if self.mix:
            return sum(self.of(File(drop, 1), 0) for drop in range(1, 21)) / 20
        low, high = max(self.low, 1), max(self.high, 1)
        return float(high) if low == high else (high - low) / (math.log(high) - math.log(low))


DEFAULT = Sizes(1 << 10, 8 << 20)


def size(text: str) -> int:
    """`8MiB`, `500 KB`, `12` (bytes) as bytes; ValueError otherwise."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no size such as 64KiB, 8MiB or 1GB")
    return int(found[1]) * _UNITS[found[2] or "B"]


def sizes(text: str) -> Sizes:
    """`1KiB-8MiB`, `64KiB` or `mix`; ValueError otherwise."""
    if text == MIX:
        return Sizes(0, MULTIPART, mix=True)
    low, dash, high = text.partition("-")
    found = Sizes(size(low), size(high if dash else low))
    if not found.low <= found.high <= LARGEST:
        raise ValueError(f"{text!r}: the sizes go from a smaller to a larger one, up to 5GiB")
    return found


def file_of(name: str) -> File | None:
    """Which file a name belongs to; None if it is no name of a soak test."""
    found = _NAME.fullmatch(name)
    file = File(int(found[1]), int(found[2] or 1)) if found else None
    return file if file and file.name == name else None


class Recipe(NamedTuple):
    """All that a run's contents follow from."""

    run: str
    seed: int
    sizes: Sizes

    def size(self, file: File) -> int:
        """Bytes of a file."""
        return self.sizes.of(file, self.seed)

    def blocks(self, file: File) -> Iterator[bytes]:
        """The content of a file, in order, BLOCK bytes at a time (the last may be shorter)."""
        whole = self.size(file)
        header = f"folder relay soak {self.run} drop {file.drop} version {file.version} size {whole}\n".encode()
        for number in range((whole + BLOCK - 1) // BLOCK):
            length = min(BLOCK, whole - number * BLOCK)
            noise = hashlib.shake_128(f"{self.seed} {header.decode()} {number}".encode()).digest(length)
            yield header[:length] + noise[len(header) :] if number == 0 else noise

    def identify(self, head: bytes) -> File | None:
        """Which file of this run a content says it is, from its first HEAD bytes; else None."""
        found = _HEADER.match(head)
        return File(int(found[2]), int(found[3])) if found and found[1].decode() == self.run else None


def first_difference(expected: bytes, found: bytes) -> int:
    """The offset of the first byte that differs, where one ends included; the shorter length if none does."""
    if expected == found:
        return len(expected)
    shorter = min(len(expected), len(found))
    low, high = 0, shorter
    while low < high:  # the longest common prefix, by halves: comparing slices is far faster than bytes
        middle = (low + high + 1) // 2
        low, high = (middle, high) if expected[:middle] == found[:middle] else (low, middle - 1)
    return low


def difference(found: BinaryIO, expected: Iterator[bytes]) -> int | None:
    """The offset of the first byte of an open file that is not as it has to be; None if all are."""
    found.seek(0)
    at = 0
    for block in expected:
        got = found.read(len(block))
        if got != block:
            return at + first_difference(block, got)
        at += len(block)
    return at if found.read(1) else None
