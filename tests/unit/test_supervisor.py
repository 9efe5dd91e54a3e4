"""The supervisor with small children of its own: real processes, nothing of the program."""

import logging
import os
import signal
import threading
from pathlib import Path

import pytest

from pipeline.link import Link
from pipeline.supervisor import Role, Side, Supervisor

DEADLINE = 20.0


def end_well(_link: Link) -> None:
    """A child that has nothing to do."""


def refuse(_link: Link) -> None:
    """A child that cannot start."""
    raise SystemExit(69)


def write_rubbish(link: Link, marker: str) -> None:
    """A child whose reports cannot be read, the first time."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.write(link.pipe.fileno(), b"\0\0\0\x04rubb")
        signal.pause()


def crash_once(_link: Link, marker: str) -> None:
    """A child that dies the first time."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def side(name: str, target: object, *args: str) -> Side:
    return Side(name, (Role(name, target, args, leads=True),))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def handlers() -> object:
    """The supervisor listens to signals; pytest gets its own handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_phases_follow_each_other_and_end() -> None:
    """Each phase ends when its leading children end well; the code is 0."""
    assert Supervisor(1.0).run([], [[side("one", end_well)], [side("two", end_well)]]) == 0


def test_a_child_that_cannot_start_ends_the_program() -> None:
    """Its exit code becomes the program's."""
    assert Supervisor(1.0, frozenset({69})).run([], [[side("one", refuse)]]) == 69


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    """One death is made good at once."""
    assert Supervisor(1.0).run([], [[side("one", crash_once, str(tmp_path / "marker"))]]) == 0


def test_a_child_that_is_not_understood_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reports that are no reports end that child, never the supervisor."""
    with caplog.at_level(logging.WARNING):
        assert Supervisor(1.0).run([], [[side("one", write_rubbish, str(tmp_path / "marker"))]]) == 0
    assert any("not understood" in record.getMessage() for record in caplog.records)


def test_reports_of_many_threads_arrive_whole() -> None:
    """Messages larger than a pipe writes at once do not mix."""
    from multiprocessing import Pipe

    reader, writer = Pipe(duplex=False)
    link = Link("x", writer)
    works = [f"{number}" * 9000 for number in range(8)]
    threads = [threading.Thread(target=link.report, args=("begin", work)) for work in works for _ in range(5)]
    for thread in threads:
        thread.start()
    got = [reader.recv() for _ in threads]
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(("begin", work) for work in works for _ in range(5))
