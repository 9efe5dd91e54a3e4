"""QueuedForUpload → S3 → SQS → UploadedToS3, over a store and a queue in memory and real folders."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import agenda, kernel, pacing, uploader
from pipeline.aws.checksum import crc64nvme, crc64nvme_of
from pipeline.drop import DROP_ID
from pipeline.folders import Folder
from pipeline.keys import Keys, KeyTemplate
from pipeline.names import encode_path
from pipeline.pacing import Gate
from pipeline.ports import LaterError, NeverError, PausedError
from pipeline.spool import Queued, Spool
from pipeline.storing import Checksums, Route, content_type
from pipeline.uploader import Uploader
from tests.fakes import FakeQueue, FakeStore, Journal
from tests.unit.places import facilities_of

DEADLINE = 30.0  # a machine that runs other tests beside these may take seconds for one of them


def until(condition: Callable[[], bool]) -> None:
    """Poll until true, ever more seldom; the test fails after DEADLINE seconds."""
    end, pause = time.monotonic() + DEADLINE, 0.0001
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(pause)
        pause = min(2 * pause, 0.01)


class Ingest:
    """The ingest side of a machine, with one uploader."""

    def __init__(
        self,
        root: Path,
        form: str = "key",
        on_conflict: str = "version",
        folder: str = "in",
        template: str = "{path}",
    ) -> None:
        self.root = root
        folders = []
        for name in ("Watch", "QueuedForUpload", "UploadedToS3", "Failed"):
            (root / name).mkdir(exist_ok=True)
            folders.append(Folder(root / name, durable=False))
        self.spool = Spool(*folders)
        self.journal = Journal()
        self.store, self.queue = FakeStore(journal=self.journal), FakeQueue(self.journal)
        self.route = Route(Keys(folder, KeyTemplate(template), "here"), form, "eu-west-1", on_conflict)
        self.reports: list[tuple[str, str]] = []
        self.believes_leases = True
        self.uploader = self.new_uploader()

    def new_uploader(self) -> Uploader:
        """As after a restart."""
        made = Uploader(
            self.spool,
            self.store,
            self.queue,
            self.route,
            Checksums(crc64nvme, crc64nvme_of),
            concurrency=4,
            report=lambda what, paths: self.reports.extend((what, path) for path in paths),
            is_being_written=lambda fd: kernel.is_being_written(fd) if self.believes_leases else None,
        )
        made.gate = Gate(base=0.001, cap=0.001)
        return made

    def drop(self, path: str, body: bytes) -> str:
        """A file that the watcher has claimed: its path in QueuedForUpload."""
        source = self.root / "Watch" / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(body)
        claimed = self.spool.claim(path)
        assert claimed is not None
        return claimed

    def send(self, *paths: str) -> None:
        """Offer paths once, as the watcher does, and let the uploader finish, retries included."""
        hints = list(paths)
        while hints:
            self.uploader.step(lambda _seconds: (hints.pop(0),) if hints else (), 0.0)
        self.finish()

    def finish(self) -> None:
        """Until nothing is in hand and nothing waits for another try."""

        def idle() -> bool:
            self.uploader.step(lambda _seconds: (), 0.0)
            return self.uploader.idle()

        until(idle)

    def files(self, folder: str) -> dict[str, bytes]:
        """Path → content of every file in one of the folders."""
        top = self.root / folder
        return {str(item.relative_to(top)): item.read_bytes() for item in top.rglob("*") if item.is_file()}


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is tested in test_pacing."""
    monkeypatch.setattr(pacing, "delay", lambda *_values: 0.0)


@pytest.fixture(params=["by itself", "in a thread"])
def ingest(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ingest]:
    """Both ways that a file can go: that of small ones, and that of large ones."""
    if request.param == "in a thread":
        monkeypatch.setattr(uploader, "_SMALL", -1)
    side = Ingest(tmp_path)
    yield side
    side.uploader.close(5)


def attributes_of(side: Ingest) -> list[dict[str, str]]:
    return [said for _, said in side.queue.messages()]


def test_the_order_of_effects(ingest: Ingest) -> None:
    """The object is whole before its message is accepted; the file is archived only after that."""
    seen: list[tuple[bytes, bool, bool]] = []

    def at_acceptance(body: str) -> None:
        seen.append((ingest.store.body(body), "a.csv" in ingest.files("UploadedToS3"), "a.csv" in queued()))

    def queued() -> dict[str, bytes]:
        return ingest.files("QueuedForUpload")

    ingest.queue.before["accept"] = at_acceptance
    ingest.send(ingest.drop("a.csv", b"content"))
    assert seen == [(b"content", False, True)]
    assert ingest.journal.entries == [("upload", "in/a.csv"), ("stored", "in/a.csv"), ("accepted", "in/a.csv")]
    assert ingest.files("UploadedToS3") == {"a.csv": b"content"}
    assert queued() == {}


