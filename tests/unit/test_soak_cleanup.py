"""The cleanup of a soak test: what it made goes, what it did not make stays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app_properties import Settings
from pipeline.locks import lock_side
from pipeline.notice import Event, Notice, encode
from pipeline.ports import EXIT_RUNNING, LaterError, PausedError, ReceiptError, Received, StartupError, StoredObject
from pipeline.soak import cleanup
from pipeline.soak.cleanup import Left
from pipeline.soak.options import ALL
from pipeline.soak.run import METADATA, NOTE, note, root, settings_for
from tests.fakes import FakeQueue, FakeStore
from tests.soak import run_at, settings_at
from tests.unit.places import tree, write
from tests.unit.test_notice import body as event_body
from tests.unit.test_notice import record

RUN, OTHER = "20260101-101500-ab12", "20260101-101501-ab13"
PREFIX = f"in/.relay-soak/{RUN}/"
EVENT = Event("eu-west-1", "2025-01-31T12:00:00.000Z")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_at(tmp_path)


@pytest.fixture(autouse=True)
def poll_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty queue in memory stays empty."""
    monkeypatch.setattr(cleanup, "_POLL_SECONDS", 0)


# ------------------------------------------------------------------ which runs


def keep_note(settings: Settings, run: str, text: str | None) -> None:
    folder = root(settings) / run
    folder.mkdir(parents=True)
    if text is not None:
        (folder / NOTE).write_text(text)


def test_every_run_that_left_something(settings: Settings) -> None:
    """In order, each as its own note says; whatever else lies there is none."""
    for run, text in ((OTHER, '{"in_place": true}'), (RUN, '{"in_place": false}'), ("notes", None)):
        keep_note(settings, run, text)
    assert cleanup.find(settings, ALL, in_place=False) == [Left(RUN, False), Left(OTHER, True)]


def test_nothing_was_left(settings: Settings) -> None:
    assert cleanup.find(settings, ALL, in_place=True) == []


@pytest.mark.parametrize("in_place", [False, True])
def test_a_note_counts_more_than_the_command_line(settings: Settings, in_place: bool) -> None:
    """It is the run's own; other runs are left alone."""
    keep_note(settings, RUN, json.dumps({"in_place": not in_place, "config": "x"}))
    keep_note(settings, OTHER, '{"in_place": true}')
    assert cleanup.find(settings, RUN, in_place=in_place) == [Left(RUN, not in_place)]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("text", ["unknown", None, "", "{", "[]", '"x"', "\0"])
def test_without_a_note_the_command_line_counts(settings: Settings, text: str | None, in_place: bool) -> None:
    """A run of another machine, and one whose note is damaged or was never written."""
    if text != "unknown":
        keep_note(settings, RUN, text)
    assert cleanup.find(settings, RUN, in_place=in_place) == [Left(RUN, in_place)]
    known = [] if text == "unknown" else [Left(RUN, False)]
    assert cleanup.find(settings, ALL, in_place=in_place) == known


def test_the_note_of_a_run_is_understood(tmp_path: Path, settings: Settings) -> None:
    """As the run itself writes it."""
    runs = [run_at(tmp_path, settings, in_place=in_place)[0] for in_place in (False, True)]
    for run in runs:
        note(run, settings)
    found = cleanup.find(settings, ALL, in_place=False)
    assert found == sorted((Left(run.id, run.options.in_place) for run in runs), key=lambda left: left.run)


def test_a_run_of_other_places_is_known_as_such(tmp_path: Path, settings: Settings) -> None:
    """With another bucket, queue or endpoint its objects would not be found, and then be forgotten."""
    run, _ = run_at(tmp_path, settings)
    note(run, replace(settings, aws_s3_bucket="another"))
    [left] = cleanup.find(settings, run.id, in_place=False)
    assert left.elsewhere == str(run.config.absolute())


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("folder", ["in", "a/b", ""])
def test_the_places_are_those_of_the_run(tmp_path: Path, folder: str, in_place: bool) -> None:
    """Folders, queue and prefix are found again from the properties file and the id alone."""
    settings = settings_at(tmp_path, folder)
    run, own = run_at(tmp_path, settings, in_place=in_place)
    left = Left(run.id, in_place)
    places = left.places(settings)
    assert (places.watch, places.downloaded, places.aws_sqs) == (own.watch, own.downloaded, own.aws_sqs)
    key = "/".join(part for part in (settings_for(run, settings).aws_s3_folder, run.path("x.bin")) if part)
    assert key == left.prefix(settings) + "x.bin"


