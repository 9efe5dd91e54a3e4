"""FailedMessages: what the queue cannot keep, kept in a folder before it is deleted there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.dead_letters import keep_message, kept_messages, read_message
from pipeline.ports import Received
from tests.unit.places import note_effects

MESSAGE = Received("id-1", "receipt", "body", {"bucket": "b"}, group="g")


def test_a_kept_message_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content, then the name: the message is deleted from the queue next."""
    done = note_effects(monkeypatch, tmp_path)
    keep_message(tmp_path, MESSAGE, "why")
    temporary = f".id-1.{os.getpid()}"
    assert done == [f"fsync {temporary}", "fsync ."]


def test_a_kept_message_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is written it has no name of a kept message, and a disk that is full leaves none."""
    keep_message(tmp_path, MESSAGE, "first")

    def full(_fd: int) -> None:
        assert json.loads((tmp_path / "id-1.json").read_text())["reason"] == "first"
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            keep_message(tmp_path, MESSAGE, "second")
    (kept,) = kept_messages(tmp_path)
    assert json.loads(kept.read_text())["reason"] == "first"
    assert read_message(kept) == Received("id-1", "", "body", {"bucket": "b"}, group="g")


@pytest.mark.parametrize("odd", ["../out", "/etc/x", "a/b", "\0", "é\n", "x" * 300, "."])
def test_any_id_stays_in_the_folder(tmp_path: Path, odd: str) -> None:
    """It is the queue's word, which is nobody's in particular."""
    folder = tmp_path / "FailedMessages"
    folder.mkdir()
    keep_message(folder, Received(odd, "receipt", "body", {}), "why")
    assert os.listdir(tmp_path) == ["FailedMessages"]
    (kept,) = kept_messages(folder)
    assert read_message(kept).id == odd