@pytest.mark.parametrize("form", ["key", "s3-event"])
def test_the_announcement_says_what_was_stored(tmp_path: Path, form: str) -> None:
    """Path, size, checksum, time and id are those of the object, and the file's bytes and time are untouched."""
    side = Ingest(tmp_path, form)
    path = side.drop("d/é b.csv", b"12345")
    os.utime(tmp_path / "QueuedForUpload" / path, ns=(1, -1_000_000_001))
    side.send(path)
    stored = side.store.look("in/d/é b.csv")
    assert stored is not None
    (said,) = attributes_of(side)
    assert said["path"] == encode_path("d/é b.csv") == stored.metadata["path"]
    assert (said["size"], said["format"], said["bucket"], said["etag"]) == ("5", form, "relay", stored.etag)
    assert said["drop_id"] == stored.metadata[DROP_ID]
    assert said["mtime"] == stored.metadata["mtime"] == "1969-12-31T23:59:58.999999999Z"
    assert said["crc64nvme"] == stored.metadata["crc64nvme"]
    assert (tmp_path / "UploadedToS3" / path).stat().st_mtime_ns == -1_000_000_001
    side.uploader.close(5)


def test_many_files_each_once(ingest: Ingest) -> None:
    """Several at a time, hints doubled, empty files and folders among them: each is stored, announced and archived."""
    contents = {f"d{number % 3}/f{number}": b"x" * number for number in range(40)}
    paths = [ingest.drop(path, body) for path, body in contents.items()]
    ingest.send(*paths, *paths)
    assert ingest.files("UploadedToS3") == contents
    assert ingest.store.contents() == {f"in/{path}": body for path, body in contents.items()}
    assert sorted(ingest.queue.bodies()) == sorted(ingest.store.contents())
    assert ingest.files("QueuedForUpload") == {}


def test_an_earlier_try_is_recognised(ingest: Ingest) -> None:
    """B4. 412 by our own object, after a kill or a lost answer: no second object, and the drop is announced."""
    path = ingest.drop("a.csv", b"content")
    ingest.store.trouble.lost_answers["upload"].append(LaterError("the answer was lost"))
    ingest.send(path)
    assert ingest.journal.of("stored") == ["in/a.csv"]
    assert ingest.queue.bodies() == ["in/a.csv"]
    assert ingest.files("UploadedToS3") == {"a.csv": b"content"}


def test_a_restart_after_the_put_recognises_it(ingest: Ingest) -> None:
    """B4. The id needs no memory: another process finds the object of the killed one to be its own."""
    path = ingest.drop("a.csv", b"content")
    ingest.queue.trouble.queued["send"].append(PausedError("killed here"))
    ingest.uploader.step_alone(path)
    assert ingest.queue.bodies() == []
    ingest.uploader.close(0)
    ingest.uploader = ingest.new_uploader()
    ingest.send(path)
    assert ingest.journal.of("stored") == ["in/a.csv"]
    assert ingest.queue.bodies() == ["in/a.csv"]


def test_extra_metadata_travels_beside_our_own(ingest: Ingest) -> None:
    """Every object carries it; should it hold a name of ours, ours counts."""
    ingest.route = replace(ingest.route, extra_metadata={"team": "north", DROP_ID: "forged"})
    ingest.uploader.close(0)
    ingest.uploader = ingest.new_uploader()
    ingest.send(ingest.drop("a.csv", b"content"))
    stored = ingest.store.look("in/a.csv")
    assert stored is not None
    assert (stored.metadata["team"], stored.metadata["path"]) == ("north", "a.csv")
    assert stored.metadata[DROP_ID] == ingest.queue.messages()[0][1]["drop_id"]


def test_an_earlier_try_with_other_extra_metadata_is_recognised(ingest: Ingest) -> None:
    """The properties changed between the tries: the object is still this drop's, and is not stored again."""
    path = ingest.drop("a.csv", b"content")
    ingest.queue.trouble.queued["send"].append(PausedError("killed here"))
    ingest.uploader.step_alone(path)
    ingest.uploader.close(0)
    ingest.route = replace(ingest.route, extra_metadata={"team": "north"})
    ingest.uploader = ingest.new_uploader()
    ingest.send(path)
    assert ingest.journal.of("stored") == ["in/a.csv"]
    assert ingest.queue.bodies() == ["in/a.csv"]


def test_another_drop_takes_the_next_version(ingest: Ingest) -> None:
    """B10. 412 by another object: it stays, the file is renamed before its PUT and goes on under that name."""
    ingest.store.put("in/d/a.csv", b"theirs")
    ingest.store.put("in/d/a-Version-6.csv", b"theirs too")
    ingest.store.put("in/d/a-Version-9/x.csv", b"no version of it")
    names: list[list[str]] = []
    ingest.store.before["upload"] = lambda _key: names.append(list(ingest.files("QueuedForUpload")))
    ingest.send(ingest.drop("d/a.csv", b"ours"))
    assert ingest.store.body("in/d/a.csv") == b"theirs"
    assert ingest.store.body("in/d/a-Version-7.csv") == b"ours"
    assert names == [["d/a.csv"], ["d/a-Version-7.csv"]]
    assert ingest.files("UploadedToS3") == {"d/a-Version-7.csv": b"ours"}
    assert ingest.queue.bodies() == ["in/d/a-Version-7.csv"]


