"""No room where files arrive, with the real program on a file system of the test's own; D1 and D2 of docs/faults.md."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.program import Program, drop, files, wait_for, write_properties

KB = 1000
_MOUNT = 'mount -t tmpfs -o "$1" none "$2" || exit 200; shift 2; exec "$@"'


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Ended with the test."""
    started: list[Program] = []
    yield started
    for program in started:
        program.end()


def mounted(folder: Path, options: str) -> list[str]:
    """A prefix that runs a command where a file system in memory lies over `folder`."""
    folder.mkdir(parents=True)
    prefix = ["unshare", "-m", "sh", "-c", _MOUNT, "sh", options, str(folder)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a mount namespace, and to be root in it")
    return prefix


def seen_by(program: Program, path: Path) -> Path:
    """A path as the program sees it, with what is mounted there."""
    return Path(f"/proc/{program.process.pid}/root{path}")


def fill(folder: Path, count: int, size: int) -> list[Path]:
    """Files of somebody else, until there are enough, or there is no room."""
    made = []
    for number in range(count):
        path = folder / f"filler-{number:05}"
        made.append(path)
        try:
            path.write_bytes(bytes(size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            break
    return made


def arrived(folder: Path) -> set[str]:
    """The names that lie there, without the fillers."""
    return {name.decode() for name in files(folder) if not name.startswith(b"filler")}


def remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("options", "spare", "filler", "said"),
    [
        ("size=8m", 2000 * KB, (13, 500 * KB), "minFreeBytes keeps 2 MB"),
        ("size=8m", 0, (1000, 100 * KB), "0 B free|no room in"),
        ("size=8m,nr_inodes=60", 0, (100, 0), "No space left"),
    ],
    ids=["kept free", "full", "no inode"],
)
def test_d01_no_room_for_what_arrives(
    tmp_path: Path,
    programs: list[Program],
    options: str,
    spare: int,
    filler: tuple[int, int],
    said: str,
) -> None:
    """D1. Receiving waits and says why, once; sending goes on; nothing is lost, and it goes on by itself."""
    config = write_properties(tmp_path, minFreeBytes=spare)
    program = Program(config, 3, prefix=mounted(tmp_path / "state" / "DownloadedFromS3", options))
    programs.append(program)
    program.started()
    top = seen_by(program, program.downloaded)
    drop(program.watch, {"first": b"1"})
    wait_for(lambda: arrived(top) == {"first"}, explain=program.output)
    made = fill(top, *filler)
    names = {f"f{number}" for number in range(5)}
    drop(program.watch, dict.fromkeys(names, bytes(50 * KB)))
    wait_for(lambda: names <= arrived(program.state / "UploadedToS3"), explain=program.output)
    wait_for(lambda: any(part in program.output() for part in said.split("|")), explain=program.output)
    assert arrived(top) == {"first"}
    remove(made)
    wait_for(lambda: arrived(top) == {"first", *names}, explain=program.output)
    assert all(files(top)[name.encode()] == bytes(50 * KB) for name in names)
    assert len([line for line in program.output().splitlines() if "nothing is lost" in line]) <= 2  # pollers
    assert "Traceback" not in program.log() + program.output()
    assert program.stopped() == 0
    assert files(program.state / "FailedMessages") == {}


def test_d01_a_process_that_starts_without_room(tmp_path: Path, programs: list[Program]) -> None:
    """D1. Nothing can be made where files arrive when a poller begins: it waits, and goes on by itself."""
    config = write_properties(tmp_path, minFreeBytes=0, pollProcesses=1)
    program = Program(config, 3, prefix=mounted(tmp_path / "state" / "DownloadedFromS3", "size=8m,nr_inodes=60"))
    programs.append(program)
    top = seen_by(program, program.started().downloaded)
    drop(program.watch, {"first": b"1"})
    wait_for(lambda: arrived(top) == {"first"}, explain=program.output)
    made = fill(top, 100, 0)
    os.kill(program.roles()["poller"], signal.SIGKILL)
    drop(program.watch, {"second": b"2"})
    wait_for(lambda: "nothing is lost: cannot write to" in program.output(), explain=program.output)
    wait_for(lambda: "second" in arrived(program.state / "UploadedToS3"), explain=program.output)
    remove(made)
    wait_for(lambda: arrived(top) == {"first", "second"}, explain=program.output)
    assert "Traceback" not in program.log() + program.output()
    assert program.stopped() == 0


def test_d01_what_does_not_fit_waits_alone(tmp_path: Path, programs: list[Program]) -> None:
    """D1. A file that is larger than what is free waits, smaller ones come meanwhile, and it comes once it fits."""
    config = write_properties(tmp_path, minFreeBytes=1000 * KB)
    program = Program(config, 3, prefix=mounted(tmp_path / "state" / "DownloadedFromS3", "size=12m"))
    programs.append(program)
    program.started()
    top = seen_by(program, program.downloaded)
    made = fill(top, 12, 500 * KB)
    drop(program.watch, {"large": bytes(6000 * KB)})
    wait_for(lambda: "no room in" in program.output(), explain=program.output)
    names = {f"f{number}" for number in range(5)}
    drop(program.watch, dict.fromkeys(names, bytes(50 * KB)))
    wait_for(lambda: arrived(top) == names, explain=program.output)
    remove(made)
    wait_for(lambda: arrived(top) == {"large", *names}, explain=program.output)
    assert files(top)[b"large"] == bytes(6000 * KB)
    assert program.stopped() == 0


def test_d02_no_room_for_the_log(tmp_path: Path, programs: list[Program]) -> None:
    """D2, G7. The log's disk is full: files go on all the same, and the console tells of them."""
    logs = tmp_path / "state" / "logs"
    program = Program(write_properties(tmp_path, logFilePath="logs/relay.log"), 3, prefix=mounted(logs, "size=256k"))
    programs.append(program)
    wait_for(lambda: "kernel events" in program.output() or "poller" in program.output(), explain=program.output)
    wait_for((seen_by(program, logs) / "relay.log").exists, explain=program.output)
    fill(seen_by(program, logs), 1000, 4 * KB)
    names = {f"f{number}" for number in range(20)}
    drop(program.watch, dict.fromkeys(names, b"content"))
    wait_for(lambda: arrived(program.downloaded) == names, explain=program.output)
    wait_for(lambda: program.output().count("received  ") == len(names), explain=program.output)
    assert "Traceback" not in program.output()
    assert program.stopped() == 0
