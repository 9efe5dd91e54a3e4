"""The report of a soak test: what its plots are made of, what its page says, and what it does with any name."""

from __future__ import annotations

import html
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from pipeline.soak.drawing import Plot
from pipeline.soak.facts import KINDS, Fault, Latency, ProcessUse, Report, Series, Violation, duration
from pipeline.soak.plots import plots
from pipeline.soak.report import PAGE, VALUES, page, verdict, write
from tests import reports

AWKWARD = "a/<script>alert(1)</script></script><!--{{ 7*7 }}{% x %}&amp;\x1b[2J\n\x00\u202e\udcff\ud800\"'.bin"
SHOWN = "a/<script>alert(1)</script></script><!--{{ 7*7 }}{% x %}&amp;\\x1b[2J\\n\\x00\\u202e\\udcff\\ud800\"'.bin"
RUN = reports.chaos(150)
LOST = Violation("lost", "a.bin", "last seen as announced", 100.0)


def drawn(report: Report) -> dict[str, Plot]:
    return {plot.id: plot for plot in plots(report)}


def traces(plot: Plot) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in plot.data}


CHAOS, PAGE_OF_RUN = drawn(RUN), page(RUN)


def measured(seconds: list[float], length: float = 600.0, **columns: list[float | None]) -> Report:
    """A report with columns of a series; `in_flight` is "in flight", `rss_main` is "rss main"."""
    named = {name.replace("_", " "): values for name, values in columns.items()}
    return replace(reports.EMPTY, seconds=length, series=Series(seconds, named))


class Page(HTMLParser):
    """A page taken apart: its words, without those of its scripts, and every attribute of its tags."""

    def __init__(self, text: str) -> None:
        # The library is as long as everything else is short, and it is no text of a run.
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.scripts: list[str] = []
        self.feed(text.replace(get_plotlyjs(), ""))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self.inside == "script" else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def rows(self, start: str) -> int:
        """Rows of a table, by how the first cell of each begins."""
        return sum(word.startswith(start) for word in self.words)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"totals": {"delivered": 12345}}, "PASSED: 12,345 files, none lost, none corrupt, none twice"),
        ({"totals": {"delivered": 1}}, "PASSED: 1 file, none lost, none corrupt, none twice"),
        ({}, "PASSED: 0 files, none lost, none corrupt, none twice"),
        ({"passed": False, "violations": [LOST] * 1200}, "FAILED: 1,200 lost"),
        (
            {"passed": False, "violations": [replace(LOST, kind=kind) for kind in reversed(KINDS)]},
            "FAILED: 1 lost, 1 corrupt, 1 twice, 1 misnamed, 1 invented, 1 late, 1 left",
        ),
        ({"passed": False, "violations": [replace(LOST, kind="late")] * 2}, "FAILED: 2 late"),
        ({"passed": False, "unsettled": ["a", "b"]}, "FAILED: 2 still under way when it was stopped"),
        (
            {"passed": False, "violations": [LOST], "unsettled": ["a"]},
            "FAILED: 1 lost, 1 still under way when it was stopped",
        ),
        ({"passed": False}, "FAILED: see what happened, below"),
    ],
)
def test_the_verdict(changes: dict[str, Any], said: str) -> None:
    """One line for a run that passed, failed, was stopped at once, or whose feeder failed."""
    assert verdict(replace(reports.EMPTY, **changes)) == said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.21049, "0.21 s"),
        (4.2, "4.2 s"),
        (59.94, "59.9 s"),
        (60.0, "1 min 0 s"),
        (603.4, "10 min 3 s"),
        (3599.6, "1 h 0 min"),
        (7500.0, "2 h 5 min"),
        (360_000.0, "100 h 0 min"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("length", "unit", "places", "end"),
    [
        (119.0, "seconds", [30.0, 60.0], 119.0),
        (120.0, "minutes", [0.5, 1.0], 2.0),
        (7199.0, "minutes", [0.5, 1.0], 7199 / 60),
        (7200.0, "hours", [0.00833, 0.01667], 2.0),
        (0.0, "seconds", [30.0, 60.0], 1.0),
    ],
)
def test_the_axis_of_time(length: float, unit: str, places: list[float], end: float) -> None:
    """Its unit fits the run, and every line and mark is in that unit."""
    report = measured([30.0, 60.0], length, p50=[1.0, 2.0], rss_main=[1e6, 2e6])
    report = replace(report, faults=[Fault(30.0, "killed", "poller"), Fault(60.0, "killed", "poller")])
    for name, plot in drawn(report).items():
        if name == "histogram":
            continue
        assert plot.layout["xaxis"]["title"]["text"] == f"{unit} since the start"
        assert plot.layout["xaxis"]["range"] == [0, pytest.approx(end)]
        for trace in plot.data:
            assert [place for place in trace["x"] if place is not None] == (
                [at for at in places for _ in (0, 1)] if trace["name"] == "killed" else places
            )


