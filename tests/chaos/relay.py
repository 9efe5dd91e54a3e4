"""The real program under test: started as its user starts it, its processes known by role, any of them killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PROPERTIES = """\
[General]
folderToStoreTempFiles={state}
folderToWatch=Watch
folderForDownloadedFiles=DownloadedFromS3
[AWS]
aws_s3_bucket=relay
aws_s3_folder=chaos/inbox
aws_region=us-east-1
aws_sqs=relay
aws_endpoint_url=embedded
[Concurrency]
sleepWatchLocalFolder=0.5
visibilitySeconds=10
shutdownSeconds=5
pollProcesses=2
"""


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll a condition; AssertionError naming `what` if it is not true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


class Relay:
    """`python main.py -Mode 3` on a folder of its own, from `code` (the shipped tree, or a mutant of it)."""

    def __init__(self, folder: Path, code: Path = ROOT) -> None:
        self.state = folder / "state"
        self.code = code
        self.watch, self.queued = self.state / "Watch", self.state / "QueuedForUpload"
        self.uploaded, self.downloaded = self.state / "UploadedToS3", self.state / "DownloadedFromS3"
        self.failed = self.state / "Failed"
        self.log = self.state / "relay.log"
        self.console = folder / "console.txt"
        self._properties = folder / "Application.properties"
        self._properties.write_text(_PROPERTIES.format(state=self.state))
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: set[int] = set()

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "main.py", "-Mode", "3", "--config", str(self._properties)]
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(  # the command is ours
                command, cwd=self.code, stdout=console, stderr=console, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The parent's."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the parent lives."""
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[int]:
        """Pids of the parent's children, the resource tracker of multiprocessing left out."""
        try:
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        children = [int(pid) for pid in found if b"spawn_main" in _command_line(int(pid))]
        self._pids |= {self.pid, *children}
        return children

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

    def survivors(self) -> list[int]:
        """Processes of any of its lives that still run."""
        return [pid for pid in self._pids if b"main.py" in _command_line(pid) or b"spawn_main" in _command_line(pid)]

    def end(self) -> None:
        """Whatever is left, by pid."""
        for pid in [*self.children(), *self.survivors()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.is_running():
            self.kill(self.pid)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
