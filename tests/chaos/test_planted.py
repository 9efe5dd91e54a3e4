"""The sample of the links of `python -m tests.chaos flood` that every run of the tests takes."""

from pathlib import Path

import pytest

from tests.chaos import planted


@pytest.mark.parametrize("kind", planted.KINDS)
def test_links_planted_while_files_arrive_lead_nowhere(tmp_path: Path, kind: str) -> None:
    """F11. As the file, as its folder, as the program's own folder, as the whole; every file arrives beside them."""
    outcome = planted.run(tmp_path, kind, deliveries=2_000, seed=11)
    assert outcome.violations == [], outcome.table()
    assert outcome.links > 50
    assert outcome.beside > 0
