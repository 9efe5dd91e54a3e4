"""The real program under test: started as its user starts it, its processes known by role, any of them killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.integration.program import ENGINE, marked

ROOT = Path(__file__).resolve().parents[2]
_MARK = "RELAY_CHAOS_MARK"
STORM = {
    "aws_s3_folder": "chaos/inbox",
    "sleepWatchLocalFolder": 0.5,
    "visibilitySeconds": 10,
    "shutdownSeconds": 5,
    "pollProcesses": 2,
}
"""What lets a run with many kills come to its end soon."""
GONE_SECONDS = 5.0
"""What helpers of the interpreter may take to follow a parent that has ended."""


def again(words: str) -> str:
    """The command that runs a proof once more, with the same transfer engine."""
    engine = f"{ENGINE}={os.environ[ENGINE]} " if ENGINE in os.environ else ""
    return f"{engine}python -m tests.chaos {words}"


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll a condition; AssertionError naming `what` if it is not true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


class Relay:
    """`python main.py -Mode MODE` on a folder of its own, from `code` (the shipped tree, or a mutant of it).

    It runs with the shipped Application.properties; `keys` replace some of its values. Its processes are known by a
    mark in their environment, which children inherit: orphans are found as well.
    """

    def __init__(
        self, folder: Path, code: Path = ROOT, *, mode: int = 3, keys: Mapping[str, object], options: Sequence[str] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self.code, self.mode, self.options = code, mode, options
        self.watch, self.queued = self.state / "Watch", self.state / "QueuedForUpload"
        self.uploaded, self.downloaded = self.state / "UploadedToS3", self.state / "DownloadedFromS3"
        self.failed = self.state / "Failed"
        self.log = self.state / "relay.log"
        self.console = folder / "console.txt"
        self._properties = folder / "Application.properties"
        self._properties.write_text(
            _shipped_but(
                {
                    "folderToStoreTempFiles": self.state,
                    "aws_transfer_client": os.environ.get(ENGINE, "auto"),
                    **keys,
                }
            ),
            encoding="utf-8",
        )
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "main.py", "-Mode", str(self.mode), "--config", str(self._properties), *self.options]
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(  # the command is ours
                command,
                cwd=self.code,
                env={**os.environ, _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The parent's."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the parent lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int:
        """The exit code of a parent that has ended; minus the number of the signal that ended it."""
        assert self._process is not None
        assert self._process.returncode is not None
        return self._process.returncode

    def children(self) -> list[int]:
        """Pids of the parent's children, the resource tracker of multiprocessing left out."""
        try:
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        return [int(pid) for pid in found if b"spawn_main" in _command_line(int(pid))]

    def works(self) -> bool:
        """Whether its workers have begun."""
        return self.log.exists() and bool(re.search(r" (watcher|poller)(-\d+)?\[", self.log.read_text()))

    def role_of(self, pid: int) -> str:
        """The role that a process, dead or alive, gave in the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        found = re.search(rf" ([a-z]+)(-\d+)?\[{pid}\] ", text)
        return found.group(1) if found else "starting"

    def kill(self, pid: int) -> None:
        """kill -9 of one of its own processes."""
        os.kill(pid, signal.SIGKILL)
        if pid == self.pid:
            assert self._process is not None
            self._process.wait()

    def show_threads(self) -> None:
        """Have every process write to the console where its threads are."""
        for pid in self.children():
            os.kill(pid, signal.SIGUSR1)
        time.sleep(1)  # they write it when they next run; nothing to wait for

    def stop(self) -> int:
        """Ctrl-C to the whole group; its exit code."""
        assert self._process is not None
        os.killpg(self.pid, signal.SIGINT)
        return self._process.wait(timeout=60)

    def wait(self, seconds: float) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout=seconds)

    def survivors(self) -> list[int]:
        """Processes of any of its lives that still run, some seconds after the last has ended."""
        deadline = time.monotonic() + GONE_SECONDS
        while (found := list(marked(f"{_MARK}={self._mark}"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def end(self) -> None:
        """Whatever is left, by pid; the parent first, which would start others anew."""
        if self.is_running():
            self.kill(self.pid)
        for pid in self.survivors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _shipped_but(keys: Mapping[str, object]) -> str:
    text = (ROOT / "Application.properties").read_text(encoding="utf-8")
    for key, value in keys.items():
        found = re.search(rf"(?m)^{key}=.*$", text)
        assert found, f"Application.properties has no key {key}"
        text = f"{text[: found.start()]}{key}={value}{text[found.end() :]}"
    return text


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
