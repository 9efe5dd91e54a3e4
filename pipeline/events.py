"""Kernel events about Watch. They only wake the watcher: a full scan finds what they miss."""

import contextlib
import importlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

log = logging.getLogger(__name__)

# Not `opened` and `closed_no_write`: our own looks cause those, and would wake us for ever.
_WAKING = {"created", "moved", "closed"}


# Of watchdog 7 and of watchdog 6.
_HOLDERS = (("inotify_move_event_grouper", "InotifyMoveEventGrouper"), ("inotify_buffer", "InotifyBuffer"))


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the watcher."""
        if event.event_type in _WAKING:
            self._wake.set()


def _hold_nothing_back() -> None:
    """watchdog keeps the first half of a rename for half a second, to pair it with the other, and all that follows it.

    A claimed file is such a half, so whatever is dropped right after it would be heard half a second late. Here a pair
    means nothing.
    """
    for module, name in _HOLDERS if sys.platform == "linux" else ():
        with contextlib.suppress(ModuleNotFoundError):
            getattr(importlib.import_module(f"watchdog.observers.{module}"), name).delay = 0.0


@contextlib.contextmanager
def watch_events(folder: Path, wake: threading.Event) -> Iterator[None]:
    """Set `wake` when something may have become complete in `folder`; without events the scan goes on alone."""
    _hold_nothing_back()
    # It registers a new folder twice where that is found by its event and by a look into the one above: no harm.
    warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)
    observer = Observer()
    try:
        observer.schedule(_Waker(wake), str(folder), recursive=True)
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
