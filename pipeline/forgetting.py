"""What a ledger need not know any longer: drops that were delivered so long ago that no message tells of them."""

import logging
import sqlite3
import threading
import time

from pipeline.folders import Folder
from pipeline.ledger import Ledger
from pipeline.names import decode_path

log = logging.getLogger(__name__)

DAY = 86_400.0


class Forgetting:
    """A thread that lets the ledger forget, at once and then every day."""

    def __init__(self, ledger: Ledger, folder: Folder, days: int) -> None:
        """`folder`: where the files lie; what still has its name there is not forgotten."""
        self._ledger, self._folder, self._days = ledger, folder, days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forgetting", daemon=True)

    def start(self) -> None:
        """Begin, unless it is for ever (0 days) that the ledger knows."""
        if self._days:
            self._thread.start()

    def close(self) -> None:
        """End it, after the step that it is at."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def forget(self, now: float) -> int:
        """One pass over the ledger, at a time in seconds since the epoch; how many drops were forgotten."""
        count = 0
        for forgotten in self._ledger.forget(now - self._days * DAY, self._lies_there):
            count += forgotten
            if self._stopping.is_set():
                break
        return count

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if count := self.forget(time.time()):
                    log.info("the ledger forgot %d drops, delivered more than %d days ago", count, self._days)
            except sqlite3.Error as error:
                log.warning("the ledger does not forget today what is older than ledgerDays: %s", error)
            self._stopping.wait(DAY)

    def _lies_there(self, name: str) -> bool:
        try:
            return self._folder.status(decode_path(name)) is not None
        except OSError:
            return True  # who knows: it is looked at again tomorrow