@pytest.mark.parametrize(
    ("plot", "name", "column", "factor", "axis", "unit"),
    [
        ("throughput", "files/s", "files/s", 1, "yaxis", "files/s"),
        ("throughput", "MB/s", "MB/s", 1, "yaxis2", "MB/s"),
        ("latency", "p50: half of the files are faster", "p50", 1, "yaxis", "seconds"),
        ("latency", "p99: 99 of 100 files are faster", "p99", 1, "yaxis", "seconds"),
        ("queues", "files in Watch", "watch", 1, "yaxis", "files"),
        ("queues", "files in QueuedForUpload", "queued", 1, "yaxis", "files"),
        ("queues", "messages waiting", "visible", 1, "yaxis2", "messages"),
        ("queues", "messages in flight", "in flight", 1, "yaxis2", "messages"),
        *(("memory", role, f"rss {role}", 1e-6, "yaxis", "MB") for role in reports.ROLES),
        *(("cpu", role, f"cpu {role}", 1, "yaxis", "% of one core") for role in reports.ROLES),
    ],
)
def test_a_line_is_its_column(plot: str, name: str, column: str, factor: float, axis: str, unit: str) -> None:
    """Value by value, in the unit of its axis."""
    series, found = RUN.series, CHAOS[plot]
    line = traces(found)[name]
    assert line["x"] == pytest.approx([second / 60 for second in series.seconds], abs=1e-5)
    assert line["y"] == [
        None if value is None else pytest.approx(value * factor, abs=1e-4) for value in series.columns[column]
    ]
    assert line.get("yaxis", "y").replace("y", "yaxis") == axis
    assert found.layout[axis]["title"]["text"] == unit


def test_there_are_no_other_lines() -> None:
    """What is drawn was measured, or happened; each plot is there once, and in order."""
    assert [plot.id for plot in plots(RUN)] == ["throughput", "latency", "histogram", "queues", "memory", "cpu"]
    marks = ["killed", "error", "warning"]
    counts = {name: len([trace for trace in plot.data if trace["name"] not in marks]) for name, plot in CHAOS.items()}
    assert counts == {"throughput": 2, "latency": 2, "histogram": 4, "queues": 4, "memory": 9, "cpu": 9}


def test_lines_of_one_plot_can_be_told_apart() -> None:
    """By colour or dash, also where there are more roles than colours; a role looks the same in both plots."""
    roles = [f"uploader-{number}" for number in range(30)]
    columns: dict[str, list[float | None]] = {f"{what} {role}": [1.0] for role in roles for what in ("rss", "cpu")}
    found = drawn(replace(reports.EMPTY, series=Series([1.0], columns)))
    looks = {name: [(t["line"]["color"], t["line"]["dash"]) for t in found[name].data] for name in ("memory", "cpu")}
    assert len(set(looks["memory"])) == 30
    assert looks["memory"] == looks["cpu"]