def test_versions_of_a_name_that_is_not_utf8(ingest: Ingest) -> None:
    """Quoted keys are counted on as others are."""
    ingest.store.put("in/%FF%20a.csv", b"theirs")
    ingest.store.put("in/%FF%20a-Version-3.csv", b"theirs")
    ingest.send(ingest.drop("\udcff a.csv", b"ours"))
    assert ingest.store.body("in/%FF%20a-Version-4.csv") == b"ours"
    assert attributes_of(ingest)[0]["path"] == "%FF%20a-Version-4.csv"


def test_a_taken_key_that_cannot_be_seen_has_no_loop(ingest: Ingest) -> None:
    """412 and then HEAD 404, and both once more: the next version, once."""
    ingest.store.put("in/a.csv", b"theirs")
    ingest.store.before["look"] = ingest.store.remove

    def show_again(key: str) -> None:
        ingest.store.put(key, b"theirs")

    ingest.store.after["look"] = show_again
    ingest.send(ingest.drop("a.csv", b"ours"))
    assert ingest.store.contents() == {"in/a.csv": b"theirs", "in/a-Version-2.csv": b"ours"}
    assert len(ingest.journal.of("upload")) == 3


def test_a_key_that_is_free_again_is_used(ingest: Ingest) -> None:
    """412, and removed before the look: the file keeps its name."""
    ingest.store.put("in/a.csv", b"theirs")
    ingest.store.before["look"] = ingest.store.remove
    ingest.send(ingest.drop("a.csv", b"ours"))
    assert ingest.store.contents() == {"in/a.csv": b"ours"}
    assert ingest.files("UploadedToS3") == {"a.csv": b"ours"}
    assert len(ingest.journal.of("upload")) == 2


def test_on_name_conflict_fail(tmp_path: Path) -> None:
    """The file goes to Failed with its reason; object and queue stay as they are."""
    side = Ingest(tmp_path, on_conflict="fail")
    side.store.put("in/a.csv", b"theirs")
    side.send(side.drop("a.csv", b"ours"))
    failed = side.files("Failed")
    assert failed.pop("a.csv") == b"ours"
    reason = json.loads(failed.pop(".reason/a.csv.json"))
    assert "onNameConflict" in reason["reason"]
    assert not failed
    assert side.queue.bodies() == []
    assert side.store.contents() == {"in/a.csv": b"theirs"}
    side.uploader.close(5)


def test_a_file_that_changes_during_its_upload(ingest: Ingest) -> None:
    """D8. The stale object is replaced, nobody was told of it, and the final content is announced once."""
    path = ingest.drop("a.csv", b"first")
    bodies = [b"second!", b"third, the last"]

    def change(_key: str) -> None:
        if bodies:
            (ingest.root / "QueuedForUpload" / path).write_bytes(bodies.pop(0))

    ingest.store.after["upload"] = change
    ingest.send(path)
    assert ingest.store.contents() == {"in/a.csv": b"third, the last"}
    (said,) = attributes_of(ingest)
    assert said["size"] == "15"
    stored = ingest.store.look("in/a.csv")
    assert stored is not None
    assert said["etag"] == stored.etag
    assert ingest.files("UploadedToS3") == {"a.csv": b"third, the last"}


def test_a_file_that_changes_while_it_is_read(ingest: Ingest) -> None:
    """Bytes that are not those of the checksum never become an object; the next try has the new content."""
    path = ingest.drop("a.csv", b"first")
    changed: list[str] = []

    def change(key: str) -> None:
        if not changed:
            changed.append(key)
            (ingest.root / "QueuedForUpload" / path).write_bytes(b"other")

    ingest.store.before["upload"] = change
    ingest.send(path)
    assert ingest.journal.of("stored") == ["in/a.csv"]
    assert ingest.store.body("in/a.csv") == b"other"
    assert ingest.queue.bodies() == ["in/a.csv"]


def test_a_file_that_is_being_written_waits(ingest: Ingest) -> None:
    """D7. Nothing is read while somebody writes; once the writer is gone the whole file goes."""
    path = ingest.drop("a.csv", b"")
    assert facilities_of("kernel", ingest.root).lease, "run the tests on a local file system"
    with (ingest.root / "QueuedForUpload" / path).open("wb") as writer:
        ingest.uploader.step_alone(path)
        assert ingest.journal.entries == []
        writer.write(b"whole")
    ingest.finish()
    assert ingest.store.contents() == {"in/a.csv": b"whole"}


def test_a_writer_holds_up_nothing_where_time_decides(ingest: Ingest) -> None:
    """With completionCheck=settle, or where leases are not to be believed, a file that stays open is sent."""
    ingest.believes_leases = False
    path = ingest.drop("a.csv", b"content")
    with (ingest.root / "QueuedForUpload" / path).open("ab"):
        ingest.send(path)
    assert ingest.files("UploadedToS3") == {"a.csv": b"content"}


