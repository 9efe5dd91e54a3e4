"""Processes that die, stop, and meet each other: nothing is lost, nothing comes twice, nothing stays behind."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.program import Launch, Program, drop, files, wait_for, write_properties
from tests.proxy import Dam
from tests.servers import MotoServer, make_bucket

MIB = 1 << 20
IDLE_STOP_SECONDS = 12.0
"""1.7 s where nothing else runs; far from the 20 s of the long poll that has to be cut, and of shutdownSeconds."""


def arrived(program: Program, expected: dict[bytes, bytes], seconds: float = 45.0) -> None:
    """Wait until exactly `expected` lies in DownloadedFromS3: nothing is missing, nothing came twice."""
    explain = program.output
    wait_for(lambda: files(program.downloaded).keys() >= expected.keys(), seconds, explain)
    assert files(program.downloaded) == expected


def drained(program: Program, expected: dict[bytes, bytes]) -> None:
    """Wait until the ingest side is through with `expected` as well."""
    wait_for(lambda: files(program.state / "UploadedToS3") == expected, explain=program.output)
    assert files(program.state / "QueuedForUpload") == {}
    assert files(program.watch) == {}
    assert files(program.state / "Failed") == {}


def batch(name: str, count: int = 30) -> dict[str, bytes]:
    return {f"{name}/{number}.bin": os.urandom(20_000) for number in range(count)}


def test_second_instance(tmp_path: Path, launch: Launch) -> None:
    """A8, A9, A14. A second instance of a side exits 75, names the first, touches nothing; SIGHUP ends the idle one."""
    first = launch(tmp_path, 3, uploadProcesses=1, shutdownSeconds=20).started()
    expected = drop(first.watch, {"a": b"1"})
    arrived(first, expected)
    drained(first, expected)
    queued = first.state / "QueuedForUpload"
    before = queued.stat().st_mtime_ns
    for mode in (1, 2, 3):
        second = launch(tmp_path, mode, uploadProcesses=1)
        assert second.ended() == 75
        assert f"process {first.process.pid}" in second.output()
        assert "Traceback" not in second.output()
    assert queued.stat().st_mtime_ns == before, "a trial file was there, which the first could have sent"
    expected |= drop(first.watch, {"b": b"2"})
    arrived(first, expected)
    drained(first, expected)
    started = time.monotonic()
    assert first.stopped(signal.SIGHUP) == 0
    assert time.monotonic() - started < IDLE_STOP_SECONDS


def test_modes_beside_each_other(tmp_path: Path, launch: Launch) -> None:
    """Modes 1 and 2 share one file and one embedded server; whoever hosts it may end, files flow on."""
    sender = launch(tmp_path, 1).started()
    expected = drop(sender.watch, batch("early"))
    receiver = launch(tmp_path, 2).started()
    arrived(receiver, expected)

    sender.send(signal.SIGTERM)
    assert sender.ended(8) == 0
    wait_for(lambda: "Taking over" in receiver.output(), explain=receiver.output)
    sender = launch(tmp_path, 1).started()
    expected |= drop(sender.watch, batch("after"))
    arrived(receiver, expected)
    drained(sender, expected)

    receiver.crash()  # which hosts the server by now
    wait_for(lambda: not receiver.pids(), 5, receiver.describe_processes)
    wait_for(lambda: "Taking over" in sender.output(), explain=sender.output)
    expected |= drop(sender.watch, batch("alone"))
    drained(sender, expected)
    receiver = launch(tmp_path, 2)
    arrived(receiver, expected)
    assert (sender.stopped(), receiver.stopped()) == (0, 0)


def test_each_role_is_killed(tmp_path: Path, launch: Launch) -> None:
    """A1, A2, A3. SIGKILL to any one process while files flow: it is replaced, and everything arrives once."""
    program = launch(tmp_path, 3, uploadProcesses=1, pollProcesses=1, sleepWatchLocalFolder=1).started()
    expected = drop(program.watch, batch("first", 60))
    arrived(program, expected)
    for role in ("watcher", "uploader", "poller", "embedded"):
        # parent, resource tracker, embedded, watcher, uploader, poller: those that were replaced are gone
        wait_for(lambda: len(program.pids()) == 6, explain=program.describe_processes)
        victim = program.roles()[role]
        expected |= drop(program.watch, batch(f"{role}-before"))
        wait_for(lambda: len(files(program.watch)) < 30, explain=program.output)
        os.kill(victim, signal.SIGKILL)
        expected |= drop(program.watch, batch(f"{role}-after"))
        arrived(program, expected)
        drained(program, expected)
        assert f"{role} ended (signal SIGKILL), started again" in program.output()
    assert program.stopped() == 0
    assert list((program.downloaded / ".relay" / "incoming").iterdir()) == []
    assert "Traceback" not in program.log()


def test_parent_is_killed(tmp_path: Path, launch: Launch) -> None:
    """A4. SIGKILL to the parent, a worker being stopped: no process is left, and the next start delivers the rest."""
    program = launch(tmp_path, 3).started()
    expected = drop(program.watch, batch("flow", 200))
    wait_for(lambda: len(files(program.downloaded)) > 20, explain=program.output)
    os.kill(program.roles()["watcher"], signal.SIGSTOP)
    program.crash()
    follower = launch(tmp_path, 3)  # at once: it waits for the orphans' locks
    wait_for(lambda: not program.pids(), 5, program.describe_processes)
    arrived(follower.started(), expected)
    drained(follower, expected)
    assert follower.stopped() == 0
    assert list((program.downloaded / ".relay" / "incoming").iterdir()) == []


@pytest.mark.parametrize("released", [True, False])
def test_orphans_hold_the_lock(tmp_path: Path, launch: Launch, released: bool) -> None:
    """A5. A folder that processes of a killed program still hold is waited for a while, then refused with 75."""
    watch = tmp_path / "state" / "Watch"
    watch.mkdir(parents=True)
    orphan = os.open(watch, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(orphan, fcntl.LOCK_EX)
    try:
        drop(watch, {"a": b"1"})
        program = launch(tmp_path, 1)
        wait_for(lambda: holds_open(program.process.pid, watch), explain=program.output)
        assert program.process.poll() is None
        if not released:
            assert program.ended() == 75
            assert f"already running: process {os.getpid()}, is the ingest side" in program.output()
            assert files(watch) == {b"a": b"1"}
    finally:
        os.close(orphan)
    if released:
        drained(program.started(), {b"a": b"1"})
        assert program.stopped() == 0


def test_interrupted_while_it_waits(tmp_path: Path, launch: Launch) -> None:
    """A9. Ctrl-C before anything began ends it with 130, as shells expect, and without a traceback."""
    watch = tmp_path / "state" / "Watch"
    watch.mkdir(parents=True)
    orphan = os.open(watch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(orphan, fcntl.LOCK_EX)
        program = launch(tmp_path, 1)
        wait_for(lambda: holds_open(program.process.pid, watch), explain=program.output)
        program.send(signal.SIGINT, group=True)
        assert program.ended() == 130
        assert "Traceback" not in program.output()
    finally:
        os.close(orphan)


def holds_open(pid: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return str(path) in {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return False


def test_console_is_closed(tmp_path: Path) -> None:
    """A9, G7. A console whose reader went away, and a hangup under nohup, stop no transfer and change no exit code."""
    reader, writer = os.pipe()
    program = Program(write_properties(tmp_path, shutdownSeconds=20), 3, stdout=writer, prefix=["nohup"])
    os.close(writer)
    try:
        os.read(reader, 1)
        os.close(reader)
        program.started()
        program.send(signal.SIGHUP, group=True)
        expected = drop(program.watch, batch("unseen"))
        arrived(program, expected)
        drained(program, expected)
        started = time.monotonic()
        assert program.stopped(signal.SIGTERM) == 0
        assert time.monotonic() - started < IDLE_STOP_SECONDS
    finally:
        program.end()


Stop = Callable[[Program, Dam], None]


def finish(program: Program, dam: Dam) -> None:
    """The transfer goes on after SIGTERM, and is waited for."""
    program.send(signal.SIGTERM)
    with pytest.raises(AssertionError):
        program.ended(1.5)
    dam.open()
    assert program.ended() == 0


def give_up(program: Program, dam: Dam) -> None:
    """It does not go on: after shutdownSeconds it is given up."""
    assert program.stopped(signal.SIGTERM, 20) == 0


def twice(program: Program, dam: Dam) -> None:
    """Ctrl-C, and then a signal of another kind, which does not wait for it."""
    program.send(signal.SIGINT, group=True)
    with pytest.raises(AssertionError):
        program.ended(1)
    program.send(signal.SIGTERM)
    started = time.monotonic()
    assert program.ended() == 0
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("engine", ["crt", "classic"])
@pytest.mark.parametrize(("stop_sender", "stop_receiver", "seconds"), [(finish, finish, 20), (twice, give_up, 8)])
def test_stop_in_a_transfer(
    tmp_path: Path,
    launch: Launch,
    moto_server: MotoServer,
    dam: Dam,
    stop_sender: Stop,
    stop_receiver: Stop,
    seconds: int,
    engine: str,
) -> None:
    """A8, A9. A stop in an upload or a download finishes it or puts it back; the next start has it all, once."""
    name = f"stop-{seconds}-{engine}"
    make_bucket(moto_server, name)
    key, secret = moto_server.credentials
    keys: dict[str, Any] = {"aws_access_key_id": key, "aws_secret_key": secret, "aws_s3_bucket": name, "aws_sqs": name}
    keys |= {"aws_endpoint_url_s3": dam.endpoint, "aws_endpoint_url": moto_server.endpoint, "shutdownSeconds": seconds}
    keys |= {"aws_transfer_client": engine}
    finishes = stop_sender is finish

    sender = launch(tmp_path, 1, **keys).started()
    first = drop(sender.watch, {"first": b"1"})  # once it is through nothing else is asked of the store
    wait_for(lambda: files(sender.state / "UploadedToS3") == first, explain=sender.output)
    dam.shut()
    big = drop(sender.watch, {"big": os.urandom(3 * MIB)})
    expected = first | big
    wait_for(lambda: dam.holds(f"PUT /{name}/inbox/big"), explain=sender.output)
    stop_sender(sender, dam)
    done = files(sender.state / "UploadedToS3")
    assert (done, files(sender.state / "QueuedForUpload")) == ((expected, {}) if finishes else (first, big))
    dam.open()
    assert launch(tmp_path, 1, "--once", **keys).ended(30) == 0
    assert files(sender.state / "UploadedToS3") == expected

    dam.shut("/inbox/big")
    receiver = launch(tmp_path, 2, **keys)
    wait_for(lambda: dam.holds(f"GET /{name}/inbox/big"), explain=receiver.output)
    stop_receiver(receiver, dam)
    assert files(receiver.downloaded) == (expected if finishes else first)
    dam.open()
    again = launch(tmp_path, 2, **keys).started()
    arrived(again, expected)
    assert again.stopped() == 0
    assert list((again.downloaded / ".relay" / "incoming").iterdir()) == []
    assert "Traceback" not in again.log()
