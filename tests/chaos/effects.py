"""Every instant at which a process can end: right before and right after each thing it does to the world outside."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline import kernel
from tests.fakes import FakeQueue, FakeStore

_CALLS = ("link", "unlink", "rename", "mkdir", "rmdir", "utime")
_STORE, _QUEUE = ("upload", "look", "download", "keys"), ("send", "receive", "delete", "extend")


class Killed(BaseException):
    """The process ended here. No `except Exception` of the program sees it, as none would."""


class Effects:
    """Counts the instants of one piece of work; at the chosen one something happens."""

    def __init__(self) -> None:
        self._working = self._dead = False
        self._left = -1
        self.call = ""
        """Before or after which call this instant is."""
        self._deed: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def of_work(self, instant: int = -1, deed: Callable[[], None] = lambda: None) -> Iterator[None]:
        """`deed` is done at the `instant`-th of the block; it may call `kill`."""
        self._working, self._dead, self._left, self._deed = True, False, instant, deed
        try:
            yield
        finally:
            self._working = False

    def kill(self) -> None:
        """From now on the work has no effect, however it goes on."""
        self._dead = True
        raise Killed

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """See every change to files and ledger; fsync costs no time, as nobody cuts the power here."""
        for name in _CALLS:
            patch.setattr(os, name, self.around(getattr(os, name)))
        patch.setattr(os, "fsync", self.around(lambda _fd: None))
        for name in ("_renameat2", "create_hidden"):
            patch.setattr(kernel, name, self.around(getattr(kernel, name)))
        patch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=self._connection()))

    def watch(self, store: FakeStore, queue: FakeQueue) -> None:
        """See every call to them, and of a batch each message."""
        for name in _STORE:
            store.before[name] = store.after[name] = self._meet
        for name in _QUEUE:
            setattr(queue, name, self.around(getattr(queue, name)))
        queue.before["delete"] = self._meet

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with an instant before and one after."""

        @functools.wraps(function)
        def seen(*values: Any, **named: Any) -> Any:
            self._meet(function.__name__)
            result = function(*values, **named)
            self._meet(function.__name__)
            return result

        return seen

    def _meet(self, call: str = "") -> None:
        if not self._working:
            return
        if self._dead:
            raise Killed
        self._left, self.call = self._left - 1, call
        if self._left == -1:
            self._working = False
            try:
                self._deed()
            finally:
                self._working = True

    def _connection(self) -> type[sqlite3.Connection]:
        commit = self.around(sqlite3.Connection.execute)

        class Connection(sqlite3.Connection):
            def execute(self, *words: Any) -> sqlite3.Cursor:
                # A ROLLBACK is what the end of the process does by itself.
                found: sqlite3.Cursor = commit(self, *words) if words[0] == "COMMIT" else super().execute(*words)
                return found

        return Connection
