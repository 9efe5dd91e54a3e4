"""What a program says while it runs: when its roles work again after a kill, and whether a line is as it must be."""

import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tests.chaos.soak.plan import CONSUME, INGEST, PARENT, POLLER, UPLOADER, WATCHER

_LINE = re.compile(r"^(\S+) [A-Z]+ ([a-z]+)(?:-\d+)?\[(\d+)\] (\S+): (.*)$")
_WORKS = {
    WATCHER: re.compile("kernel "),
    UPLOADER: re.compile("sent  "),
    POLLER: re.compile("kernel |received  "),
}
"""What a process of a role says once it works: it has opened its folders, or the first file has gone."""
_NEEDED = {INGEST: (WATCHER, UPLOADER), CONSUME: (POLLER,)}
LONGEST = 16_384
"""Characters of a line."""
SLOW_SECONDS = 5.0
"""The longest that 99 of 100 recoveries may take."""


class Line(NamedTuple):
    """Of the log, where it is one of a process."""

    at: float
    role: str
    pid: int
    text: str


class Tail:
    """Reads what a file has got since the last time; whole lines only."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def lines(self) -> Iterator[str]:
        """The new ones."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from whole.decode("utf-8", "surrogateescape").split("\n")[:-1]


def parse(line: str) -> Line | None:
    """None for one that is no process's, such as those of a traceback."""
    found = _LINE.match(line)
    if found is None:
        return None
    return Line(datetime.fromisoformat(found[1]).timestamp(), found[2], int(found[3]), found[5])


def wrong_in_log(line: str, secret: str) -> str:
    """Why a line must not stand in the log; nothing if it may."""
    if "Traceback" in line or "an error of the program" in line:
        return f"ERROR OF THE PROGRAM: {line[:300]}"
    return wrong_with(line, secret)


def wrong_with(line: str, secret: str) -> str:
    """The same of any output: an interpreter whose parent is killed while it starts shows a traceback, too."""
    if not line.isprintable():
        return f"NOT PRINTABLE: {line[:200]!a}"
    if secret in line:
        return f"SECRET: {line[:200]}"
    if len(line) > LONGEST:
        return f"LONG LINE: {line[:200]}"
    return ""


class Recovery:
    """How long it took from each kill until what was killed works again, of one program."""

    def __init__(self, side: str) -> None:
        self._side = side
        self._killed_at: float | None = None
        self._missing: set[str] = set()
        self._old: frozenset[int] = frozenset()
        self.seconds: list[float] = []
        """Of those that were slow when something else happened: until then, which is the least they took."""
        self.unfinished = 0
        """How many of `seconds` these are."""
        self.censored = 0
        """Kills that something else followed before the program worked, or was slow."""

    def killed(self, role: str, alive: frozenset[int]) -> None:
        """Of `alive`, those that were its processes just now, none counts: its successors have to work."""
        assert self._killed_at is None, "what is pending would be forgotten"
        self._killed_at = time.time()
        self._missing = set(_NEEDED[self._side]) if role == PARENT else {role}
        self._old = alive

    def disturb(self, *, idle: bool) -> None:
        """It is kept from working by something else. `idle`: an uploader had nothing to send, and says nothing."""
        if self._killed_at is None:
            return
        so_far, self._killed_at = time.time() - self._killed_at, None
        if so_far > SLOW_SECONDS and not (idle and self._missing == {UPLOADER}):
            self.seconds.append(so_far)
            self.unfinished += 1
        else:
            self.censored += 1

    def hear(self, line: Line) -> None:
        """One more line of its log."""
        if self._killed_at is None or line.pid in self._old or line.role not in self._missing:
            return
        if _WORKS[line.role].match(line.text):
            self._missing.discard(line.role)
            if not self._missing:
                self.seconds.append(line.at - self._killed_at)
                self._killed_at = None
