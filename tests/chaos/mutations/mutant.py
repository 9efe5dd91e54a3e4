"""What a mutant is."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change to one shipped file: `old`, which stands there exactly once, becomes `new`."""

    file: str
    old: str
    new: str
    killers: tuple[str, ...]
    """The tests that fail over it, each of them: `unit/test_x.py::test_y`, as in docs/faults.md."""
