"""SQS → S3 → DownloadedFromS3 → delete, over a store and a queue in memory and a real folder."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline import handling, pacing, poller
from pipeline.acceptance import Acceptance
from pipeline.aws.checksum import crc64nvme, crc64nvme_of
from pipeline.command import Command
from pipeline.dead_letters import keep_message
from pipeline.drop import DROP_ID, Drop, Fingerprint, delivery_id, origin_of
from pipeline.folders import Folder
from pipeline.landing import Arrival, Landing
from pipeline.names import key_for, printable
from pipeline.notice import Event, Notice, encode
from pipeline.pacing import Gate
from pipeline.poller import Poller
from pipeline.ports import CancelledError, LaterError, NeverError, PausedError, ReceiptError, RoomError, StoredObject
from tests.fakes import FakeQueue, FakeStore, Journal
from tests.unit.test_notice import body as event_body
from tests.unit.test_notice import of, record
from tests.unit.test_uploader import DEADLINE, until

EVENT = Event("eu-west-1", "2025-01-31T12:00:00.000Z")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Consume:
    """The consume side of a machine, with one poller."""

    def __init__(
        self,
        root: Path,
        *,
        dead_letters: bool = True,
        folder: str = "in",
        fifo: bool = False,
        command: Command | None = None,
        **rules: bool,
    ) -> None:
        """`rules`: see Acceptance."""
        self.rules = rules
        self.root, self.top, self.prefix = root, root / "DownloadedFromS3", folder
        self.top.mkdir()
        (root / "FailedMessages").mkdir()
        self.clock, self.journal = Clock(), Journal()
        self.store = FakeStore(journal=self.journal)
        self.queue = FakeQueue(self.journal, visibility=60, clock=self.clock, dead_letters=dead_letters, fifo=fifo)
        self.command = command
        self.landing = self.new_landing()
        self.poller = self.new_poller()
        self.numbers = 0

    def new_landing(self) -> Landing:
        """As after a restart, or in another process."""
        return Landing(Folder(self.top, durable=False), crc64nvme, self.command)

    def new_poller(self, concurrency: int = 4, **more: Any) -> Poller:
        """As after a restart."""
        keep = partial(keep_message, self.root / "FailedMessages")
        acceptance = Acceptance(self.store.bucket, self.prefix, crc64nvme, **self.rules)
        made = Poller(
            self.queue,
            self.store,
            self.landing,
            acceptance,
            keep,
            concurrency=concurrency,
            visibility=60,
            **more,
        )
        made.gate = Gate(base=0.001, cap=0.001)
        if made._processing:
            made._processing.gate = Gate(base=0.001, cap=0.001)
        return made

    def announce(self, path: str, body: bytes, *, said: dict[str, Any] | None = None, key: str = "") -> Drop:
        """Store a drop as the uploader does, and announce it; `said` are attributes that lie."""
        self.numbers += 1
        seen = Fingerprint(self.numbers, len(body), 1_600_000_000_123_456_789, 1)
        drop = Drop(path, seen, crc64nvme_of(body), key_for("in", path))
        stored = self.store.put(key or drop.key.text, body, drop.metadata())
        notice = Notice(
            "relay", stored.key, path, len(body), drop.crc64nvme, drop.id, drop.mtime, stored.etag, stored.version_id
        )
        message = encode(notice, "key", EVENT)
        attributes = {name: str(value) for name, value in {**message.attributes, **(said or {})}.items()}
        self.queue.put(message.body, attributes, message.group)
        return drop

    def receive(self) -> int | None:
        """One turn, and whatever it started, to its end."""
        got = self.poller.step(0, 0.0)
        until(self.poller.idle)
        return got

    def drain(self, seconds: float = 60) -> None:
        """Receive until nothing is left, time passing in between, for at most 100 turns."""
        for _ in range(100):
            self.receive()
            if not self.queue.bodies():
                return
            self.clock.now += seconds
        raise AssertionError(f"still there: {self.queue.bodies()}")

    def files(self) -> dict[str, bytes]:
        """What a person sees in DownloadedFromS3."""
        found = {str(item.relative_to(self.top)): item for item in self.top.rglob("*")}
        return {
            path: item.read_bytes()
            for path, item in found.items()
            if not path.startswith(".relay") and item.is_file() and not item.is_symlink()
        }

    def incoming(self) -> list[str]:
        """Temporary files."""
        return os.listdir(self.top / ".relay/incoming")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is tested in test_pacing."""
    monkeypatch.setattr(pacing, "delay", lambda *_values: 0.0)


@pytest.fixture(params=["by itself", "in a thread"])
def consume(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consume]:
    """Both ways that a message can go: that of one small file, and that of all others."""
    if request.param == "in a thread":
        monkeypatch.setattr(poller, "_SMALL", -1)
    side = Consume(tmp_path)
    yield side
    side.poller.close(5)


