"""Under which key a queued file is stored, over a store and a queue in memory and real folders."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import pacing, uploader
from pipeline.ports import LaterError, PausedError
from pipeline.spool import Queued
from tests.unit.test_uploader import Ingest, until

By = Callable[[str], Ingest]
"""The fixture `by`: an ingest side whose keys follow a template."""


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is tested in test_pacing."""
    monkeypatch.setattr(pacing, "delay", lambda *_values: 0.0)


@pytest.fixture
def by(tmp_path: Path) -> Iterator[By]:
    """See By; each is closed after the test."""
    sides: list[Ingest] = []

    def make(template: str) -> Ingest:
        root = tmp_path / str(len(sides))
        root.mkdir()
        sides.append(Ingest(root, template=template))
        return sides[-1]

    yield make
    for side in sides:
        side.uploader.close(5)


def drop_of_march(side: Ingest, path: str, body: bytes, seconds: int = 1_772_859_599) -> str:
    claimed = side.drop(path, body)
    os.utime(side.root / "QueuedForUpload" / claimed, (seconds, seconds))
    return claimed


def said_paths(side: Ingest) -> dict[str, str]:
    """Key → path, as announced."""
    return {body: said["path"] for body, said in side.queue.messages()}


def test_keys_follow_the_template(by: By) -> None:
    """The object lies there, says its own path, and is archived under that."""
    side = by("{yyyy}/{mm}-{dd}T{hh}/{host}/{stem}-{drop_id}{suffix}")
    side.send(drop_of_march(side, "a b/r.tar.gz", b"1"), drop_of_march(side, "\udcff", b"2"))
    found = {said["path"]: (key, said["drop_id"]) for key, said in side.queue.messages()}
    (key, drop_id), (odd, odd_id) = found["a%20b/r.tar.gz"], found["%FF"]
    assert key == f"in/2026/03-07T04/here/r.tar-{drop_id}.gz"
    assert odd == f"in/2026/03-07T04/here/%FF-{odd_id}"
    assert side.store.contents() == {key: b"1", odd: b"2"}
    objects = [side.store.look(each) for each in (key, odd)]
    assert [each and each.metadata["path"] for each in objects] == ["a%20b/r.tar.gz", "%FF"]
    assert side.files("UploadedToS3") == {"a b/r.tar.gz": b"1", "\udcff": b"2"}


def test_two_paths_with_one_key(by: By) -> None:
    """The later ones are renamed until their keys are free, found by one listing; each stays in its folder."""
    side = by("{yyyy}/{name}")
    for number in range(1, 5):
        side.send(drop_of_march(side, f"d{number}/a.csv", b"%d" % number))
    assert side.store.contents() == {
        "in/2026/a.csv": b"1",
        "in/2026/a-Version-2.csv": b"2",
        "in/2026/a-Version-3.csv": b"3",
        "in/2026/a-Version-4.csv": b"4",
    }
    assert side.files("UploadedToS3") == {
        "d1/a.csv": b"1",
        "d2/a-Version-2.csv": b"2",
        "d3/a-Version-3.csv": b"3",
        "d4/a-Version-4.csv": b"4",
    }
    assert said_paths(side)["in/2026/a-Version-4.csv"] == "d4/a-Version-4.csv"
    assert len(side.journal.of("upload")) == 4 + 3  # each of the later ones tries its own name, and then the free one
    assert side.journal.of("keys") == ["in/2026/a-Version-"] * 3  # each listed once


def test_only_the_keys_of_its_versions_count(by: By) -> None:
    """Of what is listed: not what has more behind it, another ending, or another number the second time."""
    side = by("{stem}7/{stem}{suffix}")
    theirs = {
        "in/a7/a.csv": b"the key itself",
        "in/a-Version-57/a-Version-5.csv": b"version 5",
        "in/a-Version-87/a-Version-9.csv": b"none",
        "in/a-Version-77/a-Version-7.txt": b"none",
        "in/a-Version-67/a-Version-6.csv.gz": b"none",
        "in/a-Version-97/a-Version-9xcsv": b"none",
        "in/a-Version-9": b"none",
    }
    for key, body in theirs.items():
        side.store.put(key, body)
    side.send(side.drop("d/a.csv", b"ours"))
    assert side.store.contents() == {**theirs, "in/a-Version-67/a-Version-6.csv": b"ours"}
    assert side.files("UploadedToS3") == {"d/a-Version-6.csv": b"ours"}


