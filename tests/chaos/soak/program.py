"""One of the programs under test: who its processes are, and that it runs, whatever ends it."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.kills import files_in
from tests.chaos.relay import Relay
from tests.chaos.soak.logs import Recovery, Tail, parse, wrong_in_log, wrong_with
from tests.chaos.soak.plan import INGEST, PARENT

_AGAIN_SECONDS = 0.3
"""What a service manager lets pass before it starts a program that ended by itself."""
_ENDS_WITH = {
    0: "stopped",
    -signal.SIGTERM: "stopped before it began",
    -signal.SIGKILL: "killed",
    69: "no endpoint",
    75: "orphans were still ending",
}
"""Ends that are as they should be; 69 only while the endpoint is away, 75 where a start is slower than a kill."""


class Program:
    """A sender or a receiver."""

    def __init__(self, folder: Path, code: Path, side: str, keys: Mapping[str, object]) -> None:
        self.side, self.name = side, folder.name
        self.relay = Relay(folder, code, mode=1 if side == INGEST else 2, keys=keys)
        self.recovery = Recovery(side)
        self.ends: Counter[str] = Counter()
        self.violations: list[str] = []
        self._secret = str(keys["aws_secret_key"])
        self._log, self._console = Tail(self.relay.log), Tail(self.relay.console)
        self._start_at: float | None = None
        self._killed: set[int] = set()
        self._stopped: dict[int, int] = {}
        """Processes that were stopped by a signal, and when each of them was started: never one of another's."""

    def processes(self) -> dict[int, str]:
        """Its living processes, and the role of each: what the kernel shows it as."""
        found = {self.relay.pid: PARENT} if self.relay.is_running() else {}
        for pid in self.relay.children():
            with contextlib.suppress(OSError):
                state, name = _state_and_name(pid)
                if state != "Z" and pid not in self._killed:
                    found[pid] = "starting" if name.startswith("python") else name.partition("-")[0]
        return found

    def kill(self, pid: int, role: str) -> None:
        """kill -9, and look how long it takes until the role works again."""
        self.disturb()
        self.recovery.killed(role, frozenset(self.processes()))
        self._killed.add(pid)
        with contextlib.suppress(ProcessLookupError):
            self.relay.kill(pid)

    def terminate(self) -> None:
        """Ask it to stop; it is started again once it has ended."""
        self.disturb()
        self.resume()
        os.kill(self.relay.pid, signal.SIGTERM)

    def freeze(self, pid: int) -> None:
        """Stop one of its processes."""
        self.disturb()
        self._stopped[pid] = _started_at(pid)
        os.kill(pid, signal.SIGSTOP)

    def disturb(self) -> None:
        """Something else keeps it from working again. What it has said by now counts."""
        self.read()
        self.recovery.disturb(idle=not files_in(self.relay.queued))

    def resume(self) -> None:
        """Let all that were stopped go on."""
        for pid, started in self._stopped.items():
            with contextlib.suppress(OSError):
                if _started_at(pid) == started:
                    os.kill(pid, signal.SIGCONT)
        self._stopped.clear()

    def keep(self) -> None:
        """Read what it said, and start it again if it has ended."""
        self.read()
        if self.relay.is_running():
            return
        if self._start_at is None:
            self._note_end()
        elif time.monotonic() >= self._start_at:
            self._start_at = None
            self.relay.start()

    def _note_end(self) -> None:
        code = self.relay.exit_code
        self.ends[_ENDS_WITH.get(code, f"exit code {code}")] += 1
        if code not in _ENDS_WITH:
            self.violations.append(f"ENDED: {self.name} with exit code {code}")
        self._start_at = time.monotonic() + (0.0 if code in (0, -signal.SIGKILL) else _AGAIN_SECONDS)

    def read(self) -> None:
        """Judge the new lines of log and console."""
        for line in self._log.lines():
            if problem := wrong_in_log(line, self._secret):
                self.violations.append(f"{problem} ({self.name})")
            if said := parse(line):
                self.recovery.hear(said)
        for line in self._console.lines():
            if problem := wrong_with(line, self._secret):
                self.violations.append(f"{problem} ({self.name}, console)")

    def works(self) -> bool:
        """Whether all its roles have begun."""
        needed = {"watcher", "uploader"} if self.side == INGEST else {"poller"}
        return needed <= set(self.processes().values())

    def stop(self) -> None:
        """Ctrl-C, and its end as it has to be."""
        self.disturb()
        self.resume()
        if self.relay.is_running() and (code := self.relay.stop()):
            self.violations.append(f"ENDED: {self.name} with exit code {code} after Ctrl-C")
        self.read()
        self.violations += [f"ORPHAN: process {pid} of {self.name}" for pid in self.relay.survivors()]


def _state_and_name(pid: int) -> tuple[str, str]:
    """One letter, and what it calls itself; OSError if it is gone."""
    before, _, after = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    return after.split()[0], before.partition("(")[2]


def _started_at(pid: int) -> int:
    """In ticks since the machine was; OSError if it is gone."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
