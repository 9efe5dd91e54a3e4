"""What was never delivered, over a store, a queue, ledgers and a folder."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_properties import load
from pipeline.aws.checksum import crc64nvme, crc64nvme_of
from pipeline.drop import CHECKSUM, DROP_ID, PATH, delivery_id
from pipeline.ledger import DONE, DUE, Ledger, Row
from pipeline.ledgers import Ledgers, ReadLedger
from pipeline.names import encode_path
from pipeline.ports import LaterError, Listed, PausedError, RelayError
from pipeline.reconcile import Fate, Inbox, Reconciliation, Rules
from pipeline.roles.reconcile import rules_of
from pipeline.undelivered import Stored, look_at, message_of, send_all
from tests.fakes import FakeQueue, FakeStore

NOW = 1_700_000_000.0
RULES = Rules("in", since=NOW - 1000, until=NOW - 10)
OLDER = NOW - 100


def put(
    store: FakeStore, key: str, body: bytes = b"content", drop: str = "", modified: float = OLDER, path: str = ""
) -> str:
    """A drop's object, as the program stores it; what a ledger knows it by."""
    path = path or key.removeprefix("in/")
    drop = drop or f"drop-{key.rpartition('/')[2]}"
    metadata = {DROP_ID: drop, PATH: encode_path(path), CHECKSUM: crc64nvme_of(body)}
    store.put(key, body, metadata, modified=modified)
    return delivery_id(metadata[DROP_ID], key)


def reconcile(
    store: FakeStore, *, rules: Rules = RULES, ledgers: Ledgers | None = None, here: bool = False
) -> tuple[list[str], Reconciliation]:
    """Keys of what is missing."""
    found = Reconciliation(store, ledgers or Ledgers([]), lambda _stored: here, rules)
    return [stored.object.key for stored in found.missing()], found


def ledger(path: Path, *drops: str, name: str = "somewhere", begun: str = "") -> Ledgers:
    """A ledger with these drops delivered, and one begun."""
    written = Ledger(path, durable=False)
    written.begin([Row(drop, drop, name, "publishing") for drop in (*drops, begun) if drop])
    written.deliver(drops)
    written.close()
    return Ledgers([ReadLedger(path)])


def test_what_no_ledger_knows_is_missing(tmp_path: Path) -> None:
    """Each drop below the folder that is neither delivered, nor young, nor forgotten perhaps, nor foreign."""
    store = FakeStore()
    delivered = put(store, "in/delivered")
    begun = put(store, "in/begun")
    put(store, "in/a b/missing")
    put(store, "in/young", modified=NOW - 9)
    put(store, "in/old", modified=NOW - 1001)
    put(store, "in/.relay-soak/20260101-101500-ab12/x", path="x")
    put(store, "in/nobody-writes-this", path="../x")
    put(store, "elsewhere/x")
    store.put("in/foreign", b"1", modified=OLDER)
    keys, found = reconcile(store, ledgers=ledger(tmp_path / "ledger", delivered, begun=begun))
    assert sorted(keys) == ["in/a b/missing", "in/begun"]
    assert found.counts == {Fate.DELIVERED: 1, Fate.MISSING: 2, Fate.YOUNG: 1, Fate.OLD: 1, Fate.FOREIGN: 2}


def test_what_its_command_is_due_for_is_announced(tmp_path: Path) -> None:
    """Though its file lies there: only a message has the command run."""
    store, path = FakeStore(), tmp_path / "ledger"
    written = Ledger(path, durable=False)
    drop = put(store, "in/a")
    written.begin([Row(drop, "temp", "a", "publishing", DUE)])
    written.deliver([drop])
    keys, found = reconcile(store, ledgers=Ledgers([ReadLedger(path)]), here=True)
    assert (keys, found.counts) == (["in/a"], {Fate.DUE: 1})
    written.note_command(drop, DONE, 0)
    keys, found = reconcile(store, ledgers=Ledgers([ReadLedger(path)]), here=True)
    assert (keys, found.counts) == ([], {Fate.DELIVERED: 1})
    written.close()