@pytest.mark.parametrize("kind", ["killed", "error", "warning"])
@pytest.mark.parametrize("name", ["throughput", "latency", "queues", "memory", "cpu"])
def test_every_fault_is_marked(name: str, kind: str) -> None:
    """At its time, in every panel, with its text; under one name of the legend."""
    wanted = [fault for fault in RUN.faults if fault.kind == kind]
    panels = [trace for trace in CHAOS[name].data if trace["name"] == kind]
    assert [panel["yaxis"] for panel in panels] == ["y3", "y4"][: 2 if "yaxis2" in CHAOS[name].layout else 1]
    for panel in panels:
        assert panel["x"][::3] == panel["x"][1::3] == [round(fault.seconds / 60, 5) for fault in wanted]
        assert panel["hovertext"][::3] == panel["hovertext"][1::3] == [fault.text for fault in wanted]
        assert {*panel["x"][2::3], *panel["y"][2::3]} == {None}
    assert [panel["showlegend"] for panel in panels] == [True, False][: len(panels)]


def test_marks_at_one_moment_are_all_seen() -> None:
    """A kill and the warning that comes of it are noticed together: their heads are at different heights."""
    panels = [trace for trace in CHAOS["latency"].data if trace["name"] in ("killed", "error", "warning")]
    assert len({panel["y"][1] for panel in panels}) == len({panel["marker"]["symbol"] for panel in panels}) == 3
    assert all(0.5 < panel["y"][1] < 1 for panel in panels)
    assert all(panel["marker"]["size"][:3] == [0, 8, 0] for panel in panels)


def test_what_was_not_measured_has_no_points() -> None:
    """A column that is missing is an empty line; a plot with nothing else says so."""
    found = drawn(measured([1.0, 2.0], watch=[1.0, 2.0]))
    lines = traces(found["queues"])
    assert (lines["files in Watch"]["y"], lines["messages waiting"]["y"]) == ([1.0, 2.0], [])
    said = {name: [note["text"] for note in plot.layout.get("annotations", [])] for name, plot in found.items()}
    assert said.pop("queues") == []
    assert said == {name: ["nothing was measured"] for name in CHAOS if name != "queues"}


@pytest.mark.parametrize(("values", "lowest"), [([0.0, 200.0], -6.0), ([0.0, 0.0, None], -0.03), ([3.0], -0.09)])
def test_a_line_at_0_is_not_on_the_edge(values: list[float | None], lowest: float) -> None:
    """Its axis holds 0 and a little below, which is no more where nothing else is drawn."""
    report = measured([1.0, 2.0, 3.0][: len(values)], visible=values)
    layout = drawn(report)["queues"].layout
    assert layout["yaxis2"]["autorangeoptions"] == {"include": 0, "clipmin": pytest.approx(lowest)}
    assert (layout["yaxis2"]["rangemode"], layout["yaxis"]["rangemode"]) == ("normal", "tozero")


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ([1.0, 2.0, 3.0], "lines"),
        ([1.0, 2.0, None, 3.0, 4.0], "lines"),
        ([1.0, 2.0, None, 3.0, None], "lines+markers"),
        ([None, 2.0, None], "lines+markers"),
        ([1.0, None, 2.0, 3.0], "lines+markers"),
        ([1.0, 2.0, None, 3.0], "lines+markers"),
        ([1.0], "lines+markers"),
        ([0.0, None], "lines+markers"),
        ([None, None], "lines"),
        ([], "lines"),
    ],
)
def test_a_lone_point_is_seen(values: list[float | None], mode: str) -> None:
    """Between two gaps it makes no line, so the line gets markers."""
    report = measured([float(number) for number in range(len(values))], p50=values)
    assert traces(drawn(report)["latency"])["p50: half of the files are faster"]["mode"] == mode


def histogram(*buckets: tuple[float, int], p50: float = 0.0, p99: float = 0.0, highest: float = 0.0) -> Plot:
    return drawn(replace(reports.EMPTY, latency=Latency(p50, p99, highest, buckets)))["histogram"]


