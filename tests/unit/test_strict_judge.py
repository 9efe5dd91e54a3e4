"""The judge of the strict server: it sees each broken promise, and no other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.aws.checksum import crc64nvme_of
from pipeline.drop import delivery_id
from pipeline.ledger import Ledger, Row
from tests.strict.bodies import Content
from tests.strict.clock import Clock
from tests.strict.consumers import Consumer
from tests.strict.judge import Announced, Judge, said_by
from tests.strict.log import Log
from tests.strict.messages import announced
from tests.strict.queues import Message
from tests.strict.shelf import Object

BODY = b"content"
CRC = crc64nvme_of(BODY)
SAID = Announced("drops", "in/a", "", "d1", "7", CRC)


def stored(drop: str = "d1", body: bytes = BODY) -> Object:
    return Object(len(body), "etag", crc64nvme_of(body), [("x-amz-meta-drop-id", drop)], [])


class Court:
    """A judge over one object."""

    def __init__(self, folder: Path) -> None:
        self.there: Object | None = None
        self.log = Log(folder / "events", Clock())
        self.judge = Judge(self.log, lambda *_: self.there)

    def found(self, promise: str) -> bool:
        """Whether exactly that promise was broken, once."""
        return [text.partition(": ")[2].partition(":")[0] for text in self.log.violations] == [promise]


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    it = Court(tmp_path)
    yield it
    it.log.close()


@pytest.mark.parametrize(
    ("there", "holds"),
    [
        (stored(), True),
        (stored(drop=""), True),
        (None, False),
        (stored(body=b"Content"), False),
        (stored(body=b"longer content"), False),
        (stored(drop="d2"), False),
    ],
)
def test_what_is_announced_is_there(court: Court, there: Object | None, holds: bool) -> None:
    """I3: whole, and the drop that the message speaks of."""
    court.there = there
    court.judge.accepted(SAID, dead=False)
    assert court.log.violations == [] if holds else court.found("I3")


def test_what_announces_nothing_cannot_be_judged(court: Court) -> None:
    """I3: a message of a sender whose messages have to say what they are about; the others are counted."""
    court.judge.accepted(SAID, dead=True)
    assert court.judge.judged == 0
    court.there = stored()
    court.judge.accepted(SAID, dead=False)
    assert court.judge.judged == 1
    court.judge.accepted_mute("m")
    assert court.found("I3")


def test_dead_letters_announce_nothing(court: Court) -> None:
    """Nor does a message of somebody else."""
    court.judge.accepted(SAID, dead=True)
    court.judge.accepted(None, dead=False)
    assert court.log.violations == []


@pytest.mark.parametrize(
    ("announced", "drop", "matched", "versioned", "holds"),
    [
        (True, "d2", True, False, False),
        (False, "d2", False, False, False),
        (False, "d2", True, False, True),
        (True, "d1", False, False, True),
        (True, "d2", True, True, True),
    ],
)
def test_no_drop_takes_the_place_of_another(
    court: Court, announced: bool, drop: str, matched: bool, versioned: bool, holds: bool
) -> None:
    """I14: unless nobody was told of it and its ETag was named; or both are kept."""
    before = stored()
    before.announced = announced
    court.judge.wrote("drops/in/a", stored(drop), before, versioned=versioned, matched=matched)
    assert court.log.violations == [] if holds else court.found("I14")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A DownloadedFromS3 whose ledger knows the drop as sub/a."""
    folder = tmp_path / "DownloadedFromS3"
    (folder / ".relay").mkdir(parents=True)
    (folder / "sub").mkdir()
    (tmp_path / "taken/sub").mkdir(parents=True)
    ledger = Ledger(folder / ".relay/ledger.sqlite3")
    rows = [Row(delivery_id("d1", f"in/{name}"), ".temp", "sub/a%20b", "publishing") for name in ("a", "begun")]
    ledger.begin(rows)
    ledger.deliver([rows[0].drop_id])
    ledger.close()
    return folder


