"""Lines of versions, places of large files, and tries that come later; the clock is the test's."""

from __future__ import annotations

import time

import pytest

from pipeline.agenda import Again, Agenda


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def line_of(path: str) -> tuple[str, int]:
    """`b3` stands third in the line `b`."""
    return path[0], int(path[1:])


def test_what_is_known_is_not_begun_again(clock: Clock) -> None:
    """In hand, waiting for its time, or behind another."""
    agenda = Agenda(line_of)
    assert agenda.begin("a1")
    assert not agenda.begin("a1")
    assert not agenda.begin("a2")
    assert not agenda.begin("a2")
    assert agenda.end("a1", Again("a1", 5)) == []
    assert not agenda.begin("a1")
    clock.now += 5
    assert agenda.due() == "a1"
    assert agenda.end("a1", None) == ["a2"]
    assert agenda.end("a2", None) == []
    assert agenda.is_empty()
    assert agenda.begin("a1")


def test_a_line_goes_by_its_numbers() -> None:
    """Not by the order of offers; other lines do not wait."""
    agenda = Agenda(line_of)
    assert agenda.begin("a9")
    assert [agenda.begin(path) for path in ("a3", "a10", "a2")] == [False] * 3
    assert agenda.begin("b1")
    path, order = "a9", []
    while following := agenda.end(path, None):
        [path] = following
        order.append(path)
    assert order == ["a2", "a3", "a10"]


def test_those_behind_one_that_is_tried_again_wait(clock: Clock) -> None:
    """For its time; one that comes meanwhile and has a lower number is ahead of it."""
    agenda = Agenda(line_of)
    assert agenda.begin("a5")
    assert not agenda.begin("a6")
    assert agenda.end("a5", Again("a5", 7)) == []
    assert not agenda.begin("a4")
    assert agenda.due() is None
    clock.now += 7
    assert agenda.due() == "a4"
    assert agenda.due() is None
    assert agenda.end("a4", None) == ["a5"]


def test_a_file_keeps_its_place_under_another_name(clock: Clock) -> None:
    """Even one whose new name stands in another line."""
    agenda = Agenda(line_of)
    assert agenda.begin("a1")
    assert not agenda.begin("a2")
    assert agenda.end("a1", Again("c9", 1)) == []
    clock.now += 1
    assert agenda.due() == "a2"
    assert agenda.end("a2", None) == ["c9"]
    assert agenda.end("c9", None) == []
    assert agenda.is_empty()


def test_looks_for_an_earlier_one_become_rarer(clock: Clock) -> None:
    """Down to ten a second; and seldom enough to cost little where thousands look. Then it begins anew."""
    agenda = Agenda(line_of)
    pauses = []
    assert agenda.begin("a2")
    for _ in range(6):
        agenda.defer("a2")
        pauses.append(agenda.until_due())
        clock.now += pauses[-1]
        assert agenda.due() == "a2"
    assert pauses == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.1, 0.1])
    lines = Agenda(lambda path: (path, 2))
    for _ in range(12):
        for number in range(1000):
            if lines.begin(f"{number}"):
                lines.defer(f"{number}")
        while path := lines.due():
            lines.defer(path)
        clock.now += 0.1
    started, looks = clock.now, 0
    while clock.now < started + 10:
        clock.now += 0.05
        while path := lines.due():
            lines.defer(path)
            looks += 1
    assert 4000 < looks < 7000  # a thousand of them each tenth of a second would be 100,000


def test_the_end_of_a_wait_may_come_any_time() -> None:
    """While some are behind others, whoever waits for offers asks again soon."""
    agenda = Agenda(line_of)
    assert agenda.until_due() == float("inf")
    assert agenda.begin("a1")
    assert agenda.until_due() == float("inf")
    assert not agenda.begin("a2")
    assert agenda.until_due() <= 0.1
    assert agenda.end("a1", None) == ["a2"]
    assert agenda.until_due() == float("inf")


def test_large_files_have_so_many_places() -> None:
    """The rest is shelved, in order, is known meanwhile, and nobody waits for it to end."""
    agenda = Agenda(line_of, large_places=2)
    paths = [f"{letter}1" for letter in "abcd"]
    assert all(map(agenda.begin, paths))
    assert [agenda.begin_large(path) for path in paths] == [True, True, False, False]
    for path in paths[2:]:
        agenda.shelve(path)
    assert agenda.in_hand() == 2
    assert not agenda.begin("c1")
    assert agenda.end("b1", None) == ["c1"]
    assert agenda.begin_large("c1")
    assert agenda.end("c1", Again("c1", 60)) == ["d1"]
    assert agenda.end("a1", None) == []
    assert agenda.end("d1", None) == []
    assert agenda.wait_until_none_in_hand(0)
    assert not agenda.is_empty()


def test_a_place_that_became_free_before_it_was_shelved() -> None:
    """Nobody would take it from the shelf: it is started at once."""
    agenda = Agenda(line_of, large_places=1)
    assert agenda.begin("a1")
    assert agenda.begin_large("a1")
    assert agenda.begin("b1")
    assert not agenda.begin_large("b1")
    assert agenda.end("a1", None) == []
    assert agenda.shelve("b1") == ["b1"]
    assert agenda.begin_large("b1")
    assert agenda.in_hand() == 1


def test_a_large_file_that_waits_for_another_gives_its_place_up(clock: Clock) -> None:
    """Else the one it waits for might never have one."""
    agenda = Agenda(line_of, large_places=1)
    for path in ("a1", "b2", "c1"):
        assert agenda.begin(path)
    assert agenda.begin_large("a1")
    for path in ("b2", "c1"):
        assert not agenda.begin_large(path)
        assert agenda.shelve(path) == []
    assert agenda.end("a1", None) == ["b2"]
    assert agenda.defer("b2") == ["c1"]
    assert agenda.begin_large("c1")
    clock.now += 1
    assert agenda.due() == "b2"


def test_a_new_name_that_was_offered_meanwhile(clock: Clock) -> None:
    """A file is renamed while it is in hand, a sweep offers it under that name, and then it has to be tried again."""
    agenda = Agenda(line_of)
    assert agenda.begin("a1")
    assert not agenda.begin("a2")
    assert agenda.end("a1", Again("a2", 1)) == []
    clock.now += 1
    assert agenda.due() == "a2"
    assert agenda.end("a2", None) == []
    assert agenda.is_empty()
    assert agenda.begin("a3")


def test_after_a_stop_nothing_follows() -> None:
    """Neither in a line nor from the shelf."""
    agenda = Agenda(line_of, large_places=1)
    for path in ("a1", "b1"):
        assert agenda.begin(path)
    assert agenda.begin_large("a1")
    assert not agenda.begin_large("b1")
    agenda.shelve("b1")
    assert not agenda.begin("a2")
    agenda.stop()
    assert agenda.end("a1", None) == []
    assert agenda.wait_until_none_in_hand(0)
