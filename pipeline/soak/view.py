"""What a person sees of a soak test: a picture that is drawn anew while it runs, or plain lines, and the outcome."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pipeline.names import human_size, printable
from pipeline.soak.facts import KINDS, STAGES, Fault, Report, Status, Violation

_FAULTS_KEPT = 10
"""A Status has no more than the last ten."""
_PROCESS_WIDTH = 38
"""Columns of the terminal for one process; there are as many beside each other as fit."""
_COLOURS = {"killed": "yellow", "warning": "yellow", "error": "red"}


class View(Protocol):
    """Shows the state of a run between `start` and `stop`."""

    def start(self) -> None:
        """Nothing is to be prepared."""

    def show(self, status: Status) -> None:
        """Show this instead of what was shown before, or after it."""

    def stop(self) -> None:
        """Nothing is left open."""

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
    """Writes one line each time, for a file or a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, status: Status) -> None:
        """Write the line."""
        print(line(status), file=self._stream, flush=True)


def line(status: Status) -> str:
    """The state of a run in one line of ASCII, but for what `until` says."""
    faults = f"{len(status.faults)}{'+' if len(status.faults) >= _FAULTS_KEPT else ''}"
    parts = (
        f"{_clock(status.seconds)} {_until(status)}",
        f"{status.totals.get('generated', 0):,} files, {status.totals.get('delivered', 0):,} delivered",
        f"{status.files_per_second:.1f} files/s",
        f"{human_size(int(status.bytes_per_second))}/s",
        f"p50 {_short(status.latency.p50)}",
        f"p99 {_short(status.latency.p99)}",
        f"under way {sum(status.under_way.values()):,}",
        f"queue {_number(status.visible)} visible, {_number(status.in_flight)} in flight",
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
        f" {_clock(report.seconds)}, {sum(report.kills.values()):,} kills, ended by {printable(report.ended_by)}"
    )
    return [
        f"soak {printable(report.run)}: {outcome}: {', '.join(wrong) or 'nothing is wrong'}; {numbers}",
        *(f"{found.kind:9}  {printable(found.name)}  {printable(found.text)}" for found in report.violations),
        *(f"unsettled  {printable(name)}" for name in report.unsettled),
        *(printable(text) for text in report.remains.splitlines()),
    ]


def picture(status: Status, width: int, height: int) -> RenderableType:
    """The whole of the live view, in so many columns and lines."""
    beside = max(1, width // _PROCESS_WIDTH)
    processes = [*status.processes.items()]
    wants = (-(-len(processes) // beside), len(status.faults), len(status.violations))
    # Nine lines above, and the headings of these three.
    rows = share(height - 9 - 3, wants)
    return Group(
        _header(status),
        Text(),
        _stages(status),
        Text(),
        _rates(status),
        _heading("processes", len(processes), rows[0] * beside),
        _processes(processes[: rows[0] * beside], rows[0], beside),
        _heading("faults, newest first" if status.faults else "no fault", len(status.faults), rows[1]),
        *(_fault(fault) for fault in status.faults[::-1][: rows[1]]),
        _violations_heading(status.violations, rows[2]),
        *(_violation(found) for found in status.violations[::-1][: rows[2]]),
    )


def share(room: int, wants: Sequence[int]) -> list[int]:
    """Lines for each, none more than it wants, all together at most `room`: in turns, the last one first."""
    given = [0] * len(wants)
    while room > 0 and given != list(wants):
        for index in reversed(range(len(wants))):
            if room > 0 and given[index] < wants[index]:
                given[index] += 1
                room -= 1
    return given


def _header(status: Status) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True, overflow="ellipsis")
    name = Text.assemble(("soak ", "dim"), (printable(status.run), "bold"))
    grid.add_row(name, Text.assemble((_clock(status.seconds), "bold cyan"), f"  {_until(status)}"))
    return grid


def _stages(status: Status) -> Table:
    grid = _grid(1 + len(STAGES), justify="right")
    grid.add_row(Text(), *(Text(stage, "dim") for stage in STAGES))
    grid.add_row(Text("files", "dim"), *(Text(f"{status.totals.get(stage, 0):,}", "bold") for stage in STAGES))
    waiting = [status.under_way.get(stage, 0) for stage in STAGES]
    grid.add_row(Text("under way", "dim"), *(Text(f"{count:,}", "cyan" if count else "dim") for count in waiting))
    return grid


def _rates(status: Status) -> Table:
    rate, latency = human_size(int(status.bytes_per_second)), status.latency
    rows = (
        ("rate", f"{status.files_per_second:.1f} files/s", f"{rate}/s", "", f"sent {human_size(status.bytes_sent)}"),
        ("latency", f"p50 {_short(latency.p50)}", f"p99 {_short(latency.p99)}", f"max {_short(latency.highest)}")
        + (f"received {human_size(status.bytes_received)}",),
        ("queue", f"{_number(status.visible)} visible", f"{_number(status.in_flight)} in flight", "")
        + (f"{status.kills:,} kills",),
    )
    grid = _grid(5, justify="left")
    for label, *cells in rows:
        grid.add_row(Text(label, "dim"), *map(Text, cells))
    return grid


def _grid(columns: int, justify: JustifyMethod) -> Table:
    """A column for labels, the others of one width."""
    grid = Table.grid(expand=True, padding=(0, 0, 0, 1))
    grid.add_column(width=10, no_wrap=True)
    for _ in range(1, columns):
        grid.add_column(ratio=1, justify=justify, no_wrap=True, overflow="ellipsis")
    return grid


def _processes(processes: Sequence[tuple[str, tuple[int, float]]], rows: int, beside: int) -> Table:
    """From top to bottom, then from left to right."""
    grid = Table.grid(padding=(0, 0, 0, 1))
    for _ in range(beside):
        grid.add_column(width=17, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=8, justify="right", no_wrap=True)
        grid.add_column(width=7, justify="right", no_wrap=True)
        grid.add_column(width=2)
    for row in range(rows):
        cells: list[Text] = []
        for role, (rss, cpu) in processes[row::rows]:
            percent = Text(f"{cpu:.0f} %", "" if cpu >= 1 else "dim")
            cells += [Text(printable(role)), Text(human_size(rss)), percent, Text()]
        grid.add_row(*cells)
    return grid


def _heading(title: str, there: int, shown: int, style: str = "dim") -> Rule:
    more = f", {there - shown:,} more" if there > shown else ""
    return Rule(Text(f"{title}{more}", style), style="dim", align="left")


def _violations_heading(found: Sequence[Violation], shown: int) -> Rule:
    if not found:
        return _heading("no violation", 0, 0, "green")
    return _heading(f"{len(found):,} violations, newest first", len(found), shown, "bold red")


def _fault(fault: Fault) -> Text:
    kind = (f"{printable(fault.kind):9}", _COLOURS.get(fault.kind, ""))
    return _one_line((f"{_clock(fault.seconds)}  ", "dim"), kind, printable(fault.text))


def _violation(found: Violation) -> Text:
    name = (printable(found.name), "bold")
    return _one_line(
        (f"{_clock(found.seconds)}  ", "dim"),
        (f"{printable(found.kind):9} ", "red"),
        name,
        f"  {printable(found.text)}",
    )


def _one_line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _until(status: Status) -> str:
    return printable(status.until if status.until.startswith("draining") else f"until {status.until}")


def _clock(seconds: float) -> str:
    """0:03:12, or 26:00:00 after a day and more."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"
