"""FailedMessages: messages that can never succeed, where the queue has no dead letters of its own."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from pipeline.kernel import fsync_path
from pipeline.ports import Received


def keep_message(folder: Path, message: Received, reason: str) -> None:
    """Write a message and its reason to FOLDER/ID.json, durably, before it is deleted from the queue."""
    record = {"reason": reason} | {name: value for name, value in asdict(message).items() if name != "receipt"}
    safe = "".join(char if char.isalnum() or char in "-_" else "_" for char in message.id)[:100]
    temp, final = folder / f".{safe}.{os.getpid()}", folder / f"{safe}.json"
    with temp.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(final)  # the same message again: the same content
    fsync_path(folder)
