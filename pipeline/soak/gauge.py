"""How deep a queue is, asked for beside the work: one that does not answer holds nobody up."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.ports import Depth, RelayError


class Gauge:
    """Asks one question at a time, in a thread of its own."""

    def __init__(self, ask: Callable[[], Depth]) -> None:
        self._ask = ask
        self._pool = ThreadPoolExecutor(1, "gauge")
        self._pending: Future[Depth] | None = None
        self.depth: Depth | None = None
        """The last answer; None while the queue cannot be asked."""
        self.empty = 0
        """How many answers in a row, up to the last, said that nothing is in it."""
        self.silent = 0
        """How many times in a row, up to now, no answer was there, or an error."""
        self.buried = 0
        """Messages that went to the dead letters since the first answer."""
        self._dead: int | None = None

    def read(self) -> None:
        """Take the answer, if there is one, and ask again."""
        if self._pending is not None and self._pending.done():
            self._take(self._pending)
            self._pending = None
        elif self._pending is not None:
            self._miss()
        if self._pending is None:
            self._pending = self._pool.submit(self._ask)

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _miss(self) -> None:
        self.depth, self.empty, self.silent = None, 0, self.silent + 1

    def _take(self, answer: "Future[Depth]") -> None:
        try:
            depth = answer.result()
        except RelayError:  # it shows as a gap; the relay itself logs what it cannot reach
            self._miss()
            return
        self.depth, self.silent = depth, 0
        self.empty = 0 if depth.visible or depth.in_flight or depth.delayed else self.empty + 1
        if depth.dead is not None:
            self._dead = depth.dead if self._dead is None else self._dead
            self.buried = max(self.buried, depth.dead - self._dead)
