"""The files of a folder in the order in which they came, however many there are, in bounded memory."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

MOST = 100_000
"""Files that are remembered of one look, about 200 bytes each; of more the oldest, and the rest is looked for again."""


class Arrived(NamedTuple):
    """A file as a look found it. They sort by age."""

    arrived: int
    """Nanoseconds since the epoch: its ctime, which is set by whatever brought it there, a rename included."""
    head: str
    name: str
    size: int


def oldest_first(look: Callable[[bool], Iterable[Arrived]], most: int = MOST) -> Iterator[Arrived]:
    """Every file that `look` finds, the oldest first. It looks once for each `most` files, from then on with True."""
    last: Arrived | None = None
    while True:
        found = heapq.nsmallest(most + 1, (each for each in look(last is not None) if last is None or each > last))
        yield from found[:most]
        if len(found) <= most:
            return
        last = found[most - 1]
