"""The judge of a soak test."""

import contextlib
import logging
import signal
import sys
import threading
import time

from rich.console import Console

from pipeline.events import watch_events
from pipeline.link import Link
from pipeline.ports import EXIT_LOSS
from pipeline.process import Context, Stop
from pipeline.roles.clients import connect_to_judge
from pipeline.soak import report
from pipeline.soak.judge import Judge, wait
from pipeline.soak.observer import Observer
from pipeline.soak.run import Run
from pipeline.soak.view import LiveView, PlainView, View, final, say

log = logging.getLogger(__name__)

_STEP_SECONDS = 0.05
_SAMPLE_SECONDS = 1.0
_EMPTY_ANSWERS = 3
_SILENT_ANSWERS = 15
"""After so many a queue is not waited for any more."""
_AT_ONCE = "a stop at once, before everything was settled"


def run(context: Context, link: Link, stop: Stop, soak: Run) -> None:
    """Until everything is accounted for, or SIGUSR2 asks for an end at once. Exit code 1: it is not."""
    hurry = threading.Event()
    signal.signal(signal.SIGUSR2, lambda *_: hurry.set())
    store, queue = connect_to_judge(context, stop, soak.options.deadline)
    judge = Judge(soak, context.settings, store, link.shared[0])
    observer = Observer(soak, context.settings, judge, queue)
    console = Console()
    view: View = LiveView(console) if console.is_terminal else PlainView(sys.stdout)
    with contextlib.ExitStack() as stack:
        stack.enter_context(view)
        wake = threading.Event()
        for folder in (context.settings.uploaded, context.settings.downloaded):
            stack.enter_context(watch_events(folder, wake))
        _judge(judge, observer, view, wake, hurry, soak.rest_seconds(context.settings))
    judge.close()
    observer.gauge.close()
    found = observer.report(_end_of(judge, hurried=hurry.is_set()))
    say(sys.stdout, "\n".join(final(found)))
    try:
        say(sys.stdout, f"report: {report.write(found, soak.reports)}")
    except OSError as error:
        log.critical("the report cannot be written to %s: %s; what it found stands above", soak.reports, error.strerror)
        raise SystemExit(EXIT_LOSS) from None
    if not found.passed:
        raise SystemExit(EXIT_LOSS)


def _end_of(judge: Judge, *, hurried: bool) -> str:
    if judge.failed:
        return f"an error of the test itself: {judge.failed}"
    if judge.accounts.left_out:
        return "more violations than can be told"
    return _AT_ONCE if hurried else judge.finished


def _judge(
    judge: Judge, observer: Observer, view: View, wake: threading.Event, hurry: threading.Event, patience: float
) -> None:
    """Until all is accounted for and, within `patience` seconds after that, removed, and the queue is empty."""
    sample_at, give_up_at = 0.0, float("inf")
    while not (hurry.is_set() or judge.failed or judge.accounts.left_out):
        judge.step()
        now = time.monotonic()
        if now >= sample_at:
            sample_at = now + _SAMPLE_SECONDS
            view.show(observer.sample())
        if judge.accounted:
            give_up_at = min(give_up_at, now + patience)
            rests = not judge.unswept and observer.gauge.empty >= _EMPTY_ANSWERS
            if rests or now >= give_up_at or observer.gauge.silent >= _SILENT_ANSWERS:
                break
        wait(wake, _STEP_SECONDS)
    if judge.accounted and not hurry.is_set():
        observer.close_accounts()
    view.show(observer.sample())
