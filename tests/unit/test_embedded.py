"""What the embedded S3 and SQS keeps on disk, in the order in which it becomes durable; it is started elsewhere."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import TextIO

import pytest

from pipeline.local_aws import EmbeddedAws
from pipeline.local_server import _save_clean_stop
from tests.unit.places import note_effects, write


def test_its_address_is_chosen_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durably, before anybody is told: after a power cut its queues are found by the same port, or not at all."""
    done = note_effects(monkeypatch, tmp_path)
    chosen = EmbeddedAws.at(tmp_path)
    assert [step for step in done if step.startswith("fsync")] == ["fsync address.json", "fsync ."]
    assert EmbeddedAws.at(tmp_path) == chosen


def test_of_two_that_begin_at_once_one_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one waits for the lock, and reads what was chosen meanwhile."""
    flock = fcntl.flock

    def late(file: TextIO, operation: int) -> None:
        flock(file, operation)
        (tmp_path / "address.json").write_text(json.dumps({"port": 20_000, "token": "theirs"}))

    monkeypatch.setattr(fcntl, "flock", late)
    assert EmbeddedAws.at(tmp_path).token == "theirs"


def test_queues_are_durable_before_they_are_called_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker is the last thing to be written, and durable itself."""
    state, marker = tmp_path / "state", tmp_path / "clean-stop"
    write(state / "sqs.json")
    done = note_effects(monkeypatch, tmp_path)
    _save_clean_stop(state, marker, 20_000)
    assert done == ["fsync state/sqs.json", "fsync state", "fsync clean-stop", "fsync ."]
    assert marker.read_text() == "20000"
