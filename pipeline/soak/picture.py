"""The live view of a soak test as one picture that fits the terminal: values in, something rich can draw out."""

from collections.abc import Sequence

from rich.console import Group, JustifyMethod, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pipeline.names import human_size, printable
from pipeline.soak.facts import STAGES, Fault, Status, Violation

_PROCESS_WIDTH = 38
"""Columns of the terminal for one process; there are as many beside each other as fit."""
_COLOURS = {"killed": "yellow", "warning": "yellow", "error": "red"}


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
    grid.add_row(name, Text.assemble((clock(status.seconds), "bold cyan"), f"  {until(status)}"))
    return grid


def _stages(status: Status) -> Table:
    grid = _grid(1 + len(STAGES), justify="right")
    grid.add_row(Text(), *(Text(stage, "dim") for stage in STAGES))
    grid.add_row(Text("files", "dim"), *(Text(f"{status.totals.get(stage, 0):,}", "bold") for stage in STAGES))
    waiting = [status.under_way.get(stage, 0) for stage in STAGES]
    grid.add_row(Text("under way", "dim"), *(Text(f"{count:,}", "cyan" if count else "dim") for count in waiting))
    return grid


def _rates(status: Status) -> Table:
    latency = status.latency
    rows = (
        ("rate", f"{status.files_per_second:.1f} files/s", f"{human_size(int(status.bytes_per_second))}/s", ""),
        ("latency", f"p50 {short(latency.p50)}", f"p99 {short(latency.p99)}", f"max {short(latency.highest)}"),
        ("queue", f"{number(status.visible)} visible", f"{number(status.in_flight)} in flight", ""),
    )
    ends = (
        f"sent {human_size(status.bytes_sent)}",
        f"received {human_size(status.bytes_received)}",
        f"{status.kills:,} kills",
    )
    grid = _grid(5, justify="left")
    for (label, *cells), end in zip(rows, ends, strict=True):
        grid.add_row(Text(label, "dim"), *map(Text, cells), Text(end))
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
    return _one_line((f"{clock(fault.seconds)}  ", "dim"), kind, printable(fault.text))


def _violation(found: Violation) -> Text:
    name = (printable(found.name), "bold")
    return _one_line(
        (f"{clock(found.seconds)}  ", "dim"),
        (f"{printable(found.kind):9} ", "red"),
        name,
        f"  {printable(found.text)}",
    )


def _one_line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def until(status: Status) -> str:
    """What ends it, for a person."""
    return printable(status.until if status.until.startswith("draining") else f"until {status.until}")


def clock(seconds: float) -> str:
    """0:03:12, or 26:00:00 after a day and more."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def short(seconds: float) -> str:
    """210 ms, 1.20 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def number(count: int | None) -> str:
    """A question mark for what could not be asked."""
    return "?" if count is None else f"{count:,}"
