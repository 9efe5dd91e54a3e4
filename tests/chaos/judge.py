"""What has to be true of folders, store and queue, given what the user did: the invariants, by their numbers."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.parties import INGEST
from tests.chaos.user import Content, User, files, unnumbered
from tests.fakes import FakeQueue, FakeStore

_LONGEST = 1000
"""Bytes of a path whose key may still be short enough."""


class Judge(logging.Handler):
    """Looks after every step, and listens to what the queue accepts and to what the program calls an error."""

    def __init__(self, root: Path, user: User, store: FakeStore, queue: FakeQueue, *, in_order: bool) -> None:
        super().__init__(logging.ERROR)
        self._root, self._user, self._store, self._queue, self._in_order = root, user, store, queue, in_order
        self._accepted: list[tuple[str, Mapping[str, str]]] = []
        self._problems: list[str] = []
        self._put, queue.put = queue.put, self._accept  # type: ignore[method-assign,assignment]

    def emit(self, record: logging.LogRecord) -> None:
        """An error of the program, or one out of a callback."""
        if record.exc_info:
            self._problems.append(self.format(record))

    def deliver_again(self, which: int) -> None:
        """The queue delivers one of its messages once more, as SQS may."""
        if self._accepted:
            self._put(*self._accepted[which % len(self._accepted)])

    def after_a_step(self) -> None:
        """What is always true."""
        assert not self._problems, self._problems
        self._i1_every_content_is_in_one_place()
        self._i2_what_is_in_uploaded_was_stored_and_announced()
        self._i4_what_is_visible_is_whole()
        self._i13_bytes_and_time_are_those_that_were_dropped()
        self._only_what_has_no_key_fails()

    def at_rest(self) -> None:
        """And once everything has drained: exactly what is due has arrived, and nothing else is left."""
        self.after_a_step()
        failed = {path.read_bytes() for path in files(self._root / "Failed")}
        due = Counter({body: content.due - (body in failed) for body, content in self._user.contents.items()})
        assert +due == self.delivered(), f"I9: due and not there: {due - self.delivered()}"
        assert not os.listdir(self._root / "DownloadedFromS3/.relay/incoming"), "I7: a temporary file is left"

    def left(self) -> list[str]:
        """What is still on its way."""
        found = [str(path) for name in ("Watch", "QueuedForUpload") for path in files(self._root / name)]
        return found + self._queue.bodies()

    def delivered(self) -> Counter[bytes]:
        """How often each content has arrived, what the user took away since included."""
        places = (self._root / "DownloadedFromS3", self._root / "Taken/DownloadedFromS3")
        return Counter(path.read_bytes() for place in places for path in files(place))

    def _i1_every_content_is_in_one_place(self) -> None:
        """And I14: nothing else is there, so nothing was overwritten, dropped or invented."""
        found: dict[bytes, set[int]] = {}
        for place in (*(self._root / name for name in INGEST), self._root / "Taken/UploadedToS3"):
            for path in files(place):
                inode = path.stat().st_ino
                if inode in self._user.writers:
                    assert place.name == "Watch", f"I1: {path} was taken while it was being written"
                else:  # by inode, as a kill between link and unlink leaves two names
                    found.setdefault(path.read_bytes(), set()).add(inode)
        places = Counter({body: len(inodes) for body, inodes in found.items()})
        alive = Counter(body for body, content in self._user.contents.items() if content.alive)
        assert not alive - places, f"I1, I14: lost: {sorted(alive - places)}"
        assert not places - alive, f"I1, I14: invented or doubled: {sorted(places - alive)}"

    def _i2_what_is_in_uploaded_was_stored_and_announced(self) -> None:
        stored = set(self._store.contents().values())
        for path in files(self._root / "UploadedToS3"):
            body = path.read_bytes()
            assert body in stored, f"I2: {path} has no equal object"
            assert self._user.contents[body].announced, f"I2: nobody was told of {path}"

    def _i4_what_is_visible_is_whole(self) -> None:
        """And I8: nothing arrives more often than it was dropped."""
        for body, count in self.delivered().items():
            assert body in self._user.contents, f"I4: {body!r} in DownloadedFromS3 is nothing that was dropped"
            assert count <= self._user.contents[body].due, f"I8: {body!r} arrived {count} times"

    def _i13_bytes_and_time_are_those_that_were_dropped(self) -> None:
        for name in ("UploadedToS3", "Failed", "DownloadedFromS3"):
            for path in files(self._root / name):
                dropped = self._user.contents[path.read_bytes()]
                assert path.stat().st_mtime_ns == dropped.mtime_ns, f"I13: the time of {path} is another"

    def _only_what_has_no_key_fails(self) -> None:
        top = self._root / "Failed"
        for path in files(top):
            assert len(os.fsencode(path.relative_to(top))) > _LONGEST, f"without a reason in Failed: {path}"
        assert not self._queue.buried, "a message was given up"

    def _accept(self, key: str, attributes: Mapping[str, str] | None = None, group: str = "") -> None:
        """Nothing is raised here: it would be an error of the queue."""
        content = self._user.contents.get(self._store.contents().get(key, b""))
        if content is None:
            self._problems.append(f"I3: {key} was announced, and its object is nothing that was dropped")
        else:
            self._note_announced(content)
        self._accepted.append((key, attributes or {}))
        self._put(key, attributes, group)

    def _note_announced(self, content: Content) -> None:
        content.announced += 1
        failed = {path.read_bytes() for path in files(self._root / "Failed")}
        waiting = [
            other.number
            for body, other in self._user.contents.items()
            if other.alive and other.calm and not other.announced and body not in failed
            if other.home == content.home and other.number < content.number
        ]
        # What finds its key taken gets a number above those that wait, and with it their place.
        calm = content.calm and unnumbered(content.home) not in self._user.taken
        if self._in_order and calm and waiting:
            self._problems.append(f"order: {content.home} number {content.number} goes before {waiting}")