def test_a_change_of_mode_alone_sends_nothing_twice(ingest: Ingest) -> None:
    """A chmod, or a hard link that goes, changes ctime and no byte: one announcement, one object."""
    path = ingest.drop("a.csv", b"content")
    ingest.queue.before["accept"] = lambda _body: (ingest.root / "QueuedForUpload" / path).chmod(0o600)
    ingest.send(path)
    assert ingest.queue.bodies() == ["in/a.csv"]
    assert ingest.files("UploadedToS3") == {"a.csv": b"content"}


def test_a_move_that_fails_sends_no_second_message(ingest: Ingest) -> None:
    """D4. UploadedToS3 that cannot be written to for a while: the file waits, announced once."""
    path = ingest.drop("a.csv", b"content")
    taken = ingest.root / "UploadedToS3"
    failures = [OSError(errno.EACCES, "refused"), OSError(errno.EACCES, "refused")]
    finish = ingest.spool.finish

    def refuse(queued: Queued) -> str | None:
        if failures:
            raise failures.pop()
        return finish(queued)

    ingest.spool.finish = refuse  # type: ignore[method-assign]  # as root nothing refuses it
    ingest.send(path)
    assert ingest.queue.bodies() == ["in/a.csv"]
    assert [item.name for item in taken.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/b.txt", "text/plain"),
        ("data:text/html;x/b,y", "application/octet-stream"),
        ("data:foo/b\nar,x.txt", "text/plain"),
        ("none", "application/octet-stream"),
    ],
)
def test_the_content_type_is_guessed_from_the_suffix_alone(path: str, kind: str) -> None:
    """A name never chooses its type by looking like a URL."""
    assert content_type(path) == kind


def test_a_partial_object_of_ours_is_replaced(ingest: Ingest) -> None:
    """A store killed in the middle of our PUT keeps half of it under our id: it is stored again, whole."""
    path = ingest.drop("a.csv", b"content")
    ingest.queue.trouble.queued["send"].append(PausedError("killed here"))
    ingest.uploader.step_alone(path)
    found = ingest.store.look("in/a.csv")
    assert found is not None
    ingest.store.put("in/a.csv", b"con", found.metadata)
    ingest.finish()
    assert ingest.store.body("in/a.csv") == b"content"
    assert ingest.queue.bodies() == ["in/a.csv"]


def test_only_what_was_refused_is_sent_again(ingest: Ingest) -> None:
    """A batch that fails in part: each accepted message once, the refused one later, and its file archived last."""
    paths = [ingest.drop(f"f{number}", b"x%d" % number) for number in range(8)]
    refused: list[str] = []

    def refuse(operation: str, body: str) -> LaterError | None:
        if operation == "send" and body == "in/f3" and len(refused) < 2:
            refused.append(body)
            assert "f3" in ingest.files("QueuedForUpload")
            return LaterError("throttled")
        return None

    ingest.queue.refuse = refuse
    ingest.send(*paths)
    assert sorted(ingest.journal.of("accepted")) == [f"in/f{number}" for number in range(8)]
    assert len(refused) == 2
    assert sorted(ingest.journal.of("stored")) == [f"in/f{number}" for number in range(8)]
    assert len(ingest.files("UploadedToS3")) == 8


def test_a_lost_answer_of_the_queue_makes_a_duplicate_and_no_loss(ingest: Ingest) -> None:
    """Accepted, but the answer did not come: sent again, with the same id."""
    ingest.queue.trouble.lost_answers["send"].append(LaterError("the answer was lost"))
    ingest.send(ingest.drop("a.csv", b"content"))
    first, second = attributes_of(ingest)
    assert first["drop_id"] == second["drop_id"]
    assert ingest.files("UploadedToS3") == {"a.csv": b"content"}


@pytest.mark.parametrize("operation", ["upload", "send"])
def test_a_pause_shuts_the_gate_for_all_and_loses_nothing(ingest: Ingest, operation: str) -> None:
    """B2, B11. Credentials or network gone: every file waits where it is, and all go through afterwards, each once."""
    paths = [ingest.drop(f"f{number}", b"x%d" % number) for number in range(6)]
    trouble = ingest.store.trouble if operation == "upload" else ingest.queue.trouble
    trouble.queued[operation].extend([PausedError("no credentials")] * 5)
    shut: list[float] = []
    ingest.uploader.gate = Gate(base=0.02, cap=0.02)
    original = ingest.uploader.gate.shut

    def note(error: Exception) -> None:
        original(error)
        shut.append(ingest.uploader.gate.remaining())

    ingest.uploader.gate.shut = note  # type: ignore[method-assign]
    ingest.send(*paths)
    assert len(shut) >= 5
    assert max(shut) > 0
    assert len(ingest.files("UploadedToS3")) == 6
    assert sorted(ingest.journal.of("stored")) == [f"in/f{number}" for number in range(6)]
    assert ingest.files("Failed") == {}


