"""The command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import arguments

CONFIG = Path("Application.properties")


def test_reconcile_stands_without_a_mode() -> None:
    """Dry unless told otherwise; a ledger for each consumer."""
    found = arguments.read(["--reconcile"], "", "", CONFIG)
    assert (found.mode, found.reconcile, found.apply, found.ledger, found.accept_copies) == (
        None,
        True,
        False,
        [],
        False,
    )
    found = arguments.read(["--reconcile", "--apply", "--ledger", "a", "--ledger", "b"], "", "", CONFIG)
    assert (found.apply, found.ledger) == (True, [Path("a"), Path("b")])
    assert arguments.read(["--reconcile", "--apply", "--accept-copies"], "", "", CONFIG).accept_copies


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--reconcile --apply", "would come a second time"),
        ("--reconcile -Mode 2", "without -Mode"),
        ("--reconcile --once", "without -Mode"),
        ("-Mode 2 --apply", "--apply: only --reconcile"),
        ("-Mode 2 --ledger a --accept-copies", "--ledger, --accept-copies: only --reconcile"),
        ("--reconcile --seed 1", "--seed: only Mode 4"),
    ],
)
def test_what_makes_no_sense_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason, and exit code 2."""
    with pytest.raises(SystemExit) as caught:
        arguments.read(words.split(), "", "", CONFIG)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
