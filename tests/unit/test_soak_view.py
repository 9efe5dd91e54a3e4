"""What a person sees of a soak test, on terminals of all sizes, with names that no terminal survives."""

from __future__ import annotations

import io
import threading
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.soak.facts import STAGES, Fault, Latency, Report, Series, Status, Violation
from pipeline.soak.picture import picture, share
from pipeline.soak.view import LiveView, PlainView, View, final

AWKWARD = "a/[red]x[/red] \x1b[2J\n:smile: \udcff.bin"
SHOWN = r"a/[red]x[/red] \x1b[2J\n:smile: \udcff.bin"
ROLES = ("main", "feeder", "judge", "embedded", "watcher", "uploader-1", "uploader-2", "poller-1", "poller-2")
STATUS = Status(
    run="run-7",
    seconds=3792.9,
    until="10 min",
    totals=dict(zip(STAGES, (123456, 123440, 123400, 123399, 123390, 123300), strict=True)),
    bytes_sent=2_340_000_000,
    bytes_received=1_230_000_000,
    files_per_second=120.34,
    bytes_per_second=3_210_000.5,
    latency=Latency(0.2104, 1.2, 3.456),
    under_way=dict(zip(STAGES, (16, 40, 1, 9, 90), strict=False)),
    visible=12,
    in_flight=3,
    violations=[],
    faults=[Fault(61.0, "killed", "uploader-1")],
    kills=2,
    processes={**dict.fromkeys(ROLES, (50_000_000, 12.4)), "resource-tracker": (9_000_000, 0.0)},
)
LOST = Violation("lost", AWKWARD, "last seen as announced", 100.0)
REPORT = Report(
    run="run-7",
    seed=1,
    command="",
    began="",
    ended="",
    ended_by="duration",
    seconds=600.0,
    passed=True,
    chaos=True,
    totals=STATUS.totals,
    bytes_sent=0,
    bytes_received=1_230_000_000,
    violations=[],
    unsettled=[],
    latency=Latency(),
    series=Series(),
    processes=[],
    kills={"uploader": 2, "poller": 1},
    faults=[],
    faults_left_out=0,
    versions={},
    configuration={},
)


def troubled(count: int) -> Status:
    found = [replace(LOST, seconds=float(number), text=f"number {number}.") for number in range(count)]
    return replace(STATUS, violations=found, faults=[Fault(9.0, "error", f"poller: [b]{AWKWARD}")] * 10)


def console(width: int = 80, height: int = 24, **more: str) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, _environ={"TERM": "xterm-256color", **more}
    )


def drawn(status: Status, width: int = 80, height: int = 24) -> list[str]:
    plain = Console(file=io.StringIO(), width=width, height=height)
    with plain.capture() as capture:
        plain.print(picture(status, width, height - 1))
    return capture.get().splitlines()


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (80, 50)])
@pytest.mark.parametrize("status", [STATUS, troubled(1), troubled(1000)], ids=["calm", "one", "many"])
def test_it_fits(status: Status, size: tuple[int, int]) -> None:
    """Every heading is there, and something below each."""
    lines = drawn(status, *size)
    assert len(lines) < size[1]
    assert max(map(len, lines)) <= size[0]
    assert [line.split()[0].rstrip(",") for line in lines if "──" in line] == [
        "processes",
        "faults",
        f"{len(status.violations):,}" if status.violations else "no",
    ]


def test_it_shows_all_of_a_calm_run() -> None:
    text = "\n".join(drawn(STATUS))
    for part in ("run-7", "1:03:12", "until 10 min", *STAGES, "123,390", "120.3 files/s", "3.21 MB/s", "no violation"):
        assert part in text
    for part in ("p50 210 ms", "p99 1.20 s", "max 3.46 s", "12 visible", "3 in flight", "sent 2.34 GB", "2 kills"):
        assert part in text
    for part in ("received 1.23 GB", *STATUS.processes, "50 MB   12 %", "0:01:01  killed   uploader-1"):
        assert part in text


def test_under_way_stands_below_its_stage() -> None:
    titles, _, waiting = drawn(STATUS)[2:5]
    ends = [titles.index(stage) + len(stage) for stage in STAGES]
    assert [waiting[:end].split()[-1] for end in ends] == ["16", "40", "1", "9", "90", "0"]


