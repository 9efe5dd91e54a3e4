"""Objects of other programs, keys outside of the folder, flat names, and events that bring no file."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import poller
from pipeline.aws.checksum import crc64nvme_of
from pipeline.drop import CHECKSUM, DROP_ID, MTIME, PATH
from pipeline.names import RESERVED, SOAK, STORE_PROBE
from pipeline.ports import StoredObject
from pipeline.shapes import TEST_EVENT
from tests.unit.test_notice import body, eventbridge, record, sns
from tests.unit.test_poller import Consume, quick_retries

__all__ = ["quick_retries"]  # a fixture

JANUARY = 1_577_836_800
"""2020-01-01, in seconds since the epoch."""
RUN = f"{SOAK}/20260101-101500-ab12"

Make = Callable[..., Consume]


@pytest.fixture(params=["by itself", "in a thread"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a message about one small file, and that of all others."""
    if request.param == "in a thread":
        monkeypatch.setattr(poller, "_SMALL", -1)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A consume side."""
    sides: list[Consume] = []

    def made(folder: str = "in", **rules: Any) -> Consume:
        sides.append(Consume(tmp_path, folder=folder, **rules))
        return sides[0]

    yield made
    for side in sides:
        side.poller.close(5)


@pytest.fixture
def consume(make: Make) -> Consume:
    return make()


def event_of(stored: StoredObject, **changes: Any) -> str:
    """What another program, or the bucket, says of an object: no attribute of ours."""
    entity = {"key": stored.key, "size": stored.size, "eTag": stored.etag, "versionId": stored.version_id or ""}
    return body(record(s3={"bucket": {"name": "relay"}, "object": {**entity, **changes}}))


# Objects that are replaced


@pytest.mark.usefixtures("both_ways")
def test_a_foreign_object_that_was_replaced_arrives_as_it_is(consume: Consume) -> None:
    """Its first event is late: what is there now is delivered, once, and the second event brings nothing."""
    first = consume.store.put("in/a", b"first")
    second = consume.store.put("in/a", b"the second")
    for stored in (first, second, first):
        consume.queue.put(event_of(stored))
        consume.drain()
        assert consume.files() == {"a": b"the second"}
    assert consume.queue.buried == []
    assert consume.incoming() == []


@pytest.mark.usefixtures("both_ways")
def test_a_foreign_object_that_arrives_short_is_not_published(consume: Consume) -> None:
    """It has no checksum of ours: its size is what is known, and half of it is no file."""
    consume.store.damage = lambda _key, body: body[:3]
    consume.queue.put(event_of(consume.store.put("in/a", b"content")))
    consume.receive()
    assert consume.files() == {}
    consume.store.damage = lambda _key, body: body
    consume.drain()
    assert consume.files() == {"a": b"content"}


def test_each_content_of_a_foreign_object_arrives(consume: Consume) -> None:
    """One that is fetched before it is replaced is a file, and so is the next."""
    for content in (b"one", b"two!"):
        consume.queue.put(event_of(consume.store.put("in/a", content)))
        consume.drain()
    assert consume.files() == {"a": b"one", "a-Version-2": b"two!"}


@pytest.mark.usefixtures("both_ways")
def test_a_version_that_the_ledger_knows_is_not_fetched_again(consume: Consume) -> None:
    """A duplicate of an event of another program costs no request."""
    consume.store.versioned = True
    text = event_of(consume.store.put("in/a", b"content"))
    for _ in range(3):
        consume.queue.put(text)
        consume.drain()
    assert consume.files() == {"a": b"content"}
    assert len(consume.journal.of("download")) == 1


def test_the_same_content_put_again_is_a_file_of_its_own(consume: Consume) -> None:
    """Its ETag is that of the one before, and it was stored later; a duplicate of its event brings nothing."""
    for _ in range(2):
        text = event_of(consume.store.put("in/a", b"OK"))
        for _ in range(2):
            consume.queue.put(text)
            consume.drain()
    assert consume.files() == {"a": b"OK", "a-Version-2": b"OK"}
    assert consume.queue.buried == []


def test_versions_that_are_no_version(consume: Consume) -> None:
    """A bucket that keeps none any more calls every content "null": each is one of its own."""
    for content in (b"one", b"two"):
        stored = consume.store.put("in/a", content)
        null = StoredObject(stored.key, stored.size, stored.etag, "null", stored.metadata)
        consume.store._versions["in/a"][-1] = type(consume.store._versions["in/a"][-1])(content, null)
        consume.queue.put(event_of(null))
        consume.drain()
    assert consume.files() == {"a": b"one", "a-Version-2": b"two"}


def test_versions_of_a_foreign_object_are_each_fetched(make: Make) -> None:
    """Two records of one message, two versions: both arrive, though the second is the object by now."""
    consume = make()
    consume.store.versioned = True
    one, two = consume.store.put("in/a", b"one"), consume.store.put("in/a", b"two")
    records = [json.loads(event_of(stored, sequencer=text))["Records"][0] for stored, text in [(one, "1"), (two, "2")]]
    consume.queue.put(body(*records))
    consume.drain()
    assert consume.files() == {"a": b"one", "a-Version-2": b"two"}


def test_of_several_records_of_one_object_the_latest_is_fetched(consume: Consume) -> None:
    """One request, whatever the order of the records."""
    stored = consume.store.put("in/a", b"content")
    sizes = {"01": 1, "03": 7, "02": 2}
    records = [json.loads(event_of(stored, sequencer=text, size=size))["Records"][0] for text, size in sizes.items()]
    consume.queue.put(body(*records))
    consume.drain()
    assert consume.files() == {"a": b"content"}
    assert len(consume.journal.of("download")) == 1
    assert consume.queue.buried == []


@pytest.mark.usefixtures("both_ways")
def test_a_size_that_contradicts_is_refused_where_it_speaks_of_this_object(consume: Consume) -> None:
    """By our attributes, whatever is there now, or by its very ETag."""
    stored = consume.store.put("in/a", b"content")
    consume.queue.put(event_of(stored, size=8))
    consume.receive()
    consume.announce("b", b"content", said={"size": "8", "etag": "of another time"})
    consume.receive()
    consume.announce("c", b"content")
    consume.store.put("in/c", b"of another program")
    consume.receive()
    assert consume.files() == {}
    assert consume.queue.bodies() == []
    assert ["differ" in reason for _, reason in consume.queue.buried] == [True] * 3


# Who decides the name


@pytest.mark.parametrize("ours", [False, True])
def test_a_message_never_decides_name_time_or_identity(consume: Consume, ours: bool) -> None:
    """Path and drop id of a message that are not the object's are refused; its time and ETag are not looked at."""
    own = {DROP_ID: "d" * 26, PATH: "true", MTIME: "2020-01-01T00:00:00Z", CHECKSUM: crc64nvme_of(b"content")}
    stored = consume.store.put("in/a", b"content", own if ours else {})
    lies = [{"path": "../x"}, {"path": "a/b"}, {"drop_id": "e" * 26}, {"crc64nvme": "BBBBBBBBBBA="}]
    for said in [*lies, *({**lie, "format": "s3-event"} for lie in lies)]:
        consume.queue.put(event_of(stored) if "format" in said else "in/a", said)
    consume.drain()
    assert consume.files() == {}
    assert len(consume.queue.buried) == 2 * len(lies)
    consume.queue.put("in/a", {"mtime": "1999-01-01T00:00:00Z", "etag": "another", "format": "key"})
    consume.drain()
    name = "true" if ours else "a"
    assert consume.files() == {name: b"content"}
    assert ((consume.top / name).stat().st_mtime == JANUARY) == ours


