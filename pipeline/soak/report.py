"""The report of a soak test: one page that needs no network, and the same as JSON."""

import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pipeline.names import human_size, printable
from pipeline.soak.facts import KINDS, STAGES, Report, duration
from pipeline.soak.plots import plots

PAGE, VALUES = "report.html", "report.json"
FORMAT = 1
"""Of report.json: raised when a value of it gets another meaning."""

_SHOWN = 200
"""Rows of a table that may be long; all of them are in report.json."""

_MEANINGS = {
    "lost": "dropped, and missing after the deadline",
    "corrupt": "arrived with other bytes",
    "duplicate": "the same file arrived twice",
    "misnamed": "the right bytes under another name",
    "invented": "arrived, but was never dropped",
    "late": "arrived, but only after the deadline",
    "left": "still in a folder, the bucket or the queue at the end",
}


def write(report: Report, folder: Path) -> Path:
    """Write PAGE and VALUES into `folder`, which is made if it is missing; the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / VALUES, json.dumps({"format": FORMAT, **asdict(report)}, indent=1))
    _write_whole(folder / PAGE, page(report))
    return folder / PAGE


def page(report: Report) -> str:
    """The text of the page."""
    drawn = plots(report)
    return (
        _environment()
        .get_template(PAGE)
        .render(
            report=report,
            verdict=verdict(report),
            stages=STAGES,
            kinds=[(kind, sum(broken.kind == kind for broken in report.violations), _MEANINGS[kind]) for kind in KINDS],
            plots=drawn,
            drawn=[{"id": plot.id, "data": plot.data, "layout": plot.layout} for plot in drawn],
            shown=_SHOWN,
            plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library itself, no text of the run
        )
    )


def verdict(report: Report) -> str:
    """The result in one line: what came through, or how many files broke the promise in which way."""
    counts = Counter(broken.kind for broken in report.violations)
    broken = [f"{counts[kind]:,} {_twice(kind)}" for kind in KINDS if counts[kind]]
    if report.unsettled:
        broken.append(f"{len(report.unsettled):,} still under way when it was stopped")
    if not report.passed:
        return f"FAILED: {', '.join(broken) or 'see what happened, below'}"
    fine = [f"none {_twice(kind)}" for kind in ("lost", "corrupt", "duplicate") if not counts[kind]]
    return f"PASSED: {', '.join([_count(report.totals.get('delivered', 0), 'file'), *fine, *broken])}"


def _twice(kind: str) -> str:
    return "twice" if kind == "duplicate" else kind


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _environment() -> jinja2.Environment:
    """Everything a run puts into the page is escaped: names of files are chosen by whoever drops them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": human_size, "duration": duration, "moment": _moment, "count": _count}
    return environment


def _shown(value: Any) -> Any:
    """A plain text as one that can be shown, and encoded: file names hold control characters and stray bytes."""
    return printable(value) if type(value) is str else value


def _moment(text: str) -> str:
    """ISO 8601, UTC, to the second and for a person."""
    return f"{text[:19].replace('T', ' ')} UTC"


def _write_whole(path: Path, text: str) -> None:
    """Nobody ever sees half a file, and that of an earlier run stays until the new one is complete."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
