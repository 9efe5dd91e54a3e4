"""Kernel events about Watch. They only wake the watcher: a full scan finds what they miss."""

import contextlib
import ctypes
import errno
import importlib
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.utils import BaseThread

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 60.0
"""Until events that cannot be had are asked for again; and until an overflow is told of again."""
_BROKEN = "have ended by an error of the library"

# What is not asked for costs nothing: our own looks and claims open, close and move away every file there is.
_WAKING: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
]


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002  # the handler's interface
        """Wake the watcher."""
        self._wake.set()


def _ask_for_no_departures() -> None:
    """Hear of what is moved into Watch, not of what leaves it, which is mostly what was claimed.

    watchdog keeps the first half of a rename for half a second, to pair it with the other, and all that follows it: a
    file dropped right after a claim would be heard half a second late. Here a pair means nothing.
    """
    if sys.platform == "linux":
        constants = importlib.import_module("watchdog.observers.inotify_c").InotifyConstants
        constants.IN_MOVE = constants.IN_MOVED_TO


class _Ears(logging.Filter):
    """On the library's loggers: what it says is a detail of our log; `hear` is told whether it is of an overflow."""

    def __init__(self, hear: Callable[[bool], None]) -> None:
        super().__init__()
        self._hear = hear

    def filter(self, record: logging.LogRecord) -> bool:
        """Nothing passes: what it means to a person, we say."""
        said = record.getMessage()
        log.debug("watchdog: %s", said, exc_info=record.exc_info)
        if record.levelno >= logging.WARNING:
            self._hear("overflowed" in said)
        return False


@contextlib.contextmanager
def _listening(hear: Callable[[bool], None], refused: Callable[[], None]) -> Iterator[None]:
    """Hear of what watchdog tells only its log, or nobody: 7 passes over a folder that is one watch too many."""
    if sys.platform != "linux":
        yield
        return
    library: Any = importlib.import_module("watchdog.observers.inotify_c")
    ask, ears = library.inotify_add_watch, _Ears(hear)

    def add_watch(fd: int, path: bytes, mask: int) -> int:
        watch: int = ask(fd, path, mask)
        if watch == -1 and ctypes.get_errno() == errno.ENOSPC:
            refused()
        return watch

    library.inotify_add_watch = add_watch
    talkers = [logging.getLogger(f"watchdog.observers.{name}") for name in ("inotify_c", "inotify")]
    for talker in talkers:
        talker.setLevel(logging.WARNING)  # of the others nothing is to be heard
        talker.addFilter(ears)
    try:
        yield
    finally:
        library.inotify_add_watch = ask
        for talker in talkers:
            talker.removeFilter(ears)


class _Events:
    """Has events as long as they can be had. A thread of its own says once that they cannot, and asks again."""

    def __init__(self, folder: Path, wake: threading.Event) -> None:
        self._folder, self._wake = folder, wake
        self._observer: BaseObserver | None = None
        self._threads: set[BaseThread] = set()
        self._trouble = self._told = ""
        self._overflowed, self._quiet_until = False, 0.0
        self._news, self._closed = threading.Event(), False
        self._tender = threading.Thread(target=self._tend, name="events", daemon=True)

    def open(self) -> None:
        """Ask for events."""
        self._begin()
        self._tender.start()

    def close(self) -> None:
        """No more events."""
        self._closed = True
        self._news.set()
        self._tender.join()
        self._end()

    def hear(self, overflow: bool) -> None:
        """The library complained."""
        if overflow:
            self._overflowed = True
            self._wake.set()
        else:
            self._trouble = _BROKEN
        self._news.set()

    def refused(self) -> None:
        """A folder cannot be watched."""
        self._trouble = "are missing for some folders: raise fs.inotify.max_user_watches"
        self._news.set()

    def _tend(self) -> None:
        again_at = time.monotonic() + _AGAIN_SECONDS
        while not self._closed:
            self._tell()
            self._news.wait(_AGAIN_SECONDS)
            self._news.clear()
            if not all(thread.is_alive() for thread in self._threads):
                self._trouble = self._trouble or _BROKEN
            if self._trouble and not self._closed and time.monotonic() >= again_at:
                again_at = time.monotonic() + _AGAIN_SECONDS
                self._tell()
                self._end()
                self._begin()
                self._wake.set()  # what came in between was not heard

    def _tell(self) -> None:
        if self._overflowed and time.monotonic() >= self._quiet_until:
            log.warning("kernel events for %s were lost, more came than it keeps: the scan finds them", self._folder)
            self._quiet_until = time.monotonic() + _AGAIN_SECONDS
        self._overflowed = False
        if self._trouble and self._trouble != self._told:
            log.warning("kernel events for %s %s; new files are found by the scan alone", self._folder, self._trouble)
        elif self._told and not self._trouble:
            log.info("kernel events for %s are there again", self._folder)
        self._told = self._trouble

    def _begin(self) -> None:
        """Ask for events; what is in the way is trouble."""
        before, self._trouble = _threads(), ""
        try:
            self._observer = Observer()
            self._observer.schedule(_Waker(self._wake), str(self._folder), recursive=True, event_filter=_WAKING)
            self._observer.start()
        except OSError as error:
            self._trouble = f"cannot be had ({error.strerror})"
        self._threads = _threads() - before

    def _end(self) -> None:
        if self._observer is not None:
            self._observer.stop()  # one that could not start has threads, too
            for thread in self._threads:
                thread.join()
        self._observer = None


def _threads() -> set[BaseThread]:
    """The living threads of the library."""
    return {thread for thread in threading.enumerate() if isinstance(thread, BaseThread)}


@contextlib.contextmanager
def watch_events(folder: Path, wake: threading.Event) -> Iterator[None]:
    """Set `wake` when something may have become complete in `folder`; without events the scan goes on alone.

    Events that are lost, or cannot be had, are told of once. What cannot be had is asked for again every minute.
    """
    _ask_for_no_departures()
    # It registers a new folder twice where that is found by its event and by a look into the one above: no harm.
    warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)
    events = _Events(folder, wake)
    with _listening(events.hear, events.refused), contextlib.closing(events):
        events.open()
        yield
