"""The sample of `python -m tests.chaos mutants` that every run of the tests takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import mutants, mutation
from tests.chaos.mutations.mutant import Mutant

SAMPLE = ("replacing-move", "claim-not-durable")
SOUND = Mutant("pipeline/names.py", "import hashlib\n", "import hashlib  # as it was\n", ())
"""It takes nothing out."""
GREEN = "unit/test_names.py::test_with_name"


@pytest.fixture
def told() -> list[str]:
    return []


def test_mutants_are_killed(tmp_path: Path, told: list[str]) -> None:
    """Each by all of its tests, which have nothing to say of the program as it is."""
    outcome = mutation.run(tmp_path, SAMPLE, jobs=2, tell=told.append)
    assert not outcome.violations, outcome.table()
    assert "2 of 2 killed" in outcome.table()
    for name, line in zip(SAMPLE, told, strict=True):
        assert all(killer in line for killer in (name, *mutants.MUTANTS[name].killers))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_what_took_too_long_is_tried_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    """A test that was slow beside others has noticed nothing; here it is quick once it is alone."""
    slow, quick = f"{GREEN} ({mutation._TIMED_OUT} (>60.0s))", "unit/test_x.py::test_y (AssertionError)"
    monkeypatch.setitem(mutants.MUTANTS, "slow", SOUND._replace(killers=(GREEN,)))
    outcome = mutation.Outcome({"slow": [slow, quick]})
    mutation._try_alone(tmp_path, "slow", outcome, told.append)
    assert outcome.killed == {"slow": [quick]}
    assert outcome.violations == [f"slow: {GREEN} does not notice it"]


def test_a_survivor_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    """One that no test notices, one that its test does not, and one that changes nothing any more."""
    made = {
        "unnoticed": SOUND._replace(killers=(GREEN,)),
        "outdated": SOUND._replace(old="this never stood there", killers=(GREEN,)),
    }
    for name, mutant in made.items():
        monkeypatch.setitem(mutants.MUTANTS, name, mutant)
    outcome = mutation.run(tmp_path, list(made), jobs=2, tell=told.append)
    assert "0 of 2 killed; survivors: unnoticed, outdated" in outcome.table()
    unnoticed, outdated = outcome.violations
    assert unnoticed == f"unnoticed: {GREEN} does not notice it"
    assert "no longer holds" in outdated