# folderLayout


@pytest.mark.usefixtures("both_ways")
def test_flat_leaves_folders_out(make: Make) -> None:
    """Every file by its last name; two of one name, equal or not, are versions."""
    consume = make(flat=True)
    for path, content in [("d/e/a.csv", b"1"), ("a.csv", b"2"), ("f/a.csv", b"2"), ("d/b", b"3")]:
        consume.announce(path, content)
        consume.drain()
    assert consume.files() == {"a.csv": b"1", "a-Version-2.csv": b"2", "a-Version-3.csv": b"2", "b": b"3"}
    assert sorted(path.name for path in consume.top.iterdir() if path.is_dir()) == [RESERVED]


def test_flat_names_that_are_the_programs_own(make: Make) -> None:
    """A file of that name arrives beside the ledger, not in its place."""
    consume = make(flat=True)
    for number, name in enumerate((RESERVED, SOAK)):
        consume.announce(f"d{number}/{name}", b"content")
    consume.drain()
    assert {path.name: path.read_bytes() for path in consume.top.iterdir() if path.is_file()} == {
        f"{RESERVED}-Version-2": b"content",
        f"{SOAK}-Version-2": b"content",
    }
    assert consume.queue.buried == []


def test_flat_paths_are_checked_whole(make: Make) -> None:
    """A harmless last name does not make a path harmless."""
    consume = make(flat=True)
    for path in ("../x", "/etc/x", ".relay/x", "a//x", "y" * 256 + "/x"):
        consume.announce(path, b"evil", key="in/innocent")
        consume.receive()
    assert consume.files() == {}
    assert len(consume.queue.buried) == 5


def test_a_flat_name_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what the file is called, where the key does not."""
    caplog.set_level(logging.INFO)
    consume = make(flat=True)
    for path in ("a", "d/b"):
        consume.announce(path, b"content")
    consume.drain()
    assert sorted(re.findall(r"received  (.*?)  ", caplog.text)) == ["in/a", "in/d/b → b"]


# acceptKeysOutsideFolder


def test_keys_outside_are_refused_unless_they_are_asked_for(make: Make) -> None:
    """As always: not even a request."""
    consume = make()
    consume.queue.put(event_of(consume.store.put("elsewhere/a", b"1")))
    consume.receive()
    assert len(consume.queue.buried) == 1
    assert consume.journal.of("download") == []


@pytest.mark.usefixtures("both_ways")
def test_keys_outside_are_called_as_they_are(make: Make) -> None:
    """The whole key is the path, whatever the object's metadata says; below the folder all is as ever."""
    consume = make(outside=True)
    ours = {DROP_ID: "d" * 26, PATH: "elsewhere"}
    consume.queue.put(event_of(consume.store.put("out/a b", b"1")))
    consume.queue.put(event_of(consume.store.put("inner/a", b"2", ours)))
    consume.queue.put("top")
    consume.store.put("top", b"3")
    consume.announce("d/a", b"4")
    consume.drain()
    assert consume.files() == {"out/a b": b"1", "inner/a": b"2", "top": b"3", "d/a": b"4"}
    assert consume.queue.buried == []


