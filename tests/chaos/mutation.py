"""Every protection taken out, one at a time, and whether its tests notice: `python -m tests.chaos mutants`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import mutants

_TEST_SECONDS = 60
"""What a test may take that waits for ever over a mutant, unless it says so itself."""
_MUTANT_SECONDS, _SOUND_SECONDS = 300, 3600
_FAILED = "FAILED "
_TIMED_OUT = "Failed: Timeout"
"""What pytest says of a test that took too long: it hangs, or the machine had too much to do."""
_TESTS_FAILED = 1
"""The exit code of pytest for that, and for nothing else."""


@dataclass
class Outcome:
    """What a run found; `violations` must be empty."""

    killed: dict[str, list[str]] = field(default_factory=dict)
    """Mutant → the tests that failed over it, with what each had to say."""
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def table(self) -> str:
        """For a person and for the log."""
        survivors = [name for name, tests in self.killed.items() if not tests]
        more = f"; survivors: {', '.join(survivors)}" if survivors else ""
        count = f"{len(self.killed) - len(survivors)} of {len(self.killed)} killed{more}"
        return "\n".join([*self.violations, f"{count}, {self.seconds:.0f} s, {len(self.violations)} violations"])


def run(folder: Path, names: Sequence[str], *, jobs: int, tell: Callable[[str], None]) -> Outcome:
    """Run the killers of each mutant over it, so many mutants at a time; first of all over the sound program."""
    outcome, started = Outcome(), time.monotonic()
    killers = sorted({killer for name in names for killer in mutants.MUTANTS[name].killers})
    sound = mutants.copy(folder / "sound")
    problem = _problem(sound, killers)
    if problem:
        outcome.violations.append(f"the tests fail without any mutant: {problem}")
    else:
        with ThreadPoolExecutor(jobs) as pool:
            judged = pool.map(lambda name: _judge(folder, name, mutants.MUTANTS[name].killers), names)
            for name, (failures, problems) in zip(names, judged, strict=True):
                tell(f"{name}: {'; '.join(failures) or 'SURVIVED'}")
                outcome.killed[name] = failures
                outcome.violations += problems
        for name in names:
            _try_alone(folder, name, outcome, tell)
    outcome.seconds = time.monotonic() - started
    return outcome


def _problem(code: Path, killers: Sequence[str]) -> str:
    done = _run_tests(code, killers, _SOUND_SECONDS)
    return "" if done.returncode == 0 else "; ".join(_failures(done)) or done.stdout[-2000:] + done.stderr[-2000:]


def _try_alone(folder: Path, name: str, outcome: Outcome, tell: Callable[[str], None]) -> None:
    """Run the killers once more that took too long beside others: what still does, does so over the mutant."""
    failures = outcome.killed[name]
    if hung := [failure for failure in failures if f" ({_TIMED_OUT}" in failure]:
        found, problems = _judge(folder, name, [failure.partition(" ")[0] for failure in hung])
        tell(f"{name}, alone: {'; '.join(found) or 'SURVIVED'}")
        outcome.killed[name] = [failure for failure in failures if failure not in hung] + found
        outcome.violations += problems


def _judge(folder: Path, name: str, killers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Run killers of one mutant: those that failed, and what is wrong with it, or with them."""
    try:
        code = mutants.make_with_tests(name, folder)
    except AssertionError as error:
        return [], [str(error)]
    done = _run_tests(code, killers, _MUTANT_SECONDS)
    failures = _failures(done)
    if done.returncode not in (0, _TESTS_FAILED):
        return failures, [f"{name}: pytest ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}"]
    idle = [killer for killer in killers if not any(failure.startswith(f"{killer} ") for failure in failures)]
    said = "cannot be run over it" if "\nERROR " in done.stdout else "does not notice it"
    return failures, [f"{name}: {killer} {said}" for killer in idle]


def _failures(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The tests that failed, without their parameters, each once with the first reason."""
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if line.startswith(_FAILED):
            test, _, reason = line.removeprefix(_FAILED).partition(" - ")
            found.setdefault(test.partition("[")[0].removeprefix("tests/"), reason)
    return [f"{test} ({reason[:80]})" for test, reason in found.items()]


def _run_tests(code: Path, killers: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """In the copy's own folder, where everything it imports is its own; nothing of it is left, no process either."""
    files = code.with_suffix(".tmp")  # not among those of others: many who begin at once are in each other's way
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [f"--timeout={_TEST_SECONDS}", f"--basetemp={files}", *(f"tests/{killer}" for killer in killers)]
    environment = {**os.environ, "COLUMNS": "400", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    with subprocess.Popen(
        command,
        cwd=code,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            out, err = "", f"not done after {seconds:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    for folder in (code, files):
        shutil.rmtree(folder, ignore_errors=True)  # what a test left there may not be ours to remove
    return subprocess.CompletedProcess(command, process.returncode, out, err)
