"""The mutants of `python -m tests.chaos mutants`: each changes the shipped code, and has its tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import mutants
from tests.unit.test_faults import TESTS, docstrings, rows

UNBREAKABLE = {
    "A13": "two protections stand behind each other, the deadline of a receipt and the ledger: each has a mutant",
    "B3": "the libraries send again by themselves; that what is stored is whole is B7",
    "G11": "what has to be true is true of requirements.txt, and not of any code",
}
"""Rows of docs/faults.md that no change to one place of the program breaks, and why."""


def test_no_name_stands_twice() -> None:
    """Of two tables the later one would hide what the earlier says."""
    assert sum(len(table.MUTANTS) for table in mutants.TABLES) == len(mutants.MUTANTS)


def test_every_mutant_changes_the_shipped_code(tmp_path: Path) -> None:
    """In one place, to a program that can be run: a slip of the pen would be noticed by any test."""
    for name in mutants.MUTANTS:
        (tmp_path / f"{name}.py").write_text(mutants.mutated(name), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "E9,F821,F822,F823"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("table", mutants.TABLES, ids=lambda table: str(table.__name__).rpartition(".")[2])
def test_every_killer_is_a_test(table: object) -> None:
    """And there is one at least for each mutant."""
    for name, mutant in table.MUTANTS.items():  # type: ignore[attr-defined]
        assert mutant.killers, name
        for killer in mutant.killers:
            path, _, test = killer.partition("::")
            assert test in docstrings(TESTS / path), f"{name}: {killer}"


def test_every_row_has_a_test_that_fails_where_it_should() -> None:
    """A promise whose tests notice nothing is held by nobody; each of the others says why it has none."""
    killers = {killer for mutant in mutants.MUTANTS.values() for killer in mutant.killers}
    assert [row for row, tests in rows().items() if not killers & set(tests)] == [*UNBREAKABLE]
