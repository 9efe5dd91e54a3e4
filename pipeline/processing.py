"""Step 7c: the command for each file that was delivered, until it succeeds; only then is the message deleted.

The ledger says for which drops it is due. A drop whose command succeeded is `done`, durably, and is never run again.
"""

import logging
import os
import threading
from collections.abc import Sequence
from functools import partial

from pipeline.acknowledger import Acknowledger
from pipeline.command import Command, Outcome
from pipeline.command_locks import CommandLocks
from pipeline.drop import split_delivery_id
from pipeline.folders import is_regular
from pipeline.hand import Held
from pipeline.handling import Handling
from pipeline.landing import Landing
from pipeline.ledger import DONE, DUE, Row
from pipeline.names import decode_path, printable
from pipeline.pacing import Gate
from pipeline.ports import LaterError, NeverError, ReceiptError, RelayError, TriedError
from pipeline.threads import Pool

log = logging.getLogger(__name__)

_FIRST_SECONDS, _LONGEST_SECONDS, _LOCKED_SECONDS = 5.0, 3600.0, 600.0
"""Of waiting: before the second try, doubled before each further one up to an hour, so that a hundred tries are over
before SQS forgets the message; and at most for a run that still goes on.
"""


class Processing:
    """Runs the command for what was delivered, in threads of its own."""

    def __init__(
        self,
        command: Command,
        landing: Landing,
        bucket: str,
        handling: Handling,
        acknowledger: Acknowledger,
        cancelled: threading.Event,
    ) -> None:
        """`cancelled`: what runs is to end."""
        self._command, self._folder, self._ledger, self._bucket = command, landing.folder, landing.ledger, bucket
        self._acknowledger, self._cancelled = acknowledger, cancelled
        self.gate = Gate()
        """Shut while no command can be started, or its end not be noted: what is in hand arrives all the same."""
        self._handling = handling.waiting_at(lambda: self.gate)
        self._locks = CommandLocks(landing.folder)
        self._succeeded: set[str] = set()
        """For which drops it did, though the ledger could not be told yet: it is not run again for these."""
        self._pool = Pool(command.concurrency, "command")

    def submit(self, held: Held, drops: Sequence[str], trouble: RelayError | None = None) -> None:
        """Run the command for the drops of a message where it is due, and have the message deleted. It never waits.

        `drops`: their delivery ids. `trouble`: what came of the message's other records, and decides with the commands
        what becomes of it.
        """
        self._handling.submit(self._pool, held, partial(self._process_all, held, drops, trouble))

    def close(self, *, wait: bool) -> None:
        """End; what is not begun by now is given back."""
        self._pool.shutdown(wait=wait)

    def _process_all(self, held: Held, drops: Sequence[str], trouble: RelayError | None) -> None:
        later, never = self._process_each(drops, held)
        if later:
            raise _first(later)
        if isinstance(trouble, LaterError):
            raise trouble  # not buried before that ended: what had all of its tries is not run again until then
        if reasons := [*never.values(), *([trouble] if trouble else [])]:
            self._acknowledger.bury(held.message, "; ".join(map(str, reasons)))
        for drop in never:
            self._ledger.note_command(drop, DUE, 0)  # a message that is brought back is tried anew
        self._acknowledger.submit(held)

    def _process_each(self, drops: Sequence[str], held: Held) -> tuple[list[TriedError], dict[str, NeverError]]:
        """None holds up another: what is to be tried again, and what is not, by drop."""
        later: list[TriedError] = []
        never: dict[str, NeverError] = {}
        for drop in drops:
            if held.lost:
                raise ReceiptError("a message is no longer ours, its command is left to whoever has it now")
            try:
                self._process(drop, held.message.receive_count)
            except TriedError as error:
                later.append(error)
            except NeverError as error:
                never[drop] = error
        return later, never

    def _process(self, drop: str, receive_count: int) -> None:
        """Nothing is due then. TriedError if it is to be tried later, NeverError if it had all of its tries."""
        if self._due(drop) is None:
            return
        with self._locks.hold(drop) as lock_fd:
            if lock_fd is None:
                raise TriedError(
                    f"the command for {_name(drop)} runs already", min(_LOCKED_SECONDS, _delay(receive_count))
                )
            row = self._due(drop)  # whoever held the lock before may have done it
            if row is None:
                return
            if row.tries >= self._command.tries:  # and was not buried then
                raise NeverError(f"{_name(drop)}: its command failed, {row.tries} times")
            self._try(drop, row, lock_fd)

    def _due(self, drop: str) -> Row | None:
        row = self._ledger.find(drop)
        return row if row and row.command == DUE else None

    def _try(self, drop: str, row: Row, lock_fd: int) -> None:
        path = decode_path(row.name)
        if drop not in self._succeeded:
            status = self._folder.status(path)
            if status is None or not is_regular(status):
                log.info("%s is no longer there, its command counts as done", printable(path))
                self._ledger.note_command(drop, DONE, row.tries)
                return
            outcome = self._run(drop, path, status.st_size, lock_fd)
            if outcome.problem:
                raise self._note_failure(drop, row.tries + 1, outcome)
            log.debug("the command for %s succeeded: %s", printable(path), outcome.describe())
            self._succeeded.add(drop)
        self._note(drop, DONE, row.tries)
        self._succeeded.discard(drop)

    def _run(self, drop: str, path: str, size: int, lock_fd: int) -> Outcome:
        raw, (drop_id, key) = os.fsencode(path), split_delivery_id(drop)
        about = {
            b"RELAY_BUCKET": self._bucket.encode(),
            b"RELAY_KEY": key.encode(),
            b"RELAY_DROP_ID": drop_id.encode(),
            b"RELAY_PATH": raw,
            b"RELAY_SIZE": b"%d" % size,
        }
        top = self._folder.path
        return self._command.run(os.path.join(os.fsencode(top), raw), top, about, lock_fd, self._cancelled.is_set)

    def _note(self, drop: str, command: str, tries: int) -> None:
        """How a run ended."""
        self._ledger.note_command(drop, command, tries)
        self.gate.passed()  # not before the ledger is told, which may be what shut it

    def _note_failure(self, drop: str, tries: int, outcome: Outcome) -> RelayError:
        self._note(drop, DUE, tries)
        what = f"{_name(drop)}: its command failed, try {tries} of {self._command.tries}: {outcome.problem}"
        if tries < self._command.tries:
            return TriedError(f"{what}: {outcome.describe()}", _delay(tries))
        log.info("%s: %s", what, outcome.describe())
        return NeverError(f"{what}: {outcome.last_line()}")


def _name(drop: str) -> str:
    """For a person."""
    return printable(split_delivery_id(drop)[1])


def _first(errors: Sequence[TriedError]) -> TriedError:
    """The one to be tried again first, which is told of when the message is given back; the others are told of here."""
    first, *others = sorted(errors, key=lambda error: error.seconds)
    for error in others:
        log.warning("%s", error)
    return first


def _delay(tries: int) -> float:
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(tries - 1, 20))
