"""What a command costs: wall time, CPU of all its processes, and the peak of their memory together."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.failure import RunError

_WRAPPER = Path(__file__).with_name("wrapper.py")
_FIRST_SECONDS, _SAMPLE_SECONDS = 0.05, 0.25
"""Between two looks at the memory: a command that is over soon is looked at more often."""


class Cost(NamedTuple):
    """What a command cost."""

    started: float  # time.time() right before it was started
    ended: float  # and right after it ended
    cpu: float  # seconds of all its processes, the waited-for and the abandoned ones
    pss: int  # bytes: the largest sum of proportional set sizes (pages that n processes share count 1/n each)
    rss: int  # bytes: the largest sum of resident set sizes (shared pages count n times)


class Memory(NamedTuple):
    """The memory of some processes at one moment, in bytes."""

    pss: int = 0
    rss: int = 0


def memory(processes: Iterable[psutil.Process]) -> Memory:
    """Their sums; processes that end meanwhile count as nothing."""
    pss = rss = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            full = process.memory_full_info()
            pss, rss = pss + getattr(full, "pss", full.uss), rss + full.rss
    return Memory(pss, rss)


class Running:
    """A command that runs under the wrapper."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        """`log` takes what it prints."""
        reader, writer = os.pipe()
        wrapped = [sys.executable, "-S", "-E", str(_WRAPPER), str(writer), *command]
        with log.open("wb") as output:
            self._wrapper = subprocess.Popen(
                wrapped,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(writer,),
                start_new_session=True,
            )
        os.close(writer)
        self._report, self._log, self._command = os.fdopen(reader, "rb"), log, command
        self._peak = Memory()
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def processes(self) -> list[psutil.Process]:
        """The command and its descendants, as far as they live."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._wrapper.pid).children(recursive=True)
        return []

    def cpu(self) -> float:
        """CPU seconds of the living processes so far."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:2])
        return total

    def stop(self) -> None:
        """Ask the command to end, as an operator does."""
        for process in self.processes()[:1]:
            process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float, *, codes: Iterable[int] = (0,)) -> Cost:
        """Its cost, once it has ended; RunError after so many seconds, or with another exit code."""
        try:
            self._wrapper.wait(seconds)
            text = self._report.read()
        except subprocess.TimeoutExpired:
            raise RunError(f"{self._name()} did not end within {seconds:g} s{self._tail()}") from None
        finally:
            self.close()
        if not text:
            raise RunError(f"{self._name()} left processes behind that did not end{self._tail()}")
        report = json.loads(text)
        if report["code"] not in codes:
            raise RunError(f"{self._name()} ended with exit code {report['code']}{self._tail()}")
        cpu = report["user"] + report["system"]
        return Cost(report["started"], report["ended"], cpu, self._peak.pss, self._peak.rss)

    def close(self) -> None:
        """End whatever still runs of it."""
        self._done.set()
        self._sampler.join()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._wrapper.kill()
        self._wrapper.wait()
        self._report.close()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._wrapper.poll() is None

    def peak(self) -> Memory:
        """The peaks so far."""
        return self._peak

    def _sample(self) -> None:
        pause = _FIRST_SECONDS
        while not self._done.wait(pause):
            now = memory(self.processes())
            self._peak = Memory(max(self._peak.pss, now.pss), max(self._peak.rss, now.rss))
            pause = min(_SAMPLE_SECONDS, 1.5 * pause)

    def _name(self) -> str:
        return " ".join(self._command[:3])

    def _tail(self) -> str:
        return f"; the end of its output ({self._log}):\n" + self._log.read_text(errors="replace")[-1500:]


def measure(command: list[str], env: Mapping[str, str], log: Path, seconds: float) -> Cost:
    """Run a command to its end."""
    running = Running(command, env, log)
    try:
        return running.wait(seconds)
    finally:
        running.close()


def wait_until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.05) -> None:
    """RunError if it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RunError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