def test_another_relays_files_have_no_name_of_ours(make: Make) -> None:
    """Another folder of the bucket, its own message and metadata: the path is the whole key, and it arrives once."""
    consume = make(outside=True)
    drop = consume.announce("a", b"theirs", key="their/a")
    assert drop.path == "a"
    message, said = consume.queue.messages()[0]
    consume.announce("a", b"ours")
    consume.queue.put(message, said)
    consume.drain()
    assert consume.files() == {"their/a": b"theirs", "a": b"ours"}


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a//b", ".", "x/" + "y" * 256, ".relay/ledger.sqlite3", "in"])
def test_keys_outside_are_validated_as_every_path(make: Make, key: str) -> None:
    """Nothing is written elsewhere, and nothing of the program's."""
    consume = make(outside=True)
    consume.queue.put(event_of(consume.store.put(key, b"evil")))
    consume.receive()
    expected = {"in": b"evil"} if key == "in" else {}
    assert consume.files() == expected
    assert len(consume.queue.buried) == 1 - len(expected)
    assert sorted(item.name for item in consume.root.iterdir()) == ["DownloadedFromS3", "FailedMessages"]


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("outside", [False, True])
def test_the_programs_own_keys_bring_no_file(make: Make, outside: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Of soak tests and of the probe, below this folder and, where those are accepted, below those of others."""
    caplog.set_level(logging.INFO)
    consume = make(outside=outside)
    keys = [f"in/{STORE_PROBE}", f"in/{RUN}/drop-000001.bin"]
    if outside:
        keys += [f"other/{STORE_PROBE}", STORE_PROBE, f"other/{RUN}/x", f"{RUN}/x", f"a/b/{RUN}/c/d"]
    for key in keys:
        consume.queue.put(event_of(consume.store.put(key, b"x")))
    consume.drain()
    assert consume.files() == {}
    assert consume.queue.buried == []
    assert consume.journal.of("download") == []
    for key in keys:
        assert key in caplog.text


def test_a_path_may_hold_the_names_further_down(make: Make) -> None:
    """Below the folder only what a path begins with is the program's own."""
    consume = make(outside=True)
    for path in (f"d/{STORE_PROBE}", f"d/{RUN}/x"):
        consume.announce(path, b"content")
    consume.drain()
    assert consume.files().keys() == {f"d/{STORE_PROBE}", f"d/{RUN}/x"}


# Events that bring no file


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    start = "acknowledged, and no file comes of it: "
    return [text.removeprefix(start) for text in caplog.messages if text.startswith(start)]


def test_events_without_a_file_are_counted(consume: Consume, caplog: pytest.LogCaptureFixture) -> None:
    """Each line says which and how many so far; a message that failed is counted once it is acknowledged."""
    caplog.set_level(logging.INFO)
    removed = body(record(eventName="ObjectRemoved:Delete"))
    late = record(s3={"bucket": {"name": "relay"}, "object": {"key": "in/late", "size": 1}})
    missing = body(late, record(eventName="ObjectTagging:Put"))
    for text in (removed, sns(eventbridge("in/a", "Object Deleted")), missing):
        consume.queue.put(text)
        consume.receive()
    assert told(caplog) == ["ObjectRemoved:Delete (1 so far)", "Object Deleted (2 so far)"]
    consume.store.put("in/late", b"x")
    consume.drain()
    assert told(caplog)[2:] == ["ObjectTagging:Put (3 so far)"]
    assert consume.files() == {"late": b"x"}


def test_a_test_event_is_told_of_once(consume: Consume, caplog: pytest.LogCaptureFixture) -> None:
    """However often the bucket, or its topic, is told to notify; each is acknowledged."""
    caplog.set_level(logging.INFO)
    text = json.dumps({"Service": "Amazon S3", "Event": TEST_EVENT, "Bucket": "relay"})
    for shape in (text, sns(text), text):
        consume.queue.put(shape)
        consume.drain()
    assert told(caplog) == [f"{TEST_EVENT} (1 so far)"]
    consume.queue.put(body(record(eventName="ObjectRemoved:Delete")))
    consume.drain()
    assert told(caplog)[1:] == ["ObjectRemoved:Delete (4 so far)"]


def test_the_name_of_an_event_is_one_harmless_line(consume: Consume, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a message calls it, and however long."""
    caplog.set_level(logging.INFO)
    consume.queue.put(body(record(eventName="\x1b[31m\n" + "x" * 5000)))
    consume.drain()
    (line,) = told(caplog)
    assert line.isprintable()
    assert len(line) < 300