def test_two_paths_with_one_key_at_once(by: By) -> None:
    """Ten of them under way together: ten objects, none replaced."""
    side = by("{name}")
    contents = {f"d{number}/a.csv": b"%d" % number for number in range(10)}
    side.send(*(side.drop(path, body) for path, body in contents.items()))
    assert sorted(side.store.contents().values()) == sorted(contents.values())
    assert sorted(side.files("UploadedToS3").values()) == sorted(contents.values())
    for key, path in said_paths(side).items():
        assert side.store.body(key) == contents[f"{path.partition('/')[0]}/a.csv"]


def test_two_paths_with_one_key_that_is_overwritten(tmp_path: Path) -> None:
    """They are two versions of one object; each is announced with its own path, and archived under it."""
    side = Ingest(tmp_path, on_conflict="overwrite", template="{name}")
    side.store.versioned = side.spool.keeps_names = True
    for folder in ("d1", "d2"):
        side.send(side.drop(f"{folder}/a.csv", folder.encode()))
    assert side.store.contents() == {"in/a.csv": b"d2"}
    said = [(said["path"], said["version_id"]) for _, said in side.queue.messages()]
    assert [path for path, _ in said] == ["d1/a.csv", "d2/a.csv"]
    assert len({version for _, version in said}) == 2
    assert side.files("UploadedToS3") == {"d1/a.csv": b"d1", "d2/a.csv": b"d2"}
    side.uploader.close(5)


def test_an_earlier_try_under_a_template_is_recognised(by: By) -> None:
    """A restart between PUT and announcement comes to the same key, with the drop's id in it or without."""
    for template in ("{yyyy}/{name}", "{drop_id}"):
        side = by(template)
        path = side.drop("d/a.csv", b"content")
        side.queue.trouble.queued["send"].append(PausedError("killed here"))
        side.uploader.step_alone(path)
        side.uploader.close(0)
        side.uploader = side.new_uploader()
        side.send(path)
        assert len(side.journal.of("stored")) == 1
        assert side.queue.bodies() == list(side.store.contents())


def test_another_object_under_a_drops_id(by: By) -> None:
    """Whoever put it there: it stays, and the file goes on as another drop, without a listing."""
    side = by("{drop_id}")
    taken: list[str] = []

    def take(key: str) -> None:
        if not taken:
            taken.append(key)
            side.store.put(key, b"theirs")

    side.store.before["upload"] = take
    side.send(side.drop("d/a.csv", b"ours"))
    assert side.store.body(taken[0]) == b"theirs"
    assert side.files("UploadedToS3") == {"d/a-Version-2.csv": b"ours"}
    assert [side.store.body(key) for key in side.queue.bodies()] == [b"ours"]
    assert side.journal.of("keys") == []


