"""Three files, and what has to be true of them wherever the program was killed: the invariants, by their numbers."""

from __future__ import annotations

import hashlib
import os
import random
from functools import cache
from pathlib import Path

from tests.chaos.kills import digest, files_in
from tests.chaos.shore import Place

_TIME = 10**18
"""Nanoseconds; with its size it is a file's time."""


@cache
def workload() -> dict[str, bytes]:
    """Path → content: nothing, a little in a folder, and as much as travels in three parts."""
    draw = random.Random(0)
    return {"empty.bin": b"", "sub/little.csv": draw.randbytes(10_240), "large.bin": draw.randbytes(18_000_000)}


def drop_all(watch: Path) -> None:
    """Before the program starts, so that each run does the same."""
    for name, content in workload().items():
        path = watch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(_TIME, _TIME + len(content)))


@cache
def _due() -> dict[str, tuple[str, int]]:
    """Path → SHA-256 and time."""
    return {name: (hashlib.sha256(body).hexdigest(), _TIME + len(body)) for name, body in workload().items()}


class Judge:
    """Looks at the folders of one program."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._first_sight: dict[tuple[str, int], str] = {}

    def look(self) -> None:
        """I4: whatever is visible is whole at first sight."""
        top = self._state / "DownloadedFromS3"
        for path in files_in(top):
            try:
                seen = (str(path.relative_to(top)), path.stat().st_ino)
                if seen not in self._first_sight:
                    self._first_sight[seen] = digest(path)
            except FileNotFoundError:  # nobody takes them away: the program did
                raise AssertionError(f"I14 GONE AGAIN: {path}") from None
            whole = {content for content, _ in _due().values()}
            assert self._first_sight[seen] in whole, f"I4 PARTIAL or invented at first sight: {seen}"

    def at_rest(self, place: Place | None) -> list[str]:
        """And once nothing moves any more, there and in a store that can be looked into."""
        self.look()
        found = [*self._of("UploadedToS3", "I1, I13, I14"), *self._of("DownloadedFromS3", "I4, I8, I14")]
        for name in ("Watch", "QueuedForUpload", "Failed", "FailedMessages"):
            found += [f"I1 LEFT BEHIND: {path}" for path in files_in(self._state / name)]
        found += [f"I7 LEFT: {path}" for path in files_in(self._state / "DownloadedFromS3/.relay/incoming")]
        return found if place is None else [*found, *_judge_store(place)]

    def _of(self, folder: str, invariants: str) -> list[str]:
        """Each content is there once, under its name and with its time, and nothing else is."""
        top = self._state / folder
        there = {str(path.relative_to(top)): (digest(path), path.stat().st_mtime_ns) for path in files_in(top)}
        return [] if there == _due() else [f"{invariants}: {folder} holds {there}"]


def _judge_store(place: Place) -> list[str]:
    """I2: each file has its equal in the store, and no other is there."""
    uploads, prefix = place.uploads(), "inbox/"
    keys = {key.removeprefix(prefix) for key in place.objects() if not key.startswith(f"{prefix}.relay/")}
    wrong = [name for name, body in workload().items() if place.content(prefix + name) != body]
    found = [f"I7 MULTIPART UPLOADS: {uploads}"] if uploads else []
    return found + ([f"I2 OBJECTS: {sorted(keys)}, not equal: {wrong}"] if wrong or keys != workload().keys() else [])
