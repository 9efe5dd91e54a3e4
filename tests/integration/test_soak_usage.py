"""Memory and CPU by role: sums, restarts, and real processes that name themselves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import psutil
import pytest

from pipeline import kernel
from pipeline.soak.facts import ProcessUse
from pipeline.soak.usage import Reading, Tally, Usage, kill, victims

SPAWN = multiprocessing.get_context("spawn")


A, B = "process A", "process B"


def read(process: str, role: str | None, rss: int, cpu: float, age: float = 60.0) -> Reading:
    return Reading(process, role, age, rss, cpu)


def test_percent_is_of_the_time_since_the_sample_before() -> None:
    tally = Tally()
    assert tally.add([read(A, "poller", 10, 7.0)], 100.0) == {"poller": (10, 0.0)}
    assert tally.add([read(A, "poller", 12, 8.0)], 104.0) == {"poller": (12, 25.0)}
    # B started meanwhile: all it used was used since then
    both = tally.add([read(A, "poller", 12, 8.0), read(B, "uploader", 5, 3.0, 1.0)], 106.0)
    assert both == {"poller": (12, 0.0), "uploader": (5, 150.0)}


def test_one_role_of_several_processes_is_their_sum() -> None:
    tally = Tally()
    tally.add([read(A, "embedded", 10, 1.0), read(B, "embedded", 30, 2.0)], 0.0)
    assert tally.add([read(A, "embedded", 11, 2.0), read(B, "embedded", 29, 4.0)], 10.0) == {"embedded": (40, 30.0)}
    assert tally.processes() == [ProcessUse("embedded", 2, 40, 40, 40, 6.0)]


def test_a_role_that_is_started_again_goes_on() -> None:
    """Seconds of CPU of those that ended are kept, memory is not added up."""
    tally = Tally()
    for moment, reading in enumerate(
        [read(A, "poller", 10, 1.0), read(A, "poller", 90, 5.0), read(B, "poller", 20, 1.0, 0.5)]
    ):
        tally.add([reading], float(moment))
    assert tally.processes() == [ProcessUse("poller", 2, 10, 90, 20, 6.0)]


def test_first_memory_is_that_of_a_started_process() -> None:
    """From five seconds on; of one that ended earlier the last that was seen."""
    lasting, brief = Tally(), Tally()
    for age, rss in ((0.5, 1), (4.9, 2), (5.0, 3), (6.0, 4)):
        lasting.add([read(A, "poller", rss, 0.0, age)], age)
    for process, age, rss in ((A, 0.5, 1), (A, 1.5, 2), (B, 0.5, 7), (B, 6.0, 8)):
        brief.add([read(process, "poller", rss, 0.0, age)], age)
    assert [use.rss_first for use in (*lasting.processes(), *brief.processes())] == [3, 2]


def test_a_process_is_left_out_until_it_has_its_name() -> None:
    """What it used before that is its own; a name it had by mistake is forgotten."""
    tally = Tally()
    assert tally.add([read(A, None, 10, 1.0), read(B, "python", 10, 1.0)], 1.0) == {"python": (10, 0.0)}
    assert tally.add([read(A, "poller", 10, 2.0), read(B, "uploader", 10, 1.0)], 2.0)["poller"] == (10, 100.0)
    assert [(use.role, use.cpu_seconds) for use in tally.processes()] == [("poller", 2.0), ("uploader", 1.0)]


def named_child(name: str, ready: Connection[bool, None]) -> None:
    ready.send(kernel.name_process(name))
    signal.pause()


Start = Callable[[str], BaseProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a child that has named itself, where it can."""
    started: list[BaseProcess] = []

    def begin(name: str) -> BaseProcess:
        reader, writer = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=named_child, args=(name, writer))
        process.start()
        started.append(process)
        writer.close()
        with reader:
            assert reader.recv() == (sys.platform == "linux")
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


needs_names = pytest.mark.skipif(sys.platform != "linux", reason="processes cannot name themselves here")


@needs_names
def test_children_are_known_by_their_names(start: Start) -> None:
    """And what ended keeps what it used."""
    usage = Usage(os.getpid())
    first = start("uploader-1")
    start("poller")
    found = usage.sample()
    assert {"main", "uploader-1", "poller", "resource-tracker"} <= set(found)
    assert found["uploader-1"][0] > 1_000_000
    first.kill()
    psutil.wait_procs([psutil.Process(first.pid or 0)], 10)
    first.join()
    assert "uploader-1" not in usage.sample()
    use = {use.role: use for use in usage.processes()}["uploader-1"]
    assert (use.processes, use.rss_last, use.cpu_seconds > 0) == (1, found["uploader-1"][0], True)


@needs_names
def test_the_dead_are_not_measured(start: Start) -> None:
    """A child that nobody has waited for yet has no memory; it must not pull down the last value."""
    child = start("poller")
    usage = Usage(os.getpid())
    usage.sample()
    child.kill()
    os.waitid(os.P_PID, child.pid or 0, os.WEXITED | os.WNOWAIT)
    assert "poller" not in usage.sample()
    assert {use.role: use.rss_last for use in usage.processes()}["poller"] > 0
    assert victims(os.getpid(), ["poller"]) == []


def test_a_parent_that_ended_is_no_error(start: Start) -> None:
    child = start("parent")
    usage = Usage(child.pid or 0)
    assert set(usage.sample()) == {"main"}
    child.kill()
    child.join()
    assert usage.sample() == {}
    assert [use.role for use in usage.processes()] == ["main"]
    assert victims(child.pid or 0, ["parent"]) == []


@needs_names
def test_victims_are_the_children_of_these_roles(start: Start) -> None:
    """`uploader` is uploader-1 as well, and not uploaders."""
    pids = {name: start(name).pid for name in ("uploader-1", "poller", "uploaders", "watcher")}
    found = {name: process.pid for name, process in victims(os.getpid(), ["uploader", "poller"])}
    assert found == {name: pids[name] for name in ("uploader-1", "poller")}


@needs_names
def test_a_longer_name_is_cut(start: Start) -> None:
    """15 bytes is what the kernel keeps."""
    child = start("a-name-of-more-than-15")
    assert psutil.Process(child.pid).name() == "a-name-of-more-"


def test_a_process_that_ended_by_itself_is_not_killed() -> None:
    """Between being found and being killed it may end; that is no error of the one who kills."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        process = psutil.Process(program.pid)
        assert kill(process)
        assert program.wait(10) == -signal.SIGKILL
    assert not kill(process)
