"""The plot: rates beside the fastest peer's, and CPU beside the most frugal one's. Pure; the drawing is plot.svg.j2."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from bench.samples import CEILING, OURS, Range, Sample, contestants, counted, is_large, rate, spread, workloads
from bench.tables import hundredth, name_of, whole

WIDTH, LEFT, RIGHT, TOP, DEPTH, GAP = 1000, 52, 16, 98, 230, 100
BAR, BETWEEN = 20, 6
"""All in pixels: the picture, its margins, a panel's height, what lies between two; a bar, and between two."""


class Measure(NamedTuple):
    """What a panel shows."""

    title: str
    value: Callable[[Sample], float]
    best: Callable[[Iterable[float]], float]
    """Of the peers: what 1 is."""
    told: Callable[[Sample, float], str]


class Bar(NamedTuple):
    """One bar: pixels, and what it says."""

    who: str
    x: float
    y: float
    low: float
    high: float
    label: str
    title: str


class Group(NamedTuple):
    """The bars of one workload, around a middle."""

    name: str
    what: str
    middle: float
    bars: list[Bar]


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    top: float
    groups: list[Group]
    ticks: list[tuple[float, str]]


def draw(samples: Sequence[Sample]) -> str:
    """The picture; where no race was run it has no bars."""
    races = {name: found for name in workloads(samples) if (found := _racers(samples, name))}
    panels = [_panel(measure, number, samples, races) for number, measure in enumerate(_MEASURES)]
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    shown = dict.fromkeys(who for found in races.values() for who in found)
    return environment.get_template("plot.svg.j2").render(
        panels=panels,
        legend=[(who, name_of(who)) for who in shown],
        width=WIDTH,
        height=TOP + len(panels) * (DEPTH + GAP) - GAP // 2,
        left=LEFT,
        right=WIDTH - RIGHT,
        bar=BAR,
        depth=DEPTH,
    )


def _racers(samples: Sequence[Sample], workload: str) -> list[str]:
    """Those with figures, if we and a peer are among them."""
    found = [who for who in contestants(samples, workload) if who != CEILING and counted(samples, workload, who)]
    return found if OURS in found and len(found) > 1 else []


def _panel(measure: Measure, number: int, samples: Sequence[Sample], races: dict[str, list[str]]) -> Panel:
    top = TOP + number * (DEPTH + GAP)
    found = {name: _beside(measure, samples, name, who) for name, who in races.items()}
    every = [each for figures in found.values() for each in figures.values()]
    most = max((each.high for each in every), default=1.0)

    def height(value: float) -> float:
        return top + DEPTH * (1 - min(value, most) / most)

    width = (WIDTH - LEFT - RIGHT) / max(1, len(races))
    groups = []
    for at, (name, figures) in enumerate(found.items()):
        middle = LEFT + (at + 0.5) * width
        first = middle - (len(figures) * (BAR + BETWEEN) - BETWEEN) / 2
        bars = []
        for place, (who, each) in enumerate(figures.items()):
            title = f"{name_of(who)}, {name}: {_told(measure, samples, name, who)}"
            x = first + place * (BAR + BETWEEN)
            bars.append(
                Bar(who, x, height(each.median), height(each.low), height(each.high), f"{each.median:.2f}", title)
            )
        groups.append(Group(name, _WHAT.get(name[:2], ""), middle, bars))
    return Panel(measure.title, top, groups, [(height(tick), f"{tick:g}×") for tick in ticks(most)])


def _beside(measure: Measure, samples: Sequence[Sample], workload: str, racers: list[str]) -> dict[str, Range]:
    """Each one's range beside the best peer's median."""
    ranges = {who: spread(map(measure.value, counted(samples, workload, who))) for who in racers}
    best = measure.best(found.median for who, found in ranges.items() if who != OURS) or 1.0
    return {who: Range(*(value / best for value in found)) for who, found in ranges.items()}


def _told(measure: Measure, samples: Sequence[Sample], workload: str, who: str) -> str:
    runs = counted(samples, workload, who)
    return measure.told(runs[0], spread(map(measure.value, runs)).median)


def ticks(most: float) -> list[float]:
    """Where the axis is labelled: 0 and up, in round steps."""
    step = next(each for each in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if most / each <= 6 or each == 1000)
    return [step * number for number in range(int(most / step) + 1)]


_WHAT = {
    "W1": "small files, ingest",
    "W2": "large files, ingest",
    "W3": "small files, consume",
    "W4": "large files, consume",
    "W6": "small files, 20 ms away",
}


def _cpu(sample: Sample) -> float:
    return sample.cpu_per_gb if is_large(sample) else sample.cpu_per_file


_MEASURES = [
    Measure(
        "Rate, beside the fastest peer (higher is better)",
        rate,
        max,
        lambda sample, value: f"{whole(value)} {'MB/s' if is_large(sample) else 'files/s'}",
    ),
    Measure(
        "CPU, beside the peer that needs least (lower is better)",
        _cpu,
        min,
        lambda sample, value: f"{hundredth(value)} {'s/GB' if is_large(sample) else 'ms a file'}",
    ),
]
