"""`python -m tests.chaos`: what it takes, and what its exit code says."""

from __future__ import annotations

import sys

import pytest

from tests.chaos import __main__ as command
from tests.chaos import kills, mutants


@pytest.mark.parametrize(
    "words",
    [
        "soak --pairs 1",
        "soak --files 3 --pairs 4",
        "kills --kills 0",
        "crashpoints --sample 0",
        "many --seed 1",
        "model --keep folder",
    ],
)
def test_what_is_no_run_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything begins: too few of what it needs, and options that it would ignore."""
    monkeypatch.setattr(command, "_PROOFS", {})
    monkeypatch.setattr(sys, "argv", ["chaos", *words.split()])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "violations", "code"),
    [
        ("", [], 0),
        ("", ["TOO LITTLE: 0 kills"], 1),
        ("--mutant no-lock", ["NOT DRAINED", "LOST: a"], 0),
        ("--mutant no-lock", ["NOT DRAINED", "Segmentation fault"], 1),
        ("--mutant no-lock", [], 1),
    ],
)
def test_the_exit_code(words: str, violations: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 where nothing is wrong; of a mutant, where it was caught by what it does to files."""
    monkeypatch.setitem(command._PROOFS, "kills", lambda _folder, _options: kills.Outcome(violations=violations))
    monkeypatch.setattr(sys, "argv", ["chaos", "kills", *words.split()])
    assert command.main() == code


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LOST: 'a' arrived 0 of 1 times", "LOST"),
        ("AT THE INSTANT: event 5: I3: drop d is announced", "I3"),
        ("E   AssertionError: order: a number 2 goes before [1]", "order: "),
        ("PARTIAL or invented: a at first sight", "PARTIAL"),
    ],
)
def test_a_mutant_is_caught_by_what_it_breaks(text: str, kind: str) -> None:
    """In the words of each proof."""
    assert mutants.caught_by([text, "SLOW: 3 of 20 recoveries", "ENDED: sender0 with exit code 1"]) == [kind]
