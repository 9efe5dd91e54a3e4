"""Step 7c: one run of the command that is configured, without a shell, in a session of its own."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

from pipeline.names import printable
from pipeline.ports import CancelledError, PausedError

_TAIL = 2048
"""Bytes of output that are kept."""
_PIPE = 65536
"""What a pipe holds (pipe(7)): with one read it is empty."""
_LOOK_SECONDS = 0.05
"""How late the end of a command is seen whose output somebody else holds open, and the end of the program."""
_GRACE_SECONDS = 2.0
"""Between SIGTERM and SIGKILL; less than what a process that is to stop gets beyond its time."""


class Outcome(NamedTuple):
    """How a run ended: `problem` is "" where it ended well."""

    problem: str
    output: bytes
    """The end of what it wrote, to stdout and stderr."""

    def describe(self) -> str:
        """The output as one line of the log."""
        return printable(self.output.decode(errors="surrogateescape").strip()) or "it wrote nothing"

    def last_line(self) -> str:
        """Of the output; "" if there is none."""
        lines = self.output.decode(errors="surrogateescape").split("\n")
        return printable(next((line.strip() for line in reversed(lines) if line.strip()), ""))


@dataclass(frozen=True)
class Command:
    """What is run for each file, and how often."""

    words: tuple[str, ...]
    timeout: float
    """Seconds."""
    tries: int
    concurrency: int
    """Runs at once, in one process."""

    def run(
        self, path: bytes, folder: Path, about: Mapping[bytes, bytes], lock_fd: int, cancelled: Callable[[], bool]
    ) -> Outcome:
        """Run it in `folder` for the file at `path`, `about` in its environment; it inherits the lock.

        PausedError if it cannot be started, CancelledError if it was ended because the program stops.
        """
        process = self._start(path, folder, about, lock_fd)
        output, ended = _Output(cast(IO[bytes], process.stdout)), False
        try:
            ended = _wait(process, output, self.timeout, cancelled)
        finally:
            _end(process, output, ended=ended)
        if not ended and cancelled():
            raise CancelledError("the program stops, and ended the command")
        return Outcome(_problem(process.returncode) if ended else f"not done after {self.timeout:g} s", output.tail)

    def _start(self, path: bytes, folder: Path, about: Mapping[bytes, bytes], lock_fd: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603  # the words of the properties file, and no shell
                [*map(os.fsencode, self.words), path],
                cwd=folder,
                env={**os.environb, **about},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(lock_fd,),
                start_new_session=True,
            )
        except OSError as error:
            what = printable(os.fsdecode(error.filename or self.words[0]))
            raise PausedError(
                f"commandAfterDownload cannot be run: {what}: {error.strerror}; mend that, it then goes on by itself"
            ) from error


class _Output:
    """The end of what a process writes, as long as anything can come."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self.tail, self.is_open = pipe, b"", True
        self._poll = select.poll()  # unlike select it takes descriptors above 1,023
        self._poll.register(pipe, select.POLLIN)

    def read(self, seconds: float) -> None:
        """Wait for something to come, and take it."""
        if self._poll.poll(seconds * 1000):
            data = self._pipe.read(_PIPE)
            self.tail = (self.tail + data)[-_TAIL:]
            self.is_open = data != b""

    def close(self) -> None:
        """Whoever still writes gets SIGPIPE."""
        self._pipe.close()


def _wait(process: "subprocess.Popen[bytes]", output: _Output, seconds: float, cancelled: Callable[[], bool]) -> bool:
    """Wait for the end of a process, not for that of its output; False if it does not come in time."""
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0 or cancelled():
            return False
        if output.is_open:
            output.read(min(left, _LOOK_SECONDS))
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(left, _LOOK_SECONDS))
    return True


def _end(process: "subprocess.Popen[bytes]", output: _Output, *, ended: bool) -> None:
    """Take what is left of its output; unless it succeeded, nothing that it started goes on beside the next try."""
    if not ended:
        _signal(process, signal.SIGTERM)
        _wait(process, output, _GRACE_SECONDS, lambda: False)
    output.read(0)
    output.close()
    if not ended or process.returncode:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """To its whole group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _problem(code: int) -> str:
    if code < 0:
        return f"signal {-code} ({signal.strsignal(-code)})"
    return f"exit code {code}" if code else ""