def test_a_file_that_can_never_go_is_set_aside_with_the_reason(ingest: Ingest) -> None:
    """Failed keeps the path; the reason lies beside it, as one harmless line; the next file is not held up."""
    bad, good = ingest.drop("d/\x1b.csv", b"bad"), ingest.drop("good", b"good")
    ingest.store.before["upload"] = lambda key: (_ for _ in ()).throw(NeverError("\x1b no")) if "d/" in key else None
    ingest.send(bad, good)
    failed = ingest.files("Failed")
    assert failed.pop("d/\x1b.csv") == b"bad"
    reason = json.loads(failed.pop(".reason/d/\x1b.csv.json"))
    assert reason["path"] == "d/\\x1b.csv"
    assert reason["reason"] == "\\x1b no"
    assert not failed
    assert ingest.files("UploadedToS3") == {"good": b"good"}
    assert ingest.queue.bodies() == ["in/good"]


def test_a_key_that_is_too_long_goes_to_failed(tmp_path: Path) -> None:
    """E8. No retry loop: 1,025 bytes can never be a key."""
    side = Ingest(tmp_path, folder="f" * 1000)
    side.send(side.drop("x" * 24, b"bad"), side.drop("x" * 23, b"good"))
    assert side.files("Failed")["x" * 24] == b"bad"
    assert side.files("UploadedToS3") == {"x" * 23: b"good"}
    assert side.store.contents() == {f"{'f' * 1000}/{'x' * 23}": b"good"}
    side.uploader.close(5)


@pytest.mark.parametrize("room", [23, 14, 13])
def test_a_version_whose_key_is_too_long_goes_to_failed(tmp_path: Path, room: int) -> None:
    """The key fits and is taken, its next version does not fit: set aside, no retry loop, nothing replaced."""
    folder, name = "f" * 1000, "x" * room
    side = Ingest(tmp_path, folder=folder)
    side.store.put(f"{folder}/{name}", b"theirs")
    side.send(side.drop(name, b"ours"))
    renamed = f"{name}-Version-2"
    side.send(*side.files("QueuedForUpload"))
    ended = {**side.files("Failed"), **side.files("UploadedToS3")}
    assert b"ours" in ended.values()
    assert side.files("QueuedForUpload") == {}
    assert side.store.body(f"{folder}/{name}") == b"theirs"
    if len(renamed) <= 23:
        assert side.files("UploadedToS3") == {renamed: b"ours"}
    side.uploader.close(5)


def test_another_file_of_the_same_name_is_never_taken_for_the_sent_one(ingest: Ingest) -> None:
    """D10. Replaced in QueuedForUpload after the lock: the new file stays, is sent as itself, and neither is lost."""
    path = ingest.drop("a.csv", b"first")
    top = ingest.root / "QueuedForUpload"

    def replace_it(_body: str) -> None:
        if not (ingest.root / "taken-away").exists():
            (top / path).rename(ingest.root / "taken-away")
            (top / path).write_bytes(b"second")

    ingest.queue.before["accept"] = replace_it
    ingest.send(path)
    ingest.send(path)
    assert ingest.files("UploadedToS3") == {"a-Version-2.csv": b"second"}
    assert ingest.store.contents() == {"in/a.csv": b"first", "in/a-Version-2.csv": b"second"}
    assert ingest.files("UploadedToS3") == {"a-Version-2.csv": b"second"}


def test_another_file_of_the_same_name_is_never_set_aside(ingest: Ingest) -> None:
    """Replaced while its predecessor was refused for ever: the innocent one is sent."""
    path = ingest.drop("a.csv", b"first")
    top = ingest.root / "QueuedForUpload"

    def refuse_first(_key: str) -> None:
        if (top / path).read_bytes() == b"first":
            (top / path).rename(ingest.root / "taken-away")
            (top / path).write_bytes(b"second")
            raise NeverError("too large")

    ingest.store.before["upload"] = refuse_first
    ingest.send(path)
    assert "a.csv" not in ingest.files("Failed")
    ingest.send(path)
    assert ingest.files("UploadedToS3") == {"a.csv": b"second"}


def test_a_file_refused_after_its_renumbering_is_set_aside_under_its_new_name(ingest: Ingest) -> None:
    """The refusal means the file in hand, wherever it is by then, and nothing that came under its old name."""
    ingest.store.put("in/a.csv", b"theirs")
    path = ingest.drop("a.csv", b"ours")

    def refuse(key: str) -> None:
        if key == "in/a-Version-2.csv":
            assert ingest.drop("a.csv", b"innocent") == "a.csv"
            raise NeverError("no")

    ingest.store.before["upload"] = refuse
    ingest.send(path)
    assert ingest.files("QueuedForUpload") == {"a.csv": b"innocent"}
    assert ingest.files("Failed")["a-Version-2.csv"] == b"ours"


def test_a_file_in_other_hands_is_left_alone(ingest: Ingest) -> None:
    """The lock decides: a second hint for a file that another process works on starts nothing."""
    path = ingest.drop("a.csv", b"content")
    with ingest.spool.take(path) as held:
        assert held is not None
        ingest.send(path)
    assert ingest.journal.entries == []
    assert ingest.files("QueuedForUpload") == {"a.csv": b"content"}


