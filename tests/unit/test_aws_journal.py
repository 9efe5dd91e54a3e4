"""The records of multipart uploads: whole or not there, each in one process's hands."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from pipeline import kernel
from pipeline.aws import journal as journal_module
from pipeline.aws.journal import Journal, Record
from tests.unit.places import note_effects

RECORD = Record("bucket", "in/a", "upload-1", "drop", "crc", 40_000_000, 8 * 1024 * 1024, "http://here", 1000.0)


def anyone(_record: Record) -> bool:
    return True


def noted(journal: Journal) -> list[Record]:
    return [each.record for each in journal.cut_off(anyone)]


def test_a_record_in_hand_is_nobody_elses(tmp_path: Path) -> None:
    """While it is being uploaded nobody sees it; cut off, anybody does; forgotten, nobody again."""
    journal, other = Journal(tmp_path), Journal(tmp_path)
    with journal.written(RECORD):
        assert noted(other) == []
    (left,) = other.cut_off(anyone)
    assert left.record == RECORD
    left.forget()
    assert noted(journal) == []
    assert os.listdir(tmp_path) == []


def test_what_one_looks_at_no_other_takes(tmp_path: Path) -> None:
    """Two uploaders of one program begin at once: one goes on with the upload."""
    journal, other = Journal(tmp_path), Journal(tmp_path)
    with journal.written(RECORD):
        pass
    looking = journal.cut_off(anyone)
    assert next(looking).record == RECORD
    assert noted(other) == []
    looking.close()
    assert noted(other) == [RECORD]


@pytest.mark.parametrize("held", [False, True])
def test_a_record_that_is_taken_for_a_dead_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool) -> None:
    """Another upload looks around in the instant between a new record's file and its lock: the record is made anew."""
    journal, other = Journal(tmp_path), Journal(tmp_path)
    lock = kernel.try_lock
    theirs: list[int] = []

    def late(fd: int) -> bool:
        monkeypatch.setattr(journal_module, "try_lock", lock)
        if held:  # it has locked it, and will remove it next
            theirs.append(os.open(next(tmp_path.glob("*.new")), os.O_RDWR))
            assert lock(theirs[0])
        else:
            assert noted(other) == []
        return lock(fd)

    monkeypatch.setattr(journal_module, "try_lock", late)
    with journal.written(RECORD):
        for fd in theirs:
            os.close(fd)
        assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
        assert noted(other) == []
    assert noted(other) == [RECORD]


@pytest.mark.parametrize("more", [{}, {"of a later program": 1}])
def test_a_record_of_another_program_can_be_aborted(tmp_path: Path, more: dict[str, int]) -> None:
    """It says what is needed for that, and goes on with nothing."""
    (tmp_path / "1.json").write_text(json.dumps({"bucket": "b", "key": "k", "upload_id": "u"} | more))
    assert noted(Journal(tmp_path)) == [Record("b", "k", "u")]


def test_what_concerns_somebody_else_is_not_even_locked(tmp_path: Path) -> None:
    """Two that begin at once, each looking for its own, do not hide them from each other."""
    journal, other = Journal(tmp_path), Journal(tmp_path)
    for key in ("in/a", "in/b"):
        with journal.written(dataclasses.replace(RECORD, key=key)):
            pass
    looking = journal.cut_off(lambda record: record.key == "in/a")
    assert next(looking).record.key == "in/a"
    assert [each.record.key for each in other.cut_off(lambda record: record.key == "in/b")] == ["in/b"]
    looking.close()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"bucket": "b", "key": "k"}', json.dumps({"x": 1})])
def test_a_record_that_is_none_goes(tmp_path: Path, text: str) -> None:
    """Torn by a kill."""
    (tmp_path / "1.json").write_text(text)
    (tmp_path / "2.new").write_text(text)
    assert noted(Journal(tmp_path)) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("field", ["bucket", "key", "drop_id", "crc64nvme", "size", "part_size", "endpoint"])
def test_only_the_same_goes_on(field: str) -> None:
    """Whatever else is another's; the upload's id and age are what is looked for."""
    other = dataclasses.replace(RECORD, upload_id="", created=2000.0)
    assert RECORD.is_of(other)
    value = getattr(other, field)
    assert not RECORD.is_of(dataclasses.replace(other, **{field: value + (1 if isinstance(value, int) else "x")}))


def test_a_record_is_durable_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content, then name, both before the first part: parts that nobody knows of would be kept, and paid, for ever."""
    journal = Journal(tmp_path)
    done = note_effects(monkeypatch, tmp_path)
    with journal.written(RECORD):
        (name,) = os.listdir(tmp_path)
        assert done == [f"fsync {Path(name).with_suffix('.new')}", "fsync ."]
        assert name.endswith(".json")
