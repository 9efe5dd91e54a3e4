"""Claim, finish, fail: the moves of the ingest side, with the kernel's ways and without."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline import kernel
from pipeline import spool as spool_module
from pipeline.spool import Spool
from tests.unit.places import make, no_rename_between, note_effects, note_fsyncs, tree, write

NAMES = ("Watch", "QueuedForUpload", "UploadedToS3", "Failed")


@pytest.fixture(params=["kernel", "portable"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return Spool(*(make(tmp_path, name, request.param) for name in NAMES))


def claim(spool: Spool, path: str, body: bytes = b"content") -> str:
    write(spool.watch.path / path, body)
    claimed = spool.claim(path)
    assert claimed is not None
    return claimed


def finish(spool: Spool, path: str) -> str | None:
    with spool.take(path) as queued:
        assert queued is not None
        return spool.finish(queued)


def fail(spool: Spool, path: str, text: str = "why") -> str:
    with spool.take(path) as queued:
        assert queued is not None
        return spool.fail(queued, {"reason": text})


def everything(spool: Spool) -> list[bytes | str]:
    folders = (spool.watch, spool.queued, spool.uploaded, spool.failed)
    return [body for folder in folders for path, body in tree(folder.path).items() if not path.startswith(".reason")]


def test_names_go_on_in_the_order_of_arrival(spool: Spool) -> None:
    """D11. Drops of one name are numbered from those that are queued and those that were sent."""
    assert claim(spool, "d/a.csv", b"1") == "d/a.csv"
    assert claim(spool, "d/a.csv", b"2") == "d/a-Version-2.csv"
    finish(spool, "d/a.csv")
    finish(spool, "d/a-Version-2.csv")
    assert claim(spool, "d/a.csv", b"3") == "d/a-Version-3.csv"
    assert sorted(map(str, everything(spool))) == ["b'1'", "b'2'", "b'3'"]


def test_a_version_moved_back_is_counted_on(spool: Spool) -> None:
    """A file from UploadedToS3 put into Watch again never nests its number."""
    for _ in range(2):
        finish(spool, claim(spool, "a.csv"))
    os.rename(spool.uploaded.path / "a-Version-2.csv", spool.watch.path / "a-Version-2.csv")
    assert spool.claim("a-Version-2.csv") == "a-Version-2.csv"
    assert claim(spool, "a-Version-2.csv") == "a-Version-3.csv"


def test_a_vanished_file_is_not_claimed(spool: Spool) -> None:
    """D9. FileNotFoundError, and nothing appears."""
    with pytest.raises(FileNotFoundError):
        spool.claim("a")
    assert everything(spool) == []


def test_finish_and_fail_leave_no_empty_folders(spool: Spool) -> None:
    """QueuedForUpload is empty when its files are gone; the folders of Watch belong to the person."""
    finish(spool, claim(spool, "d/e/a"))
    fail(spool, claim(spool, "d/f/b"))
    assert os.listdir(spool.queued.path) == []
    assert (spool.watch.path / "d/e").is_dir()
    assert tree(spool.uploaded.path) == {"d/e/a": b"content"}


def test_only_one_takes_a_file(spool: Spool) -> None:
    """The second gets None until the first is done."""
    path = claim(spool, "a")
    with spool.take(path) as first, spool.take(path) as second:
        assert first is not None
        assert second is None
    with spool.take(path) as again:
        assert again is not None


@pytest.mark.parametrize("what", ["gone", "folder", "link", "pipe", "link/x", "file/x"])
def test_only_files_are_taken(spool: Spool, tmp_path: Path, what: str) -> None:
    """D14. Never a link's target, a folder, a pipe that would block, nor a path through either."""
    top = spool.queued.path
    write(top / "file")
    write(tmp_path / "outside/x")
    (top / "folder").mkdir()
    (top / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(top / "pipe")
    with spool.take(what) as queued:
        assert queued is None


def test_a_replaced_file_is_not_finished(spool: Spool) -> None:
    """What came under the name meanwhile stays queued; the locked file goes nowhere."""
    path = claim(spool, "a", b"first")
    with spool.take(path) as queued:
        assert queued is not None
        os.rename(spool.queued.path / "a", spool.queued.path / "moved")
        write(spool.queued.path / "a", b"second")
        assert not spool.still_there(queued)
        assert spool.finish(queued) is None
    assert tree(spool.queued.path) == {"a": b"second", "moved": b"first"}
    assert tree(spool.uploaded.path) == {}


def test_a_removed_file_is_not_finished(spool: Spool) -> None:
    """D28. A person took it away after it was announced."""
    with spool.take(claim(spool, "a")) as queued:
        assert queued is not None
        (spool.queued.path / "a").unlink()
        assert spool.finish(queued) is None


def test_a_finished_file_never_replaces_one_of_the_name(spool: Spool) -> None:
    """D12. Somebody put a file into UploadedToS3: both stay."""
    path = claim(spool, "a", b"ours")
    write(spool.uploaded.path / "a", b"theirs")
    assert finish(spool, path) == "a-Version-2"
    assert tree(spool.uploaded.path) == {"a": b"theirs", "a-Version-2": b"ours"}


def test_an_interrupted_claim_is_finished(tmp_path: Path) -> None:
    """A kill between link and unlink left the file in Watch and QueuedForUpload: claimed again, it is there once."""
    spool = Spool(*(make(tmp_path, name, "portable") for name in NAMES))
    for _ in range(2):  # the first name, then a number
        path = write(spool.watch.path / "a")
        name = "a-Version-2" if (spool.queued.path / "a").exists() else "a"
        os.link(path, spool.queued.path / name)
        assert spool.claim("a") == name
    assert sorted(tree(spool.queued.path)) == ["a", "a-Version-2"]
    assert tree(spool.watch.path) == {}


def test_renumbering_goes_on_from_every_side(spool: Spool) -> None:
    """Names in the store, in QueuedForUpload and in UploadedToS3 all count; the lock goes along."""
    for name in ("a-Version-3", "a-Version-4"):
        write(spool.uploaded.path / name)
    path = claim(spool, "a", b"mine")
    with spool.take(path) as queued:
        assert queued is not None
        spool.renumber(queued, ["a-Version-6"])
        assert queued.path == "a-Version-7"
        assert spool.still_there(queued)
        with spool.take(queued.path) as other:
            assert other is None
    assert tree(spool.queued.path) == {"a-Version-7": b"mine"}


def test_a_failed_file_has_its_reason(spool: Spool) -> None:
    """Path kept, reason beside it, and the same path again is the next version with a reason of its own."""
    assert fail(spool, claim(spool, "d/a.csv", b"1"), "first") == "d/a.csv"
    assert fail(spool, claim(spool, "d/a.csv", b"2"), "second \udcff") == "d/a-Version-2.csv"
    top = spool.failed.path
    assert (top / "d/a.csv").read_bytes() == b"1"
    assert (top / "d/a-Version-2.csv").read_bytes() == b"2"
    assert json.loads((top / ".reason/d/a.csv.json").read_text()) == {"reason": "first"}
    assert "second" in (top / ".reason/d/a-Version-2.csv.json").read_text()


def test_a_reason_is_never_without_its_file_being_kept(spool: Spool) -> None:
    """A kill after the reason and before the move: the next try writes another reason and loses neither."""
    path = claim(spool, "a")
    write(spool.failed.path / ".reason/a.json", b"{}")
    assert fail(spool, path) == "a-Version-2"
    assert (spool.failed.path / ".reason/a.json").read_bytes() == b"{}"


def test_a_long_name_fails_with_its_reason(spool: Spool) -> None:
    """D23. A name of 255 bytes leaves no room for `.json`: it is set aside all the same."""
    names = ["x" * 255, "x" * 254 + "y", "x" * 251, "x" * 250, "é" * 127]
    for name in names * 2:
        failed = fail(spool, claim(spool, name))
        assert (spool.failed.path / failed).read_bytes() == b"content"
    assert len(os.listdir(spool.failed.path / ".reason")) == 10
    assert f"{'x' * 250}.json" in os.listdir(spool.failed.path / ".reason")


@pytest.fixture
def linked(tmp_path: Path) -> Spool:
    """Folders where a move is link and unlink, so that a kill comes between the two."""
    return Spool(*(make(tmp_path, name, "portable") for name in NAMES))


@pytest.mark.parametrize("name", ["d/a", "d/a-Version-2"])
@pytest.mark.parametrize("end", ["uploaded", "failed"])
def test_an_interrupted_finish_is_not_sent_again(linked: Spool, end: str, name: str) -> None:
    """Cut off between link and unlink, under its name or a number: it leaves the queue and is nobody's to send."""
    path = claim(linked, "d/a")
    target = getattr(linked, end)
    (target.path / "d").mkdir()
    os.link(linked.queued.path / path, target.path / name)
    with linked.take(path) as queued:
        assert queued is None
    assert os.listdir(linked.queued.path) == []
    assert tree(target.path) == {name: b"content"}


@pytest.mark.parametrize("end", ["uploaded", "failed"])
def test_an_interrupted_claim_of_a_sent_file_is_finished(linked: Spool, end: str) -> None:
    """The queued name went all its way before Watch was looked at again: no second copy."""
    path = write(linked.watch.path / "d/a")
    target = getattr(linked, end).path
    (target / "d").mkdir()
    os.link(path, target / "d/a")
    assert linked.claim("d/a") is None
    assert everything(linked) == [b"content"]
    assert tree(target) == {"d/a": b"content"}


@pytest.mark.parametrize("where", ["watch", "queued"])
@pytest.mark.parametrize("name", ["d/a", "d/a-Version-2"])
def test_a_file_is_taken_with_one_name(linked: Spool, where: str, name: str) -> None:
    """A claim or a new number cut off between link and unlink is finished first: its unlink would make a new drop."""
    path = write(linked.queued.path / "d/a-Version-3")
    left = getattr(linked, where).path / name
    left.parent.mkdir(exist_ok=True)
    os.link(path, left)
    with linked.take("d/a-Version-3") as queued:
        assert queued is not None
        seen = queued.fingerprint()
        assert not left.exists()
        with pytest.raises(FileNotFoundError):
            linked.claim(name)
        assert queued.fingerprint() == seen
    assert tree(linked.queued.path) == {"d/a-Version-3": b"content"}


def test_the_second_name_of_a_claim_is_gone_for_good_before_anybody_is_told(
    linked: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D26. A power cut that brought it back would make the file another drop, as removing it again sets its ctime."""
    os.link(write(linked.watch.path / "a"), linked.queued.path / "a")
    synced = note_fsyncs(monkeypatch)
    with linked.take("a") as queued:
        assert queued
    assert synced[-1] == os.stat(linked.watch.path).st_ino


def test_a_name_somebody_gave_the_file_is_no_leftover(linked: Spool, tmp_path: Path) -> None:
    """Links elsewhere, and in Watch under another name, stay."""
    path = write(linked.queued.path / "d/a")
    others = [write(linked.watch.path / "d/x").with_name("b"), linked.watch.path / "a", tmp_path / "a"]
    for other in others:
        os.link(path, other)
    with linked.take("d/a") as queued:
        assert queued is not None
    assert all(other.exists() for other in others)


def test_a_link_somebody_made_is_sent(spool: Spool, tmp_path: Path) -> None:
    """A file with another name elsewhere is a file like any other, and leaves no empty folders."""
    write(tmp_path / "elsewhere")
    (spool.watch.path / "d").mkdir()
    os.link(tmp_path / "elsewhere", spool.watch.path / "d/a")
    assert spool.claim("d/a") == "d/a"
    assert os.listdir(spool.uploaded.path) == os.listdir(spool.failed.path) == []
    assert finish(spool, "d/a") == "d/a"


def test_renumbering_a_file_with_two_names_keeps_it(linked: Spool, tmp_path: Path) -> None:
    """Its own name is no earlier try; an earlier try in the same folder is."""
    path = claim(linked, "a")
    os.link(linked.queued.path / path, tmp_path / "elsewhere")
    for _ in range(2):
        with linked.take(path) as queued:
            assert queued is not None
            linked.renumber(queued, [])
            assert queued.path == "a-Version-2"
        os.link(linked.queued.path / "a-Version-2", linked.queued.path / "a")
    assert tree(linked.queued.path) == {"a": b"content", "a-Version-2": b"content"}


def test_a_reason_that_cannot_be_written_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: no empty reason, and the file stays queued."""
    path = claim(spool, "a")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            fail(spool, path)
    assert tree(spool.failed.path) == {}
    assert tree(spool.queued.path) == {"a": b"content"}


def test_a_failed_file_is_durable_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D26. The reason and its name, then the file's, each in folders that another process may have made just now."""
    spool = Spool(*(make(tmp_path, name, "kernel", durable=True) for name in NAMES))
    path = claim(spool, "d/a")
    for folder in ("d", ".reason/d"):
        (spool.failed.path / folder).mkdir(parents=True)
    done = note_effects(monkeypatch, tmp_path)
    assert fail(spool, path) == "d/a"
    above = ["fsync Failed", "fsync Failed/.reason"]
    reason = [f"fsync Failed/.reason/d/{name}".removesuffix("/") for name in ("a.json", "")]
    moved = ["fsync Failed", "_renameat2 Failed/d/a", "fsync Failed", "fsync Failed/d"]
    assert done[:8] == [*above, *reason, *moved]


def test_a_new_number_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D26. Before anything is stored under it: a restart must not find the file under its old one."""
    spool = Spool(*(make(tmp_path, name, "kernel", durable=True) for name in NAMES))
    path = claim(spool, "d/a")
    with spool.take(path) as queued:
        assert queued is not None
        done = note_effects(monkeypatch, tmp_path)
        spool.renumber(queued, [])
    assert done == ["_renameat2 QueuedForUpload/d/a-Version-2", "fsync QueuedForUpload", "fsync QueuedForUpload/d"]


def test_a_file_that_is_replaced_before_its_lock_is_not_taken(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking: what is open is not what would be moved."""
    path = claim(spool, "a", b"first")

    def late(fd: int) -> bool:
        os.rename(spool.queued.path / "a", spool.queued.path / "moved")
        write(spool.queued.path / "a", b"second")
        return kernel.try_lock(fd)

    monkeypatch.setattr(spool_module, "try_lock", late)
    with spool.take(path) as queued:
        assert queued is None


@pytest.mark.parametrize(
    ("path", "queued", "earlier"),
    [
        ("a.csv", ["a-Version-2.csv"], False),
        ("a-Version-2.csv", ["a.csv"], True),
        ("a-Version-2.csv", ["a-Version-3.csv", "b.csv", "a.txt", "d/a.csv"], False),
        ("d/a-Version-5.csv", ["d/a-Version-3.csv"], True),
        ("d/a-Version-5.csv", ["a-Version-3.csv"], False),
        ("a-Version-900.csv", ["a-Version-2.csv"], True),
        ("a-Version-900.csv", ["a.csv"], True),
        ("a-Version-900.csv", ["a-Version-901.csv", "b.csv"], False),
        ("a-Version-999999999.csv", ["b.csv"], False),
    ],
)
def test_earlier_versions_in_the_queue(tmp_path: Path, path: str, queued: list[str], earlier: bool) -> None:
    """Of this name, in this folder, however many numbers lie between them; a name that is kept has none."""
    spool = Spool(*(make(tmp_path, name, "kernel") for name in NAMES))
    for each in queued:
        write(spool.queued.path / each)
    assert spool.has_earlier(path) is earlier
    spool.keeps_names = True
    assert not spool.has_earlier(path)


def test_only_a_file_is_an_earlier_version(tmp_path: Path) -> None:
    """A folder, a pipe or a link is never sent, and would be waited for in vain."""
    spool = Spool(*(make(tmp_path, name, "kernel") for name in NAMES))
    (spool.queued.path / "a.csv").mkdir()
    os.mkfifo(spool.queued.path / "a-Version-2.csv")
    (spool.queued.path / "a-Version-3.csv").symlink_to("nowhere")
    assert not spool.has_earlier("a-Version-4.csv")
    assert not spool.has_earlier("gone/a-Version-4.csv")


@pytest.fixture(params=["kernel", "portable"])
def scattered(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """Folders of which no two share a file system."""
    spool = Spool(*(make(tmp_path, name, request.param) for name in NAMES))
    for folder in (spool.watch, spool.queued, spool.uploaded, spool.failed):
        folder.takes_copies = True
        no_rename_between(monkeypatch, folder.path)
    return spool


def test_every_step_leads_to_another_file_system(scattered: Spool) -> None:
    """Claimed, renumbered, finished and failed: numbered and kept as anywhere."""
    for body in (b"1", b"2", b"3"):
        claim(scattered, "d/a.csv", body)
    with scattered.take("d/a.csv") as queued:
        assert queued is not None
        scattered.renumber(queued, [])
        assert scattered.finish(queued) == "d/a-Version-4.csv"
    assert finish(scattered, "d/a-Version-2.csv") == "d/a-Version-2.csv"
    assert fail(scattered, "d/a-Version-3.csv") == "d/a-Version-3.csv"
    assert tree(scattered.uploaded.path) == {"d/a-Version-4.csv": b"1", "d/a-Version-2.csv": b"2"}
    assert sorted(tree(scattered.failed.path)) == [".reason/d/a-Version-3.csv.json", "d/a-Version-3.csv"]
    assert tree(scattered.watch.path) == tree(scattered.queued.path) == {}
    assert os.listdir(scattered.queued.path) == [".relay"]


def test_a_path_longer_than_a_call_takes(tmp_path: Path) -> None:
    """4,096 bytes and more, as folders opened one by one allow: it can be opened, to be set aside with the reason."""
    spool = Spool(*(make(tmp_path, name, "kernel") for name in NAMES))
    path = "/".join(["d" * 250] * 16 + ["x" * 200])
    with spool.queued.made_parent(path) as place:
        os.close(os.open(place.name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=place.fd))
    with spool.take(path) as queued:
        assert queued is not None
        assert spool.fail(queued, {"reason": "too long"}) == path
    assert spool.queued.status(path) is None
    assert spool.failed.status(path) is not None
    remove_deep(tmp_path)


def remove_deep(folder: Path) -> None:
    """What pytest itself could not remove: each call takes one component."""
    for name in os.listdir(folder):
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.rmtree(folder / name)  # it goes by descriptors
