"""What becomes of a message that a thread works on: handed on, buried, held while the whole side waits, given back."""

import copy
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from pipeline import pacing
from pipeline.acknowledger import Acknowledger
from pipeline.doubts import Doubts
from pipeline.folders import Folder, trouble_in
from pipeline.groups import Groups
from pipeline.hand import Hand, Held
from pipeline.names import printable
from pipeline.pacing import Gate, Summary
from pipeline.ports import (
    CancelledError,
    MissingError,
    NeverError,
    PausedError,
    ReceiptError,
    RefusedError,
    RelayError,
    RoomError,
    TriedError,
)

log = logging.getLogger(__name__)

_ROOM_SECONDS = 5.0
"""After which room is looked for again, for a file that there was none for."""
_NO_ROOM_SECONDS = 3600.0
"""After which others of such files come again: received a hundred times, they would be dead letters."""
_ROOM_PLACES = 4
"""Messages of such files that are held, so that their receive counts stay; the places of the others are needed."""


class Handling:
    """Deals with whatever is raised by those who work on messages in hand."""

    def __init__(
        self,
        hand: Hand,
        groups: Groups,
        acknowledger: Acknowledger,
        folder: Folder,
        gate: Callable[[], Gate],
        stopping: threading.Event,
        doubts: int,
    ) -> None:
        """`folder` is what is written to; `doubts`: see Doubts, `most`."""
        self._hand, self._groups, self._acknowledger = hand, groups, acknowledger
        self._folder, self._gate, self._stopping = folder, gate, stopping
        self._doubts = Doubts(groups, doubts, lambda: gate().wait())
        self._no_room = Summary(log)
        self._room_places = threading.BoundedSemaphore(_ROOM_PLACES)

    def waiting_at(self, gate: Callable[[], Gate]) -> "Handling":
        """The same for other work, whose troubles and successes say nothing about this one's."""
        other = copy.copy(self)
        other._gate = gate
        return other

    def submit(self, pool: Executor, held: Held, work: Callable[[], None], error: Exception | None = None) -> None:
        """Have a thread do `work`, at whose end the message is handed on; `error` is what came of it before."""
        if self._stopping.is_set():
            self._groups.give_back(held, 0)
        else:
            pool.submit(self._handle, pool, held, work, error)

    def _handle(self, pool: Executor, held: Held, work: Callable[[], None], error: Exception | None) -> None:
        try:
            self._settle(held, work, error)
        except CancelledError:
            self._groups.give_back(held, 0)
        except ReceiptError as problem:
            log.info("%s", problem)
            self._groups.let_go(held)
        except RefusedError:
            self._doubts.take(pool, held, lambda: self._handle(pool, held, work, None))
        except RelayError as problem:
            missing = isinstance(problem, MissingError)
            log.warning("%sthe message goes back: %s", "not there yet, " if missing else "", problem)
            self._groups.give_back(held, _pause(problem, held.message.receive_count))
        except Exception:
            log.exception("an error of the program; the message goes back: %s", printable(held.message.body[:200]))
            self._groups.give_back(held, 30)

    def _settle(self, held: Held, work: Callable[[], None], error: Exception | None) -> None:
        """While the whole side has to wait, the message is held."""
        while True:
            if self._stopping.is_set():
                raise CancelledError("stopping")
            try:
                return self._work_or_bury(held, work, error)
            except PausedError as problem:
                self._gate().shut(problem)
                if isinstance(problem, RefusedError):
                    raise  # it may be this one alone: it does not wait here
            except RoomError as problem:
                self._wait_for_room(problem)
            except (OSError, sqlite3.Error) as problem:
                self._gate().shut(trouble_in(self._folder, problem))
            error = None
            self._gate().wait()
            if not self._hand.is_ours(held):
                raise ReceiptError("waited too long, the message goes to the next taker")

    def _wait_for_room(self, problem: RoomError) -> None:
        """Held, as it may take days, and smaller ones go on meanwhile; RoomError where so many wait already."""
        if not self._room_places.acquire(blocking=False):
            raise problem
        try:
            self._no_room.note(problem)
            self._stopping.wait(_ROOM_SECONDS)
        finally:
            self._room_places.release()

    def _work_or_bury(self, held: Held, work: Callable[[], None], error: Exception | None) -> None:
        try:
            if error is not None:
                raise error
            work()
        except NeverError as problem:
            self._acknowledger.bury(held.message, str(problem))
            self._acknowledger.submit(held)


def _pause(problem: RelayError, receive_count: int) -> float:
    """Seconds after which the message is shown to the next taker."""
    if isinstance(problem, TriedError):
        return problem.seconds
    if isinstance(problem, RoomError):
        return _NO_ROOM_SECONDS
    return 5 * isinstance(problem, MissingError) + pacing.delay(receive_count, 0.5, problem.longest)
