"""The sample of `python -m tests.chaos many` that every run of the tests takes."""

from pathlib import Path

from tests.chaos import many


def test_many_files_in_many_folders(tmp_path: Path) -> None:
    """D17. 4,000 in 200 folders, through a queue of 1,000: all are sent, the first ones first, in bounded memory."""
    outcome = many.run(tmp_path, files=4_000, folders=200)
    assert outcome.violations == [], outcome.table()
    assert outcome.most_queued > 500
    assert {"watcher", "uploader"} <= outcome.peaks.keys()
