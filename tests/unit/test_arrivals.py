"""The oldest first, however many there are."""

from __future__ import annotations

import random

import pytest

from pipeline.arrivals import Arrived, oldest_first


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 6, 7, 8])
def test_all_come_in_order(most: int, count: int) -> None:
    """In as many looks as are needed; files of one instant are told apart."""
    files = [Arrived(number // 2, "head", f"{number}", 0) for number in range(count)]
    asked: list[bool] = []

    def look(again: bool) -> list[Arrived]:
        asked.append(again)
        return random.Random(len(asked)).sample(files, count)

    assert list(oldest_first(look, most)) == files
    assert asked == [number > 0 for number in range(max(1, -(-count // most)))]


def test_what_comes_meanwhile_comes_last() -> None:
    """A file that is dropped while others are gone through is met by the next look, and what went is met by none."""
    files = [Arrived(number, "", f"{number}", 0) for number in range(4)]
    found: list[str] = []
    for file in oldest_first(lambda _again: list(files), 2):
        found.append(file.name)
        if file.name == "1":
            files.append(Arrived(9, "", "new", 0))
            files.remove(Arrived(2, "", "2", 0))
    assert found == ["0", "1", "3", "new"]