def test_it_grows_with_the_terminal() -> None:
    """The newest come first; what does not fit is counted."""
    small, large = drawn(troubled(30)), drawn(troubled(30), height=80)
    found = [line for line in small if "lost" in line]
    assert ("number 29." in found[0], 3 <= len(found) < 10) == (True, True)
    assert f"30 violations, newest first, {30 - len(found)} more " in "\n".join(small)
    assert sum("lost" in line for line in large) == 30
    assert "30 violations, newest first ─" in "\n".join(large)
    assert all(role in "\n".join(large) for role in STATUS.processes)


def test_names_show_as_themselves() -> None:
    """No markup, no control characters, no emoji codes."""
    text = "\n".join(drawn(troubled(1), width=120))
    assert f"lost      {SHOWN}  number 0." in text
    assert f"error    poller: [b]{SHOWN}" in text
    assert "\x1b" not in text


def test_what_cannot_be_asked_is_not_a_number() -> None:
    text = "\n".join(drawn(replace(STATUS, visible=None, in_flight=None, until="draining: 7 files under way")))
    assert "? visible" in text
    assert "? in flight" in text
    assert "1:03:12  draining: 7 files under way" in text


def test_nothing_at_all_can_be_drawn() -> None:
    """The first moment of a run, on a terminal of any size."""
    empty = replace(STATUS, totals={}, under_way={}, faults=[], processes={})
    assert "no fault ─" in "\n".join(drawn(empty))
    for size in ((20, 5), (1, 1)):
        drawn(troubled(3), *size)


@pytest.mark.parametrize(("room", "wants", "given"), [(0, (2, 2), [0, 0]), (-3, (2,), [0]), (9, (2, 3), [2, 3])])
def test_lines_are_shared(room: int, wants: tuple[int, ...], given: list[int]) -> None:
    assert share(room, wants) == given


def test_the_last_one_is_served_first() -> None:
    """Violations count most; what one does not want goes to the others."""
    assert share(4, (5, 5, 5)) == [1, 1, 2]
    assert share(8, (5, 10, 1)) == [3, 4, 1]


def test_the_last_picture_stays() -> None:
    """No alternate screen, nothing erased at the end, no thread; drawn by `show` alone."""
    terminal = console()
    before = {*threading.enumerate()}
    with LiveView(terminal) as view:
        view.show(STATUS)
        first = written(terminal)
        view.show(troubled(1))
        assert not {*threading.enumerate()} - before
    assert "1:03:12" in first
    assert "\x1b[?1049h" not in written(terminal)
    _, found, after = written(terminal).rpartition("number 0.")
    assert (bool(found), "\x1b[2K" in after) == (True, False)
    assert written(terminal).endswith("\x1b[?25h")  # and the cursor is back


def test_violations_are_red_unless_colour_is_not_wanted() -> None:
    coloured, plain = console(), console(NO_COLOR="1")
    for terminal in (coloured, plain):
        with LiveView(terminal) as view:
            view.show(troubled(1))
    assert "\x1b[31m" in written(coloured)
    assert "[31m" not in written(plain)


def test_plain_lines() -> None:
    """One every ten seconds of the run, at once."""
    stream = io.StringIO()
    view: View = PlainView(stream)
    with view:
        view.show(STATUS)
        view.show(replace(STATUS, seconds=STATUS.seconds + 9.9))
        view.show(replace(troubled(2), seconds=STATUS.seconds + 10, visible=None))
    first, second = stream.getvalue().splitlines()
    assert first == (
        "1:03:12 until 10 min | 123,456 files, 123,390 delivered | 120.3 files/s | 3.21 MB/s | p50 210 ms | p99 1.20 s"
        " | under way 156 | queue 12 visible, 3 in flight | violations 0 | kills 2 | faults 1"
    )
    assert "queue ? visible" in second
    assert second.endswith("violations 2 | kills 2 | faults 10+")


def test_the_outcome_of_a_good_run() -> None:
    assert final(REPORT) == [
        "soak run-7: passed: nothing is wrong; 123,456 files, 1.23 GB received in 0:10:00, 3 kills, ended by duration"
    ]


def test_the_outcome_of_a_bad_run() -> None:
    """Every file has its line, whatever its name."""
    found = [LOST, replace(LOST, kind="duplicate", name="b"), replace(LOST, name="c")]
    lines = final(
        replace(REPORT, passed=False, violations=found, unsettled=["d\n"], remains="left: x\nremove it", kills={})
    )
    assert lines[0].startswith("soak run-7: FAILED: 2 lost, 1 duplicate, 1 unsettled; 123,456 files")
    assert lines[1:] == [
        f"lost       {SHOWN}  last seen as announced",
        "duplicate  b  last seen as announced",
        "lost       c  last seen as announced",
        r"unsettled  d\n",
        "left: x",
        "remove it",
    ]
