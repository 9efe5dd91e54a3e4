"""The supervisor with small children of its own: real processes, nothing of the program."""

import errno
import logging
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from pipeline import pacing, supervisor
from pipeline.link import Link
from pipeline.sides import Role, Side
from pipeline.supervisor import Supervisor

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


def crash_twice(_link: Link, marker: str) -> None:
    """A child that dies twice."""
    path = Path(f"{marker}.{sum(Path(f'{marker}.{number}').exists() for number in range(2))}")
    if path.suffix != ".2":
        path.touch()
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


class Late(Supervisor):
    """One that looks at its children only when all that are going to have died."""

    def _wait(self, timeout: float | None) -> None:
        super()._wait(timeout)
        for child in (child for running in self._running for child in running.children):
            child.process.join(DEADLINE)


def test_two_of_a_side_that_die_at_once_are_started_again(tmp_path: Path) -> None:
    """The first one's end has the whole side replaced, which shares a queue; the other one's is no surprise then."""
    roles = [Role(name, crash_once, (str(tmp_path / name),), leads=True) for name in ("one", "two")]
    assert Late(1.0).run([], [[Side("both", tuple(roles), share=lambda _context: None)]]) == 0


def test_a_child_that_lived_long_is_started_again_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A11. However often that was before: only what dies again and again right after its start has to wait."""
    monkeypatch.setattr(supervisor, "_STABLE_SECONDS", 0.0)
    monkeypatch.setattr(pacing, "delay", lambda *_values: 5.0)
    assert Supervisor(1.0).run([], [[side("one", crash_twice, str(tmp_path / "marker"))]]) == 0
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "one ended (signal SIGKILL), started again in 0.0 s"
    ] * 2


def test_a_child_that_is_not_understood_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reports that are no reports end that child, never the supervisor."""
    with caplog.at_level(logging.WARNING):
        assert Supervisor(1.0).run([], [[side("one", write_rubbish, str(tmp_path / "marker"))]]) == 0
    assert any("not understood" in record.getMessage() for record in caplog.records)


def wait_for_nothing(_link: Link) -> None:
    """A child that does not end."""
    signal.pause()


def test_an_error_while_it_stops_leaves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the interpreter would wait for them, on its way out, and never end."""

    def fail(*_values: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Supervisor, "_turn", fail)
    monkeypatch.setattr(Supervisor, "_drain", fail)
    others = multiprocessing.active_children()
    with pytest.raises(OSError, match="Input/output"):
        Supervisor(60.0).run([], [[side("one", wait_for_nothing)]])
    for child in set(multiprocessing.active_children()) - {*others}:  # those that were reaped by now have ended
        child.join(DEADLINE)
        assert child.exitcode == -signal.SIGKILL


def test_reports_of_many_threads_arrive_whole() -> None:
    """Messages larger than a pipe writes at once do not mix."""
    from multiprocessing import Pipe

    reader, writer = Pipe(duplex=False)
    link = Link("x", writer)
    works = [(f"{number}" * 9000, "and another") for number in range(8)]
    threads = [threading.Thread(target=link.report, args=("begin", work)) for work in works for _ in range(5)]
    for thread in threads:
        thread.start()
    got = [reader.recv() for _ in threads]
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(("begin", work) for work in works for _ in range(5))


def fail(_link: Link) -> None:
    """A child that found something wrong."""
    raise SystemExit(3)


def note_the_stop(_link: Link, marker: str) -> None:
    """A child that works until it is stopped, and says when that was."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    Path(marker).touch()
    signal.sigwait({signal.SIGTERM})
    Path(f"{marker}.stopped").write_text(str(Path(f"{marker}.finished").exists()))


def finish_after(_link: Link, marker: str) -> None:
    """A child that needs another, which never ends by itself, until it has finished."""
    while not Path(marker).exists():
        signal.sigtimedwait(set(), 0.02)
    Path(f"{marker}.finished").touch()


def insist(_link: Link, marker: str) -> None:
    """A child that ends only when it is told to be quick, and then with a finding."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    Path(marker).touch()
    signal.sigwait({signal.SIGTERM})
    for _ in range(2):
        os.kill(os.getppid(), signal.SIGTERM)  # impatience
        signal.sigtimedwait(set(), 0.7)  # what comes within half a second counts as one
        if signal.SIGUSR2 in signal.sigpending():
            raise SystemExit(5)


def test_a_child_that_is_not_started_again_ends_the_program() -> None:
    """With its exit code, at once; its side is asked to stop."""
    alone = Side("judge", (Role("judge", fail, leads=True),), restarts=False)
    assert Supervisor(1.0).run([], [[alone]]) == 3


def stop_once(marker: Path) -> threading.Thread:
    """SIGTERM to this process, as soon as a child has made the marker; the thread that waits for that."""

    def wait() -> None:
        while not marker.exists():
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_an_end_before_the_end_is_a_failure(tmp_path: Path) -> None:
    """Where a failure is the program's: a side that was stopped before it came to its end, or never began."""
    marker = tmp_path / "marker"
    alone = Side("judge", (Role("judge", end_well, leads=True),), restarts=False)
    first = side("check", note_the_stop, str(marker))

    thread = stop_once(marker)
    assert Supervisor(5.0).run([], [[first], [alone]]) == 1
    thread.join()
    assert Supervisor(5.0).run([], [[side("check", end_well)], [alone]]) == 0


def test_who_is_left_of_a_side_that_failed_is_hurried(tmp_path: Path) -> None:
    """At once, though it has much time of its own and nothing else happens."""
    marker = tmp_path / "marker"
    roles = (Role("judge", hear, (str(marker),), leads=True), Role("feeder", fail_after, (str(marker),)))
    test = Side("soak", roles, restarts=False, stop_seconds=600.0)
    assert Supervisor(1.0).run([], [[test]]) == 3
    assert Path(f"{marker}.hurried").exists()


def hear(_link: Link, marker: str) -> None:
    """A child that goes on after it was asked to stop, until it is hurried."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    Path(marker).touch()
    signal.sigwait({signal.SIGUSR2})
    Path(f"{marker}.hurried").touch()


def fail_after(_link: Link, marker: str) -> None:
    """A child that fails once the other is there."""
    while not Path(marker).exists():
        signal.sigtimedwait(set(), 0.02)
    raise SystemExit(3)


def test_a_side_that_lasts_is_not_waited_for(tmp_path: Path) -> None:
    """And is stopped when the others have ended, not before: they may need it to the last."""
    marker = tmp_path / "marker"
    lasting = Side("relay", (Role("relay", note_the_stop, (str(marker),)),), lasts=True)
    assert Supervisor(5.0).run([], [[lasting, side("soak", finish_after, str(marker))]]) == 0
    assert Path(f"{marker}.stopped").read_text() == "True"


def test_a_patient_child_is_hurried_before_it_is_killed(tmp_path: Path) -> None:
    """The second stop tells it to be quick; what it then finds is the program's exit code."""
    marker = tmp_path / "marker"
    patient = Side("judge", (Role("judge", insist, (str(marker),), leads=True),), restarts=False, stop_seconds=15.0)

    thread = stop_once(marker)
    assert Supervisor(1.0).run([], [[patient]]) == 5
    thread.join()
