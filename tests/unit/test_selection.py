"""Which names and sizes are relayed."""

from __future__ import annotations

import pytest

from pipeline.selection import Selection

DEFAULT = (".*", "*.tmp", "~$*")


@pytest.mark.parametrize(
    ("include", "name", "taken"),
    [
        ((), "a.csv", True),
        ((), "a.tmp", False),
        ((), "a.tmp\n", True),
        ((), ".a", False),
        ((), "~$a", False),
        (("*.csv",), "a.csv", True),
        (("*.csv",), "a.CSV", False),
        (("*.csv",), ".a.csv", False),
        (("*.csv",), "a\n.csv", True),
        (("a", "b?"), "b1", True),
        (("a", "b?"), "b", False),
        (("[!a]*",), "b", True),
    ],
)
def test_names(include: tuple[str, ...], name: str, taken: bool) -> None:
    """Included, or nothing is said of that, and not ignored."""
    assert list(Selection(ignore=DEFAULT, include=include).chosen([name])) == [name] * taken


def test_without_patterns_everything_is_taken() -> None:
    """fnmatch's own empty alternative would match every name."""
    selection = Selection()
    assert not selection.ignores(".a")
    assert selection.enters(".a")
    assert list(selection.chosen([".a"])) == [".a"]


def test_folders() -> None:
    """Those that are ignored are not entered; includes say nothing of them."""
    assert Selection(ignore=DEFAULT, include=["*.csv"]).enters("d")
    assert not Selection(ignore=DEFAULT).enters(".git")
    assert not Selection(subfolders=False).enters("d")


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["a"], []),
        (["a", "a.done"], ["a"]),
        (["a.done", "a.done.done"], []),
        (["a.done"], []),
        ([".done"], []),
        (["a.tmp", "a.tmp.done"], []),
        (["a", "b", "b.done", "c.done"], ["b"]),
    ],
)
def test_markers(names: list[str], taken: list[str]) -> None:
    """A file with its marker beside it; a marker never, whatever lies beside it."""
    assert list(Selection(ignore=DEFAULT, marker=".done").chosen(names)) == taken


@pytest.mark.parametrize(
    ("low", "high", "size", "word"),
    [
        (0, 0, 0, ""),
        (0, 0, 10**12, ""),
        (1, 0, 0, "minimumFileBytes"),
        (1, 0, 1, ""),
        (0, 4, 4, ""),
        (0, 4, 5, "maxim"),
    ],
)
def test_sizes(low: int, high: int, size: int, word: str) -> None:
    """Both bounds are allowed sizes; the refusal names the key."""
    refusal = Selection(minimum=low, maximum=high).refusal(size)
    assert word in refusal
    assert bool(word) is bool(refusal)
