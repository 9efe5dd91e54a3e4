"""What a person sees of a soak test: a picture that is drawn anew while it runs, or plain lines, and the outcome."""

import contextlib
from collections import Counter
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live

from pipeline.names import human_size, printable
from pipeline.soak.facts import KINDS, Report, Status
from pipeline.soak.picture import clock, number, picture, short, until

_PLAIN_SECONDS = 10.0
"""Between two lines, where nobody looks at a terminal."""
_FAULTS_KEPT = 10
"""A Status has no more than the last ten."""


class View(Protocol):
    """Shows the state of a run between `start` and `stop`."""

    def start(self) -> None:
        """Before the first `show`."""

    def show(self, status: Status) -> None:
        """Show this instead of what was shown before, or after it."""

    def stop(self) -> None:
        """After the last one."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


class LiveView(View):
    """Draws on a terminal, over itself; what was drawn last stays. No thread: it changes with `show` alone."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False, screen=False, vertical_overflow="crop")

    def start(self) -> None:
        """From now on the lower part of the terminal is its own."""
        self._live.start()

    def show(self, status: Status) -> None:
        """Draw this, as large as the terminal is now."""
        # One line less than there are: the cursor stands below.
        self._live.update(picture(status, self._console.width, self._console.height - 1), refresh=True)

    def stop(self) -> None:
        """Leave the last picture where it is."""
        self._live.stop()


class PlainView(View):
    """Writes a line every ten seconds of the run, for a file or a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0

    def start(self) -> None:
        """Nothing is to be prepared."""

    def show(self, status: Status) -> None:
        """Write the line, if it is time."""
        if status.seconds >= self._next:
            self._next = status.seconds + _PLAIN_SECONDS
            say(self._stream, line(status))

    def stop(self) -> None:
        """Nothing is left open; the stream is not its own."""


def say(stream: TextIO, text: str) -> None:
    """Write a line; nobody reading any more ends no test."""
    with contextlib.suppress(OSError):
        print(text, file=stream, flush=True)


def line(status: Status) -> str:
    """The state of a run in one line of ASCII, but for what `until` says."""
    faults = f"{len(status.faults)}{'+' if len(status.faults) >= _FAULTS_KEPT else ''}"
    parts = (
        f"{clock(status.seconds)} {until(status)}",
        f"{status.totals.get('generated', 0):,} files, {status.totals.get('delivered', 0):,} delivered",
        f"{status.files_per_second:.1f} files/s",
        f"{human_size(int(status.bytes_per_second))}/s",
        f"p50 {short(status.latency.p50)}",
        f"p99 {short(status.latency.p99)}",
        f"under way {sum(status.under_way.values()):,}",
        f"queue {number(status.visible)} visible, {number(status.in_flight)} in flight",
        f"violations {len(status.violations):,}",
        f"kills {status.kills:,}",
        f"faults {faults}",
    )
    return " | ".join(parts)


def final(report: Report) -> list[str]:
    """The outcome of a run: one line, then one for every file that is not as it should be, then what is left behind."""
    counts = Counter(violation.kind for violation in report.violations)
    wrong = [f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind]]
    wrong += [f"{len(report.unsettled):,} unsettled"] if report.unsettled else []
    outcome = "passed" if report.passed else "FAILED"
    numbers = (
        f"{report.totals.get('generated', 0):,} files, {human_size(report.bytes_received)} received in"
        f" {clock(report.seconds)}, {sum(report.kills.values()):,} kills, ended by {printable(report.ended_by)}"
    )
    return [
        f"soak {printable(report.run)}: {outcome}: {', '.join(wrong) or 'nothing is wrong'}; {numbers}",
        *(f"{found.kind:9}  {printable(found.name)}  {printable(found.text)}" for found in report.violations),
        *(f"unsettled  {printable(name)}" for name in report.unsettled),
        *(printable(text) for text in report.remains.splitlines()),
    ]
