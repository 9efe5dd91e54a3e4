"""What users drop, drawn from the seed: names, sizes, contents, and what becomes of each file."""

import hashlib
import os
import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.odd_names import names

MOVED, WRITTEN, REMOVED, CUT = "moved", "written", "removed", "cut"
"""How a file comes into Watch, or what its user does to it soon after that."""
_SAME, _ODD, _SLOW, _SPOILED = 0.1, 0.1, 0.05, 0.02
"""Of all drops, the share with one of a few names, with one of the odd ones, written slowly, and spoiled."""
SPOILED_BYTES = 64
"""The least of a file that is spoiled: half of it is a content of its own, too."""
_EMPTY = 0.02
_BLOCK = 1 << 20
SIZES = {"tiny": (4 << 10, 64 << 10), "small": (32 << 10, 512 << 10), "mixed": (256 << 10, 4 << 20)}
"""Most files are of up to so many bytes, log-uniform; one in a hundred is of up to so many."""
LARGE = (33 << 20, 64 << 20)
"""Of the files that travel in parts."""
_LARGE_EVERY = 5000


class File(NamedTuple):
    """One drop."""

    number: int
    name: str
    size: int
    how: str
    seed: str

    def blocks(self) -> Iterator[bytes]:
        """Its content, which no other file has unless both are empty."""
        rng, left = random.Random(self.seed), self.size
        head = f"{self.seed}\n".encode()[: self.size]
        noise = rng.randbytes(min(_BLOCK, self.size))
        while left > 0:
            block = (head + noise)[: min(left, _BLOCK)]
            yield block
            left -= len(block)

    def digest(self, size: int | None = None) -> bytes:
        """SHA-256 of its first so many bytes."""
        left, found = self.size if size is None else size, hashlib.sha256()
        for block in self.blocks():
            found.update(block[:left])
            left = max(0, left - len(block))
        return found.digest()


def draw(pair: int, number: int, sizes: str, rng: random.Random) -> File:
    """The next one; the first pair has one that travels in parts among its first."""
    most, rare = SIZES[sizes]
    size = _size(number - 300 * pair, most, rare, rng)
    dice = rng.random()
    how = MOVED
    if dice < _SAME:
        name = f"same-{rng.randrange(8)}.csv"
    elif dice < _SAME + _ODD:
        name = f"{number}/{os.fsdecode(rng.choice(_ODD_NAMES))}"
    else:
        name = f"d{number % 7}/file {number}.bin"
        how = _fate(size, rng)
    return File(number, name, size, how, f"{pair} {number}")


def _size(number: int, most: int, rare: int, rng: random.Random) -> int:
    if number % _LARGE_EVERY == 20:
        return rng.randint(*LARGE)
    if rng.random() < _EMPTY:
        return 0
    # What tells two contents apart has to have room.
    return max(16, int((rare if rng.random() < 0.01 else most) ** rng.random()))


def _fate(size: int, rng: random.Random) -> str:
    dice = rng.random()
    if dice < _SPOILED and size >= SPOILED_BYTES:
        return rng.choice((REMOVED, CUT))
    return WRITTEN if dice < _SPOILED + _SLOW and size < _BLOCK else MOVED


_ODD_NAMES = [name for row in names().values() for name in row]
