"""The watcher process."""

import contextlib
import functools
import queue
import threading
import time
from typing import Any

from pipeline.completeness import Completeness
from pipeline.events import watch_events
from pipeline.link import Link
from pipeline.process import Context, Stop
from pipeline.roles.spool import open_spool
from pipeline.watcher import Watcher, log

_ONCE_SECONDS = 0.1


def run(context: Context, link: Link, stop: Stop) -> None:
    """Watch until SIGTERM; with `once` until Watch and QueuedForUpload are empty."""
    settings = context.settings
    link.shared.cancel_join_thread()  # what is lost with the queue lies in QueuedForUpload
    spool = open_spool(settings)
    log.info("kernel       %s", spool.watch.facilities.describe())
    leases = spool.watch.facilities.lease and settings.completion_check == "auto"
    watcher = Watcher(
        spool,
        Completeness(leases=leases, settle_seconds=settings.settle_seconds, minimum_age=settings.minimum_age_seconds),
        functools.partial(_offer, link.shared),
        ignore=settings.ignore_patterns,
        condemned=link.condemned,
        report=link.report,
    )
    wake = threading.Event()
    with watch_events(spool.watch.path, wake), contextlib.closing(watcher):
        _loop(watcher, link.shared, wake, stop, settings.sleep_watch_local_folder, once=context.once)


def _loop(watcher: Watcher, hints: Any, wake: threading.Event, stop: Stop, interval: float, *, once: bool) -> None:
    sweep_at = 0.0
    while not stop.requested:
        wake.clear()
        if removed := watcher.removed():
            log.error(
                "removed or replaced while the program ran: %s; this process ends, the next one uses what is there now",
                ", ".join(map(str, removed)),
            )
            raise SystemExit(1)
        started = time.monotonic()
        claimed = watcher.scan()
        if due := started >= sweep_at:
            sweep_at = started + interval
        if due or once:
            # Offers may be lost, or be in the hands of an uploader that died: with an empty queue all are made again.
            watcher.sweep(again=due and hints.empty())
        if once and not claimed and not watcher.pending and not watcher.queued:
            return
        # Looking at a full folder takes time: rest as long as it took, however many events come meanwhile.
        rest = min(time.monotonic() - started, interval)
        with stop.waiting():
            time.sleep(rest)
            wake.wait(_ONCE_SECONDS if once else interval - rest)


def _offer(hints: Any, path: str) -> bool:
    try:
        hints.put_nowait((path,))
    except queue.Full:
        return False
    return True