@pytest.mark.parametrize(
    ("aws", "in_place", "needed"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"aws_endpoint_url": "http://127.0.0.1:9000"}, False, True),
        ({"aws_endpoint_url": ""}, False, True),
        ({"aws_endpoint_url_s3": "http://127.0.0.1:9000"}, False, True),
        ({"aws_endpoint_url_sqs": "http://127.0.0.1:9000"}, False, True),
    ],
)
def test_whether_anything_lies_elsewhere(tmp_path: Path, aws: dict[str, str], in_place: bool, needed: bool) -> None:
    """Only a run apart, on an embedded S3 and an embedded SQS, has everything in its own folder."""
    assert cleanup.needs_aws(Left(RUN, in_place), settings_at(tmp_path, **aws)) is needed


# ------------------------------------------------------------------ whether they still run


@pytest.fixture
def held() -> Iterator[list[int]]:
    """Locks to be released at the end."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("side", ["ingest", "consume"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_run_that_runs_is_not_removed(
    tmp_path: Path, settings: Settings, held: list[int], in_place: bool, side: str
) -> None:
    """Whichever of its sides does; others can be, meanwhile."""
    run, own = run_at(tmp_path, settings, in_place=in_place)
    own.own_folder.mkdir(parents=True)
    folders = {"ingest": (own.watch, own.queued), "consume": (own.downloaded,)}
    held += lock_side(side, folders[side], own.own_folder)
    with pytest.raises(StartupError, match="already running") as refused:
        cleanup.lock([Left(run.id, in_place)], settings)
    assert refused.value.code == EXIT_RUNNING
    other, _ = run_at(tmp_path, settings)
    held += cleanup.lock([Left(other.id, False)], settings)


def test_a_run_does_not_begin_while_it_is_removed(tmp_path: Path, settings: Settings, held: list[int]) -> None:
    """The locks are those of the relay."""
    run, own = run_at(tmp_path, settings)
    own.own_folder.mkdir(parents=True)
    held += cleanup.lock([Left(run.id, False)], settings)
    assert len(held) == 3
    for side, folder in (("ingest", own.watch), ("ingest", own.queued), ("consume", own.downloaded)):
        with pytest.raises(StartupError, match="already running"):
            lock_side(side, [folder], own.own_folder)


def test_runs_in_place_share_their_folders(tmp_path: Path, settings: Settings, held: list[int]) -> None:
    """Which are locked once, not once for each run; a folder that is gone needs no lock."""
    run, own = run_at(tmp_path, settings, in_place=True)
    held += cleanup.lock([Left(run.id, True), Left(RUN, True)], settings)
    assert len(held) == 3
    (own.downloaded / run.subfolder).rmdir()
    own.downloaded.rmdir()
    os.close(held.pop())
    held += cleanup.lock([Left(RUN, False)], settings)
    assert len(held) == 2


# ------------------------------------------------------------------ messages


def key(name: str, prefix: str = PREFIX) -> tuple[str, dict[str, str]]:
    return prefix + name, {"bucket": "relay", "format": "key", "path": name}


def event(name: str) -> tuple[str, dict[str, str]]:
    message = encode(Notice("relay", PREFIX + name, name, 1), "s3-event", EVENT)
    return message.body, {what: str(value) for what, value in message.attributes.items()}


OURS = {
    "a key": (PREFIX + "a", {}),
    "a key of the relay's": key("drop-000001.bin"),
    "an event of the relay's": event("drop-000002-Version-2.bin"),
    "an event of a bucket": (event_body(record(PREFIX + "a"), record(PREFIX + "b")), {}),
}
FOREIGN = {
    "another key": ("in/a", {}),
    "a run beside it": key("a", f"in/.relay-soak/{RUN}0/"),
    "another run": key("a", f"in/.relay-soak/{OTHER}/"),
    "the prefix alone": (PREFIX[:-1], {}),
    "another bucket": (PREFIX + "a", {"bucket": "other"}),
    "of several one": (event_body(record(PREFIX + "a"), record("in/b")), {}),
    "a test event": (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "relay"}), {}),
    "no announcement": (json.dumps({"hello": "world"}), {}),
}


def given_back(queue: FakeQueue, bodies: list[str]) -> bool:
    """Whether all can be received now, and were given back after the last was received."""
    entries = [what for what, _ in queue.journal.entries if what in ("received", "given back")]
    return (
        queue.visible() == len(bodies)
        and sorted(queue.bodies()) == sorted(bodies)
        and entries == sorted(entries, reverse=True)
    )


def test_only_messages_about_the_run_are_deleted() -> None:
    """In whatever form; what tells of anything besides, or of nothing, goes back at once."""
    queue = FakeQueue()
    for body, attributes in [*FOREIGN.values(), *OURS.values()]:
        queue.put(body, attributes)
    assert cleanup.remove_messages(queue, "relay", PREFIX, 0.0) == len(OURS)
    assert given_back(queue, [body for body, _ in FOREIGN.values()])


@pytest.mark.parametrize("count", [1, 9, 10, 11, 25])
def test_every_message_is_looked_at_once(count: int) -> None:
    """However many there are, ten at a time."""
    queue = FakeQueue()
    for number in range(count):
        queue.put(f"in/{number}")
        queue.put(f"{PREFIX}{number}")
    assert cleanup.remove_messages(queue, "relay", PREFIX, 0.0) == count
    assert given_back(queue, [f"in/{number}" for number in range(count)])
    assert len(queue.journal.of("received")) == 2 * count


def test_a_queue_that_seems_empty_is_asked_again() -> None:
    """SQS asks a part of its servers each time."""
    queue = FakeQueue()
    empty = iter([True, True, False, True, True, True])
    receive = queue.receive

    class Sampled(FakeQueue):
        def receive(self, limit: int, wait: int) -> list[Received]:
            return [] if next(empty) else receive(limit, wait)

    sampled = Sampled()
    sampled._messages = queue._messages
    queue.put(PREFIX + "a")
    assert cleanup.remove_messages(sampled, "relay", PREFIX, 0.0) == 1
    assert next(empty, None) is None


@pytest.mark.parametrize("operation", ["receive", "delete"])
def test_an_error_in_between_keeps_nothing_back(operation: str) -> None:
    """What others wait for goes back at once nevertheless, and the error is told."""
    queue = FakeQueue()
    for body in (PREFIX + "a", *(f"in/{number}" for number in range(12))):
        queue.put(body)
    denied = queue.trouble.queued[operation]
    if operation == "delete":
        denied.append(PausedError("denied"))
    else:
        queue.before["delete"] = lambda _body: denied.append(PausedError("denied"))
    with pytest.raises(PausedError, match="denied"):
        cleanup.remove_messages(queue, "relay", PREFIX, 0.0)
    assert queue.visible() == len(queue.bodies()) - (operation == "delete")
    assert {f"in/{number}" for number in range(12)} <= set(queue.bodies())


def test_what_cannot_be_hidden_keeps_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A batch that fails comes back when its time is over; in the end all are given back."""
    queue = FakeQueue()
    for number in range(25):
        queue.put(f"in/{number}")
    queue.trouble.queued["extend"].append(LaterError("slow down"))
    assert cleanup.remove_messages(queue, "relay", PREFIX, 0.0) == 0
    assert queue.visible() == 25
    assert "10 messages go back later: slow down" in caplog.text


