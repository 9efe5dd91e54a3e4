"""A program that is killed, what it leaves, and who may begin after it; section A of docs/faults.md."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.landing import LEDGER
from tests.integration.program import Launch, Program, drop, files, wait_for, write_properties
from tests.integration.test_flow import keys_of, left_in_queue
from tests.integration.test_processes import arrived, batch, drained
from tests.servers import MotoServer, Server, make_bucket
from tests.unit.test_ledgers import SCHEMA_1, execute

pytestmark = pytest.mark.timeout(300)  # where other processes have the machine

ENDED_SECONDS = 5.0
"""For which a killed program's processes may live."""


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Ended with the test."""
    found: list[Program] = []
    yield found
    for program in found:
        program.end()


@pytest.fixture
def deaf(tmp_path: Path, programs: list[Program]) -> Program:
    """Mode 1 where the kernel tells no process of its parent's death."""
    if shutil.which("strace") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("not installed: strace", pytrace=False)
        pytest.skip("not installed: strace")
    # -D: strace is a grandchild, and what is killed is the program itself.
    prefix = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=prctl"]
    prefix += ["-e", "inject=prctl:error=EINVAL"]
    config = write_properties(tmp_path, uploadProcesses=1, sleepWatchLocalFolder=0.5)
    programs.append(program := Program(config, 1, prefix=prefix))
    return program


def workers(program: Program) -> set[int]:
    """Its processes, the resource tracker of multiprocessing left out, which ends with the last of them."""
    found = set()
    for pid in program.pids():
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def test_orphans_end_by_themselves_and_a_stopped_one_is_named(deaf: Program, launch: Launch) -> None:
    """A4, A5. Without a signal of the kernel, too; one that stands still keeps its folder, until it goes on."""
    wait_for(lambda: {"watcher", "uploader"} <= deaf.roles().keys(), 60, deaf.output)
    assert "parent's sentinel" in deaf.output()
    victim = deaf.roles()["uploader"]
    os.kill(victim, signal.SIGSTOP)
    try:
        deaf.crash()
        wait_for(lambda: workers(deaf) == {victim}, ENDED_SECONDS, deaf.describe_processes)
        expected = drop(deaf.watch, batch("later"))
        refused = launch(deaf.config.parent, 1)
        assert refused.ended(60) == 75
        assert f"already running: process {victim}, is the ingest side" in refused.output()
        assert files(deaf.watch) == expected
    finally:
        os.kill(victim, signal.SIGCONT)
    wait_for(lambda: not deaf.pids(), ENDED_SECONDS, deaf.describe_processes)
    follower = launch(deaf.config.parent, 1).started()
    drained(follower, expected)
    assert follower.stopped() == 0


def test_all_are_killed_and_it_starts_at_once(tmp_path: Path, launch: Launch) -> None:
    """A15. Every process at the same time, while files flow: the next start waits for nothing, and has it all, once."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=0.5).started()
    expected = drop(program.watch, batch("flow", 60))
    wait_for(lambda: len(files(program.downloaded)) > 5, explain=program.output)
    program.end()
    follower = launch(tmp_path, 3, sleepWatchLocalFolder=0.5)
    arrived(follower.started(), expected)
    drained(follower, expected)
    assert follower.stopped() == 0
    assert list((program.downloaded / ".relay" / "incoming").iterdir()) == []


def test_another_way_to_the_same_folders(tmp_path: Path, launch: Launch, programs: list[Program]) -> None:
    """A14. Through a link, and through a mount of the same folder: each side is known by its folder, not by a path."""
    first = launch(tmp_path, 3).started()
    (tmp_path / "link").symlink_to(first.state)
    linked = launch(tmp_path / "second", 3, folderToStoreTempFiles=tmp_path / "link")
    for mode, name, key in ((1, "Watch", "folderToWatch"), (2, "DownloadedFromS3", "folderForDownloadedFiles")):
        mounted = new(tmp_path / f"mounted-{mode}")
        config = write_properties(new(tmp_path / f"third-{mode}"), **{key: mounted})
        programs.append(Program(config, mode, prefix=binding(first.state / name, mounted)))
    assert linked.ended(60) == 75
    assert f"already running: process {first.process.pid}, since" in linked.output()
    for program in programs:
        assert program.ended(60) == 75
        assert f"already running: processes {first.process.pid}, " in program.output()
    expected = drop(first.watch, {"a": b"1"})
    arrived(first, expected)
    assert first.stopped() == 0


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def binding(folder: Path, place: Path) -> list[str]:
    """A prefix that runs a command where a folder is mounted in another place as well."""
    unshare = ["unshare", "-m", *([] if os.geteuid() == 0 else ["-r"])]
    prefix = [*unshare, "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", str(folder), str(place)]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        assert "CI" not in os.environ, tried.stderr
        pytest.skip(f"mounting is not permitted here: {tried.stderr.strip()}")
    return prefix


def test_the_state_of_another_version(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """A16. An earlier version's is taken over: nothing comes a second time. A later one's is refused, untouched."""
    make_bucket(moto_server, name := "versions")
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_s3_bucket": name, "aws_sqs": name}
    keys |= keys_of(moto_server) | {"uploadProcesses": 1, "pollProcesses": 1}
    program = launch(tmp_path, 3, sleepWatchLocalFolder=0.2, **keys).started()
    arrived(program, drop(program.watch, {"a": b"1"}))
    drained(program, {b"a": b"1"})
    assert program.stopped() == 0
    (program.downloaded / "a").rename(tmp_path / "taken")  # the ledger alone knows that it came
    make_older(ledger := program.downloaded / LEDGER)
    drop(program.state / "QueuedForUpload", {"b": b"2"})
    send_again(moto_server, name, "inbox/a")
    program = launch(tmp_path, 3, **keys).started()
    arrived(program, {b"b": b"2"})
    drained(program, {b"a": b"1", b"b": b"2"})
    wait_for(lambda: left_in_queue(moto_server, name) == (0, 0), explain=program.output)
    assert program.stopped() == 0
    assert files(program.downloaded) == {b"b": b"2"}

    execute(ledger, "PRAGMA user_version = 99")
    before = ledger.read_bytes()
    send_again(moto_server, name, "inbox/a")
    refused = launch(tmp_path, 2, **keys)
    assert refused.ended(60) == 78
    assert "written by another version of this program (schema 99" in refused.output()
    assert (ledger.read_bytes(), files(program.downloaded)) == (before, {b"b": b"2"})
    assert sum(left_in_queue(moto_server, name)) == 1


def make_older(ledger: Path) -> None:
    """What this ledger knows as the first version of the program would have written it."""
    with contextlib.closing(sqlite3.connect(ledger)) as base:
        rows = base.execute("SELECT drop_id, temp, name, state FROM drops").fetchall()
    assert len(rows) == 1
    ledger.unlink()
    with contextlib.closing(sqlite3.connect(ledger)) as base:
        base.executescript(SCHEMA_1)
        base.executemany("INSERT INTO drops VALUES (?, ?, ?, ?)", rows)
        base.commit()


def send_again(server: Server, name: str, key: str) -> None:
    sqs = server.client("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], MessageBody=key)
