"""One run of the command: what it is given, what is kept of its output, how it ends, and who sees that it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import command as module
from pipeline import command_locks, kernel
from pipeline.command import Command, Outcome
from pipeline.command_locks import COMMANDS, CommandLocks
from pipeline.ports import CancelledError, PausedError
from tests.unit.places import make
from tests.unit.test_uploader import DEADLINE, until

LONG = "sleep 60"


def never() -> bool:
    return False


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Outcome]]:
    """Run a script of /bin/sh in a folder, with an inherited descriptor."""
    fd = os.open(tmp_path, os.O_RDONLY)

    def run(script: str, *, seconds: float = DEADLINE, cancelled: Callable[[], bool] = never) -> Outcome:
        command = Command(("/bin/sh", "-c", script, "name of the script"), seconds, 1, 1)
        return command.run(os.fsencode(tmp_path / "a b"), tmp_path, {b"RELAY_KEY": b"in/\xc3\xa9"}, fd, cancelled)

    yield run
    os.close(fd)


def runs(pid: int) -> bool:
    """Whether a process lives; one that nobody waited for yet has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def stdin(data: bytes) -> Iterator[None]:
    """As if somebody had typed something at this process."""
    kept, (reader, writer) = os.dup(0), os.pipe()
    os.write(writer, data)
    os.dup2(reader, 0)
    for fd in (reader, writer):
        os.close(fd)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_what_a_command_is_given(tmp_path: Path) -> None:
    """Its words and the path as they are, no shell between; a folder, an environment, no input, its own session."""
    script = tmp_path / "script"
    script.write_text(
        """#!/bin/sh
printf '%s|' "$@"; pwd; printf '%s|' "$RELAY_KEY" "$HERE"; cat; cut -d " " -f 1,5,6 "/proc/$$/stat"
"""
    )
    script.chmod(0o700)
    path = os.fsencode(tmp_path) + b"/-rf $HOME;\n'\xff*"
    with pytest.MonkeyPatch.context() as patch, (tmp_path / "x").open("w") as file, stdin(b"typed"):
        patch.setenv("HERE", "kept")
        command = Command((str(script), "$(id)", "two words"), DEADLINE, 1, 1)
        outcome = command.run(path, tmp_path, {b"RELAY_KEY": b"in/\xff"}, file.fileno(), never)
    words, rest = outcome.output.split(b"|" + os.fsencode(tmp_path) + b"\n")
    assert words == b"$(id)|two words|" + path
    key, inherited, ids = rest.split(b"|")
    assert (key, inherited) == (b"in/\xff", b"kept")
    assert len(set(ids.split())) == 1
    assert int(ids.split()[0]) != os.getpid()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 0", ""),
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "signal 9 (Killed)"),
        ("false", "exit code 1"),
    ],
)
def test_how_it_ended(run: Callable[..., Outcome], script: str, problem: str) -> None:
    """Only exit code 0 is a success."""
    assert run(script).problem == problem


def test_only_the_end_of_its_output_is_kept(run: Callable[..., Outcome]) -> None:
    """Of stdout and stderr together; a megabyte before it is read, else the command would hang."""
    outcome = run("head -c 1000000 /dev/zero | tr '\\0' x; echo; printf 'last \\033[31m\\377' >&2; echo")
    assert len(outcome.output) == 2048
    assert outcome.describe().endswith("x\\nlast \\x1b[31m\\udcff")
    assert outcome.last_line() == "last \\x1b[31m\\udcff"


def test_a_command_that_says_nothing(run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is closed long before it ends, which keeps nobody busy, or holds empty lines only."""
    reads: list[float] = []
    original = module._Output.read

    def read(output: module._Output, seconds: float) -> None:
        reads.append(seconds)
        original(output, seconds)

    monkeypatch.setattr(module._Output, "read", read)
    for script in ("exec >&- 2>&-; sleep 0.1; exit 4", "echo; echo; exit 4"):
        outcome = run(script)
        assert (outcome.problem, outcome.describe(), outcome.last_line()) == ("exit code 4", "it wrote nothing", "")
    assert len(reads) < 20


def test_what_it_leaves_running_does_not_hold_the_poller(run: Callable[..., Outcome]) -> None:
    """A process that has the output open beyond the end of the command; where that succeeded it may go on."""
    outcome = run(f"{LONG} & echo $!; echo started")
    pid = int(outcome.output.split()[0])
    try:
        assert (outcome.problem, outcome.last_line()) == ("", "started")
        assert runs(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_what_a_failed_one_leaves_running_is_ended(run: Callable[..., Outcome]) -> None:
    """It would go on beside the next try."""
    pid = int(run(f"{LONG} & echo $!; exit 1").output.split()[0])
    until(lambda: not runs(pid))


def test_a_timeout_lets_it_tidy_up(run: Callable[..., Outcome]) -> None:
    """SIGTERM reaches all of its processes; that it then says 0 is no success."""
    outcome = run("trap 'echo bye; exit 0' TERM; " + f"{LONG} & echo $!; wait", seconds=0.2)
    assert outcome.problem == "not done after 0.2 s"
    assert outcome.last_line() == "bye"
    until(lambda: not runs(int(outcome.output.split()[0])))


def test_what_ignores_sigterm_is_killed(run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that it started."""
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.05)
    outcome = run(f"trap '' TERM; {LONG} & echo $!; while :; do sleep 0.02; done", seconds=0.1)
    assert outcome.problem == "not done after 0.1 s"
    until(lambda: not runs(int(outcome.output.split()[0])))


