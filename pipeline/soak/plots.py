"""The plots of a report as values that plotly.js draws: a `Report` in, lists and dicts of plain JSON out."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from pipeline.names import printable
from pipeline.soak.facts import Fault, Latency, Report, Series

Trace = dict[str, Any]
Layout = dict[str, Any]

COLOURS = ("#2f7ed8", "#e07b00", "#2e9e5b", "#c2478f", "#7a5cd6", "#1fa3b5", "#a8861b", "#8a5a44")
"""Of the traces, in order; each can be told from the next, on white and on black."""

_DASHES = ("solid", "dash", "dot", "dashdot")
_MARKS = {"killed": "#9b59d0", "warning": "#d9a400", "error": "#d93a2b"}
_TICKS = {
    0.001: "1 ms", 0.003: "3 ms", 0.01: "10 ms", 0.03: "30 ms", 0.1: "0.1 s", 0.3: "0.3 s", 1: "1 s", 3: "3 s",
    10: "10 s", 30: "30 s", 60: "1 min", 180: "3 min", 600: "10 min", 1800: "30 min", 3600: "1 h", 36000: "10 h",
}  # fmt: skip
# A bar on a logarithmic axis cannot reach down to 0: what is below half a millisecond is drawn as that.
_SHORTEST = 0.0005


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


def _throughput(report: Report) -> Plot:
    """Two panels, one above the other: files and bytes have no scale in common."""
    clock, series = _Clock(report.seconds), report.series
    data = [clock.line(series, "files/s", "files/s", 0), clock.line(series, "MB/s", "MB/s", 1) | {"yaxis": "y2"}]
    marks = clock.marks(report.faults, "y3", "y4")
    good = (
        "A good run is level from start to end; it dips where a process was killed (vertical marks) and comes back by "
        "itself."
    )
    return Plot("throughput", "Throughput", good, data + marks, clock.layout("files/s", "MB/s"))


def _latency(report: Report) -> Plot:
    clock = _Clock(report.seconds)
    data = [
        clock.line(report.series, "p50", "p50: half of the files are faster", 0),
        clock.line(report.series, "p99", "p99: 99 of 100 files are faster", 1),
    ]
    good = (
        "From the drop of a file to its arrival. A good run is flat: peaks only where a process was killed, no climb."
    )
    return Plot("latency", "Latency over time", good, data + clock.marks(report.faults), clock.layout("seconds"))


def _histogram(latency: Latency) -> Plot:
    """Files by latency. The offset and width of a bar are seconds although the axis is logarithmic."""
    bounds = [max(bound, _SHORTEST * 2) for bound, _ in latency.buckets]
    lower = [_below(bounds), *bounds[:-1]] if bounds else []
    bars: Trace = {
        "type": "bar",
        "name": "files",
        "x": lower,
        "y": [number for _, number in latency.buckets],
        "width": [high - low for low, high in zip(lower, bounds, strict=True)],
        "offset": 0,
        "marker": {"color": COLOURS[0]},
        "hovertext": [f"up to {bound:.3g} s: {number:,} files" for bound, number in latency.buckets],
        "hoverinfo": "text",
    }
    layout = _layout("files") | {"hovermode": "closest", "showlegend": False}
    layout["xaxis"] = {
        "type": "log",
        "tickvals": list(_TICKS),
        "ticktext": list(_TICKS.values()),
        "title": _of("latency"),
    }
    if bounds:
        layout["xaxis"]["range"] = [math.log10(lower[0]) - 0.05, math.log10(max(bounds[-1], latency.p99)) + 0.05]
        layout |= _quantiles(latency)
    good = "How many files took how long. A good run is one hill, and its right side falls steeply: few files are slow."
    return Plot("histogram", "Latency of all files", good, [bars], layout)


def _below(bounds: list[float]) -> float:
    """Where the first bucket begins, as buckets grow by a factor; the one before it is left out."""
    factor = bounds[1] / bounds[0] if len(bounds) > 1 and bounds[1] > bounds[0] else 2.0
    return bounds[0] / factor


def _quantiles(latency: Latency) -> Layout:
    """Vertical lines at p50 and p99, each with its name on top."""
    shapes, notes = [], []
    for name, value, colour in (("p50", latency.p50, COLOURS[2]), ("p99", latency.p99, COLOURS[1])):
        at = max(value, _SHORTEST)
        shapes.append(
            {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": colour}}
        )
        # Annotations, unlike shapes, are given the logarithm.
        note = {"x": math.log10(at), "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        notes.append(note | {"text": f"{name} {value:.3g} s", "font": {"color": colour}})
    return {"shapes": shapes, "annotations": notes}


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
    return Plot("queues", "Queues", good, data + marks, clock.layout("files", "messages"))


def _per_process(report: Report, key: str, prefix: str, factor: float, unit: str) -> Plot:
    """One line for each role that has a column `prefix` + role."""
    clock = _Clock(report.seconds)
    columns = [name for name in report.series.columns if name.startswith(prefix)]
    data = [
        clock.line(report.series, name, name.removeprefix(prefix), place, factor) for place, name in enumerate(columns)
    ]
    title, good = _WORDS[key]
    return Plot(key, title, good, data + clock.marks(report.faults), clock.layout(unit))


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
        layout, over = _layout(unit), {"range": [0, 1], "visible": False, "fixedrange": True}
        layout |= {"yaxis3": over | {"overlaying": "y"}}
        layout["xaxis"] = {"title": _of(f"{self.unit} since the start"), "range": [0, max(self.length, 1) / self.size]}
        if lower:
            layout["yaxis2"] = layout["yaxis"] | {"domain": [0, 0.46], "title": _of(lower)}
            layout["yaxis4"] = over | {"overlaying": "y2"}
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

    def marks(self, faults: list[Fault], *axes: str) -> list[Trace]:
        """The faults as vertical lines, those of a kind under one name, which the legend switches off and on."""
        found = []
        for kind in _MARKS:
            lines = self._mark(kind, [fault for fault in faults if fault.kind == kind])
            if lines["x"]:
                found += [lines | {"yaxis": axis, "showlegend": axis == "y3"} for axis in axes or ("y3",)]
        return found

    def _mark(self, kind: str, faults: list[Fault]) -> Trace:
        texts = [escape(printable(fault.text[:200]), quote=False) for fault in faults]
        return {
            "type": "scatter",
            "name": kind,
            "legendgroup": kind,
            "x": [place for at in self._places(fault.seconds for fault in faults) for place in (at, at, None)],
            "y": [0, 1, None] * len(faults),
            "mode": "lines",
            "line": {"color": _MARKS[kind], "width": 1, "dash": "dot"},
            "hovertext": [line for text in texts for line in (text, text, "")],
            "hoverinfo": "text+name",
        }

    def _places(self, seconds: Iterable[float]) -> list[float]:
        return [round(second / self.size, 5) for second in seconds]


def _layout(unit: str) -> Layout:
    return {
        "yaxis": {"title": _of(unit), "rangemode": "tozero"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "showlegend": True,
        "hovermode": "closest",
    }


def _of(text: str) -> dict[str, str]:
    return {"text": text}


def _has_lone_points(values: list[float | None]) -> bool:
    """A value between two gaps makes no line: without a marker it would not be seen."""
    around = [None, *values, None]
    return any(
        value is not None and before is None and after is None
        for before, value, after in zip(around, values, around[2:], strict=False)
    )
