"""The plot of the latencies of all files, on a logarithmic axis."""

import math
from collections.abc import Iterable

from pipeline.soak.drawing import COLOURS, OVER, Layout, Plot, Trace, axes, plot, titled
from pipeline.soak.facts import Latency, duration

_TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800, 36_000, 86_400)
_FINE_TICKS = [round(digit * 10**power, 4) for power in range(-3, 5) for digit in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]
# A bar on a logarithmic axis cannot reach down to 0: all that is faster than a millisecond is one bar.
_SHORTEST = 0.001


def histogram(latency: Latency) -> Plot:
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
    layout = axes("files") | {"yaxis2": OVER | {"overlaying": "y"}}
    layout["xaxis"] = {"type": "log", "title": titled("latency"), "tickvals": []}
    lines = []
    if bounds:
        low, high = lower[0] / 1.1, max(bounds[-1], latency.highest) * 1.1
        layout["xaxis"] |= {"range": [math.log10(low), math.log10(high)], **_ticks(low, high)}
        lines = _quantiles(latency)
    good = "How many files took how long. A good run is one hill, and its right side falls steeply: few files are slow."
    return plot("histogram", "Latency of all files", good, [bars, *lines], layout)


def _drawable(buckets: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """The buckets, those below the shortest latency that is drawn as one."""
    found: dict[float, int] = {}
    for bound, number in buckets:
        drawn = max(bound, _SHORTEST)
        found[drawn] = found.get(drawn, 0) + number
    return list(found.items())


def _ticks(low: float, high: float) -> Layout:
    """Numbers along a logarithmic axis, at least three on one that covers a factor of 2 or more."""
    coarse, fine = ([at for at in ticks if low < at < high] for ticks in (_TICKS, _FINE_TICKS))
    shown = coarse if len(coarse) > 2 else fine[:: 1 + len(fine) // 5]
    return {"tickvals": shown, "ticktext": [_tick(at) for at in shown]}


def _tick(seconds: float) -> str:
    """10 ms, 0.3 s, 3 min, 1 h: of whole minutes and hours nothing else."""
    if seconds < 0.1:
        return f"{seconds * 1000:.3g} ms"
    return duration(seconds).removesuffix(" 0 s").removesuffix(" 0 min")


def _below(bounds: list[float]) -> float:
    """Where the first bucket begins, as buckets grow by a factor; the one before it is left out."""
    return bounds[0] * bounds[-2] / bounds[-1] if len(bounds) > 1 else bounds[0] / 1.05


def _quantiles(latency: Latency) -> list[Trace]:
    """Vertical lines whose values the legend tells: labels beside them would cover each other where they are close."""
    found = []
    # Where they coincide, the dashes of one show the other. The colours of p50 and p99 are those of the plot before.
    for rank, name, value, place, dash in (
        (3, "slowest file in", latency.highest, 3, "solid"),
        (2, "p99: 99 of 100 files within", latency.p99, 1, "18px,6px"),
        (1, "p50: half of the files within", latency.p50, 0, "12px,12px"),
    ):
        at = max(value, _SHORTEST)
        found.append(
            {
                "type": "scatter",
                "name": f"{name} {duration(value)}",
                "x": [at, at],
                "y": [0, 1],
                "yaxis": "y2",
                "mode": "lines",
                "line": {"color": COLOURS[place], "width": 2, "dash": dash},
                "legendrank": rank,
                "hoverinfo": "name",
            }
        )
    return found
