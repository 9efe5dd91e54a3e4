"""Temporary files of downloads that nobody holds and no row of the ledger speaks of: they are removed."""

import contextlib
import os
import sqlite3

from pipeline.folders import Folder, is_regular
from pipeline.kernel import try_lock
from pipeline.ledger import Ledger

_TEMP_NAMES = ("part-", "whole-")  # the second is of earlier versions of the program


class Strays:
    """Those in the incoming folder of one DownloadedFromS3. Safe to use from several threads."""

    def __init__(self, incoming: Folder, ledger: Ledger) -> None:
        self._incoming, self._ledger = incoming, ledger
        self._doubtful: list[str] = []

    def doubt(self, name: str) -> None:
        """Leave one, of which the ledger may or may not have been told, until the ledger can be written again."""
        self._doubtful.append(name)

    def settle(self) -> None:
        """Remove those that were left; sqlite3.Error while the ledger cannot be written."""
        for name in list(self._doubtful):
            self._remove(name)
            with contextlib.suppress(ValueError):  # another thread was quicker
                self._doubtful.remove(name)

    def remove_all(self) -> None:
        """At start: whatever a kill left."""
        for name in os.listdir(self._incoming.fd):
            try:
                self._remove(name)
            except sqlite3.Error:  # not hidden: the next download asks the ledger again, and this file goes then
                self.doubt(name)

    def _remove(self, name: str) -> None:
        if not name.startswith(_TEMP_NAMES):
            return
        try:
            fd = self._incoming.open(name)
        except OSError:
            return
        try:
            if is_regular(os.fstat(fd)) and try_lock(fd) and not self._is_spoken_of(name):
                with contextlib.suppress(FileNotFoundError):  # it may have been published since it was listed
                    os.unlink(name, dir_fd=self._incoming.fd)
        finally:
            os.close(fd)

    def _is_spoken_of(self, name: str) -> bool:
        """Whether a row speaks of a temporary file whose process has ended, and none can come to do so.

        A process that is killed while it commits leaves rows that nobody sees until the ledger is opened anew, and that
        would then read as published. What is written meanwhile makes them void.
        """
        self._ledger.write()
        return name in {row.temp for row in self._ledger.unfinished()}
