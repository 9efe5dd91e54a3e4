"""Which work ends the processes that do it?"""

from __future__ import annotations

from pipeline.blame import DEATHS, Blame


def die_alone(blame: Blame, work: str, times: int, first: int = 1) -> None:
    for process in range(first, first + times):
        blame.begin(process, work)
        blame.died(process)


def test_three_deaths_alone_condemn() -> None:
    """A11. Not two; and what is condemned is no suspect any more."""
    blame = Blame()
    die_alone(blame, "bad", DEATHS - 1)
    assert (blame.suspects(), blame.condemned()) == (("bad",), ())
    die_alone(blame, "bad", 1, first=9)
    assert (blame.suspects(), blame.condemned()) == ((), ("bad",))


def test_a_death_in_company_convicts_nobody() -> None:
    """However often: all of them are suspects, to be done alone."""
    blame = Blame()
    for process in range(10):
        for work in ("b", "a"):
            blame.begin(process, work)
        blame.died(process)
    assert (blame.suspects(), blame.condemned()) == (("a", "b"), ())


def test_work_that_ends_is_cleared() -> None:
    """Well or not, it did not end its process; the count begins again."""
    blame = Blame()
    die_alone(blame, "work", DEATHS - 1)
    blame.begin(7, "work")
    blame.end(7, "work")
    assert (blame.suspects(), blame.condemned()) == ((), ())
    die_alone(blame, "work", DEATHS - 1)
    assert blame.condemned() == ()


def test_a_condemned_work_set_aside_is_forgotten() -> None:
    """Another file of that name is innocent."""
    blame = Blame()
    die_alone(blame, "bad", DEATHS)
    blame.end(99, "bad")
    assert (blame.suspects(), blame.condemned()) == ((), ())


def test_an_end_as_asked_blames_nothing() -> None:
    """What such a process had in hand it put back; a death of its number later is another's."""
    blame = Blame()
    blame.begin(1, "a")
    blame.left(1)
    blame.died(1)
    blame.died(2)
    assert (blame.suspects(), blame.condemned()) == ((), ())


def test_processes_are_told_apart() -> None:
    """Two processes with one file each: the death of one blames its own file only."""
    blame = Blame()
    blame.begin(1, "a")
    blame.begin(2, "b")
    blame.died(1)
    assert blame.suspects() == ("a",)