def test_only_what_was_deleted_is_counted() -> None:
    """A message that somebody else has by now is not."""
    queue = FakeQueue()
    for name in "ab":
        queue.put(PREFIX + name)
    queue.refuse = lambda operation, body: ReceiptError("gone") if (operation, body[-1]) == ("delete", "a") else None
    assert cleanup.remove_messages(queue, "relay", PREFIX, 0.0) == 1


def test_a_long_queue_is_not_held_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at is hidden from others meanwhile."""
    monkeypatch.setattr(cleanup, "_MESSAGES", 20)
    queue = FakeQueue()
    for number in range(50):
        queue.put(f"in/{number}")
    cleanup.remove_messages(queue, "relay", PREFIX, 0.0)
    assert len(queue.journal.of("received")) == 20
    assert queue.visible() == 50


# ------------------------------------------------------------------ objects


def test_objects_below_the_prefix_are_removed() -> None:
    """All of them, and no others."""
    store = FakeStore()
    for name in (f"{PREFIX}a", f"{PREFIX}b/c", f"in/.relay-soak/{OTHER}/a", "in/a", PREFIX[:-1]):
        store.put(name, b"x", {METADATA: RUN})
    for name in (f"{PREFIX}.relay/probe", f"{PREFIX}somebody"):
        store.put(name, b"")
    assert cleanup.remove_objects(store, PREFIX, RUN, (f"{PREFIX}.relay/probe",)) == 3
    left = [f"in/.relay-soak/{OTHER}/a", "in/a", PREFIX[:-1], f"{PREFIX}somebody"]
    assert sorted(store.contents()) == sorted(left)


def test_in_place_only_what_carries_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever else stored something there gets to know that it stays."""
    caplog.set_level("INFO")
    store = FakeStore()
    store.put("in/x/a", b"x", {METADATA: RUN})
    store.put("in/x/b", b"x", {METADATA: OTHER})
    store.put("in/x/c", b"x")
    assert cleanup.remove_objects(store, "in/x/", RUN) == 1
    assert sorted(store.contents()) == ["in/x/b", "in/x/c"]
    assert "s3://relay/in/x/c" in caplog.text


def test_every_version_is_removed() -> None:
    """Where the bucket keeps them; of one that another program stored below ours, only ours."""
    store = FakeStore(versioned=True)
    store.put("in/x/a", b"a user's")
    for body in (b"1", b"2", b"2"):
        for name in ("in/x/a", "in/x/b"):
            store.put(name, body, {METADATA: RUN})
    assert cleanup.remove_objects(store, "in/x/", RUN) == 6
    assert store._versions.keys() == {"in/x/a"}


