"""What a run found, as a table and as JSON."""

import json
import os
import platform
import statistics
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.relay import ROOT, again
from tests.chaos.soak.plan import Plan
from tests.chaos.soak.sampler import Sample

_SHOWN = 40


@dataclass
class Outcome:
    """All of `violations` must be empty."""

    plan: Plan
    seconds: float = 0.0
    drained: float = 0.0
    """Seconds from the last fault until all rested."""
    dropped: int = 0
    bytes: int = 0
    delivered: int = 0
    spoiled: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    cloud: dict[str, Any] = field(default_factory=dict)
    """What the servers counted: requests, effects, faults by kind."""
    missed: int = 0
    recoveries: list[float] = field(default_factory=list)
    unfinished: int = 0
    censored: int = 0
    """See `Recovery`."""
    ends: Counter[str] = field(default_factory=Counter)
    most: dict[str, Sample] = field(default_factory=dict)
    growth: dict[str, Sample] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        """All of them, for a file."""
        p50, p99 = self.recovery()
        return {
            "replay": again(self.plan.replay),
            "commit": commit(),
            "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}",
            "seconds": round(self.seconds, 1),
            "drained_seconds": round(self.drained, 1),
            "files": {"dropped": self.dropped, "bytes": self.bytes, "delivered": self.delivered},
            "spoiled": self.spoiled,
            "kills": dict(self.kills),
            "faults": dict(self.faults),
            "cloud": self.cloud,
            "faults_without_a_victim": self.missed,
            "recovery": {
                "p50": p50,
                "p99": p99,
                "timed": len(self.recoveries),
                "unfinished": self.unfinished,
                "censored": self.censored,
            },
            "ends": dict(self.ends),
            "most": {role: sample._asdict() for role, sample in self.most.items()},
            "growth": {role: sample._asdict() for role, sample in self.growth.items()},
            "violations": self.violations,
        }

    def recovery(self) -> tuple[float, float]:
        """Median and 99th percentile; 0 where none was timed."""
        if len(self.recoveries) < 2:
            return (0.0, 0.0)
        cuts = statistics.quantiles(self.recoveries, n=100, method="inclusive")
        return round(cuts[49], 2), round(cuts[98], 2)

    def table(self) -> str:
        """For a person and for the log."""
        p50, p99 = self.recovery()
        effects = self.cloud.get("effects", {})
        rows = [
            ("kill -9", f"{self.kills.total():,} ({_counts(self.kills)})"),
            ("other faults", _counts(self.faults)),
            ("faults of network and servers", _counts(self.cloud.get("faults", {}))),
            ("requests", f"{sum(self.cloud.get('requests', {}).values()):,}"),
            ("files dropped, delivered", f"{self.dropped:,}, {self.delivered:,} ({self.bytes / 1e6:,.0f} MB)"),
            ("messages accepted, buried", f"{effects.get('SEND', 0):,}, {effects.get('BURIED', 0):,}"),
            ("spoiled by their users", f"{self.spoiled:,}"),
            *((f"**{kind}**", str(count)) for kind, count in self.kinds().items()),
            ("recovery after a kill, p50, p99", f"{p50:.1f} s, {p99:.1f} s"),
            (
                "timed, of them disturbed when slow; disturbed before",
                f"{len(self.recoveries):,}, {self.unfinished:,}; {self.censored:,}",
            ),
            ("messages judged when they were accepted", f"{self.cloud.get('judged', 0):,}"),
            ("faults without a victim", f"{self.missed:,}"),
            ("ends of programs", _counts(self.ends)),
            *((f"most of a {role}", _sample(sample)) for role, sample in sorted(self.most.items())),
            *((f"growth of a {role}", _sample(sample)) for role, sample in sorted(self.growth.items())),
            ("seconds, of them to drain", f"{self.seconds:,.0f}, {self.drained:,.0f}"),
        ]
        lines = ["| figure | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
        if self.violations:
            lines += [*self.violations[:_SHOWN], f"commit {commit()}", f"replay: {again(self.plan.replay)}"]
        return "\n".join(lines)

    def kinds(self) -> Counter[str]:
        """What the promise is about, and how often it was broken; 0 is a figure, too."""
        found = Counter(text.partition(":")[0].lower() for text in self.violations)
        return Counter({kind: found.pop(kind, 0) for kind in _PROMISED} | found)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(self.figures(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


_PROMISED = ("lost", "partial or invented", "written in place", "overwritten", "second copy")


def commit() -> str:
    """Of the code that ran."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"


def _sample(sample: Sample) -> str:
    return f"{sample.rss / 1e6:,.0f} MB, {sample.fds:.0f} descriptors, {sample.threads:.0f} threads"