def wait_for(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


def hook(side: Consume, operation: str, action: Callable[[str], None]) -> None:
    side.store.before[operation] = action


def test_the_order_of_effects(consume: Consume) -> None:
    """Nothing is visible while it is downloaded; the message is deleted last, when the file is there and noted."""
    drop = consume.announce("d/a.csv", b"content")
    seen: list[tuple[str, dict[str, bytes], str]] = []

    def look(what: str, _subject: str) -> None:
        row = consume.landing.ledger.find(delivery_id(drop.id, drop.key.text))
        seen.append((what, consume.files(), row.state if row else ""))

    consume.store.after["download"] = partial(look, "downloaded")
    consume.queue.before["delete"] = partial(look, "delete")
    consume.receive()
    assert seen == [("downloaded", {}, ""), ("delete", {"d/a.csv": b"content"}, "delivered")]
    assert [what for what, _ in consume.journal.entries] == ["stored", "received", "download", "deleted"]
    assert (consume.top / "d/a.csv").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert (consume.top / "d/a.csv").stat().st_mode & 0o777 == 0o640
    assert consume.incoming() == []


def test_many_messages(consume: Consume) -> None:
    """Every announced file once, empty ones and odd names among them; nothing is left over."""
    contents = {f"d{number % 3}/f{number}": b"x" * number for number in range(40)}
    contents |= {"\udcff x": b"no UTF-8", "é+ %2e": b"odd", "-rf": b""}
    for path, body in contents.items():
        consume.announce(path, body)
    consume.drain()
    assert {os.fsdecode(os.fsencode(path)): body for path, body in consume.files().items()} == contents
    assert consume.incoming() == []
    assert consume.queue.buried == []


def test_a_duplicate_makes_no_second_file(consume: Consume) -> None:
    """C5. Twice in the queue, once in the folder, whether the second comes at once or after a restart."""
    consume.announce("a.csv", b"content")
    message, said = consume.queue.messages()[0]
    consume.queue.put(message, said)
    consume.drain()
    consume.poller.close(5)
    consume.landing = consume.new_landing()
    consume.poller = consume.new_poller()
    for again in (said, {}):  # without attributes the object's own metadata tells
        consume.queue.put(message, again)
        consume.drain()
    assert consume.files() == {"a.csv": b"content"}
    assert consume.incoming() == []


def test_what_a_person_took_away_does_not_come_back(consume: Consume) -> None:
    """A duplicate of a file that was delivered and removed since is still a duplicate."""
    consume.announce("a.csv", b"content")
    message, said = consume.queue.messages()[0]
    consume.drain()
    (consume.top / "a.csv").unlink()
    consume.queue.put(message, said)
    consume.drain()
    assert consume.files() == {}


def test_another_drop_of_the_name_takes_the_next_version(consume: Consume) -> None:
    """Equal content or not: two drops are two files, and nothing is overwritten."""
    for body in (b"one", b"two", b"two"):
        consume.announce("a.csv", body)
        consume.drain()
    assert consume.files() == {"a.csv": b"one", "a-Version-2.csv": b"two", "a-Version-3.csv": b"two"}


def test_several_records_in_one_message(consume: Consume) -> None:
    """All of them are delivered before the message is deleted; one failure keeps it."""
    for name in ("a", "b"):
        consume.store.put(f"in/{name}", name.encode())
    records = [
        record(f"in/{name}", s3={"bucket": {"name": "relay"}, "object": {"key": f"in/{name}"}}) for name in "abc"
    ]
    consume.queue.put(event_body(*records))
    consume.receive()
    assert consume.files() == {"a": b"a", "b": b"b"}
    assert len(consume.queue.bodies()) == 1
    consume.store.put("in/c", b"c")
    consume.clock.now += 60
    consume.receive()
    assert consume.files() == {"a": b"a", "b": b"b", "c": b"c"}
    assert consume.queue.bodies() == []


def test_a_missing_object_keeps_its_message(consume: Consume) -> None:
    """B16. It goes back with delay and is neither deleted nor buried; once the object is there it arrives."""
    consume.queue.put("in/a.csv")
    for _ in range(5):
        consume.receive()
        assert consume.queue.visible() == 0
        consume.clock.now += 60
    assert consume.queue.bodies() == ["in/a.csv"]
    assert consume.queue.buried == []
    consume.store.put("in/a.csv", b"late")
    consume.drain()
    assert consume.files() == {"a.csv": b"late"}


@pytest.mark.parametrize("how", ["SQS said so", "our own deadline has passed"])
def test_a_lost_receipt_publishes_nothing(consume: Consume, how: str) -> None:
    """C7. Somebody else has the message by now: the download is thrown away, the message not deleted."""
    consume.announce("a.csv", b"content")

    def lose(_key: str) -> None:
        consume.clock.now += 60
        (other,) = consume.queue.receive(1, 0)
        assert other.receive_count == 2
        held = next(iter(consume.poller._hand._held.values()))
        if how == "SQS said so":
            held.lost = True
        else:
            held.deadline = 0.0

    consume.store.after["download"] = lose
    consume.receive()
    assert consume.files() == {}
    assert consume.incoming() == []
    assert consume.queue.bodies() == ["in/a.csv"]
    consume.store.after.clear()
    consume.clock.now += 60
    consume.drain()
    assert consume.files() == {"a.csv": b"content"}


def test_a_damaged_download_is_not_published(consume: Consume) -> None:
    """B6, F10. Bytes that differ from the checksum never get a name; the next download does."""
    consume.announce("a.csv", b"content")
    damaged = [b"cOntent", b"conten", b"content!", b""]

    def damage(_key: str, body: bytes) -> bytes:
        assert consume.files() == {}
        return damaged.pop(0) if damaged else body

    consume.store.damage = damage
    consume.drain()
    assert not damaged
    assert consume.files() == {"a.csv": b"content"}
    assert consume.incoming() == []
    assert len(consume.journal.of("download")) == 5


def test_a_copied_object_never_stands_for_another(consume: Consume) -> None:
    """An object under another key that carries the same drop id, copied or forged, is a file of its own."""
    drop = consume.announce("a.csv", b"content")
    consume.store.put("in/b.csv", b"other", {DROP_ID: drop.id})
    consume.queue.put("in/b.csv", {})
    consume.drain()
    assert consume.files() == {"a.csv": b"content", "b.csv": b"other"}


def test_no_object_speaks_for_that_of_another_key(consume: Consume) -> None:
    """F10. An id that with its key reads as another's id and key is refused; the other arrives after it."""
    consume.numbers += 1
    seen = Fingerprint(consume.numbers, 7, 1_600_000_000_123_456_789, 1)
    target = Drop("in/a", seen, crc64nvme_of(b"content"), key_for("in", "in/a"))
    consume.store.put("in/a", b"forged", {DROP_ID: f"{target.id}/in"})
    assert delivery_id(f"{target.id}/in", "in/a") == delivery_id(target.id, "in/in/a")
    consume.queue.put("in/a")
    consume.queue.put("in/a", {"drop_id": f"{target.id}/in"})
    consume.drain()
    assert len(consume.queue.buried) == 2
    consume.numbers -= 1
    assert consume.announce("in/a", b"content").id == target.id
    consume.drain()
    assert consume.files() == {"in/a": b"content"}


def test_no_object_speaks_for_an_earlier_version(consume: Consume) -> None:
    """F10. One that carries what another program's object would be known by is refused; that one arrives."""
    consume.store.versioned = True
    first = consume.store.put("in/a", b"first")
    identity = origin_of(first, "relay", "in").drop_id
    consume.store.put("in/a", b"forged", {DROP_ID: identity})
    consume.queue.put("in/a")
    consume.drain()
    assert len(consume.queue.buried) == 1
    consume.queue.put(event_body(record(s3=of("in/a", versionId=first.version_id))))
    consume.drain()
    assert consume.files() == {"a": b"first"}


@pytest.mark.parametrize(
    "said",
    [{"drop_id": "b" * 26}, {"crc64nvme": "BBBBBBBBBBA="}, {"path": "other.csv"}, {"size": "8"}, {"path": "a%00"}],
    ids=lambda said: next(iter(said)),
)
def test_a_message_that_contradicts_the_object_is_buried(consume: Consume, said: dict[str, str]) -> None:
    """F10. It could mark another drop as delivered: nothing is published or noted, the message is kept."""
    consume.announce("a.csv", b"content", said=said)
    consume.receive()
    assert consume.files() == {}
    assert consume.incoming() == []
    assert consume.landing.ledger.find(delivery_id("b" * 26, "in/a.csv")) is None
    ((message, reason),) = consume.queue.buried
    assert message.body == "in/a.csv"
    assert next(iter(said)) in reason
    assert consume.queue.bodies() == []
    assert [what for what, _ in consume.journal.entries][-2:] == ["buried", "deleted"]


HOSTILE = [
    ("../x", {}),
    ("in/../x", {}),
    ("/etc/passwd", {}),
    ("other/a", {}),
    ("in/a\0", {}),
    ("", {"bucket": "relay"}),
    ("in/a", {"bucket": "another"}),
    ("in/a", {"bucket": "arn:aws:s3:::relay"}),
    ("in/a", {"bucket": "https://relay.example"}),
    (event_body(record(s3={**of("in/a"), "bucket": {"name": "another"}})), {}),
    (event_body(record(s3=of("in/a", versionId="v\ud800"))), {}),
    (event_body(record(s3=of("in/a", versionId="é\r\nHost: another"))), {}),
    (event_body(record("x", s3={"bucket": {"name": "relay"}, "object": {"key": "out/a"}})), {}),
    ("{}", {}),
    ('{"a":' * 50_000, {}),
    ("in/a", {"size": "-1"}),
    ("in/a", {"path": "é"}),
]


@pytest.mark.parametrize(("body", "said"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_message_makes_no_request(
    consume: Consume, body: str, said: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """F1, F2, F3, F4. Another bucket, another prefix, no path, nothing known: never asked for, kept with the reason.

    Its first 200 characters are in the log.
    """
    caplog.set_level(logging.DEBUG)
    consume.store.put("in/a", b"bait")
    consume.queue.put(body, said)
    consume.receive()
    assert consume.journal.of("download") == consume.journal.of("look") == []
    assert len(consume.queue.buried) == 1
    assert consume.queue.bodies() == []
    assert consume.files() == {}
    assert f"what can never succeed: {printable(body[:200])}\n" in caplog.text


@pytest.mark.parametrize("first", ["good", "bad"])
@pytest.mark.parametrize("bad", ["in/folder/", "other/a", "in/none"])
def test_each_record_of_a_message_is_for_itself(consume: Consume, first: str, bad: str) -> None:
    """Beside one that must not be asked for a file arrives all the same; one that is not there keeps the message."""
    consume.store.put("in/good", b"content")
    keys = ["in/good", bad] if first == "good" else [bad, "in/good"]
    consume.queue.put(event_body(*(record(s3=of(key)) for key in keys)))
    consume.receive()
    assert consume.files() == {"good": b"content"}
    assert set(consume.journal.of("download")) <= {"in/good", "in/none"}
    if bad == "in/none":
        assert len(consume.queue.bodies()) == 1
        consume.store.put(bad, b"late")
        consume.drain()
        assert consume.files() == {"good": b"content", "none": b"late"}
    else:
        assert (len(consume.queue.buried), consume.queue.bodies()) == (1, [])


def test_a_message_is_not_buried_while_a_record_may_come(consume: Consume) -> None:
    """What can never succeed waits for what is not there yet; then the whole message goes to the dead letters."""
    consume.queue.put(event_body(*(record(s3=of(key)) for key in ("other/a", "in/none"))))
    consume.receive()
    assert (consume.queue.buried, len(consume.queue.bodies())) == ([], 1)
    consume.store.put("in/none", b"late")
    consume.drain()
    assert consume.files() == {"none": b"late"}
    assert len(consume.queue.buried) == 1


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", ".relay/ledger.sqlite3", "a\0", "x" * 256, "", "a//b"])
def test_hostile_metadata_writes_nothing(consume: Consume, path: str) -> None:
    """F1, F2. The object's own idea of its path is believed as little as the message's."""
    consume.announce(path, b"evil", key="in/innocent")
    consume.receive()
    assert consume.files() == {}
    assert consume.incoming() == []
    assert len(consume.queue.buried) == 1
    assert sorted(os.listdir(consume.root)) == ["DownloadedFromS3", "FailedMessages"]


GREEDY = {
    "mode": "4755",
    "file-permissions": "06777",
    "uid": "0",
    "x-amz-meta-mode": "100755",
    "mtime": "2023-11-14T22:13:20Z\n4755",
    "path": "../../etc/passwd",
    "huge": "x" * 100_000,
    "line": "a\nb\r\n\x1b[31m",
}


@pytest.mark.parametrize("ours", [False, True])
def test_metadata_asks_for_nothing(consume: Consume, ours: bool) -> None:
    """F12. Neither mode, owner nor another name: what is not known is not looked at, a time that is none not set."""
    metadata = {**GREEDY, DROP_ID: "a" * 26, "path": "a"} if ours else GREEDY
    consume.store.put("in/a", b"content", metadata)
    consume.queue.put("in/a")
    before = time.time_ns()
    consume.drain()
    assert consume.files() == {"a": b"content"}
    status = (consume.top / "a").stat()
    assert (status.st_mode, status.st_uid) == (stat.S_IFREG | 0o640, os.geteuid())
    assert abs(status.st_mtime_ns - before) < 60 * 10**9
    assert os.listxattr(consume.top / "a") == os.listxattr(consume.top)


def test_an_object_without_end_is_not_asked_for_more_than_was_said(consume: Consume) -> None:
    """F10. One whose size a message lies about is never delivered, whatever it brings."""
    consume.store.put("in/a", b"x" * 1000, size=5)
    consume.queue.put(event_body(record(s3=of("in/a", size=5))))
    consume.receive()
    assert (consume.files(), consume.incoming()) == ({}, [])
    assert consume.landing.ledger.unfinished() == []


@pytest.mark.parametrize("trouble", ["missing", "damaged", "throttled"])
def test_what_costs_each_time_is_tried_more_and_more_rarely(
    consume: Consume, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """F9. An object that is not there, or not what it says: up to ten minutes; what only has to wait: a minute."""
    asked: list[tuple[Any, ...]] = []

    def delay(*values: Any) -> float:
        asked.append(values)
        return 0.0

    monkeypatch.setattr(pacing, "delay", delay)
    if trouble != "missing":
        consume.store.put("in/a", b"content", {DROP_ID: "a" * 26, "crc64nvme": "AAAAAAAAAAA="})
    if trouble == "throttled":
        consume.store.trouble.queued["download"].append(LaterError("SlowDown"))
    consume.queue.put("in/a")
    consume.receive()
    assert asked == [(1, 0.5, 60.0 if trouble == "throttled" else 600.0)]
    assert consume.queue.buried == []


def test_hostile_messages_do_not_hold_up_good_ones(consume: Consume) -> None:
    """F9. Among two hundred that can never succeed the good ones arrive, and each bad one is kept."""
    for number in range(200):
        consume.queue.put(*HOSTILE[number % len(HOSTILE)])
        if number % 20 == 0:
            consume.announce(f"good{number}", b"good")
    consume.drain(0)
    assert len(consume.files()) == 10
    assert len(consume.queue.buried) == 200


def test_without_dead_letters_the_message_is_kept_in_a_folder(tmp_path: Path) -> None:
    """Body, attributes and reason are on disk before the message is deleted."""
    side = Consume(tmp_path, dead_letters=False)
    side.queue.put("../x", {"path": "y"})
    kept: list[dict[str, Any]] = []

    def at_delete(_body: str) -> None:
        kept.extend(json.loads(item.read_text()) for item in (tmp_path / "FailedMessages").glob("*.json"))

    side.queue.before["delete"] = at_delete
    side.receive()
    (only,) = kept
    assert (only["body"], only["attributes"]) == ("../x", {"path": "y"})
    assert "in/" in only["reason"]
    assert "receipt" not in only
    side.poller.close(5)


def test_dead_letters_that_fail_keep_the_message(consume: Consume) -> None:
    """What could not be buried is not deleted."""
    consume.queue.put("../x")
    consume.queue.trouble.queued["bury"].append(LaterError("throttled"))
    consume.receive()
    assert consume.queue.bodies() == ["../x"]
    consume.drain()
    assert len(consume.queue.buried) == 1


@pytest.mark.parametrize("form", ["key", "s3-event", "bucket"])
def test_what_a_soak_test_stored_is_acknowledged(consume: Consume, form: str) -> None:
    """Nothing is downloaded, looked up or buried, whoever announces it: the soak test has a consumer of its own."""
    key = "in/.relay-soak/20260101-101500-ab12/drop-000001.bin"
    stored = consume.store.put(key, b"x", {DROP_ID: "d"})
    if form == "bucket":
        consume.queue.put(event_body(record(key)))
    else:
        message = encode(Notice("relay", key, "drop-000001.bin", 1, drop_id="d", etag=stored.etag), form, EVENT)
        consume.queue.put(message.body, {name: str(value) for name, value in message.attributes.items()})
    consume.receive()
    assert consume.queue.bodies() == []
    assert consume.queue.buried == []
    assert consume.files() == {}
    assert not consume.journal.of("download")
    assert not consume.journal.of("look")
    assert (consume.root / "FailedMessages").exists()
    assert not os.listdir(consume.root / "FailedMessages")


def test_a_message_of_another_soak_test_goes_back(tmp_path: Path) -> None:
    """Both share a queue: neither buries what the other is to have."""
    consume = Consume(tmp_path, folder="in/.relay-soak/r1")
    consume.store.put("in/.relay-soak/r2/a", b"1")
    consume.queue.put("in/.relay-soak/r2/a")
    consume.receive()
    consume.poller.close(1)
    assert consume.queue.bodies() == ["in/.relay-soak/r2/a"]
    assert consume.queue.buried == []
    assert consume.files() == {}


def test_a_message_about_a_soak_test_and_a_file(consume: Consume) -> None:
    """The file is delivered."""
    consume.store.put("in/a.csv", b"mine")
    consume.store.put("in/.relay-soak/r/x", b"x")
    entity = {"bucket": {"name": "relay"}}
    records = [record(name, s3={**entity, "object": {"key": name}}) for name in ("in/.relay-soak/r/x", "in/a.csv")]
    consume.queue.put(event_body(*records))
    consume.receive()
    assert consume.files() == {"a.csv": b"mine"}
    assert consume.queue.bodies() == []


@pytest.mark.parametrize("body", ['{"Event":"s3:TestEvent"}', event_body(record(eventName="ObjectRemoved:Delete"))])
def test_what_announces_no_file_is_acknowledged(consume: Consume, body: str) -> None:
    """F8. Neither delivered nor buried."""
    consume.queue.put(body)
    consume.receive()
    assert consume.queue.bodies() == []
    assert consume.queue.buried == []


def failing_publish(
    monkeypatch: pytest.MonkeyPatch, side: Consume, fail: Callable[[Sequence[Arrival]], OSError | None]
) -> None:
    """Make DownloadedFromS3 refuse, as a full disk does, before anything is written."""
    original = side.landing.keep

    def keep(arrivals: Sequence[Arrival]) -> list[OSError | None]:
        return [fail([arrival]) or original([arrival])[0] for arrival in arrivals]

    monkeypatch.setattr(side.landing, "keep", keep)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_full_disk_pauses_the_side(consume: Consume, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """D1. The message is held, not given back, so that its receive count stays; once there is room it is delivered."""
    consume.announce("a.csv", b"content")
    full = [OSError(number, os.strerror(number))] * 3
    failing_publish(monkeypatch, consume, lambda _arrivals: full.pop() if full else None)
    shut: list[Exception] = []
    monkeypatch.setattr(consume.poller.gate, "shut", shut.append)
    consume.receive()
    assert [type(error) for error in shut] == [PausedError] * 3
    assert str(consume.top) in str(shut[0])
    assert consume.journal.of("received") == ["in/a.csv"]
    assert consume.files() == {"a.csv": b"content"}
    assert consume.incoming() == []


def test_a_file_without_room_waits_and_smaller_ones_come(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> None:
    """D1. It is held, so that its receive count stays; the side goes on; it comes once there is room."""
    monkeypatch.setattr(handling, "_ROOM_SECONDS", 0.001)
    free = 10
    asked: list[int] = []

    def take(_fd: int, size: int) -> None:
        asked.append(size)
        if size > free:
            raise RoomError("no room")

    consume.poller.close(5)
    consume.poller = consume.new_poller(room=take)
    shut: list[Exception] = []
    monkeypatch.setattr(consume.poller.gate, "shut", shut.append)
    consume.announce("large", b"x" * 100)
    consume.announce("small", b"x")
    consume.poller.step(0, 0.0)
    until(lambda: "small" in consume.files() and asked.count(100) > 2)
    assert list(consume.files()) == ["small"]
    free = 100
    until(consume.poller.idle)
    assert sorted(consume.files()) == ["large", "small"]
    assert shut == []
    assert sorted(consume.journal.of("received")) == ["in/large", "in/small"]
    assert consume.incoming() == []


def test_files_without_room_leave_places_for_others(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> None:
    """D1. A few are held; the others go back, and come again after growing pauses."""
    monkeypatch.setattr(handling, "_ROOM_SECONDS", 0.001)
    monkeypatch.setattr(pacing, "delay", lambda *_values: 30.0)

    def take(_fd: int, size: int) -> None:
        if size > 10:
            raise RoomError("no room")

    consume.poller.close(5)
    consume.poller = consume.new_poller(concurrency=handling._ROOM_PLACES + 1, room=take)
    for number in range(20):
        consume.announce(f"large{number}", b"x" * 100)
    consume.announce("small", b"x")

    def step() -> bool:
        if "small" not in consume.files():
            consume.poller.step(0, 0.0)
        return "small" in consume.files()

    until(step)
    assert list(consume.files()) == ["small"]
    assert consume.queue.buried == []


def test_larger_than_is_wanted_is_never_fetched(consume: Consume) -> None:
    """B17. The message goes to the dead letters before a byte comes."""

    def take(_fd: int, size: int) -> None:
        raise NeverError(f"{size} is too much")

    consume.poller.close(5)
    consume.poller = consume.new_poller(room=take)
    consume.announce("large", b"x" * 100)
    consume.receive()
    assert [reason for _, reason in consume.queue.buried] == ["100 is too much"]
    assert (consume.files(), consume.queue.bodies(), consume.incoming()) == ({}, [], [])


@pytest.mark.parametrize("size", [1, 300_000])
def test_an_object_that_another_program_replaced(consume: Consume, size: int) -> None:
    """B16. Its event speaks of a size that it no longer has: it comes as it is now, once for all its events."""
    for body in (b"first", b"x" * size):
        stored = consume.store.put("in/a", body)
        event = record("in/a")
        event["s3"]["object"] = {"key": "in/a", "size": stored.size, "eTag": stored.etag}
        consume.queue.put(json.dumps({"Records": [event]}), {})
    consume.drain()
    assert consume.files() == {"a": b"x" * size}
    assert consume.queue.buried == []


def test_one_files_own_error_does_not_pause_the_others(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name this file system refuses goes back alone; the others arrive and the gate stays open."""
    consume.announce("bad", b"bad")
    for number in range(5):
        consume.announce(f"good{number}", b"good")
    failing_publish(
        monkeypatch,
        consume,
        lambda arrivals: OSError(errno.ENAMETOOLONG, "too long") if arrivals[0].path == "bad" else None,
    )
    shut: list[Exception] = []
    monkeypatch.setattr(consume.poller.gate, "shut", shut.append)
    consume.receive()
    consume.receive()
    assert shut == []
    assert len(consume.files()) == 5
    assert consume.queue.bodies() == ["in/bad"]


@pytest.mark.parametrize("operation", ["download", "receive"])
def test_a_pause_of_the_world_outside_loses_nothing(consume: Consume, operation: str) -> None:
    """B2, B11. Credentials gone in the middle: messages in hand stay in hand, and all arrive."""
    for number in range(5):
        consume.announce(f"f{number}", b"x")
    trouble = consume.store.trouble if operation == "download" else consume.queue.trouble
    trouble.queued[operation].extend([PausedError("no credentials")] * 4)
    consume.drain()
    assert len(consume.files()) == 5
    assert consume.queue.buried == []
    assert len(consume.journal.of("received")) == 5


def test_a_delete_that_fails_is_tried_again(consume: Consume) -> None:
    """C4. And where it never succeeds the message comes again and is recognised."""
    consume.announce("a.csv", b"content")
    failures = [LaterError("throttled")] * 4  # one more than a turn tries
    consume.queue.refuse = lambda operation, _body: failures.pop() if operation == "delete" and failures else None
    consume.receive()
    assert consume.queue.bodies() == ["in/a.csv"]
    consume.clock.now += 60
    consume.receive()
    assert consume.queue.bodies() == []
    assert consume.files() == {"a.csv": b"content"}


def test_only_what_could_not_be_deleted_is_tried_again(consume: Consume) -> None:
    """C4. The others of its call are deleted, once."""
    for body in ("0", "1", "2"):
        consume.queue.put(body)
    held = [consume.poller._hand.take(message) for message in consume.queue.receive(3, 0)]
    asked: list[str] = []

    def refuse(operation: str, body: str) -> LaterError | None:
        if operation == "delete":
            asked.append(body)
        return LaterError("throttled") if asked.count("0") < 3 and body == "0" else None

    consume.queue.refuse = refuse
    consume.poller._acknowledger._delete(held)
    assert asked == ["0", "1", "2", "0", "0"]
    assert consume.queue.bodies() == []


@pytest.mark.parametrize("failing", ["discard", "delete"])
def test_an_unexpected_error_keeps_no_place(consume: Consume, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Of the ledger while a file is given up, or of the queue while a message is deleted: the next ones go through."""
    broken = [True] * 3

    def fail(*_values: object) -> Any:
        if broken:
            broken.pop()
            raise KeyError("nobody expected it")
        return original(*_values)

    if failing == "discard":
        original: Callable[..., Any] = consume.landing.discard
        monkeypatch.setattr(consume.landing, "discard", fail)
    else:
        original = consume.queue.delete
        monkeypatch.setattr(consume.queue, "delete", fail)
    for number in range(12):
        consume.announce(f"f{number}", b"x")
    consume.drain()
    assert len(consume.files()) == 12
    assert consume.poller._slots._value == 4  # what a semaphore has left


def test_an_unexpected_error_of_a_call_beside_keeps_no_place(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, the room it had is free again, and the queue is asked again."""
    receiver = consume.poller._receiver
    nothing: dict[str, Any] = {}
    monkeypatch.setattr(consume.queue, "receive", lambda *_values: nothing["nobody expected it"])
    assert receiver._take_slots(wait=True) == 4
    receiver._receive_more(4)
    assert consume.poller._slots._value == 4  # what a semaphore has left


def test_what_is_given_back_is_never_published(consume: Consume) -> None:
    """Its message may be another's by the time the batch is written that its file waited for."""
    drop = consume.announce("a.csv", b"content")
    (message,) = consume.queue.receive(1, 0)
    held = consume.poller._hand.take(message)
    arrival = consume.landing.open_arrival()
    os.pwrite(arrival.fd, b"content", 0)
    arrival.drop_id, arrival.path, arrival.checksum = f"{drop.id}/in/a.csv", "a.csv", drop.crc64nvme
    consume.poller._hand.give_back(held, 0)
    with pytest.raises(ReceiptError):
        consume.poller._publisher.submit((held, arrival)).result(DEADLINE)
    consume.landing.discard(arrival)
    assert (consume.files(), consume.incoming()) == ({}, [])


def test_what_a_stop_cut_short_gets_no_name(tmp_path: Path) -> None:
    """It came right after the time for that was over: its message goes back, and it arrives where that goes."""
    consume = Consume(tmp_path)
    consume.announce("a.csv", b"content")
    hook(consume, "download", lambda _key: consume.poller._cancelled.set())
    consume.poller.step(0, 0.0)
    consume.poller.close(0)
    assert (consume.files(), consume.incoming()) == ({}, [])
    assert consume.queue.bodies() == ["in/a.csv"]


def test_a_stop_gives_messages_back_at_once(consume: Consume) -> None:
    """What cannot end in time is cancelled, shown to others without delay, and arrives there."""
    for number in range(6):
        consume.announce(f"f{number}", b"x")
    started = threading.Semaphore(0)

    def hang(_key: str) -> None:
        started.release()
        assert consume.poller._cancelled.wait(DEADLINE)

    hook(consume, "download", hang)
    consume.poller.step(0, 0.0)
    for _ in range(4):
        assert started.acquire(timeout=DEADLINE)
    consume.poller.close(0.01)
    assert consume.files() == {}
    assert consume.queue.visible() == 6
    assert consume.incoming() == []
    consume.store.before.clear()
    consume.poller = consume.new_poller()
    consume.drain()
    assert len(consume.files()) == 6


def test_a_stop_during_a_pause_gives_messages_back(consume: Consume) -> None:
    """The gate is shut and the program stops: no waiting, nothing deleted, all visible again."""
    consume.announce("a.csv", b"content")
    consume.poller.gate = Gate(base=3600, cap=3600)
    consume.store.trouble.queued["download"].append(PausedError("no credentials"))
    consume.poller.step(0, 0.0)
    until(lambda: consume.poller.gate.remaining() > 0)
    consume.poller.close(5)
    assert consume.queue.visible() == 1
    assert consume.files() == {}


def test_never_more_messages_than_free_workers(consume: Consume) -> None:
    """C17. What is received is worked on at once; the rest stays visible to other consumers."""
    for number in range(9):
        consume.announce(f"f{number}", b"x")
    go = threading.Event()
    hook(consume, "download", lambda _key: wait_for(go))
    assert consume.poller.step(0, 0.0) == 4
    assert consume.queue.visible() == 5
    go.set()
    consume.drain()
    assert len(consume.files()) == 9


def test_the_waits_of_a_turn_can_be_cut(consume: Consume) -> None:
    """Only the waiting is inside `waiting`; what is received is handled outside, where no signal cuts."""
    inside: list[bool] = []
    armed = [False]

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:
        armed[0] = True
        yield
        armed[0] = False

    consume.poller._waiting = waiting
    original = consume.poller._hand.take

    def take(message: Any) -> Any:
        inside.append(armed[0])
        return original(message)

    consume.poller._hand.take = take  # type: ignore[method-assign]
    consume.announce("a.csv", b"content")
    consume.drain()
    assert inside == [False]


def test_what_was_lost_in_a_pause_is_given_up(consume: Consume) -> None:
    """The side waited longer than SQS holds a message: it is another's by now, and nothing is fetched for it."""
    consume.announce("a.csv", b"content")

    def lose(_key: str) -> None:
        del consume.store.before["download"]
        for held in consume.poller._hand._held.values():
            held.deadline = 0.0
        raise PausedError("no credentials")

    hook(consume, "download", lose)
    consume.receive()
    assert consume.journal.of("download") == ["in/a.csv"]
    assert consume.queue.bodies() == ["in/a.csv"]
    assert consume.files() == {}


def test_a_stop_gives_a_stalled_download_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C10. One that no cancelling ends: its message goes to the next taker, and it is never published when it ends."""
    monkeypatch.setattr(poller, "_CANCEL_SECONDS", 0.01)
    consume = Consume(tmp_path)
    consume.announce("a.csv", b"content")
    stalled: Future[StoredObject] = Future()
    monkeypatch.setattr(consume.store, "begin_download", lambda *_values, **_more: stalled)
    consume.poller.step(0, 0.0)
    closing = threading.Thread(target=consume.poller.close, args=(0.01,), daemon=True)
    closing.start()
    until(lambda: consume.queue.visible() == 1)
    stalled.set_exception(CancelledError("stopped"))
    closing.join(DEADLINE)
    assert not closing.is_alive()
    assert consume.files() == {}
    assert consume.incoming() == []
