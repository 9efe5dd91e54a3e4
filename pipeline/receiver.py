"""How messages come in: as many as there is room for, and several calls at once while there are more."""

import logging
import threading
from collections.abc import Callable

from pipeline.pacing import Gate
from pipeline.ports import QUEUE_BATCH, MessageQueue, Received, RelayError
from pipeline.threads import Pool

log = logging.getLogger(__name__)

_MORE_CALLS = 3
"""Beside the one that waits: where the queue is 20 ms away, each brings 500 messages a second."""
_ROOM_SECONDS = 0.02
"""For which a call waits for each further place: one for one message costs what one for ten costs."""


class Receiver:
    """Receives for one process. `receive` and `hand_over` are its main thread's; the calls beside have their own."""

    def __init__(
        self,
        queue: MessageQueue,
        slots: threading.Semaphore,
        gate: Callable[[], Gate],
        start: Callable[[list[Received]], None],
    ) -> None:
        """`slots`: room for messages in hand, which whoever ends one gives back; `start` begins to work on some."""
        self._queue, self._slots, self._gate, self._start = queue, slots, gate, start
        self._pool = Pool(_MORE_CALLS, "receive")
        self._refused = False
        """Whether the last answer was that the queue cannot be asked."""
        self._more_waiting = False  # any thread's last answer: no harm if one is a moment late to hear of it

    def receive(self, wait: int) -> tuple[int, list[Received] | None]:
        """Wait for room, then up to `wait` seconds for messages; how many there was room for, and those that came.

        None if the queue could not be asked. Nothing has been begun yet: a signal may cut this.
        """
        room = self._take_slots(wait=True)
        while self._more_waiting and (more := self._take_slots(wait=False)):
            self._pool.submit(self._receive_more, more)
        return room, self._ask(room, wait)

    def hand_over(self, messages: list[Received] | None, room: int) -> None:
        """Begin to work on what came, and give back the room that it does not need."""
        self._start(messages or [])
        if unused := room - len(messages or ()):
            self._slots.release(unused)

    def close(self) -> None:
        """Wait for the calls beside that have begun; what they bring is handed over."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take_slots(self, *, wait: bool) -> int:
        """Room for up to ten messages; with `wait` for one at least, and a moment for more while there are more."""
        room = int(self._slots.acquire(blocking=wait))
        patience = _ROOM_SECONDS if wait and self._more_waiting else 0.0
        while 0 < room < QUEUE_BATCH and self._slots.acquire(timeout=patience):
            room += 1
        return room

    def _receive_more(self, room: int) -> None:
        try:
            messages = self._ask(room, 0)
        except Exception:
            log.exception("an error of the program; the queue is asked again")
            messages = None
        self.hand_over(messages, room)

    def _ask(self, limit: int, wait: int) -> list[Received] | None:
        try:
            messages = self._queue.receive(limit, wait)
        except RelayError as error:
            self._refused = True
            self._gate().shut(error)
            return None
        if self._refused:  # what shut the gate else, the store or the disk, has not passed yet
            self._refused = False
            self._gate().passed()
        self._more_waiting = len(messages) == QUEUE_BATCH
        return messages