def test_a_drop_is_known_by_its_id_and_its_key(tmp_path: Path) -> None:
    """Not by one of them: a copy of an object, and another object under a key that was delivered, are missing."""
    store, known = FakeStore(), ledger(tmp_path / "ledger", delivery_id("drop-a", "in/a"))
    put(store, "in/copy-of-a", drop="drop-a")
    put(store, "in/a", drop="another", modified=time.time() + 60)
    keys, _ = reconcile(store, ledgers=known, rules=RULES._replace(until=time.time() + 3600))
    assert sorted(keys) == ["in/a", "in/copy-of-a"]


def test_what_the_listing_tells_is_not_looked_at(tmp_path: Path) -> None:
    """Young, old, or a key that was delivered since; but where keys are overwritten each version is a drop."""
    store = FakeStore(versioned=True)
    known = ledger(tmp_path / "ledger", put(store, "in/a", drop="second"))
    put(store, "in/young", modified=NOW)
    put(store, "in/old", modified=0.0)
    assert reconcile(store, ledgers=known)[0] == []
    assert store.journal.of("look") == []
    assert reconcile(store, ledgers=known, rules=RULES._replace(versions=True))[0] == []
    assert store.journal.of("look") == ["in/a"]


def test_every_version_of_a_key_is_a_drop(tmp_path: Path) -> None:
    """Where files overwrite each other: the missing ones, the earliest first, each with its version."""
    store = FakeStore(versioned=True)
    drops = [put(store, "in/a", b"%d" % number, drop=f"drop-{number}") for number in range(4)]
    put(store, "in/deleted")
    store.delete("in/deleted")
    rules = RULES._replace(versions=True)
    found = Reconciliation(store, ledger(tmp_path / "ledger", drops[1], drops[3]), lambda _: False, rules)
    messages = [message_of(stored, "relay", "key", "eu-west-1") for stored in found.missing()]
    assert [(message.attributes["drop_id"], message.attributes["version_id"]) for message in messages] == [
        ("drop-0", "version-1"),
        ("drop-2", "version-3"),
    ]


def test_what_lies_in_the_folder_is_here() -> None:
    """It is counted, and not announced."""
    store = FakeStore()
    put(store, "in/a")
    keys, found = reconcile(store, here=True)
    assert (keys, found.counts) == ([], {Fate.HERE: 1})


def test_what_cannot_be_looked_at_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """One object's trouble is its own; that of the whole store ends it."""
    store = FakeStore()
    put(store, "in/a")
    put(store, "in/b")
    store.trouble.queued["look"].append(LaterError("503 of one"))
    keys, found = reconcile(store)
    assert len(keys) == 1
    assert found.counts == {Fate.UNSEEN: 1, Fate.MISSING: 1}
    assert "503 of one" in caplog.text
    store.trouble.queued["look"].append(PausedError("no credentials"))
    with pytest.raises(PausedError):
        reconcile(store)


def test_many_are_looked_at_together_and_none_far_ahead() -> None:
    """Sixteen at once, in the order of the listing, which is read no further than that needs."""
    store, together = FakeStore(), threading.Barrier(16)
    for number in range(320):
        put(store, f"in/{number:03}")

    def meet(_key: str) -> None:
        together.wait(10)

    def reading() -> Iterator[Listed]:
        for item in store.listed("in/"):
            read.append(item.key)
            yield item

    store.before["look"] = meet
    read: list[str] = []
    found = look_at(store, "in", reading())
    seen = [next(found)[0].key for _ in range(2)]
    assert len(read) < 100
    seen += [item.key for item, _ in found]
    assert seen == sorted(seen) == read


def is_held(tmp_path: Path, key: str, body: bytes, own: Ledgers | None = None, *, flat: bool = False) -> bool:
    store = FakeStore()
    put(store, key, body)
    [(_, stored)] = look_at(store, "in", store.listed("in/"))
    assert isinstance(stored, Stored)
    reader = ReadLedger(tmp_path / "ledger") if own else None
    inbox = Inbox(tmp_path / "DownloadedFromS3", reader, crc64nvme, flat=flat)
    try:
        return inbox.holds(stored)
    finally:
        inbox.close()


