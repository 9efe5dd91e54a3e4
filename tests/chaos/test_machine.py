"""The sample of `python -m tests.chaos machine` that every run of the tests takes, and what it is worth."""

from pathlib import Path

import pytest

from tests.chaos import explore, mutants

SEED, STEPS = 7, 4000


@pytest.mark.parametrize("kind", explore.KINDS)
def test_nothing_is_lost_doubled_or_overwritten_whatever_a_user_does(kind: str) -> None:
    """Eighty lives of both sides: files come, change, move and go, processes are killed at any instant, calls fail."""
    outcome = explore.run(STEPS, SEED, (kind,))
    assert not outcome.violations, outcome.table()
    done = outcome.done[kind]
    assert done["steps"] > 0.8 * STEPS  # some lives are short
    assert min(done["kills"], done["arrived"]) > 50


@pytest.mark.parametrize("name", mutants.IN_MACHINE)
def test_a_broken_program_is_caught(name: str, tmp_path: Path) -> None:
    """By the sample itself, or it proves nothing."""
    words = ["--steps", str(STEPS), "--seed", str(SEED), "--kind", "kernel", "--no-reduce"]
    done = explore.run_mutant(name, tmp_path, words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert mutants.caught_by([done.stdout]), done.stdout + done.stderr
