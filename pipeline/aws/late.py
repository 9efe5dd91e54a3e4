"""A queue that need not be there yet: a sender stores files meanwhile, and announces them once it is."""

import threading
from collections.abc import Callable, Sequence

from pipeline.ports import Message, PausedError, RelayError, Sender


class LateQueue:
    """Looks for the queue as soon as something is to be sent, and until it is found."""

    def __init__(self, find: Callable[[], Sender]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._found: Sender | None = None
        self._problem: RelayError = PausedError("nobody has looked for the queue")
        self._tries = 0

    def send(self, messages: Sequence[Message]) -> list[RelayError | None]:
        """See ports.Sender. PausedError while there is no queue: without it no file comes to its end."""
        return self.look().send(messages)

    def look(self) -> Sender:
        """The queue; PausedError if it is not found. Threads that come while one looks have its answer."""
        before = self._tries
        with self._lock:
            if self._found is None and self._tries == before:
                self._try()
        if self._found is None:
            raise PausedError(str(self._problem)) from self._problem
        return self._found

    def _try(self) -> None:
        try:
            self._found = self._find()
        except RelayError as error:
            self._problem = error
        self._tries += 1