@pytest.mark.parametrize(
    ("at", "body", "holds"),
    [
        ("DownloadedFromS3/sub/a b", BODY, True),
        ("taken/sub/a b", BODY, True),
        ("taken/sub/a b.2", BODY, True),
        ("DownloadedFromS3/sub/a b", b"Content", False),
        ("DownloadedFromS3/sub/other", BODY, False),
    ],
)
def test_what_is_acknowledged_has_arrived(
    court: Court, place: Path, tmp_path: Path, at: str, body: bytes, holds: bool
) -> None:
    """I5: under the name that the ledger knows, with that content, or where a user took it."""
    (tmp_path / at).write_bytes(body)
    court.there = stored()
    court.judge.consumers = [Consumer(place, [tmp_path / "taken"])]
    court.judge.accepted(SAID, dead=False)
    court.judge.deleted(SAID, dead=False)
    assert court.log.violations == [] if holds else court.found("I5")


def test_what_is_not_in_the_ledger_has_not_arrived(court: Court, place: Path) -> None:
    """Nor is what is being published; though a file of that content lies there. Nor where there is no ledger yet."""
    (place / "sub/a b").write_bytes(BODY)
    (begun := place.parent / "begun" / ".relay").mkdir(parents=True)
    (begun / "ledger.sqlite3").touch()
    court.there = stored()
    here, elsewhere, new = (Consumer(folder, []) for folder in (place, place.parent / "none", begun.parent))
    for consumer, key in ((here, "in/b"), (here, "in/begun"), (elsewhere, "in/a"), (new, "in/a")):
        said = Announced("drops", key, "", "d1", "7", CRC)
        court.log.violations.clear()
        court.judge.consumers = [consumer]
        court.judge.accepted(said, dead=False)
        court.judge.deleted(said, dead=False)
        assert court.found("I5")


def test_once_arrived_it_may_be_taken_away(court: Court, place: Path) -> None:
    """A duplicate that comes later is acknowledged rightly."""
    (place / "sub/a b").write_bytes(BODY)
    court.there = stored()
    court.judge.consumers = [Consumer(place, [])]
    for _ in range(2):
        court.judge.accepted(SAID, dead=False)
        court.judge.deleted(SAID, dead=False)
        os.truncate(place / "sub/a b", 0)
    assert court.log.violations == []


def test_a_burial_comes_before_the_end_of_the_message(court: Court, tmp_path: Path) -> None:
    """I5: what lies among the dead letters may go; and from there once it is on its way again, not before."""
    court.there = stored()
    court.judge.consumers = [Consumer(tmp_path, [])]
    court.judge.accepted(SAID, dead=False)
    court.judge.accepted(SAID, dead=True)
    court.judge.deleted(SAID, dead=False)
    court.judge.accepted(SAID, dead=False)
    court.judge.deleted(SAID, dead=True)
    assert court.log.violations == []
    court.judge.buried(SAID)
    court.judge.deleted(SAID, dead=True)
    assert court.found("I5")


def test_a_message_says_what_it_is_about() -> None:
    """In both formats; one that names no drop, or whose body is none of them, is not the program's."""
    attributes = {name: {"StringValue": getattr(SAID, name)} for name in ("bucket", "drop_id", "size", "crc64nvme")}
    event = json.dumps({"Records": [{"s3": {"object": {"key": "in%2Fa"}}}]})
    for body in ("in/a", event):
        assert announced(Message(body, "", attributes, "", 0)) == SAID
    for unreadable in ('{"Records": []}', '{"Records":' + "[" * 200_000):
        assert announced(Message(unreadable, "", attributes, "", 0)) is None
    assert said_by("in/a", {"drop_id": {"StringValue": "d1"}}) is None


def test_violations_are_kept(court: Court, tmp_path: Path) -> None:
    """In the file at once, and counted beyond those that are kept."""
    for number in range(1001):
        court.log.violation(f"text {number}")
    assert (len(court.log.violations), court.log.violation_count) == (1000, 1001)
    assert len((tmp_path / "events").read_text().splitlines()) == 1001


def test_a_body_forgets_its_file(tmp_path: Path) -> None:
    """Small ones lie in memory, large ones in a file, which goes with them."""
    small, large = Content(None, tmp_path), Content(None, tmp_path)
    for content, size in ((small, 2048), (large, 2049)):
        content.add(memoryview(bytes(size)))
        content.keep()
    assert (len(list(tmp_path.iterdir())), large.read(2000, 100), small.read(0, 9999)) == (1, bytes(49), bytes(2048))
    large.forget()
    assert list(tmp_path.iterdir()) == []
