"""The sample of the messages of `python -m tests.chaos flood` that every run of the tests takes."""

from pathlib import Path

from tests.chaos import flood


def test_good_files_arrive_in_a_flood_of_hostile_messages(tmp_path: Path) -> None:
    """F3, F9. 600 of every kind, and 30 good ones, with the real program; the S3 and SQS note what they are asked."""
    outcome = flood.run(tmp_path, hostile_messages=600, good=30, seed=9)
    assert outcome.violations == [], outcome.table()
    assert len(outcome.rows) == 10
    assert outcome.arrived < 30
