"""The result as tables, for a terminal and for a page. Pure."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.goals import Goal, ratio
from bench.samples import (
    CEILING,
    MB,
    OURS,
    Range,
    Sample,
    contestants,
    counted,
    is_large,
    percentile,
    rate,
    spread,
    workloads,
)

_NAMES = {OURS: "Folder relay", "aws": "aws CLI", CEILING: "ceiling"}


@dataclass(frozen=True)
class Table:
    """A title, and cells of text; the first column is on the left, numbers are on the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """For a page."""
        align = ["---", *("---:" for _ in self.header[1:])]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, align, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines, ""])

    def text(self) -> str:
        """For a terminal."""
        cells = [[cell.replace("**", "") for cell in row] for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [_line(row, widths) for row in cells]
        return "\n".join([self.title, *(f"  {line}" for line in lines), ""])


def name_of(who: str) -> str:
    """As a person calls it."""
    return _NAMES.get(who, who)


def all_tables(
    samples: Sequence[Sample],
    latencies: Mapping[str, Sequence[float]],
    idle: Mapping[str, float],
    goals: Sequence[Goal],
) -> list[Table]:
    """All that there is something to say in."""
    races = [name for name in workloads(samples) if not name.startswith("W7")]
    tables = [_goals(goals), *(_race(samples, name) for name in races)]
    tables += [_latency(latencies)] if latencies else []
    tables += [_growth(samples)] if any(each.workload.startswith("W7") for each in samples) else []
    return [*tables, *([_idle(idle)] if idle else [])]


def _goals(goals: Sequence[Goal]) -> Table:
    rows = [[goal.text, f"{'≥' if goal.least else '≤'} {goal.bound:g} {goal.unit}", *_verdict(goal)] for goal in goals]
    return Table("Goals", ["goal", "wanted", "found", "holds"], rows)


def _verdict(goal: Goal) -> list[str]:
    if goal.found is None:
        return ["not measured", ""]
    return [f"{goal.found:.2f} {goal.unit}", "yes" if goal.holds else "**no**"]


def _race(samples: Sequence[Sample], workload: str) -> Table:
    rows = [_row(samples, workload, who) for who in contestants(samples, workload)]
    large = any(is_large(each) for each in samples if each.workload == workload)
    header = ["MB/s" if large else "files/s", "without start-up", "CPU s/GB" if large else "CPU ms/file"]
    title = f"{workload}: {_files(samples, workload)}"
    return Table(title, ["", "runs", *header, "PSS MB", "RSS MB", "Folder relay is"], rows)


def _files(samples: Sequence[Sample], workload: str) -> str:
    """How many files of which size; who got fewer."""
    numbers = {
        who: counted(samples, workload, who)[-1]
        for who in contestants(samples, workload)
        if counted(samples, workload, who)
    }
    if not numbers:
        return "no run counts"
    most = max(each.files for each in numbers.values())
    fewer = [f"{name_of(who)}: {each.files:,}" for who, each in numbers.items() if each.files < most]
    size = size_of(next(iter(numbers.values())).size)
    return f"{most:,} files of {size}" + (f" ({', '.join(fewer)})" if fewer else "")


def _row(samples: Sequence[Sample], workload: str, who: str) -> list[str]:
    runs = counted(samples, workload, who)
    every = [each for each in samples if (each.workload, each.who) == (workload, who)]
    if not runs:
        return [name_of(who), f"0/{len(every)}", "failed", *[""] * 5]
    large = is_large(runs[0])
    count = f"{len(runs)}/{len(every)}" if len(runs) < len(every) else str(len(runs))
    flow = spread(each.flow for each in runs)
    cpu = spread(each.cpu_per_gb if large else each.cpu_per_file for each in runs)
    beside = ratio(samples, workload, who) if who != OURS else None
    return [
        name_of(who),
        count,
        _shown(spread(map(rate, runs)), whole),
        "" if large or not flow.median else _shown(flow, whole),
        _shown(cpu, hundredth),
        _memory(runs, lambda each: each.pss),
        _memory(runs, lambda each: each.rss),
        f"{beside:.2f} ×" if beside else "",
    ]


def _latency(latencies: Mapping[str, Sequence[float]]) -> Table:
    rows = [
        [name, str(len(found)), *(f"{percentile(found, percent):.1f}" for percent in (0, 50, 90, 99, 100))]
        for name, found in latencies.items()
    ]
    return Table("Drop to delivered, ms", ["", "drops", "least", "p50", "p90", "p99", "most"], rows)


def _growth(samples: Sequence[Sample]) -> Table:
    rows = []
    for each in samples:
        if each.workload.startswith("W7"):
            what = f"{each.files:,} × {size_of(each.size)}" if each.files else each.workload
            rows.append([what, *(_grown(each) if not each.error else ["failed", *[""] * 4])])
    return Table("W7: growth", ["files", "rate", "without start-up", "CPU ms/file", "PSS MB", "RSS MB"], rows)


def _grown(each: Sample) -> list[str]:
    shown = f"{each.mb_per_s:,.0f} MB/s" if is_large(each) else f"{each.files_per_s:,.0f} files/s"
    flow = f"{each.flow:,.0f} files/s" if each.flow else ""
    return [shown, flow, f"{each.cpu_per_file:,.2f}", whole(each.pss / MB), whole(each.rss / MB)]


def _idle(idle: Mapping[str, float]) -> Table:
    title = f"W8: idle for {idle['seconds']:g} s, {idle['files']:,.0f} files in UploadedToS3"
    row = [f"{idle['cpu_percent']:.2f} %", whole(idle["pss"] / MB), whole(idle["rss"] / MB)]
    return Table(title, ["CPU of one core", "PSS MB", "RSS MB"], [row])


def _memory(runs: Sequence[Sample], of: Callable[[Sample], int]) -> str:
    return whole(spread(of(each) for each in runs).median / MB)


def _shown(found: Range, write: Callable[[float], str]) -> str:
    low, middle, high = write(found.low), write(found.median), write(found.high)
    return middle if low == high else f"{middle} ({low}–{high})"


def whole(value: float) -> str:
    """Without decimals."""
    return f"{value:,.0f}"


def hundredth(value: float) -> str:
    """With two decimals."""
    return f"{value:.2f}"


def size_of(size: int) -> str:
    """Bytes as a person says it."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size} B"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = f"{row[0]:<{widths[0]}}"
    rest = (f"{cell:>{width}}" for cell, width in itertools.islice(zip(row, widths, strict=True), 1, None))
    return "  ".join([first, *rest]).rstrip()