def test_a_stop_ends_it(run: Callable[..., Outcome], tmp_path: Path) -> None:
    """That is no failure of its own."""
    with pytest.raises(CancelledError):
        run(f"echo $$ > new; mv new pid; exec {LONG}", seconds=3600, cancelled=(tmp_path / "pid").exists)
    assert not runs(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("trouble", ["missing", "mode", "no program", "folder"])
def test_what_cannot_be_started_pauses_the_side(tmp_path: Path, trouble: str) -> None:
    """It is not the file's fault; the message names what is wrong."""
    program, folder = tmp_path / "program", tmp_path
    if trouble == "folder":
        program, folder = Path("/bin/true"), tmp_path / "gone"
    elif trouble != "missing":
        program.write_bytes(b"\x7fELF nothing")
        program.chmod(0o600 if trouble == "mode" else 0o700)  # root, too, may not run what nobody may
    with pytest.raises(PausedError) as refused:
        Command((str(program),), DEADLINE, 1, 1).run(b"/x", folder, {}, 0, never)
    assert str(folder if trouble == "folder" else program) in str(refused.value)
    assert "commandAfterDownload" in str(refused.value)


@pytest.fixture
def locks(tmp_path: Path) -> CommandLocks:
    return CommandLocks(make(tmp_path, "DownloadedFromS3", "kernel"))


def lying(root: Path) -> list[str]:
    return os.listdir(root / "DownloadedFromS3" / COMMANDS)


def test_one_at_a_time(locks: CommandLocks, tmp_path: Path) -> None:
    """The lock of one drop is no other's, and nothing is left of it."""
    with locks.hold("a/in/x") as fd, locks.hold("a/in/x") as same, locks.hold("b/in/x") as other:
        assert fd is not None
        assert other is not None
        assert same is None
        assert len(lying(tmp_path)) == 2
    assert lying(tmp_path) == []
    with locks.hold("a/in/x") as again:
        assert again is not None


def test_a_command_that_outlives_its_poller_is_seen(locks: CommandLocks, tmp_path: Path) -> None:
    """The lock is given back when the command ends, not when the process does that started it."""
    fd = locks._lock("name")
    assert fd is not None
    script = "sleep 60 >&- 2>&- & echo $!"  # what it starts has the lock as it has itself
    outcome = Command(("/bin/sh", "-c", script), DEADLINE, 1, 1).run(b"/x", tmp_path, {}, fd, never)
    os.close(fd)  # as by the kernel, for a process that was killed
    assert locks._lock("name") is None
    locks._remove_strays()
    assert lying(tmp_path) == ["name"]
    os.kill(int(outcome.output), signal.SIGKILL)
    until(lambda: not runs(int(outcome.output)))
    locks._remove_strays()
    assert lying(tmp_path) == []


def test_a_lock_that_was_removed_meanwhile_is_none(locks: CommandLocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the open and the lock its holder was done with it: what is locked has to have its name."""
    removed: list[str] = []

    def try_lock(fd: int) -> bool:
        if not removed:
            removed.append("name")
            os.unlink("name", dir_fd=locks._fd)
        return kernel.try_lock(fd)

    monkeypatch.setattr(command_locks, "try_lock", try_lock)
    fd = locks._lock("name")
    assert fd is not None
    assert os.path.samestat(os.fstat(fd), os.stat("name", dir_fd=locks._fd))
    os.close(fd)


def test_the_end_is_seen_at_once(run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only with the next look."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", DEADLINE)
    started = time.monotonic()
    run("sleep 0.1")
    assert time.monotonic() - started < DEADLINE / 2
