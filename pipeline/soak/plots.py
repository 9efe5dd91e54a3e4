"""The plots of a report as values that plotly.js draws: a `Report` in, lists and dicts of plain JSON out."""

from collections.abc import Iterable
from html import escape

from pipeline.names import printable
from pipeline.soak.drawing import COLOURS, OVER, Layout, Plot, Trace, axes, plot, titled
from pipeline.soak.facts import Fault, Report, Series
from pipeline.soak.histogram import histogram

_DASHES = ("solid", "dash", "dot", "dashdot")
# Colour, symbol and height of the head. A killed process leaves a warning at the same moment: of marks that cover each
# other the heads, each at a height of its own, are all seen.
_MARKS = {
    "killed": ("#9b59d0", "x", 0.96),
    "error": ("#d93a2b", "diamond", 0.88),
    "warning": ("#d9a400", "triangle-up", 0.8),
}
_LONGEST_NAME = 28
"""Characters of the name of a line; the legend cannot break it."""


def plots(report: Report) -> list[Plot]:
    """Every plot of a report, in the order they are read."""
    return [
        _throughput(report),
        _latency(report),
        histogram(report.latency),
        _queues(report),
        _per_process(report, "memory", "rss ", 1e-6, "MB"),
        _per_process(report, "cpu", "cpu ", 1.0, "% of one core"),
    ]


def _throughput(report: Report) -> Plot:
    """Two panels, one above the other: files and bytes have no scale in common."""
    clock, series = _Clock(report.seconds), report.series
    data = [clock.line(series, "files/s", "files/s", 0), clock.line(series, "MB/s", "MB/s", 1) | {"yaxis": "y2"}]
    marks = clock.marks(report.faults, "y3", "y4")
    good = (
        "A good run is level from start to end; it dips where a process was killed (vertical marks) and comes back by "
        "itself."
    )
    return plot("throughput", "Throughput", good, data + marks, _grounded(clock.layout("files/s", "MB/s"), data))


def _latency(report: Report) -> Plot:
    clock = _Clock(report.seconds)
    data = [
        clock.line(report.series, "p50", "p50: half of the files are faster", 0),
        clock.line(report.series, "p99", "p99: 99 of 100 files are faster", 1),
    ]
    good = (
        "From the drop of a file to its arrival. A good run is flat: peaks only where a process was killed, no climb."
    )
    return plot(
        "latency",
        "Latency over time",
        good,
        data + clock.marks(report.faults),
        _grounded(clock.layout("seconds"), data),
    )


def _queues(report: Report) -> Plot:
    """Two panels: files in the folders above, messages in the queue below."""
    clock, series = _Clock(report.seconds), report.series
    data = [
        clock.line(series, "watch", "files in Watch", 0),
        clock.line(series, "queued", "files in QueuedForUpload", 1),
        clock.line(series, "visible", "messages waiting", 2) | {"yaxis": "y2"},
        clock.line(series, "in flight", "messages in flight", 3) | {"yaxis": "y2"},
    ]
    marks = clock.marks(report.faults, "y3", "y4")
    good = (
        "What waits between two stages. A good run stays level and ends at 0; a steady climb means that one stage is "
        "too slow."
    )
    return plot("queues", "Queues", good, data + marks, _grounded(clock.layout("files", "messages"), data))


def _per_process(report: Report, key: str, prefix: str, factor: float, unit: str) -> Plot:
    """One line for each role that has a column `prefix` + role."""
    clock = _Clock(report.seconds)
    columns = [name for name in report.series.columns if name.startswith(prefix)]
    data = [
        clock.line(report.series, name, _short(name.removeprefix(prefix)), place, factor)
        for place, name in enumerate(columns)
    ]
    title, good = _WORDS[key]
    return plot(key, title, good, data + clock.marks(report.faults), _grounded(clock.layout(unit), data))


_WORDS = {
    "memory": (
        "Memory of each process",
        "A good run is flat after the first minutes: a line that only climbs is a leak.",
    ),
    "cpu": (
        "CPU of each process",
        "A good run is level and below 100 %: at 100 % that process is what limits the rest.",
    ),
}


