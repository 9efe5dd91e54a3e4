"""The sample of `python -m tests.chaos hold` that every run of the tests takes."""

from pathlib import Path

from tests.chaos import hold


def test_a_long_download_is_held(tmp_path: Path) -> None:
    """B21, C10. For more than twice the visibility: received once, shown to nobody, and others do not wait for it."""
    outcome = hold.run(tmp_path, seconds=26, visibility=10)
    assert outcome.violations == [], outcome.table()
    assert outcome.looks > 50
    assert outcome.others < 24
