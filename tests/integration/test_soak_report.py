"""The report of a soak test as a browser shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from pipeline.soak.drawing import COLOURS
from pipeline.soak.facts import Report, Series
from pipeline.soak.plots import plots
from pipeline.soak.report import page
from tests import reports
from tests.browser import Frame, Shown, show

DESK, PHONE = 1280, 390
TEXT = {False: "#1d2733", True: "#e4e9ef"}
"""The colour of text, on a light and on a dark page."""
LONG = "a-program-with-a-very-long-name-" * 4
Box = list[float]


def crowded() -> Report:
    """A short run with so many roles that the legend is higher than the plot, one with a name wider than a phone."""
    report = reports.chaos(60, run="r" * 150)
    columns = report.series.columns
    roles = [*(f"downloader-{number}" for number in range(24)), LONG]
    more = {f"{what} {role}": columns[f"{what} main"] for what in ("rss", "cpu") for role in roles}
    return replace(report, series=Series(report.series.seconds, {**columns, **more}))


def pixels(picture: Image.Image, boxes: list[Box]) -> list[tuple[int, tuple[int, ...]]]:
    """The colours within some boxes, and how many pixels are of each."""
    found: list[tuple[int, tuple[int, ...]]] = []
    for left, top, right, bottom in boxes:
        part = picture.crop((round(left), round(top), round(right), round(bottom)))
        found += [(number, pixel) for number, pixel in part.getcolors(1 << 24) or [] if isinstance(pixel, tuple)]
    return found


def near(found: list[tuple[int, tuple[int, ...]]], colour: str) -> int:
    """How many pixels are of a colour, but for what the edges of a line blend into it."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return sum(
        number
        for number, pixel in found
        if abs(pixel[0] - red) <= 24 and abs(pixel[1] - green) <= 24 and abs(pixel[2] - blue) <= 24
    )


def within(inner: Box, outer: Box) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def check(shown: Shown, report: Report, *, dark: bool) -> None:
    """All of the report is there to be seen."""
    found = shown.found
    assert found, "the page was never complete"
    assert found["trouble"] == ""
    assert found["dark"] == dark
    assert found["width"] <= shown.width, "wider than the window"
    assert found["height"] <= shown.picture.height, "higher than what was looked at"
    wanted = plots(report)
    assert [*found["plots"]] == [plot.id for plot in wanted]
    for plot in wanted:
        place = found["plots"][plot.id]
        lines = [trace for trace in plot.data if trace["type"] == "scatter"]
        bars = [number for trace in plot.data if trace["type"] == "bar" for number in trace["y"]]
        assert len([length for length in place["lines"] if length > 10]) == len(lines), f"{plot.id}: lines"
        high = [box for box in place["bars"] if box[2] > box[0] and box[3] > box[1]]
        assert len(high) == sum(number > 0 for number in bars), f"{plot.id}: bars"

        assert len(place["names"]) == sum(trace.get("showlegend", True) for trace in plot.data)
        (legend,) = place["legend"]
        left, top, right, bottom = place["card"]
        inside = [left, top + 4, right, bottom - 4]  # a letter on the edge of a card looks cut off
        for box in (legend, *place["titles"], *place["ticks"], *place["areas"]):
            assert within(box, inside), f"{plot.id}: cut off"
        assert all(within(box, legend) for box in place["names"]), f"{plot.id}: the legend is cut off"
        for box in (*place["areas"], *place["titles"], *place["ticks"]):
            assert apart(box, legend), f"{plot.id}: covered by the legend"
        assert all(apart(title, box) for title in place["titles"] for box in place["ticks"]), f"{plot.id}: a title"

        colours = {(trace.get("line") or trace["marker"])["color"] for trace in plot.data}
        # An axis that lies over another has the same area.
        seen = pixels(shown.picture, [list(box) for box in {tuple(box) for box in place["areas"]}])
        for colour in sorted(colours):
            assert near(seen, colour) > 20, f"{plot.id}: no {colour}"
        assert place["titles"]
        for box in place["titles"]:
            assert near(pixels(shown.picture, [box]), TEXT[dark]) > 5, f"{plot.id}: unreadable"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_seen(tmp_path: Path, dark: bool) -> None:
    """Every line, bar, mark and word of every plot, on a desk and on a phone; nothing is cut, covered or too wide."""
    cases = {"chaos": reports.chaos(), "crowded": crowded()}
    frames = [
        Frame("chaos", page(cases["chaos"]), DESK),
        *(Frame(f"{name} on a phone", page(report), PHONE) for name, report in cases.items()),
    ]
    shown = show(tmp_path, frames, 12_000, dark=dark)
    for frame in frames:
        check(shown[frame.name], cases[frame.name.split()[0]], dark=dark)


def test_a_short_or_failed_run_is_seen(tmp_path: Path) -> None:
    """One of five seconds, in which a queue is always empty; one with violations; one in which nothing was measured."""
    short = reports.calm(5)
    idle: list[float | None] = [0.0] * 5
    short = replace(short, series=replace(short.series, columns={**short.series.columns, "queued": idle}))
    cases = {"short": short, "failed": reports.failed(60)}
    frames = [Frame(name, page(report), PHONE) for name, report in cases.items()]
    shown = show(tmp_path, [*frames, Frame("empty", page(reports.EMPTY), PHONE)], 12_000, dark=False)
    for name, report in cases.items():
        check(shown[name], report, dark=False)
    found = shown["empty"].found
    assert (found["trouble"], found["width"], len(found["plots"])) == ("", PHONE, 6)


def without_plotly(text: str) -> str:
    return text.replace(get_plotlyjs(), "")


def without_points(text: str) -> str:
    return text.replace('"y": [', '"y": [], "why": [', 1)


def without_colour(text: str) -> str:
    return text.replace(f'"color": "{COLOURS[0]}"', '"color": "transparent"')


def with_wide_words(text: str) -> str:
    return text.replace("overflow-wrap: anywhere", "white-space: nowrap")


def without_room(text: str) -> str:
    return text.replace("margin.t + margin.b", "0")


BROKEN: list[tuple[Callable[[str], str], str]] = [
    (without_plotly, "Plotly is not defined"),
    (without_points, "throughput: lines"),
    (without_colour, f"throughput: no {COLOURS[0]}"),
    (without_room, "cut off|covered"),
    (with_wide_words, "wider than the window"),
]


def test_a_broken_page_is_noticed(tmp_path: Path) -> None:
    """The checks above see what they are there for."""
    report = reports.chaos(60)
    whole = page(report)
    frames = [Frame(broken.__name__, broken(whole), PHONE) for broken, _ in BROKEN]
    shown = show(tmp_path, [*frames, Frame("whole", whole, PHONE)], 7_000, dark=False)
    check(shown["whole"], report, dark=False)
    for broken, said in BROKEN:
        with pytest.raises(AssertionError, match=said):
            check(shown[broken.__name__], report, dark=False)
