"""`python main.py` as its user runs it: a process of its own, with signals, exit codes, a log and a console.

Every process of a program is known by a mark in its environment, which children inherit: the embedded server, which
leaves the program's process group, is found as well, and so is an orphan.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import app_properties
from pipeline.kernel import PROBE

MAIN = Path(__file__).resolve().parents[2] / "main.py"
START_SECONDS = 60.0
_LOG_LINE = re.compile(r"^\S+ [A-Z]+ ([a-z]+(?:-[0-9]+)?)\[([0-9]+)\] \S+: (.*)$")

Seen = TypeVar("Seen")


class Launch(Protocol):
    """The fixture `launch`: a Program, ended with its test; `launch(folder, 3, "--once", env={…}, key=value)`."""

    def __call__(
        self, folder: Path, mode: int | None, *options: str, env: Mapping[str, str] = ..., **keys: object
    ) -> Program: ...


def wait_for(condition: Callable[[], Seen], seconds: float = 60.0, explain: Callable[[], object] = str) -> Seen:
    """What `condition` gives once that is true; AssertionError with what `explain` says if it is not so in time."""
    deadline = time.monotonic() + seconds
    while not (seen := condition()):
        assert time.monotonic() < deadline, f"not so after {seconds:g} s: {explain()}"
        time.sleep(0.02)
    return seen


ENGINE = "RELAY_TEST_ENGINE"
"""In the environment: the transfer engine of all programs that tests run, but for those that name one; default auto."""


def write_properties(folder: Path, **keys: object) -> Path:
    """A properties file in `folder`, its state below `folder`/state; `keys` replace or add to what every test needs."""
    values: dict[str, object] = {
        "folderToStoreTempFiles": folder / "state",
        "folderToWatch": "Watch",
        "folderForDownloadedFiles": "DownloadedFromS3",
        "aws_s3_bucket": "relay",
        "aws_transfer_client": os.environ.get(ENGINE, "auto"),
        "aws_s3_folder": "inbox",
        "aws_region": "us-east-1",
        "aws_sqs": "relay",
        "aws_endpoint_url": "embedded",
        "visibilitySeconds": 10,  # what a killed consumer had in hand comes back after so long
        "shutdownSeconds": 10,
        **keys,
    }
    lines: list[str] = []
    for section, known in app_properties.known_keys().items():
        lines += [f"[{section}]", *(f"{key}={value}" for key, value in values.items() if key in known)]
    path = folder / "Application.properties"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Program:
    """One run of main.py with one properties file. Its folders are those of `write_properties`."""

    def __init__(
        self,
        config: Path,
        mode: int | None,
        *options: str,
        env: Mapping[str, str] | None = None,
        prefix: Iterable[str] = (),
        stdout: int | None = None,
        main: Path = MAIN,
    ) -> None:
        """`prefix`: a command that runs the program, such as setpriv. `stdout`: for another console than a file.

        `main`: of another copy of the program.
        """
        self.config, self.state = config, config.parent / "state"
        self.mark = f"RELAY_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        arguments = [] if mode is None else ["-Mode", str(mode)]
        command = [*prefix, sys.executable, str(main), *arguments, "--config", str(config), *options]
        self.console = config.with_name(f"console-{value[:8]}")
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **(env or {}), name: value},
                stdin=subprocess.DEVNULL,
                stdout=console if stdout is None else stdout,
                stderr=console,
                start_new_session=True,
            )

    @property
    def watch(self) -> Path:
        """Where the test drops files."""
        return self.state / "Watch"

    @property
    def downloaded(self) -> Path:
        """Where they arrive."""
        return self.state / "DownloadedFromS3"

    def output(self) -> str:
        """What the console shows so far."""
        return self.console.read_text(encoding="utf-8", errors="replace")

    def log(self) -> str:
        """relay.log so far, of all runs with this folder."""
        with contextlib.suppress(FileNotFoundError):
            return (self.state / "relay.log").read_text(encoding="utf-8", errors="replace")
        return ""

    def started(self) -> Program:
        """Wait until its workers run; itself."""
        wait_for(
            lambda: any(role.startswith(("watcher", "poller")) for role in self.roles()), START_SECONDS, self.output
        )
        return self

    def pids(self) -> set[int]:
        """Every living process of this run, orphans included."""
        return set(marked(self.mark))

    def roles(self) -> dict[str, int]:
        """Role → pid of its living process, of those that have written to the log."""
        found = (match for line in self.log().splitlines() if (match := _LOG_LINE.match(line)))
        alive = self.pids()
        return {match[1]: int(match[2]) for match in found if int(match[2]) in alive}

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the parent, or, as a terminal's Ctrl-C, to the whole process group."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def ended(self, seconds: float = 20.0) -> int:
        """The exit code, once the program and all of its processes have ended."""
        deadline = time.monotonic() + seconds
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s:\n{self.output()}") from None
        wait_for(lambda: not self.pids(), max(0.5, deadline - time.monotonic()), self.describe_processes)
        return code

    def stopped(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Ask it to stop; the exit code."""
        self.send(number)
        return self.ended(seconds)

    def crash(self) -> None:
        """SIGKILL to the parent alone, which must take everything with it."""
        self.process.kill()
        self.process.wait()

    def describe_processes(self) -> str:
        """Command lines of what still runs."""
        lines = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines.append(f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes().decode(errors='replace')}")
        return "\n".join(lines)

    def end(self) -> None:
        """Kill whatever is left of it, by pid."""
        for _ in range(50):  # a supervisor may start one more while its others are killed
            pids = self.pids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            if not pids:
                break
            time.sleep(0.02)
        self.process.wait()


def marked(mark: str) -> Iterator[int]:
    """The living processes with `mark` in the environment they were started with; zombies have none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def files(folder: Path, hidden: tuple[str, ...] = (".relay", ".reason")) -> dict[bytes, bytes]:
    """Relative path → content of every file in `folder`, without the program's own; paths are bytes, as they may be."""
    root = os.fsencode(folder)
    found: dict[bytes, bytes] = {}
    for head, below, names in os.walk(root):
        below[:] = [name for name in below if os.fsdecode(name) not in hidden]
        for name in names:
            if name.startswith(os.fsencode(PROBE)):  # a process that starts tries what the file system can do
                continue
            path = os.path.join(head, name)
            with contextlib.suppress(FileNotFoundError):  # moved on meanwhile
                found[os.path.relpath(path, root)] = Path(os.fsdecode(path)).read_bytes()
    return found


def drop(folder: Path, content: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """Write files into `folder`, making folders on the way; what `files` must show elsewhere."""
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return {os.fsencode(name): data for name, data in content.items()}