@pytest.mark.parametrize("small", [True, False])
def test_a_file_that_gets_another_key_during_its_upload(by: By, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    """The new content is a new object under its own key; the old one stays, and nobody is told of it."""
    monkeypatch.setattr(uploader, "_SMALL", 1000 if small else -1)
    side = by("{yyyy}/{name}")
    path = drop_of_march(side, "a.csv", b"first")
    change_later(side, path, (1_800_000_000, b"in January 2027"), (1_830_000_000, b"in December 2027"))
    side.send(path)
    assert side.store.contents() == {"in/2026/a.csv": b"first", "in/2027/a.csv": b"in December 2027"}
    assert side.queue.bodies() == ["in/2027/a.csv"]
    assert side.files("UploadedToS3") == {"a.csv": b"in December 2027"}


def test_a_file_that_gets_a_key_that_is_taken(by: By) -> None:
    """While it was uploaded its date changed: the object under its new key stays, even if it equals the stale one."""
    side = by("{yyyy}/{name}")
    side.store.put("in/2027/a.csv", b"first")
    path = drop_of_march(side, "a.csv", b"first")
    change_later(side, path, (1_800_000_000, b"second"))
    side.send(path)
    assert side.store.contents() == {
        "in/2026/a.csv": b"first",
        "in/2027/a.csv": b"first",
        "in/2027/a-Version-2.csv": b"second",
    }
    assert side.queue.bodies() == ["in/2027/a-Version-2.csv"]


@pytest.fixture(params=["by itself", "in a thread"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that a file can go: that of small ones, and that of large ones."""
    if request.param == "in a thread":
        monkeypatch.setattr(uploader, "_SMALL", -1)


def refuse_replacing(side: Ingest, path: str, *, then: Callable[[Path], object] = bool) -> None:
    """The file changes while it is first uploaded; `then` has it before its second PUT, which the store refuses."""
    file = side.root / "QueuedForUpload" / path

    def refuse(_key: str) -> None:
        if len(side.journal.of("upload")) == 2:
            then(file)
            raise LaterError("503 Slow Down")

    change_later(side, path, (1_800_000_000, b"the last"))
    side.store.before["upload"] = refuse


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("on_conflict", ["version", "fail"])
def test_what_is_stale_is_replaced_by_a_later_try(tmp_path: Path, on_conflict: str) -> None:
    """D8. The store refuses the replacing PUT: what it holds is still the file's own, and no other object."""
    side = Ingest(tmp_path, on_conflict=on_conflict)
    path = side.drop("a.csv", b"first")
    refuse_replacing(side, path)
    side.send(path)
    assert side.store.contents() == {"in/a.csv": b"the last"}
    assert side.queue.bodies() == ["in/a.csv"]
    assert side.files("UploadedToS3") == {"a.csv": b"the last"}
    assert len(side.journal.of("upload")) == 3
    assert side.uploader._storing._stale == {}
    side.uploader.close(5)


@pytest.mark.usefixtures("way")
def test_what_is_stale_and_gone_is_not_waited_for(by: By) -> None:
    """Somebody removed it before it could be replaced: the file is stored afresh."""
    side = by("{path}")
    path = side.drop("a.csv", b"first")
    refuse_replacing(side, path, then=lambda _file: side.store.remove("in/a.csv"))
    side.send(path)
    assert side.store.contents() == {"in/a.csv": b"the last"}
    assert side.files("UploadedToS3") == {"a.csv": b"the last"}


@pytest.mark.usefixtures("way")
def test_what_is_stale_is_forgotten_with_its_file(by: By) -> None:
    """A person takes the file away between two tries: nothing is kept of it."""
    side = by("{path}")
    path = side.drop("a.csv", b"first")
    refuse_replacing(side, path, then=Path.unlink)
    side.send(path)
    assert side.journal.of("upload") == ["in/a.csv"] * 2
    assert side.uploader._storing._stale == {}


@pytest.mark.usefixtures("way")
def test_what_is_stale_is_forgotten_once_another_object_has_its_key(by: By) -> None:
    """Another program's object replaced it: that one stays, and the file has its next version."""
    side = by("{path}")
    path = side.drop("a.csv", b"first")
    refuse_replacing(side, path, then=lambda _file: side.store.put("in/a.csv", b"theirs"))
    side.send(path)
    assert side.store.contents() == {"in/a.csv": b"theirs", "in/a-Version-2.csv": b"the last"}
    assert side.uploader._storing._stale == {}


@pytest.mark.usefixtures("way")
def test_what_is_stale_is_not_replaced_by_another_file(by: By) -> None:
    """Another file has its path between two tries: it is a drop of its own, beside what is there."""
    side = by("{path}")
    path = side.drop("a.csv", b"first")

    def exchange(file: Path) -> None:
        file.rename(side.root / "taken away")
        file.write_bytes(b"another")

    refuse_replacing(side, path, then=exchange)
    side.send(path)
    assert side.store.contents() == {"in/a.csv": b"first", "in/a-Version-2.csv": b"another"}
    assert side.uploader._storing._stale == {}


@pytest.mark.usefixtures("way")
def test_what_replaced_the_stale_one_and_was_told_of_is_never_replaced(by: By) -> None:
    """It equals the stale one, of which only the time changed; what is written after its message is a new drop."""
    side = by("{path}")
    path = side.drop("a.csv", b"first")
    change_later(side, path, (1_800_000_000, b"first"))

    def write_on(body: str) -> None:
        if body == "in/a.csv":
            (side.root / "QueuedForUpload" / path).write_bytes(b"second")

    side.queue.before["accept"] = write_on
    side.send(path)
    assert side.store.contents() == {"in/a.csv": b"first", "in/a-Version-2.csv": b"second"}
    assert side.queue.bodies() == ["in/a.csv", "in/a-Version-2.csv"]


@pytest.mark.usefixtures("way")
def test_what_an_earlier_try_may_have_told_of_is_never_replaced(by: By) -> None:
    """The queue took the message and the answer was lost; the file changes during the next try: it goes beside."""
    side = by("{path}")
    path = side.drop("a.csv", b"first")
    side.queue.trouble.lost_answers["send"].append(LaterError("no answer"))

    def write_on(_key: str) -> None:
        side.store.after.pop("look")
        (side.root / "QueuedForUpload" / path).write_bytes(b"second")

    side.store.after["look"] = write_on
    side.send(path)
    assert side.store.contents() == {"in/a.csv": b"first", "in/a-Version-2.csv": b"second"}
    assert side.queue.bodies() == ["in/a.csv", "in/a-Version-2.csv"]


@pytest.mark.usefixtures("way")
def test_a_file_that_never_rests_is_tried_with_pauses(by: By) -> None:
    """D8. Touched during each of its uploads: twice at first, then once each time; the growing pauses lie between."""
    side = by("{drop_id}")
    path = side.drop("a.csv", b"content")
    file = side.root / "QueuedForUpload" / path

    def touch(_key: str) -> None:
        if len(side.journal.of("stored")) <= 6:
            os.utime(file, (1_800_000_000, 1_800_000_000 + len(side.journal.of("stored"))))

    side.store.after["upload"] = touch
    side.send(path)
    assert len(side.journal.of("stored")) == 7
    assert side.reports.count(("begin", path)) == 6
    assert len(side.queue.bodies()) == 1
    assert side.files("UploadedToS3") == {"a.csv": b"content"}


@pytest.mark.usefixtures("way")
def test_a_writer_that_comes_during_the_upload_holds_no_thread(by: By) -> None:
    """D7. The work ends while the file is open, and goes on from the stale object once it is closed."""
    side = by("{path}")
    path = side.drop("a.csv", b"half")
    with contextlib.ExitStack() as writers:

        def write_on(_key: str) -> None:
            if len(side.journal.of("stored")) == 1:
                writer = (side.root / "QueuedForUpload" / path).open("ab", buffering=0)
                writers.enter_context(writer).write(b" and half")

        side.store.after["upload"] = write_on
        side.uploader.step(lambda _seconds: (path,), 0.0)
        until(lambda: ("end", path) in side.reports)
        assert side.store.contents() == {"in/a.csv": b"half"}
    side.finish()
    assert side.store.contents() == {"in/a.csv": b"half and half"}
    assert side.queue.bodies() == ["in/a.csv"]


@pytest.mark.usefixtures("way")
def test_a_key_that_is_free_again_makes_no_failure(tmp_path: Path) -> None:
    """onNameConflict=fail, and the other object is removed before it is looked at: nothing is in the way."""
    side = Ingest(tmp_path, on_conflict="fail")
    side.store.put("in/a.csv", b"theirs")
    side.store.before["look"] = side.store.remove
    side.send(side.drop("a.csv", b"ours"))
    assert side.store.contents() == {"in/a.csv": b"ours"}
    assert side.files("Failed") == {}
    side.uploader.close(5)


@pytest.mark.usefixtures("way")
def test_a_key_that_cannot_be_seen_is_tried_again_with_pauses(tmp_path: Path) -> None:
    """onNameConflict=overwrite, and a store that hides for a while what it holds: it is replaced once it is seen."""
    side = Ingest(tmp_path, on_conflict="overwrite")
    side.store.versioned = side.spool.keeps_names = True
    side.send(side.drop("a.csv", b"first"))
    hidden = iter(range(4))
    look = side.store.look
    side.store.look = lambda key, version_id=None: None if next(hidden, None) is not None else look(key)  # type: ignore[method-assign]
    path = side.drop("a.csv", b"second")
    side.reports.clear()
    side.send(path)
    assert side.store.contents() == {"in/a.csv": b"second"}
    assert side.reports.count(("begin", path)) == 3
    side.uploader.close(5)


def change_later(side: Ingest, path: str, *changes: tuple[int, bytes]) -> None:
    """Write to a queued file, and set its time, each time that it was uploaded."""
    left = list(changes)

    def change(_key: str) -> None:
        if left:
            seconds, body = left.pop(0)
            file = side.root / "QueuedForUpload" / path
            file.write_bytes(body)
            os.utime(file, (seconds, seconds))

    side.store.after["upload"] = change


def test_a_time_that_no_key_can_hold_goes_to_failed(by: By, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the year 10000 is no crash and no retry loop; where the key needs no date it goes its way."""
    seen = Queued.fingerprint
    far = 253_402_300_800_000_000_000
    monkeypatch.setattr(Queued, "fingerprint", lambda queued: seen(queued)._replace(mtime_ns=far))
    dated, undated = by("{yyyy}/{path}"), by("{host}/{path}")
    for side in (dated, undated):
        side.send(side.drop("d/a.csv", b"content"))
    failed = dated.files("Failed")
    assert failed.pop("d/a.csv") == b"content"
    assert "years 1 and 9999" in json.loads(failed.pop(".reason/d/a.csv.json"))["reason"]
    assert dated.journal.entries == []
    assert undated.store.contents() == {"in/here/d/a.csv": b"content"}


def test_a_path_that_no_object_can_carry_goes_to_failed(by: By) -> None:
    """However short its key is: it could not arrive under its path. The longest that can does."""
    side = by("{drop_id}")
    folders = "/".join(["x" * 250] * 4)
    side.send(side.drop(f"{folders}/{'y' * 59}", b"bad"), side.drop(f"{folders}/{'y' * 58}", b"good"))
    failed = side.files("Failed")
    assert failed.pop(f"{folders}/{'y' * 59}") == b"bad"
    assert "1063 bytes and an object can carry 1062" in json.loads(failed.popitem()[1])["reason"]
    assert list(said_paths(side).values()) == [f"{folders}/{'y' * 58}"]
    assert list(side.store.contents().values()) == [b"good"]


@pytest.mark.parametrize(
    "body",
    [
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"PK\x05\x06" + bytes(18),
        b"\x7fELF\x02\x01\x01" + bytes(9),
        b"MZ\x90\x00",
        b"#!/bin/sh\nexit 1\n",
        b"\xef\xbb\xbfa\r\nb\rc\n\x1a",
    ],
    ids=["gzip", "zip", "ELF", "exe", "script", "line ends"],
)
def test_content_is_bytes(by: By, body: bytes) -> None:
    """Whatever it looks like, and whatever its name says: it is neither read, nor unpacked, nor run."""
    side, names = by("{path}"), ("a.csv", "a.csv.gz", "a.html")
    side.send(*(side.drop(name, body) for name in names))
    assert side.store.contents() == {f"in/{name}": body for name in names}
