"""docs/faults.md and the tests that it names hold together."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| ([A-G][0-9]+) \| (.+) \| (`.+`) \|$", re.MULTILINE)
_ROWS = {
    "A": range(1, 18),
    "B": range(1, 22),
    "C": range(1, 18),
    "D": range(1, 30),
    "E": range(1, 10),
    "F": range(1, 16),
    "G": (*range(1, 9), 10, 11),
}
PROMISED = {f"{section}{number}" for section, numbers in _ROWS.items() for number in numbers}
"""What there is to say of processes, of S3, of the queue, of Watch and QueuedForUpload, of names and content, of
messages and objects of anybody, and of how the program is run."""


def rows() -> dict[str, list[str]]:
    """Row → the tests it names, as `unit/test_x.py::test_y`."""
    found = ROW.findall((TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8"))
    table = {row: re.findall(r"`([^`]+)`", tests) for row, _, tests in found}
    assert len(table) == len(found), "a row stands twice"
    return table


@cache
def docstrings(path: Path) -> dict[str, str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: ast.get_docstring(node) or ""
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def named(text: str) -> set[str]:
    """The rows at the beginning of a docstring."""
    found = re.match(r"([A-G][0-9]+(?:, [A-G][0-9]+)*)\. ", text)
    return set(found[1].split(", ")) if found else set()


def test_every_row_is_there() -> None:
    assert rows().keys() >= PROMISED


@pytest.mark.parametrize("row", sorted(rows()))
def test_a_row_names_its_tests(row: str) -> None:
    """Each exists and names the row."""
    for test in rows()[row]:
        path, _, name = test.partition("::")
        assert row in named(docstrings(TESTS / path).get(name, "")), test


def test_a_test_that_names_a_row_stands_there() -> None:
    """Whoever adds one to a row adds it to the page."""
    table = rows()
    for path in TESTS.rglob("test_*.py"):
        for name, text in docstrings(path).items():
            for row in named(text) & table.keys():
                assert f"{path.relative_to(TESTS)}::{name}" in table[row], f"{name}: {row}"