@pytest.mark.parametrize("versioned", [False, True])
def test_a_store_that_does_not_delete(versioned: bool) -> None:
    """Is told of, instead of asked for ever; each answer has a request id of its own, as those of real stores."""

    class Stubborn(FakeStore):
        def look(self, key: str, version_id: str | None = None) -> StoredObject | None:
            found = super().look(key)
            number = len(self.journal.of("look"))
            assert number < 5, "it is asked for ever"
            return found and replace(found, request_id=f"look-{number}")

        def delete(self, key: str, version_id: str | None = None) -> None:
            pass

    store = Stubborn(versioned=versioned)
    store.put(PREFIX + "a", b"x", {METADATA: RUN})
    with pytest.raises(LaterError, match=f"s3://relay/{PREFIX}a: the object is still there"):
        cleanup.remove_objects(store, PREFIX, RUN)


# ------------------------------------------------------------------ folders


def test_its_own_folder_goes(tmp_path: Path, settings: Settings) -> None:
    """With all that is in it; that of another run, and what lies beside it, stays."""
    (run, own), (other, others) = (run_at(tmp_path, settings) for _ in range(2))
    for places in (own, others):
        write(places.downloaded / "drop-000001.bin")
        write(places.own_folder / "embedded/x")
    write(tmp_path / "Watch/mine")
    assert cleanup.remove_folders(Left(run.id, False), settings) == []  # a folder without a note is nobody's
    for each in (run, other):
        note(each, settings)
    assert cleanup.remove_folders(Left(run.id, False), settings) == [run.root]
    assert not run.root.exists()
    assert tree(other.root).keys() == {"DownloadedFromS3/drop-000001.bin", ".relay/embedded/x", NOTE}
    assert (tmp_path / "Watch/mine").exists()
    assert cleanup.remove_folders(Left(other.id, False), settings) == [other.root]
    assert not root(settings).exists()
    assert cleanup.remove_folders(Left(other.id, False), settings) == []


IN_PLACE = ("watch", "queued", "uploaded", "failed", "downloaded")


def test_in_place_the_files_of_the_run_go(tmp_path: Path, settings: Settings) -> None:
    """From every folder, also those half written and the reasons in Failed; the folders that are gone are told."""
    run, own = run_at(tmp_path, settings, in_place=True)
    note(run, settings)
    folders = [getattr(own, name) / run.subfolder for name in IN_PLACE]
    for folder in folders:
        write(folder / "drop-000001-Version-12.bin")
    write(own.watch / run.subfolder / ".drop-000002.bin.tmp")
    reasons = own.failed / ".reason" / run.subfolder
    write(reasons / "drop-000001-Version-12.bin.json")
    write(own.failed / ".reason" / "drop-000001.bin.json")
    write(own.watch / "drop-000001.bin")
    assert cleanup.remove_folders(Left(run.id, True), settings) == [run.root, *folders, reasons]
    assert not any(folder.exists() for folder in (run.root, *folders, reasons))
    assert tree(own.watch) == {"drop-000001.bin": b"content"}
    assert tree(own.failed) == {".reason/drop-000001.bin.json": b"content"}


@pytest.mark.parametrize("name", ["mine.txt", "d/drop.bin", "drop-1.bin", "drop-000001.bin.bak", "drop-000001.txt"])
def test_in_place_a_users_file_stays(tmp_path: Path, settings: Settings, name: str) -> None:
    """With the folder it lies in; the log says so."""
    run, own = run_at(tmp_path, settings, in_place=True)
    folder = own.downloaded / run.subfolder
    write(folder / name)
    write(folder / "drop-000001.bin")
    gone = cleanup.remove_folders(Left(run.id, True), settings)
    assert tree(own.downloaded) == {f"{run.subfolder}/{name}": b"content"}
    assert folder not in gone
    assert own.watch / run.subfolder in gone


@pytest.mark.parametrize("place", ["", "sub", "drop-000001.bin"])
def test_no_link_is_followed(tmp_path: Path, settings: Settings, place: str) -> None:
    """Neither one in the folder, nor one that stands for it: what it leads to is somebody's."""
    run, own = run_at(tmp_path, settings, in_place=True)
    elsewhere = write(tmp_path / "elsewhere/drop-000001.bin").parent
    folder = own.watch / run.subfolder
    if not place:
        folder.rmdir()
    (folder / place).symlink_to(elsewhere / place if "." in place else elsewhere)
    cleanup.remove_folders(Left(run.id, True), settings)
    assert tree(elsewhere) == {"drop-000001.bin": b"content"}