def test_hints_for_nothing_are_harmless(ingest: Ingest, tmp_path: Path) -> None:
    """D9. Gone, a folder, a link, a pipe: no request is made, nothing is opened that could block."""
    top = tmp_path / "QueuedForUpload"
    (top / "folder").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (top / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(top / "pipe")
    ingest.send("gone", "folder", "link", "pipe", "folder/gone", "link/x")
    assert ingest.journal.entries == []


def test_an_error_of_one_file_does_not_pause_the_others(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """D3. An OSError is this file's; it is tried again, and the gate stays open."""
    bad, good = ingest.drop("bad", b"bad"), ingest.drop("good", b"good")
    failures = [OSError(errno.EIO, "read error")] * 3

    def read(_key: str) -> None:
        if _key == "in/bad" and failures:
            raise failures.pop()

    ingest.store.before["upload"] = read
    shut: list[Exception] = []
    monkeypatch.setattr(ingest.uploader.gate, "shut", shut.append)
    ingest.send(bad, good)
    assert shut == []
    assert not failures
    assert ingest.files("UploadedToS3") == {"bad": b"bad", "good": b"good"}


def test_work_is_reported_around_its_whole_time(ingest: Ingest) -> None:
    """What a process has in hand is known before it begins and until it has ended, whatever came of it."""
    path = ingest.drop("a", b"a")
    ingest.store.before["upload"] = lambda _key: ingest.reports.append(("at work", path))
    ingest.store.trouble.queued["upload"].append(LaterError("once"))
    ingest.send(path)
    one_try = [("begin", path), ("at work", path), ("end", path)]
    assert ingest.reports == one_try * 2


def test_a_stop_cancels_what_does_not_end_and_leaves_it_queued(ingest: Ingest) -> None:
    """After shutdownSeconds the file is given up in a consistent state, and the next start sends it."""
    path = ingest.drop("a.csv", b"content")
    started = threading.Event()
    stop = ingest.uploader
    cancelled: list[bool] = []

    def hang(_key: str) -> None:
        started.set()
        cancelled.append(stop._cancelled.wait(DEADLINE))
        raise LaterError("the connection was cut")

    ingest.store.before["upload"] = hang
    stop.step(lambda _seconds: (path,), 0.0)
    assert started.wait(DEADLINE)
    stop.close(0.01)
    assert cancelled == [True]
    assert ingest.files("QueuedForUpload") == {"a.csv": b"content"}
    ingest.store.before.clear()
    ingest.uploader = ingest.new_uploader()
    ingest.send(path)
    assert ingest.files("UploadedToS3") == {"a.csv": b"content"}


# ------------------------------------------------------------------ order


def test_versions_of_one_name_go_in_order(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are offered, and to whichever of several processes; other names go on meanwhile."""
    monkeypatch.setattr(agenda, "_LONGEST", 0.01)
    others = [ingest.new_uploader(), ingest.new_uploader()]
    bodies = [f"{number:02d}".encode() for number in range(15)]
    offers = [ingest.drop("d/r.csv", body) for body in bodies] + [ingest.drop(f"o{number}", b"") for number in range(9)]
    random.Random(1).shuffle(offers)
    offers += offers  # a sweep may offer all of them again
    ended = threading.Event()

    def take(_seconds: float) -> tuple[str, ...]:
        if offers:
            return (offers.pop(),)
        time.sleep(0.002)  # as the wait for an offer does; else two threads that ask take all the time there is
        return ()

    def work(process: Uploader) -> None:
        while not ended.is_set():
            process.step(take, 0.0)

    threads = [threading.Thread(target=work, args=(process,)) for process in others]
    for thread in threads:
        thread.start()
    try:
        until(
            lambda: len(ingest.journal.of("accepted")) == 24 and not os.path.exists(ingest.root / "QueuedForUpload/d")
        )
    finally:
        ended.set()
        for thread, process in zip(threads, others, strict=True):
            thread.join()
            process.close(5)
    accepted = [key for key in ingest.journal.of("accepted") if "r" in key]
    assert [ingest.store.body(key) for key in accepted] == bodies
    assert len(ingest.files("UploadedToS3")) == 24


def test_versions_wait_for_one_that_has_to_be_tried_again(ingest: Ingest) -> None:
    """Whether it is the store that refuses it or the queue."""
    bodies = [f"{number}".encode() for number in range(5)]
    paths = [ingest.drop("r.csv", body) for body in bodies]
    ingest.store.trouble.queued["upload"].extend([LaterError("slow down")] * 3)
    ingest.queue.trouble.queued["send"].extend([LaterError("slow down")] * 3)
    ingest.send(*reversed(paths))
    assert [ingest.store.body(key) for key in ingest.journal.of("accepted")] == bodies


def test_what_never_goes_holds_up_no_version(ingest: Ingest) -> None:
    """It is in Failed, and the next one follows."""
    paths = [ingest.drop("r.csv", b"first"), ingest.drop("r.csv", b"second")]
    ingest.store.trouble.queued["upload"].append(NeverError("no"))
    ingest.send(*paths)
    assert ingest.files("Failed")["r.csv"] == b"first"
    assert ingest.files("UploadedToS3") == {"r-Version-2.csv": b"second"}


def test_small_files_go_past_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many large ones were there before them and do not end; those follow each other then."""
    monkeypatch.setattr(uploader, "_SMALL", 10)
    side = Ingest(tmp_path)
    large = [side.drop(f"large{number}", bytes(11 + number)) for number in range(9)]
    small = [side.drop(f"small{number}", b"") for number in range(9)]
    release = threading.Event()
    side.store.before["upload"] = lambda key: None if "small" in key else (release.wait(DEADLINE), None)[1]
    hints = large + small

    def small_are_sent() -> bool:
        side.uploader.step(lambda _seconds: (hints.pop(0),) if hints else (), 0.0)
        return len(os.listdir(tmp_path / "UploadedToS3")) == 9

    try:
        until(small_are_sent)
        assert sorted(side.files("UploadedToS3")) == small
    finally:
        release.set()
    side.finish()
    assert sorted(side.files("UploadedToS3")) == large + small
    side.uploader.close(5)


def test_small_files_that_need_a_thread_go_past_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their key is taken, and every thread has a large file that does not end."""
    monkeypatch.setattr(uploader, "_SMALL", 10)
    monkeypatch.setattr(uploader, "_THREADS", 2)
    side = Ingest(tmp_path)
    side.store.put("in/small", b"somebody else's")
    large = [side.drop(f"large{number}", bytes(11)) for number in range(9)]
    release = threading.Event()
    side.store.before["upload"] = lambda key: None if "small" in key else (release.wait(DEADLINE), None)[1]
    hints = [*large, side.drop("small", b"mine")]

    def small_is_sent() -> bool:
        side.uploader.step(lambda _seconds: (hints.pop(0),) if hints else (), 0.0)
        return os.listdir(tmp_path / "UploadedToS3") == ["small-Version-2"]

    try:
        until(small_is_sent)
    finally:
        release.set()
    side.finish()
    side.uploader.close(5)


def test_a_sweep_meets_a_file_that_was_renamed(ingest: Ingest) -> None:
    """Its key was taken, it is offered under its new name while its upload goes on, and that fails once."""
    ingest.store.put("in/r", b"somebody else's")
    path = ingest.drop("r", b"mine")
    hints: list[str] = []
    tried: list[str] = []

    def upload(key: str) -> None:
        tried.append(key)
        if tried.count("in/r-Version-2") == 1 and key == "in/r-Version-2":
            ingest.uploader._agenda.begin("r-Version-2")  # as `step` does with an offer
            raise LaterError("slow down")

    ingest.store.before["upload"] = upload
    ingest.send(path)
    hints += [ingest.drop("r", b"more"), ingest.drop("other", b"")]
    ingest.send(*hints)
    assert sorted(ingest.files("UploadedToS3").values()) == [b"", b"mine", b"more"]


def test_nothing_follows_after_a_stop(ingest: Ingest) -> None:
    """What waited for others stays queued."""
    paths = [ingest.drop("r.csv", b"1"), ingest.drop("r.csv", b"2")]
    begun, release = threading.Event(), threading.Event()

    def hold(_key: str) -> None:
        begun.set()
        assert release.wait(DEADLINE)

    ingest.store.before["upload"] = hold
    offering = threading.Thread(target=ingest.uploader.step, args=(lambda _seconds: paths, 0.0))
    offering.start()
    assert begun.wait(DEADLINE)
    closing = threading.Thread(target=ingest.uploader.close, args=(DEADLINE,))
    closing.start()
    until(lambda: ingest.uploader._agenda._stopped)
    release.set()
    offering.join()
    closing.join()
    assert list(ingest.files("QueuedForUpload")) == ["r-Version-2.csv"]


class Cut(BaseException):
    """What a signal raises where a wait may be cut."""


def test_a_cut_wait_leaves_nothing_in_hand(tmp_path: Path) -> None:
    """Files that were offered together and waited for a slot, a version and the one before it among them."""
    side = Ingest(tmp_path)
    paths = [side.drop("first", b""), side.drop("r", b"1"), side.drop("r", b"2"), side.drop("s", b"")]
    announcing, release = threading.Event(), threading.Event()

    def hold(_body: str) -> None:
        announcing.set()
        assert release.wait(DEADLINE)

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:
        if side.uploader._agenda.in_hand():
            assert announcing.wait(DEADLINE)
            raise Cut
        yield

    side.queue.before["accept"], side.uploader._wait_cuttable = hold, waiting
    for _ in range(3):
        assert side.uploader._slots.acquire(timeout=DEADLINE)
    with pytest.raises(Cut):
        side.uploader.step(lambda _seconds: paths, 0.0)
    assert side.uploader._agenda.in_hand() == 1
    release.set()
    side.uploader.close(5)
    assert list(side.files("UploadedToS3")) == ["first"]


# ------------------------------------------------------------------ overwrite


def test_on_name_conflict_overwrite(tmp_path: Path) -> None:
    """The key keeps its name; every version is there, announced with its own id, and archived beside the others."""
    side = Ingest(tmp_path, on_conflict="overwrite")
    side.store.versioned = side.spool.keeps_names = True
    for body in (b"first", b"second", b"third"):
        side.send(side.drop("d/r.csv", body))
    assert side.store.contents() == {"in/d/r.csv": b"third"}
    versions = [said["version_id"] for said in attributes_of(side)]
    assert len(set(versions)) == 3
    assert [version_of(side, version) for version in versions] == [b"first", b"second", b"third"]
    assert side.files("UploadedToS3") == {
        "d/r.csv": b"first",
        "d/r-Version-2.csv": b"second",
        "d/r-Version-3.csv": b"third",
    }


def test_overwrite_recognises_its_own_earlier_try(tmp_path: Path) -> None:
    """A kill between PUT and announcement makes no second version of the drop."""
    side = Ingest(tmp_path, on_conflict="overwrite")
    side.store.versioned = side.spool.keeps_names = True
    side.send(side.drop("r.csv", b"first"))
    path = side.drop("r.csv", b"second")
    side.queue.trouble.queued["send"].append(LaterError("away"))
    side.send(path)
    assert side.journal.of("stored") == ["in/r.csv"] * 2
    assert len(side.journal.of("accepted")) == 2


def test_overwrite_replaces_only_what_it_saw(tmp_path: Path) -> None:
    """Another writer comes between the look and the PUT: it is tried again, and that writer's version stays."""
    side = Ingest(tmp_path, on_conflict="overwrite")
    side.store.versioned = side.spool.keeps_names = True
    side.send(side.drop("r.csv", b"first"))
    theirs = iter([b"theirs"])

    def between(key: str) -> None:
        for body in theirs:
            side.store.put(key, body)

    side.store.after["look"] = between
    side.send(side.drop("r.csv", b"second"))
    assert side.store.contents() == {"in/r.csv": b"second"}
    assert [version.body for version in side.store._versions["in/r.csv"]] == [b"first", b"theirs", b"second"]


def version_of(side: Ingest, version: str) -> bytes:
    [body] = [each.body for each in side.store._versions["in/d/r.csv"] if each.stored.version_id == version]
    return body


def test_a_file_is_tried_again_after_growing_pauses(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try in vain makes the next pause longer; another file begins with a short one."""
    asked: list[int] = []

    def delay(attempt: int, *_values: float) -> float:
        asked.append(attempt)
        return 0.0

    monkeypatch.setattr(pacing, "delay", delay)
    for path in ("a", "b"):
        ingest.store.trouble.queued["upload"].extend([LaterError("503 SlowDown")] * 3)
        ingest.send(ingest.drop(path, b"content"))
    assert asked == [0, 1, 2] * 2
    assert sorted(ingest.store.contents()) == ["in/a", "in/b"]


def test_what_cannot_be_set_aside_is_tried_again(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed cannot be written: the file stays queued, the others go, and it goes there once that can be done."""
    problems = [OSError(errno.ENOSPC, "No space left on device")] * 3
    original = ingest.spool.fail

    def fail(queued: Queued, reason: dict[str, str]) -> str:
        if problems:
            raise problems.pop()
        return original(queued, reason)

    def refuse(key: str) -> None:
        if key == "in/bad":
            raise NeverError("it can never go")

    monkeypatch.setattr(ingest.spool, "fail", fail)
    ingest.store.before["upload"] = refuse
    ingest.send(ingest.drop("bad", b"bad"), ingest.drop("good", b"good"))
    assert problems == []
    assert ingest.files("Failed")["bad"] == b"bad"
    assert ingest.files("QueuedForUpload") == {}
    assert ingest.files("UploadedToS3") == {"good": b"good"}


@pytest.mark.parametrize("later", [b"CONTENT", b"longer than it was"])
def test_what_is_written_after_the_message_follows(ingest: Ingest, later: bytes) -> None:
    """D7, D8. Between message and move: what was announced stays, and what it is now is a drop of its own."""
    ingest.believes_leases = False
    path = ingest.drop("a.csv", b"content")
    file = ingest.root / "QueuedForUpload" / "a.csv"

    def rewrite(_body: str) -> None:
        del ingest.queue.before["accept"]
        times = file.stat()
        file.write_bytes(later)
        if len(later) == times.st_size:
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    ingest.queue.before["accept"] = rewrite
    ingest.send(path)
    assert ingest.store.contents() == {"in/a.csv": b"content", "in/a-Version-2.csv": later}
    assert sorted(ingest.queue.bodies()) == ["in/a-Version-2.csv", "in/a.csv"]
    assert ingest.files("UploadedToS3") == {"a-Version-2.csv": later}