@pytest.mark.parametrize(
    "buckets",
    [
        RUN.latency.buckets,
        ((1e-4, 3), (2e-4, 4), (9e-4, 5)),
        ((5e-4, 3), (1e-3, 4), (2e-3, 0), (4e-3, 5)),
        ((0.3, 7),),
        ((40_000.0, 1), (42_000.0, 2)),
    ],
)
def test_the_bars_are_all_files(buckets: tuple[tuple[float, int], ...]) -> None:
    """Each bar has a width, begins where the one before it ends, and lies within the axis."""
    plot = histogram(*buckets, p50=buckets[0][0], p99=buckets[-1][0], highest=buckets[-1][0])
    bars = plot.data[0]
    assert sum(bars["y"]) == sum(number for _, number in buckets)
    ends = [low + width for low, width in zip(bars["x"], bars["width"], strict=True)]
    assert min(bars["width"]) > 0
    assert bars["x"][1:] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(max(buckets[-1][0], 0.001))
    first, last = (10**end for end in plot.layout["xaxis"]["range"])
    for place in (*bars["x"], *ends, *(at for line in plot.data[1:] for at in line["x"])):
        assert first < place < last


@pytest.mark.parametrize(
    ("low", "high", "most"),
    [(0.1, 0.2, 6), (0.21, 0.55, 6), (1.1, 2.9, 6), (70.0, 200.0, 6), (0.05, 70.0, 8), (0.001, 1000.0, 13)],
)
def test_the_axis_of_latencies_has_numbers(low: float, high: float, most: int) -> None:
    """At least three where it covers a factor of 2, and never more than a phone has room for."""
    axis = histogram((low, 1), (high / 1.05, 0), (high, 1), p50=low, p99=high, highest=high).layout["xaxis"]
    assert 3 <= len(axis["tickvals"]) == len(set(axis["ticktext"])) <= most


def test_the_histogram_names_its_lines() -> None:
    """Half of the files, 99 of 100, and the slowest, with their values; the smallest is not covered by the others."""
    plot = histogram((0.1, 1), (90.0, 1), p50=0.21049, p99=71.3, highest=90.0)
    lines = sorted(plot.data[1:], key=lambda line: line["legendrank"])
    assert [(line["name"], line["x"]) for line in lines] == [
        ("p50: half of the files within 0.21 s", [0.21049] * 2),
        ("p99: 99 of 100 files within 1 min 11 s", [71.3] * 2),
        ("slowest file in 1 min 30 s", [90.0] * 2),
    ]
    assert [line["line"]["dash"] for line in plot.data[1:]] == ["solid", "18px,6px", "12px,12px"]


def test_the_values_are_those_of_the_report(tmp_path: Path) -> None:
    """report.json holds all of them, whatever the names, and says by which rules it is read."""
    report = replace(RUN, violations=[replace(LOST, name=AWKWARD)] * 500, unsettled=[AWKWARD])
    write(report, tmp_path / "a" / "b")
    found = json.loads((tmp_path / "a" / "b" / VALUES).read_text(encoding="utf-8"))
    assert found.pop("format") == 1
    assert found == json.loads(json.dumps(asdict(report)))
    assert found["violations"][499]["name"] == AWKWARD
    assert found["series"]["columns"]["p50"][:4] == report.series.columns["p50"][:4]


