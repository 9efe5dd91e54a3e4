"""The records of multipart uploads: whole or not there, each in one process's hands."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from pipeline.aws.journal import Journal, Record

RECORD = Record("bucket", "in/a", "upload-1", "drop", "crc", 40_000_000, 8 * 1024 * 1024, 1000.0)


def noted(journal: Journal) -> list[Record]:
    return [each.record for each in journal.cut_off()]


def test_a_record_in_hand_is_nobody_elses(tmp_path: Path) -> None:
    """While it is being uploaded nobody sees it; cut off, anybody does; forgotten, nobody again."""
    journal, other = Journal(tmp_path), Journal(tmp_path)
    with journal.written(RECORD):
        assert noted(other) == []
    (left,) = other.cut_off()
    assert left.record == RECORD
    left.forget()
    assert noted(journal) == []
    assert os.listdir(tmp_path) == []


def test_what_one_looks_at_no_other_takes(tmp_path: Path) -> None:
    """Two uploaders of one program begin at once: one goes on with the upload."""
    journal, other = Journal(tmp_path), Journal(tmp_path)
    with journal.written(RECORD):
        pass
    looking = journal.cut_off()
    assert next(looking).record == RECORD
    assert noted(other) == []
    looking.close()
    assert noted(other) == [RECORD]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"bucket": "b", "key": "k", "upload_id": "u"}', json.dumps({"x": 1})]
)
def test_a_record_that_is_none_goes(tmp_path: Path, text: str) -> None:
    """Torn by a kill, or of an earlier version of the program."""
    (tmp_path / "1.json").write_text(text)
    (tmp_path / "2.new").write_text(text)
    assert noted(Journal(tmp_path)) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("field", ["bucket", "key", "drop_id", "crc64nvme", "size", "part_size"])
def test_only_the_same_goes_on(field: str) -> None:
    """Whatever else is another's; the upload's id and age are what is looked for."""
    other = dataclasses.replace(RECORD, upload_id="", created=2000.0)
    assert RECORD.is_of(other)
    value = getattr(other, field)
    assert not RECORD.is_of(dataclasses.replace(other, **{field: value + (1 if isinstance(value, int) else "x")}))
