"""The watcher process."""

import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from app_properties import Settings
from pipeline.completeness import Completeness
from pipeline.events import watch_events
from pipeline.link import Link
from pipeline.offers import Offers
from pipeline.process import Context, Stop, raise_descriptor_limit
from pipeline.roles.spool import open_spool
from pipeline.selection import Selection
from pipeline.watcher import Watcher

log = logging.getLogger(__name__)

_SOON_SECONDS = 0.1
"""Until the next look, where the end is waited for, or that there is room in QueuedForUpload."""
_FEED_SECONDS = 0.02
"""How often it is tried whether the uploaders have room again: 128 offers of one path each last about as long."""
_SWEEPS = 10
"""Intervals after which even an uploaders' queue that is never empty keeps nothing from being offered again."""
_OTHERS = 256
"""Descriptors that are not the watcher's to use for a batch."""


def run(context: Context, link: Link, stop: Stop) -> None:
    """Watch until SIGTERM; with `once` until Watch and QueuedForUpload are empty."""
    settings = context.settings
    link.shared.cancel_join_thread()  # what is lost with the queue lies in QueuedForUpload
    spool = open_spool(settings, stop)
    log.info("kernel       %s", spool.watch.facilities.describe())
    leases = spool.watch.facilities.lease and settings.completion_check == "auto"
    offers = Offers(spool, functools.partial(_offer, link.shared), condemned=link.condemned, report=link.report)
    watcher = Watcher(
        spool,
        Completeness(leases=leases, settle_seconds=settings.settle_seconds, minimum_age=settings.minimum_age_seconds),
        offers,
        _selection(settings),
        most_files=settings.max_queued_files,
        most_bytes=settings.max_queued_bytes,
        patience=settings.sleep_watch_local_folder,
        batch=max(16, raise_descriptor_limit() - _OTHERS),
        stopped=lambda: stop.requested,
    )
    wake = threading.Event()
    with watch_events(spool.watch.path, wake), contextlib.closing(watcher):
        _loop(watcher, offers, link.shared, wake, stop, settings.sleep_watch_local_folder, once=context.once)


def _selection(settings: Settings) -> Selection:
    return Selection(
        ignore=settings.ignore_patterns,
        include=settings.include_patterns,
        marker=settings.completion_marker,
        minimum=settings.minimum_file_bytes,
        maximum=settings.maximum_file_bytes,
        subfolders=settings.follow_subfolders,
    )


def _loop(
    watcher: Watcher, offers: Offers, hints: Any, wake: threading.Event, stop: Stop, interval: float, *, once: bool
) -> None:
    sweep_at = 0.0
    while not stop.requested:
        wake.clear()
        _refuse_removed(watcher)
        started = time.monotonic()
        # Offers may be lost, or be in the hands of an uploader that died: with an empty queue all are made again.
        if started >= sweep_at and (hints.empty() or started >= sweep_at + _SWEEPS * interval):
            sweep_at = started + interval
            offers.sweep(again=True)
        elif once:
            offers.sweep(again=False)
        claimed = watcher.scan()
        if once and not (claimed or watcher.pending or watcher.limited or offers.queued):
            return
        # Looking at what stays in a full folder takes time: rest as long, however many events come meanwhile.
        rest = 0.0 if watcher.limited else watcher.left * (time.monotonic() - started)
        _rest(offers, wake, stop, min(rest, interval), _SOON_SECONDS if once or watcher.limited else interval)


def _refuse_removed(watcher: Watcher) -> None:
    if removed := watcher.removed():
        log.error(
            "removed or replaced while the program ran: %s; this process ends, the next one uses what is there now",
            ", ".join(map(str, removed)),
        )
        raise SystemExit(1)


def _rest(offers: Offers, wake: threading.Event, stop: Stop, least: float, most: float) -> None:
    """Wait for a wake-up, and meanwhile give the uploaders what they have room for."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < most:
        pause = _FEED_SECONDS if offers.behind else most
        with stop.waiting():
            if passed < least:
                time.sleep(min(least - passed, pause))
            elif wake.wait(min(most - passed, pause)):
                return
        offers.feed()


def _offer(hints: Any, paths: Sequence[str]) -> bool:
    try:
        hints.put_nowait(tuple(paths))
    except queue.Full:
        return False
    return True