class _Clock:
    """The time axis of a run of some seconds: the unit in which it is read, and what is drawn along it."""

    def __init__(self, seconds: float) -> None:
        self.length = seconds
        fitting = [(name, size) for name, size in (("minutes", 60), ("hours", 3600)) if seconds >= 2 * size]
        self.unit, self.size = fitting[-1] if fitting else ("seconds", 1)

    def layout(self, unit: str, lower: str = "") -> Layout:
        """Of a plot of `unit` over time, on the axis y; with a second panel below it, y2, if `lower` is its unit.

        The marks of both have axes of their own above them, y3 and y4, on which a line reaches from bottom to top.
        """
        layout = axes(unit) | {"yaxis3": OVER | {"overlaying": "y"}}
        layout["xaxis"] = {
            "title": titled(f"{self.unit} since the start"),
            "range": [0, max(self.length, 1) / self.size],
        }
        if lower:
            layout["yaxis2"] = layout["yaxis"] | {"domain": [0, 0.46], "title": titled(lower)}
            layout["yaxis4"] = OVER | {"overlaying": "y2"}
            layout["yaxis"]["domain"] = [0.54, 1]
            layout["xaxis"]["anchor"] = "y2"
        return layout

    def line(self, series: Series, column: str, name: str, place: int, factor: float = 1.0) -> Trace:
        """One column as a line of the colour of its place; a column that is not there has no points."""
        values = [None if value is None else round(value * factor, 4) for value in series.columns.get(column, [])]
        around = len(COLOURS)
        return {
            "type": "scatter",
            "name": escape(printable(name), quote=False),
            "x": self._places(series.seconds),
            "y": values,
            "mode": "lines+markers" if _has_lone_points(values) else "lines",
            "line": {"color": COLOURS[place % around], "width": 2, "dash": _DASHES[place // around % len(_DASHES)]},
            "marker": {"size": 5},
        }

    def marks(self, faults: list[Fault], *panels: str) -> list[Trace]:
        """The faults as vertical lines, those of a kind under one name, which the legend switches off and on."""
        found = []
        for kind in _MARKS:
            lines = self._mark(kind, [fault for fault in faults if fault.kind == kind])
            if lines["x"]:
                found += [lines | {"yaxis": axis, "showlegend": axis == "y3"} for axis in panels or ("y3",)]
        return found

    def _mark(self, kind: str, faults: list[Fault]) -> Trace:
        colour, symbol, height = _MARKS[kind]
        texts = [escape(printable(fault.text[:200]), quote=False) for fault in faults]
        return {
            "type": "scatter",
            "name": kind,
            "legendgroup": kind,
            "x": [place for at in self._places(fault.seconds for fault in faults) for place in (at, at, None)],
            "y": [0, height, None] * len(faults),
            "mode": "lines+markers",
            "line": {"color": colour, "width": 1, "dash": "dot"},
            # Different sizes would make it a bubble chart: half transparent, with white rims.
            "marker": {
                "color": colour,
                "symbol": symbol,
                "size": [0, 8, 0] * len(faults),
                "opacity": 1,
                "line": {"width": 0},
            },
            "hovertext": [line for text in texts for line in (text, text, "")],
            "hoverinfo": "text+name",
        }

    def _places(self, seconds: Iterable[float]) -> list[float]:
        return [round(second / self.size, 5) for second in seconds]


def _grounded(layout: Layout, lines: list[Trace]) -> Layout:
    """With axes that reach a little below 0: half of a line at 0, where queues end, would be cut off by the edge."""
    for axis in {line.get("yaxis", "y") for line in lines}:
        values = [value for line in lines if line.get("yaxis", "y") == axis for value in line["y"] if value is not None]
        if values:  # else it would begin at -1
            room = {"include": 0, "clipmin": -0.03 * (max(values) or 1)}
            layout[axis.replace("y", "yaxis")] |= {"rangemode": "normal", "autorangeoptions": room}
    return layout


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _has_lone_points(values: list[float | None]) -> bool:
    """A value between two gaps makes no line: without a marker it would not be seen."""
    around = [None, *values, None]
    return any(
        value is not None and before is None and after is None
        for before, value, after in zip(around, values, around[2:], strict=False)
    )
