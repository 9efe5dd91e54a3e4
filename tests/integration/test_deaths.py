"""Processes of a running program that are killed, idle or at work, or have no memory; section A of docs/faults.md."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.program import Launch, Program, drop, files, wait_for
from tests.integration.relay import Relay, running
from tests.integration.test_watch_faults import stopped

pytestmark = pytest.mark.timeout(300)  # where other processes have the machine

MIB = 1 << 20
ROLES = ("watcher", "uploader-1", "uploader-2", "poller-1", "poller-2")
REPLACED_SECONDS = 2.0
"""Within which another process has been started in the place of one that was killed, beyond the pause there is."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    yield from running(tmp_path_factory.mktemp("shared"), uploadProcesses=2, pollProcesses=2)


@pytest.fixture
def relay(program: Program, request: pytest.FixtureRequest) -> Relay:
    at_work(program)
    return Relay(program, re.sub(r"\W+", "-", request.node.name))


def at_work(program: Program) -> dict[str, int]:
    """Wait until each role has its process, and nobody else is left: role → pid."""
    others = 3  # the parent, the resource tracker of multiprocessing, the embedded S3 and SQS
    wait_for(
        lambda: program.roles().keys() >= set(ROLES) and len(program.pids()) == len(ROLES) + others,
        60,
        lambda: program.describe_processes() + program.output(),
    )
    return program.roles()


def arrived(relay: Relay, expected: dict[str, bytes]) -> None:
    """Wait until all of it is through: on both sides each file once, nothing else, and nothing on its way."""
    wanted = {os.fsencode(name): content for name, content in expected.items()}
    wait_for(lambda: relay.lying("DownloadedFromS3").keys() >= wanted.keys(), 60, relay.program.output)
    wait_for(lambda: not relay.lying("QueuedForUpload"), 60, relay.program.output)
    for folder in ("DownloadedFromS3", "UploadedToS3"):
        assert relay.lying(folder) == wanted, folder
    assert relay.lying("Watch") == relay.lying("Failed") == {}
    assert relay.objects() == expected


def test_a_killed_process_is_replaced(relay: Relay) -> None:
    """A1, A2, A3. Each role at random while files flow: another is there within 2 s, and all arrives once."""
    program, rng = relay.program, random.Random(1)
    expected: dict[str, bytes] = {}
    for turn, role in enumerate(("poller", "watcher", "uploader")):
        roles = at_work(program)
        victim = rng.choice([pid for name, pid in roles.items() if name.startswith(role)])
        expected |= (content := {f"{turn}/{number}": os.urandom(20_000) for number in range(40)})
        drop(relay.watch, content)
        time.sleep(rng.uniform(0.0, 0.3))  # when the kill falls
        before, said = program.pids(), len(pauses(program))
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: program.pids() - before, explain=program.output)  # noqa: B023  # called at once
        took = time.monotonic() - killed
        [pause] = pauses(program)[said:]
        assert took < pause + REPLACED_SECONDS
    arrived(relay, expected)


def pauses(program: Program) -> list[float]:
    """After how many seconds each process that died was to be started again: none at first, then more and more."""
    return [float(said) for said in re.findall(r"ended \(signal SIGKILL\), started again in (\S+) s", program.output())]


def test_idle_readers_are_killed(relay: Relay) -> None:
    """A6. Both uploaders, idle: one of them has the lock of the queue that they share. Files go on."""
    roles = at_work(relay.program)
    with stopped(relay.program, "main"):  # it learns of both at the same time
        for name in ("uploader-1", "uploader-2"):
            os.kill(roles[name], signal.SIGKILL)
    drop(relay.watch, expected := {f"{number}": b"%d" % number for number in range(20)})
    arrived(relay, expected)


def test_a_writer_is_killed_in_the_middle_of_an_item(relay: Relay) -> None:
    """A7. The watcher, with half an item in the queue's pipe: nobody waits for the other half."""
    program = relay.program
    long = "/".join("d" * 200 for _ in range(4))
    expected = {f"{long}/{number}": b"%d" % number for number in range(200)}
    roles = at_work(program)
    with stopped(program, "uploader-1"), stopped(program, "uploader-2"):
        drop(relay.watch, expected)
        # 200 paths of 800 bytes are more than a pipe holds.
        wait_for(lambda: is_in(roles["watcher"], "pipe_write"), explain=program.output)
        os.kill(roles["watcher"], signal.SIGKILL)
    arrived(relay, expected)
    at_work(program)
    assert "has not stopped and is killed" not in program.output()


def is_in(pid: int, function: str) -> bool:
    """Whether a thread of a process waits in this function of the kernel."""
    return any(function in (task / "wchan").read_text() for task in Path(f"/proc/{pid}/task").iterdir())


def test_no_memory(tmp_path: Path, launch: Launch) -> None:
    """A12. Not enough for a large file, in an uploader and in a poller: the others flow, and it comes at the latest
    when the kernel has killed them."""
    program = launch(tmp_path, 3, uploadProcesses=1, pollProcesses=1, sleepWatchLocalFolder=0.2).started()
    small = drop(program.watch, {"first": b"1"})
    wait_for(lambda: files(program.downloaded) == small, explain=program.output)
    limited = {program.roles()[role] for role in ("uploader", "poller")}
    for pid in limited:
        limit_memory(pid, 4 * MIB)
    small |= drop(program.watch, {f"{number}": b"%d" % number for number in range(20)})
    large = drop(program.watch, {"large": os.urandom(40 * MIB)})
    wait_for(lambda: files(program.downloaded).keys() >= small.keys(), 60, program.output)
    for pid in limited & program.pids():  # those that did not end by themselves
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: files(program.downloaded).keys() >= large.keys(), 60, program.output)
    assert files(program.downloaded) == files(program.state / "UploadedToS3") == small | large
    assert files(program.state / "Failed") == {}
    assert program.stopped() == 0


def limit_memory(pid: int, more: int) -> None:
    """Let a process have so many bytes more than it has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.prlimit(pid, resource.RLIMIT_AS)[1]))


def test_clients_are_made_where_they_are_used(program: Program) -> None:
    """A17. Workers are started anew, not forked, and only they have loaded what talks to S3."""
    roles = at_work(program)
    for name in ROLES:
        assert b"--multiprocessing-fork" in Path(f"/proc/{roles[name]}/cmdline").read_bytes(), "forked"
    talking = {name for name, pid in (roles | {"main": program.process.pid}).items() if "_awscrt" in maps(pid)}
    assert talking >= set(ROLES[1:])
    assert "main" not in talking
    assert files(program.watch) == {}


def maps(pid: int) -> str:
    """What a process has loaded."""
    return Path(f"/proc/{pid}/maps").read_text()
