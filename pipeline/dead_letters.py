"""FailedMessages: messages that can never succeed, where the queue has no dead letters of its own."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

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


def kept_messages(folder: Path) -> list[Path]:
    """The files in FOLDER that may be messages which were kept."""
    return sorted(path for path in folder.glob("*.json") if path.is_file())


def read_message(path: Path) -> Received:
    """What `keep_message` wrote. OSError: it cannot be read; ValueError: it is something else, or damaged."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = Received(record["id"], "", record["body"], record["attributes"], group=record.get("group", ""))
        texts = [found.id, found.body, found.group, *found.attributes, *found.attributes.values()]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("id, body, group and attributes are not all texts")
    return found
