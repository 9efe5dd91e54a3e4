"""What the plots of a report have in common."""

from dataclasses import dataclass
from typing import Any

Trace = dict[str, Any]
Layout = dict[str, Any]

COLOURS = ("#2f7ed8", "#e07b00", "#2e9e5b", "#c2478f", "#7a5cd6", "#1fa3b5", "#a8861b", "#8a5a44")
"""Of the traces, in order; each can be told from the next, on white and on black."""

OVER: Layout = {"range": [0, 1], "visible": False, "fixedrange": True}
"""An axis above another, on which vertical lines reach from bottom to top."""


@dataclass(frozen=True)
class Plot:
    """One plot: `data` and `layout` are what `Plotly.newPlot` takes."""

    id: str
    title: str
    good: str
    """For a person: how it looks when all is well."""
    data: list[Trace]
    layout: Layout


def plot(key: str, title: str, good: str, data: list[Trace], layout: Layout) -> Plot:
    """A plot; one without a single value says so, as empty axes look like a defect."""
    if not any(value is not None for trace in data for value in trace["y"]):
        place = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
        layout = layout | {"annotations": [place | {"text": "nothing was measured"}]}
    return Plot(key, title, good, data, layout)


def axes(unit: str) -> Layout:
    """What every plot has: the axis y, in `unit`, and a legend."""
    return {"yaxis": {"title": titled(unit), "rangemode": "tozero"}, "showlegend": True, "hovermode": "closest"}


def titled(text: str) -> dict[str, Any]:
    """The title of an axis, close to its numbers: left to itself it lies on the edge of the plot."""
    return {"text": text, "standoff": 8}
