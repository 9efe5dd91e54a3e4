"""A soak test of the program itself, `main.py -Mode 4`, on any of the servers, and what its report says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.endpoints import SERVERS
from tests.chaos.relay import Relay

_SETTLE_SECONDS = 600.0
"""What it may take beyond its duration: the deadline of the last file, and an end."""
_WARM_SECONDS = 60.0
"""A process grows by what its first large files take; in a shorter run that looks like a leak."""


@dataclass
class Outcome:
    """What a run said, and what it left."""

    code: int
    report: dict[str, Any]
    page: Path
    violations: list[str]

    def table(self) -> str:
        """For a person and for the log."""
        report = self.report
        head = "| files | MB received | files/s | p50 s | p99 s | kills | violations | exit code |"
        latency = f"{report['latency']['p50']:.2f} | {report['latency']['p99']:.2f}"
        row = (
            f"| {report['totals']['fed back']:,} | {report['bytes_received'] / 1e6:,.0f} | "
            f"{report['totals']['fed back'] / report['seconds']:.1f} | {latency} | {sum(report['kills'].values())} | "
            f"{len(self.violations)} | {self.code} |"
        )
        memory = [
            f"{use['role']}: {use['rss_first'] / 1e6:.0f} MB at first, {use['rss_peak'] / 1e6:.0f} at most, "
            f"{use['rss_last'] / 1e6:.0f} at the end, {use['cpu_seconds']:.0f} s of CPU, {use['processes']} started"
            for use in report["processes"]
        ]
        return "\n".join([head, "|" + "---|" * 8, row, *memory, *self.violations, f"report: {self.page}"])


def grew(use: dict[str, Any]) -> bool:
    """Whether a process used clearly more memory at its end than when it had started."""
    return bool(use["rss_last"] > 1.5 * use["rss_first"] + 30e6)


def run(folder: Path, endpoint: str, options: Sequence[str], seconds: float) -> Outcome:
    """Run Mode 4 for so many seconds with further options of its own."""
    reports = folder / "report"
    words = ["--duration", f"{seconds:.0f}s", "--report", str(reports), *options]
    with SERVERS[endpoint](folder) as keys:
        relay = Relay(folder / "relay", mode=4, keys=keys, options=words)
        try:
            relay.start()
            code = relay.wait(seconds + _SETTLE_SECONDS)
            orphans = relay.survivors()
        finally:
            relay.end()
    report = json.loads((reports / "report.json").read_text(encoding="utf-8"))
    violations = [f"{found['kind']}: {found['name']}: {found['text']}" for found in report["violations"]]
    violations += [f"ORPHAN: process {pid}" for pid in orphans]
    violations += [f"GREW: {use['role']}" for use in report["processes"] if seconds >= _WARM_SECONDS and grew(use)]
    return Outcome(code, report, reports / "report.html", violations + ([] if code == 0 else [f"exit code {code}"]))
