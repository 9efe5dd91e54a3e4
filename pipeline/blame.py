"""Which work ends the processes that do it? Counted from what each process had in hand when it died.

A process has several files in hand, so a death alone convicts none: its files become suspects and are done alone. One
that ends three processes while it is alone in hand is condemned. Work that ends, well or not, is cleared.
"""

from collections import Counter, defaultdict

DEATHS = 3


class Blame:
    """The record of one side."""

    def __init__(self) -> None:
        self._in_hand: defaultdict[int, set[str]] = defaultdict(set)
        self._suspects: set[str] = set()
        self._alone: Counter[str] = Counter()

    def begin(self, process: int, work: str) -> None:
        """A process starts on some work."""
        self._in_hand[process].add(work)

    def end(self, process: int, work: str) -> None:
        """It is through with it."""
        self._in_hand[process].discard(work)
        self._suspects.discard(work)
        del self._alone[work]

    def died(self, process: int) -> None:
        """It ended without being asked to."""
        in_hand = self._in_hand.pop(process, set())
        self._suspects |= in_hand
        if len(in_hand) == 1:
            self._alone.update(in_hand)

    def left(self, process: int) -> None:
        """It ended as asked; what it had in hand it put back."""
        self._in_hand.pop(process, None)

    def suspects(self) -> tuple[str, ...]:
        """Work to be done alone."""
        return tuple(sorted(self._suspects - set(self.condemned())))

    def condemned(self) -> tuple[str, ...]:
        """Work not to be tried again."""
        return tuple(sorted(work for work, deaths in self._alone.items() if deaths >= DEATHS))
