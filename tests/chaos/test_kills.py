"""The sample of `python -m tests.chaos kills` that every run of the tests takes."""

from pathlib import Path

import pytest

from tests.chaos import kills
from tests.chaos.relay import STORM, Relay


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_overwritten_while_processes_are_killed(tmp_path: Path) -> None:
    """A1, A2, A3, A4. Twelve kill -9 at random while 120 files flow: every content arrives once, whole, and stays."""
    relay = Relay(tmp_path, keys=STORM)
    try:
        outcome = kills.run(tmp_path, relay, files=120, kills=12, seed=20)
    finally:
        relay.end()
    assert not outcome.violations, outcome.table()
    assert outcome.kills.total() == 12
