"""Runs of the state machine of any length: what `python -m tests.chaos machine` does, and its sample in the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos import mutants
from tests.chaos.machine import Relay
from tests.chaos.relay import ROOT

KINDS = ("kernel", "portable")
STEPS = 50
"""Of one example, which begins with empty folders and ends with drained ones."""
_LONG = 1000
"""Steps."""


@dataclass
class Outcome:
    """What a run found; `violations` must be empty."""

    done: dict[str, Counter[str]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def table(self) -> str:
        """For a person and for the log."""
        head = ("facilities", "steps", "kills", "arrived")
        rows = [
            f"| {kind} | " + " | ".join(str(done[name]) for name in head[1:]) + " |" for kind, done in self.done.items()
        ]
        end = f"{self.seconds:.0f} s, {len(self.violations)} violations"
        return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows, end, *self.violations])


def run(steps: int, number: int, kinds: Sequence[str] = KINDS, *, reduce: bool = True) -> Outcome:
    """About so many steps with each of the facilities; with `reduce` a failure is shown with the fewest steps."""
    outcome, started = Outcome(), time.monotonic()
    for kind in kinds:
        machine = type("Relay", (Relay,), {"kind": kind, "tally": outcome.done.setdefault(kind, Counter())})
        try:
            run_state_machine_as_test(seed(number)(machine), settings=_settings(steps, reduce))
        except Exception as error:  # noqa: BLE001  # not hidden: it is what the run found
            text = "".join(traceback.format_exception(error, limit=-3))
            outcome.violations.append(f"{kind}: {text.encode(errors='backslashreplace').decode()}")
        outcome.violations += _lacking(kind, outcome.done[kind])
    outcome.seconds = time.monotonic() - started
    return outcome


def _lacking(kind: str, done: Counter[str]) -> list[str]:
    """What a long run cannot be without."""
    few = [name for name in ("kills", "arrived") if done["steps"] >= _LONG and not done[name]]
    return [f"TOO LITTLE: {kind}: none {name} in {done['steps']} steps" for name in few]


def run_mutant(name: str, folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The same over a broken program, in a process that has never seen the sound one."""
    paths = os.pathsep.join((str(mutants.make(name, folder)), str(ROOT)))
    command = [sys.executable, "-P", "-m", "tests.chaos", "machine", *words]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)


def _settings(steps: int, reduce: bool) -> settings:
    return settings(
        max_examples=max(1, steps // STEPS),
        stateful_step_count=STEPS,
        phases=[Phase.generate, *([Phase.shrink] if reduce else [])],
        report_multiple_bugs=False,
        database=None,  # a seed says it all, and nothing is left in the repository
        deadline=None,  # a step moves real files on a disk that others use too
    )