def test_a_file_is_held_with_its_content(tmp_path: Path) -> None:
    """Under its path, with its bytes; no link, folder or pipe, and nothing is made."""
    assert not is_held(tmp_path, "in/a", b"content")
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / "DownloadedFromS3"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_bytes(b"content")
    (folder / "link").symlink_to("sub/a")
    os.mkfifo(folder / "pipe")
    assert is_held(tmp_path, "in/sub/a", b"content")
    for key, body in (
        ("sub/a", b"CONTENT"),
        ("sub/a", b"content "),
        ("sub", b""),
        ("link", b"content"),
        ("pipe", b""),
        ("b", b""),
    ):
        assert not is_held(tmp_path, f"in/{key}", body), key


def test_a_flat_folder_holds_it_by_its_last_name(tmp_path: Path) -> None:
    """As it would be given it there."""
    folder = tmp_path / "DownloadedFromS3"
    folder.mkdir()
    (folder / "a").write_bytes(b"content")
    assert is_held(tmp_path, "in/sub/a", b"content", flat=True)
    assert not is_held(tmp_path, "in/sub/a", b"content")


def test_a_file_of_another_drop_is_not_held(tmp_path: Path) -> None:
    """Two drops may have the same path and the same content; only for a drop without a row is the file its own."""
    folder = tmp_path / "DownloadedFromS3"
    folder.mkdir()
    (folder / "a").write_bytes(b"content")
    own = ledger(tmp_path / "ledger", "another/in/2026/a", name="a")
    assert not is_held(tmp_path, "in/a", b"content", own)
    (tmp_path / "ledger").unlink()
    own = ledger(tmp_path / "ledger", begun=delivery_id("drop-a", "in/a"), name="a")
    assert is_held(tmp_path, "in/a", b"content", own)


def test_messages_are_sent_in_tens_with_names_of_their_own() -> None:
    """Each outcome beside its message; one that is refused keeps none of the others back."""
    store, queue = FakeStore(), FakeQueue()
    for number in range(23):
        put(store, f"in/{number:02}")
    refusal = LaterError("busy")
    queue.refuse = lambda _operation, body: refusal if body == "in/11" else None
    found = [stored for _, stored in look_at(store, "in", store.listed("in/")) if isinstance(stored, Stored)]
    messages = [message_of(stored, "relay", "key", "eu-west-1", f"again-{n}") for n, stored in enumerate(found)]
    outcomes: dict[str, RelayError | None] = {message.unique: outcome for message, outcome in send_all(queue, messages)}
    assert outcomes == {f"again-{number}": refusal if number == 11 else None for number in range(23)}
    assert queue.bodies() == [f"in/{number:02}" for number in range(23) if number != 11]


def test_nothing_stored_is_nothing_missing(caplog: pytest.LogCaptureFixture) -> None:
    """An empty prefix, and a bucket's root."""
    caplog.set_level(logging.DEBUG)
    assert reconcile(FakeStore())[0] == []
    store = FakeStore()
    put(store, "a")
    assert reconcile(store, rules=RULES._replace(folder=""))[0] == ["a"]


@pytest.mark.parametrize(("days", "since"), [(0, 0.0), (30, NOW - 30 * 86_400 + 3600)])
def test_what_a_ledger_may_have_forgotten_is_left_alone(tmp_path: Path, days: int, since: float) -> None:
    """And an hour more, as clocks differ; a ledger that never forgets lets everything be looked at."""
    text = f"[General]\nledgerDays={days}\nreconcileMinAge=60\nonNameConflict=overwrite\n"
    text += "[AWS]\naws_s3_bucket=relay\naws_s3_folder=in\naws_region=eu-west-1\naws_sqs=relay\n"
    path = tmp_path / "Application.properties"
    path.write_text(text)
    assert rules_of(load(path, None, tmp_path), NOW) == Rules("in", since, NOW - 60, versions=True)
