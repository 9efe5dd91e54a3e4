"""One crash point: a program, three files, one process that is hit at one system call, and what is left of it.

What is hit is the first process of its role. The program starts it again by itself; where it ends with it (its parent,
a check that cannot be made) it is started again, as whoever runs it would, and nobody is hit any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos import nursery
from tests.chaos.crash_judge import Judge, drop_all, workload
from tests.chaos.crash_target import EMBEDDED, Point, Target, Verdict
from tests.chaos.kills import files_in
from tests.chaos.nursery import Trap
from tests.chaos.shore import Place
from tests.integration.program import write_properties

_SETTLE_SECONDS, _STOP_SECONDS, _GONE_SECONDS = 120.0, 40.0, 20.0
"""Generous: nothing here is about being fast."""
_LOOK_SECONDS, _RELEASE_SECONDS = 0.03, 1.0
_SILENT = 4
"""Looks, one a second, at folders and a queue that hold nothing any more."""
_LIVES = 4
"""Of the program, at most: an error may end it while it stops, and again."""
_SUBREAPER = 36


def be_reaper() -> None:
    """Become the parent of whatever a program leaves behind."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


class Site:
    """A folder of its own, a bucket, a queue, and the program."""

    def __init__(self, folder: Path, code: Path, endpoint: str, point: Point) -> None:
        self.state, self._code, self._point, self._folder = folder / "state", code, point, folder
        self._keys: dict[str, object] = {
            "uploadProcesses": 1, "pollProcesses": 1, "sleepWatchLocalFolder": 1, "sleepUploadToS3": 1,
            "shutdownSeconds": 5, "minFreeBytes": 0, "aws_access_key_id": "test", "aws_secret_key": "test",
        }  # fmt: skip
        self._embedded = point.role == EMBEDDED
        name = "relay" if self._embedded else f"point-{folder.name}"
        self.place = Place(endpoint, name, name)
        if self._embedded:
            self._keys |= {"aws_access_key_id": "", "aws_secret_key": ""}
        else:
            self._keys |= {"aws_endpoint_url": endpoint, "aws_s3_bucket": name, "aws_sqs": name}
        self.verdict = Verdict(str(point))
        self._target: Target | None = None
        self._judge = Judge(self.state)
        self._pid, self._code_of_last, self._released, self._silent, self._releases = 0, 0, 0.0, 0, 2

    def run(self) -> Verdict:
        """Start, hit, wait until everything rests, stop, judge."""
        started = time.monotonic()
        self._prepare()
        try:
            self._live()
        except AssertionError as error:
            self.verdict.violations.append(str(error))
        finally:
            self._clean_up()
        self.verdict.seconds = round(time.monotonic() - started, 2)
        return self.verdict

    def _prepare(self) -> None:
        self._folder.mkdir()
        self._log = self.state / "relay.log"
        self._config = write_properties(self._folder, **self._keys)
        if not self._embedded:
            self.place.make()
        drop_all(self.state / "Watch")

    def _live(self) -> None:
        """Where it was hit while it stopped, what it left is for another life."""
        self._start(armed=True)
        self._until(self._rests, _SETTLE_SECONDS, "NOT DRAINED")
        hit_before = self.verdict.reached
        code = self._stop()
        if self.verdict.reached and not hit_before:
            self._start_again()
            self._until(self._rests, _SETTLE_SECONDS, "NOT DRAINED")
            code = self._stop()
        if code:
            self.verdict.violations.append(f"EXIT CODE {code} after Ctrl-C")
        self.verdict.violations += self._judge.at_rest(None if self._embedded else self.place)

    def _start(self, *, armed: bool) -> None:
        ours, theirs = socket.socketpair()
        trap = Trap(self._point.role, theirs) if armed else None
        self._log_begins = self._log.stat().st_size if self._log.exists() else 0
        words = ["-Mode", "3", "--config", str(self._config)]
        self._pid = nursery.start(self._code, words, self._folder / "console", trap)
        theirs.close()
        if armed:
            ours.settimeout(_SETTLE_SECONDS)
            self._target = Target(ours, self._point, self.verdict)
        ours.close()

    def _start_again(self) -> None:
        self.verdict.lives += 1
        assert self.verdict.lives <= _LIVES, f"it ends again and again: {self._describe()}"
        self._start(armed=False)

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Serve the listener until a condition is true; a program that ended meanwhile is started again."""
        deadline, look_at = time.monotonic() + seconds, 0.0
        while True:
            self._serve(_LOOK_SECONDS)
            if time.monotonic() >= look_at:
                if condition():
                    return
                look_at = time.monotonic() + _LOOK_SECONDS
            assert time.monotonic() < deadline, f"{what}: {self._describe()}"

    def _serve(self, seconds: float) -> None:
        if self._target is None:
            time.sleep(seconds)
        elif not self._target.serve(seconds):
            self._target.close()
            self._target = None

    def _rests(self) -> bool:
        """Whether all files have arrived and nothing is left to do."""
        self._judge.look()
        if self._ended() is not None:
            assert self.verdict.reached, f"it ended by itself: {self._describe()}"
            self._start_again()
            return False
        if files_in(self.state / "Watch") or files_in(self.state / "QueuedForUpload"):
            return False
        missing = len(files_in(self.state / "DownloadedFromS3")) < len(workload())
        if self._works() and not missing:
            self._find_embedded()
            if self._messages() == (0, 0):
                return True
        if not self._embedded and time.monotonic() - self._released > _RELEASE_SECONDS:
            self._released = time.monotonic()
            self._release(missing)
        return False

    def _messages(self) -> tuple[int, int] | None:
        """None if the queue does not answer. The one that is asked may wait for its own calls to be decided here."""
        found: list[tuple[int, int]] = []

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):  # it may have been killed
                found.append(self.place.messages())

        asking = threading.Thread(target=ask)
        asking.start()
        while asking.is_alive():
            self._serve(0.005)
        asking.join()  # nothing is forked while it runs
        return found[0] if found else None

    def _works(self) -> bool:
        """Whether both sides have begun in this life: before, Ctrl-C would find nobody who knows what to do with it."""
        with self._log.open("rb") as log:
            log.seek(self._log_begins)
            text = log.read()
        return b" watcher[" in text and b" poller[" in text

    def _release(self, missing: bool) -> None:
        """Let what a killed process had in hand come again, without waiting for its time to be over."""
        messages = self._messages()
        self._silent = self._silent + 1 if missing and messages == (0, 0) else 0
        assert self._silent < _SILENT, f"I9 LOST, nothing is on its way: {self._describe()}"
        if self.verdict.reached and self._target is None and self._releases and messages not in {None, (0, 0)}:
            self._releases -= 1  # more, and what its successor has in hand would be taken from it again and again
            self.place.release()

    def _find_embedded(self) -> None:
        if self._embedded:
            port = json.loads((self.state / ".relay/embedded/address.json").read_text())["port"]
            self.place = self.place._replace(endpoint=f"http://127.0.0.1:{port}")

    def _ended(self) -> int | None:
        """The exit code of the program's parent, once it has one."""
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if not pid:
                return None
            self._pid, self._code_of_last = 0, os.waitstatus_to_exitcode(status)
            self._await_nobody()
        return self._code_of_last

    def _stop(self) -> int:
        if self._pid:
            os.kill(self._pid, signal.SIGINT)
        self._until(lambda: self._ended() is not None, _STOP_SECONDS, "NOT STOPPED")
        return self._code_of_last

    def _await_nobody(self) -> None:
        """I12: whatever it had started follows it."""
        deadline = time.monotonic() + _GONE_SECONDS
        while orphans := _orphans():
            self._serve(0.005)
            assert time.monotonic() < deadline, f"I12 ORPHANS: {[_command_line(pid) for pid in orphans]}"

    def _describe(self) -> str:
        places = ("Watch", "QueuedForUpload", "UploadedToS3", "Failed", "DownloadedFromS3")
        where = {name: [path.name for path in files_in(self.state / name)] for name in places}
        return f"{where}, messages {self._messages()}, {self._tail()}"

    def _tail(self) -> str:
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        console = (self._folder / "console").read_text(errors="replace").splitlines()
        shown = [line for line in console if not re.match(r"[0-9:]{8} ", line)]  # the others are in the log
        return "\n".join([*text.splitlines()[-12:], *shown[-25:]])

    def _clean_up(self) -> None:
        while pids := _orphans():
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if self._target:
            self._target.close()
        if not self._embedded:
            self.place.remove()


def _orphans() -> list[int]:
    """The children of this process that live."""
    found = []
    for text in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        pid, _ = os.waitpid(int(text), os.WNOHANG)
        if not pid:
            found.append(int(text))
    return found


def _command_line(pid: int) -> str:
    return f"{pid} {Path(f'/proc/{pid}/comm').read_text().strip()}"
