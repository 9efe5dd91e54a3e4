"""The result: files in a folder, and the part of docs/performance.md that they replace."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import plot
from bench.contest import Record
from bench.failure import BenchError
from bench.goals import goals
from bench.peers import PEERS, describe
from bench.samples import Sample
from bench.tables import Table, all_tables

JSON, TABLES, PLOT = "result.json", "table.md", "plot.svg"
BEGIN, END = "<!-- begin: written by python -m bench --update-docs -->", "<!-- end -->"
_FORMAT = 1


def as_json(record: Record, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything: all runs, and `about` the machine, versions and options."""
    return {
        "format": _FORMAT,
        **about,
        "samples": [each.as_json() for each in record.samples],
        "sweeps": record.sweeps,
        "latencies_ms": record.latencies,
        "idle": record.idle,
        "notes": [*record.notes, *record.failures],
    }


def tables_of(result: Mapping[str, Any]) -> list[Table]:
    """The tables of a result as as_json gives it."""
    samples = [Sample(**each) for each in result["samples"]]
    latencies, idle = result["latencies_ms"], result["idle"]
    return all_tables(samples, latencies, idle, goals(samples, latencies, idle))


def write(result: Mapping[str, Any], folder: Path) -> None:
    """The three files, in place of earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(result, indent=1), encoding="utf-8")
    (folder / TABLES).write_text(page(result), encoding="utf-8")
    (folder / PLOT).write_text(plot.draw([Sample(**each) for each in result["samples"]]), encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The last result; BenchError where there is none."""
    path = folder / JSON
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read ({error}); run `python -m bench` first, or name its --out") from error


def page(result: Mapping[str, Any]) -> str:
    """The tables, the machine, the versions and the settings, in Markdown."""
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    lines = [f"Measured {result['date']} at commit {result['commit']} on: {machine}. With: {versions}.", ""]
    lines += [each.markdown() for each in tables_of(result)]
    lines += ["**How the peers were run**", "", *_settings(result), ""]
    lines += [f"- {note}" for note in result["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def update(document: Path, folder: Path) -> None:
    """Put the last result between the marks of a document, and its plot beside it."""
    text = document.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{document} lacks the lines {BEGIN} and {END}: write them where the tables belong")
    result = read(folder)
    document.write_text(f"{head}{BEGIN}\n\n{page(result)}\n{END}{tail}", encoding="utf-8")
    samples = [Sample(**each) for each in result["samples"]]
    document.with_suffix(".svg").write_text(plot.draw(samples), encoding="utf-8")


def options_json(options: Any) -> dict[str, Any]:
    """The options of a run, as JSON can hold them."""
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in dataclasses.asdict(options).items()
    }


def _settings(result: Mapping[str, Any]) -> list[str]:
    lines = [f"- `{line}`" for name in result["options"]["peers"] for line in describe(PEERS[name])]
    used: dict[tuple[str, str], str] = {}
    for each in result["samples"]:
        if each["who"] in PEERS:
            used[each["workload"], each["who"]] = each["setting"]
    for (workload, who), setting in used.items():
        tried = result["sweeps"].get(workload, {}).get(who, {})
        others = (
            "; tried: " + ", ".join(f"{label} {seconds:.2f} s" for label, seconds in tried.items()) if tried else ""
        )
        lines.append(f"- {workload}, {who}: `{setting}`{others}")
    return lines