def test_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    """And nothing else is left beside the two files."""
    assert write(RUN, tmp_path) == tmp_path / PAGE
    first = (tmp_path / PAGE).stat().st_ino
    write(replace(reports.EMPTY, run="the-second"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [PAGE, VALUES]
    assert "the-second" in (tmp_path / PAGE).read_text(encoding="utf-8")
    assert json.loads((tmp_path / VALUES).read_text(encoding="utf-8"))["run"] == "the-second"
    assert (tmp_path / PAGE).stat().st_ino != first  # not written over: whoever reads the old one reads on


def test_the_page_needs_nothing_else() -> None:
    """Nothing is loaded, from nowhere, and the browser is told to refuse to."""
    found = Page(PAGE_OF_RUN)
    loading = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}
    assert not [(tag, attributes) for tag, attributes in found.tags if loading & attributes.keys()]
    assert not {tag for tag, _ in found.tags} & {"link", "iframe", "base", "object", "embed", "img"}
    style = " ".join(found.words)
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [tag["content"] for _, tag in found.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert get_plotlyjs() in PAGE_OF_RUN


def test_any_name_is_shown_as_itself() -> None:
    """Wherever a text of the run is shown: no markup, no template, no control character; and it can be encoded."""
    report = replace(
        RUN,
        run=AWKWARD,
        command=AWKWARD,
        ended_by=AWKWARD,
        passed=False,
        violations=[Violation("lost", AWKWARD, AWKWARD, 1.0)],
        unsettled=[AWKWARD],
        faults=[Fault(1.0, "error", AWKWARD)],
        processes=[ProcessUse(AWKWARD, 1, 1, 1, 1, 1.0)],
        series=Series([1.0, 2.0], {f"rss {AWKWARD}": [1.0, 2.0], f"cpu {AWKWARD}": [1.0, 2.0]}),
        versions={AWKWARD: AWKWARD},
        configuration={AWKWARD: AWKWARD},
        remains=AWKWARD.replace("\n", ""),
    )
    text = page(report)
    text.encode()
    found = Page(text)
    assert " ".join(found.words).count(SHOWN) == 13
    assert SHOWN.replace("\\n", "") in found.text
    plain = Page(PAGE_OF_RUN)
    assert [tag for tag, _ in found.tags].count("script") == [tag for tag, _ in plain.tags].count("script")
    (data,) = [script for script in found.scripts if script.startswith("[{")]
    line = {plot["id"]: plot["data"][0] for plot in json.loads(data)}["memory"]
    # plotly reads some markup in the names it draws
    assert line["name"].startswith("a/&lt;script&gt;alert(1)&lt;/")
    assert html.escape(SHOWN, quote=False) in data.encode().decode("unicode_escape")


def test_many_violations_are_cut() -> None:
    """After 200 rows, with the number of the rest; so are files under way."""
    lost = [replace(LOST, name=f"lost-{number}.bin") for number in range(500)]
    found = Page(page(replace(RUN, passed=False, violations=lost, unsettled=[f"way-{n}" for n in range(1201)])))
    assert (found.rows("lost-"), found.rows("way-")) == (200, 200)
    assert "And 300 more, in report.json." in found.text
    assert "And 1,001 more, in report.json." in found.text
    whole = Page(page(replace(RUN, passed=False, violations=lost[:200])))
    assert (whole.rows("lost-"), "more, in report.json" in whole.text) == (200, False)


def test_a_run_that_measured_nothing_has_a_page() -> None:
    found = Page(page(reports.EMPTY))
    assert "The run ended before any was measured." in found.text
    assert "Nothing: no process was killed, no warning and no error was logged." in found.text
    assert "Violations" not in found.text


@pytest.mark.parametrize(("report", "failed"), [(RUN, False), (reports.failed(60), True)], ids=["passed", "failed"])
def test_the_header_says_how_it_ended(report: Report, failed: bool) -> None:
    """In its title, its colour and its words; what was left out of the plots is told."""
    found = Page(page(report))
    (header,) = [attributes for tag, attributes in found.tags if tag == "header"]
    assert header == ({"class": "failed"} if failed else {})
    assert f"{'FAILED' if failed else 'Passed'} – soak test {report.run}" in found.text
    assert verdict(report) in found.text
    assert "the first and the last five hundred are marked; 1,234 between them are not" in found.text


def test_a_failed_run_names_each_violation() -> None:
    """Its kind, file, time and what was found; and how many there are of each kind."""
    report = reports.failed(60)
    found = Page(page(report))
    for broken in report.violations:
        assert f"{duration(broken.seconds)} {broken.kind} {broken.name} {broken.text}" in found.text
    for place, kind in enumerate(KINDS):
        assert re.search(rf"\b{place + 1} {kind} ", found.text)
    assert report.unsettled[0] in found.text
