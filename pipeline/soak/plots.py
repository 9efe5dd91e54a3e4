"""The plots of a report as values that plotly.js draws: a `Report` in, lists and dicts of plain JSON out."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from pipeline.names import printable
from pipeline.soak.facts import Fault, Latency, Report, Series, duration

Trace = dict[str, Any]
Layout = dict[str, Any]

COLOURS = ("#2f7ed8", "#e07b00", "#2e9e5b", "#c2478f", "#7a5cd6", "#1fa3b5", "#a8861b", "#8a5a44")
"""Of the traces, in order; each can be told from the next, on white and on black."""

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
_TICKS = {
    0.001: "1 ms", 0.003: "3 ms", 0.01: "10 ms", 0.03: "30 ms", 0.1: "0.1 s", 0.3: "0.3 s", 1: "1 s", 3: "3 s",
    10: "10 s", 30: "30 s", 60: "1 min", 180: "3 min", 600: "10 min", 1800: "30 min", 3600: "1 h", 36000: "10 h",
}  # fmt: skip
# A bar on a logarithmic axis cannot reach down to 0: all that is faster than a millisecond is one bar.
_SHORTEST = 0.001


@dataclass(frozen=True)
class Plot:
    """One plot: `data` and `layout` are what `Plotly.newPlot` takes."""

    id: str
    title: str
    good: str
    """For a person: how it looks when all is well."""
    data: list[Trace]
    layout: Layout


def plots(report: Report) -> list[Plot]:
    """Every plot of a report, in the order they are read."""
    return [
        _throughput(report),
        _latency(report),
        _histogram(report.latency),
        _queues(report),
        _per_process(report, "memory", "rss ", 1e-6, "MB"),
        _per_process(report, "cpu", "cpu ", 1.0, "% of one core"),
    ]


def _plot(key: str, title: str, good: str, data: list[Trace], layout: Layout) -> Plot:
    """A plot; one without a single value says so, as empty axes look like a defect."""
    if not any(value is not None for trace in data for value in trace["y"]):
        text = {
            "text": "nothing was measured",
            "showarrow": False,
            "xref": "paper",
            "yref": "paper",
            "x": 0.5,
            "y": 0.5,
        }
        layout = layout | {"annotations": [text]}
    return Plot(key, title, good, data, layout)


def _throughput(report: Report) -> Plot:
    """Two panels, one above the other: files and bytes have no scale in common."""
    clock, series = _Clock(report.seconds), report.series
    data = [clock.line(series, "files/s", "files/s", 0), clock.line(series, "MB/s", "MB/s", 1) | {"yaxis": "y2"}]
    marks = clock.marks(report.faults, "y3", "y4")
    good = (
        "A good run is level from start to end; it dips where a process was killed (vertical marks) and comes back by "
        "itself."
    )
    return _plot("throughput", "Throughput", good, data + marks, clock.layout("files/s", "MB/s"))


def _latency(report: Report) -> Plot:
    clock = _Clock(report.seconds)
    data = [
        clock.line(report.series, "p50", "p50: half of the files are faster", 0),
        clock.line(report.series, "p99", "p99: 99 of 100 files are faster", 1),
    ]
    good = (
        "From the drop of a file to its arrival. A good run is flat: peaks only where a process was killed, no climb."
    )
    return _plot("latency", "Latency over time", good, data + clock.marks(report.faults), clock.layout("seconds"))


def _histogram(latency: Latency) -> Plot:
    """Files by latency. The offset and width of a bar are seconds although the axis is logarithmic."""
    buckets = _drawable(latency.buckets)
    bounds = [bound for bound, _ in buckets]
    lower = [_below(bounds), *bounds[:-1]] if bounds else []
    bars: Trace = {
        "type": "bar",
        "name": "files",
        "showlegend": False,
        "x": lower,
        "y": [number for _, number in buckets],
        "width": [high - low for low, high in zip(lower, bounds, strict=True)],
        "offset": 0,
        "marker": {"color": COLOURS[5]},
        "hovertext": [f"up to {bound:.3g} s: {number:,} files" for bound, number in buckets],
        "hoverinfo": "text",
    }
    layout = _layout("files") | {"yaxis2": _OVER | {"overlaying": "y"}}
    layout["xaxis"] = {
        "type": "log",
        "tickvals": list(_TICKS),
        "ticktext": list(_TICKS.values()),
        "title": _of("latency"),
    }
    lines = []
    if bounds:
        layout["xaxis"]["range"] = [math.log10(lower[0]) - 0.05, math.log10(max(bounds[-1], latency.highest)) + 0.05]
        lines = _quantiles(latency)
    good = "How many files took how long. A good run is one hill, and its right side falls steeply: few files are slow."
    return _plot("histogram", "Latency of all files", good, [bars, *lines], layout)


def _drawable(buckets: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """The buckets, those below the shortest latency that is drawn as one."""
    found: dict[float, int] = {}
    for bound, number in buckets:
        drawn = max(bound, _SHORTEST)
        found[drawn] = found.get(drawn, 0) + number
    return list(found.items())


def _below(bounds: list[float]) -> float:
    """Where the first bucket begins, as buckets grow by a factor; the one before it is left out."""
    return bounds[0] * bounds[-2] / bounds[-1] if len(bounds) > 1 else bounds[0] / 1.05


def _quantiles(latency: Latency) -> list[Trace]:
    """Vertical lines whose values the legend tells: labels beside them would cover each other where they are close."""
    found = []
    values = (latency.p50, latency.p99, latency.highest)
    for name, value, place in zip(
        ("p50: half of the files", "p99: 99 of 100 files", "slowest file"), values, (0, 1, 3)
    ):
        at = max(value, _SHORTEST)
        found.append(
            {
                "type": "scatter",
                "name": f"{name} {'in' if place == 3 else 'within'} {duration(value)}",
                "x": [at, at],
                "y": [0, 1],
                "yaxis": "y2",
                "mode": "lines",
                "line": {"color": COLOURS[place], "width": 2},
                "hoverinfo": "name",
            }
        )
    return found


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
    return _plot("queues", "Queues", good, data + marks, clock.layout("files", "messages"))


def _per_process(report: Report, key: str, prefix: str, factor: float, unit: str) -> Plot:
    """One line for each role that has a column `prefix` + role."""
    clock = _Clock(report.seconds)
    columns = [name for name in report.series.columns if name.startswith(prefix)]
    data = [
        clock.line(report.series, name, name.removeprefix(prefix), place, factor) for place, name in enumerate(columns)
    ]
    title, good = _WORDS[key]
    return _plot(key, title, good, data + clock.marks(report.faults), clock.layout(unit))


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
        layout = _layout(unit) | {"yaxis3": _OVER | {"overlaying": "y"}}
        layout["xaxis"] = {"title": _of(f"{self.unit} since the start"), "range": [0, max(self.length, 1) / self.size]}
        if lower:
            layout["yaxis2"] = layout["yaxis"] | {"domain": [0, 0.46], "title": _of(lower)}
            layout["yaxis4"] = _OVER | {"overlaying": "y2"}
            layout["yaxis"]["domain"] = [0.54, 1]
            layout["xaxis"]["anchor"] = "y2"
        return layout

    def line(self, series: Series, column: str, name: str, place: int, factor: float = 1.0) -> Trace:
        """One column as a line of the colour of its place; a column that is not there has no points."""
        values = [None if value is None else round(value * factor, 4) for value in series.columns.get(column, [])]
        around = len(COLOURS)
        return {
            "type": "scatter",
            "name": escape(printable(_short(name)), quote=False),
            "x": self._places(series.seconds),
            "y": values,
            "mode": "lines+markers" if _has_lone_points(values) else "lines",
            "line": {"color": COLOURS[place % around], "width": 2, "dash": _DASHES[place // around % len(_DASHES)]},
            "marker": {"size": 5},
        }

    def marks(self, faults: list[Fault], *axes: str) -> list[Trace]:
        """The faults as vertical lines, those of a kind under one name, which the legend switches off and on."""
        found = []
        for kind in _MARKS:
            lines = self._mark(kind, [fault for fault in faults if fault.kind == kind])
            if lines["x"]:
                found += [lines | {"yaxis": axis, "showlegend": axis == "y3"} for axis in axes or ("y3",)]
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


_OVER = {"range": [0, 1], "visible": False, "fixedrange": True}
"""An axis above another, on which vertical lines reach from bottom to top."""


def _layout(unit: str) -> Layout:
    return {
        "yaxis": {"title": _of(unit), "rangemode": "tozero"},
        "showlegend": True,
        "hovermode": "closest",
    }


def _of(text: str) -> dict[str, Any]:
    """The title of an axis, close to its numbers: left to itself it lies on the edge of the plot."""
    return {"text": text, "standoff": 8}


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _has_lone_points(values: list[float | None]) -> bool:
    """A value between two gaps makes no line: without a marker it would not be seen."""
    around = [None, *values, None]
    return any(
        value is not None and before is None and after is None
        for before, value, after in zip(around, values, around[2:], strict=False)
    )
