"""Kernel events about Watch. They only wake the watcher: a full scan finds what they miss."""

import contextlib
import importlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

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

log = logging.getLogger(__name__)

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
    file dropped right after a claim would be heard half a second late. Here a pair means nothing. watchdog 6 loses its
    way among folders without the first half, so there it is only not held back.
    """
    if sys.platform != "linux":
        return
    try:
        importlib.import_module("watchdog.observers.inotify_move_event_grouper")  # of watchdog 7
    except ModuleNotFoundError:
        importlib.import_module("watchdog.observers.inotify_buffer").InotifyBuffer.delay = 0.0
    else:
        constants = importlib.import_module("watchdog.observers.inotify_c").InotifyConstants
        constants.IN_MOVE = constants.IN_MOVED_TO


@contextlib.contextmanager
def watch_events(folder: Path, wake: threading.Event) -> Iterator[None]:
    """Set `wake` when something may have become complete in `folder`; without events the scan goes on alone."""
    _ask_for_no_departures()
    # It registers a new folder twice where that is found by its event and by a look into the one above: no harm.
    warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)
    observer = Observer()
    try:
        observer.schedule(_Waker(wake), str(folder), recursive=True, event_filter=_WAKING)
        observer.start()
    except OSError as error:
        log.warning("no kernel events for %s (%s): new files are found by the scan alone", folder, error.strerror)
        yield
        return
    try:
        yield
    finally:
        observer.stop()
        observer.join()
