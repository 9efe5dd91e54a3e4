"""Batches of claims over real folders: what is found there while they are made, and in which order they are durable."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import crossing, kernel
from pipeline.claims import Candidate, Claims
from pipeline.durability import Durability
from pipeline.spool import Spool
from tests.unit.places import make, no_rename_between, note_fsyncs, tree, write

NAMES = ("Watch", "Queued", "Uploaded", "Failed")
Take = Callable[..., list[str]]


@pytest.fixture(params=["kernel", "portable"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return Spool(*(make(tmp_path, name, request.param) for name in NAMES))


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def take(spool: Spool, told: list[tuple[str, str]]) -> Iterator[Take]:
    """Claim files of Watch in one batch, with something done between the look and the claim."""
    durability = Durability(together=spool.watch.facilities.together)

    def take(*paths: str, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
        with Claims(spool, durability, lambda path, problem: told.append((path, problem))) as batch:
            for path in paths:
                head, _, name = path.rpartition("/")
                fd = batch.open(head, name)
                batch.files.append(Candidate(head, name, fd, os.fstat(fd)))
            meanwhile()
            claimed = batch.take()
            batch.sync_folders()
            return claimed

    yield take
    durability.close()


@pytest.mark.parametrize("made_before", [False, True])
def test_claims_are_durable_target_first(
    spool: Spool, take: Take, monkeypatch: pytest.MonkeyPatch, made_before: bool
) -> None:
    """D26. The content, the folders for it from the top down, then the folder it left.

    Another process may have made those folders, and have been killed before they were durable.
    """
    spool.queued.durable = spool.watch.durable = True
    content = os.stat(write(spool.watch.path / "d/e/a")).st_ino
    if made_before:
        (spool.queued.path / "d/e").mkdir(parents=True)
    synced = note_fsyncs(monkeypatch)
    assert take("d/e/a") == ["d/e/a"]
    queued, left = spool.queued.path, os.stat(spool.watch.path / "d/e").st_ino
    made = [os.stat(folder).st_ino for folder in (queued, queued / "d", queued / "d/e")]
    assert list(dict.fromkeys(synced)) == [content, *made, left]


def test_a_claim_that_goes_beside_is_durable_too(spool: Spool, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder it really came to."""
    spool.queued.durable = spool.watch.durable = True
    write(spool.queued.path / "a")
    write(spool.watch.path / "a/x")
    (spool.queued.path / "a-Version-2").mkdir()
    synced = note_fsyncs(monkeypatch)
    assert take("a/x") == ["a-Version-2/x"]
    moved = [os.stat(folder).st_ino for folder in (spool.queued.path / "a-Version-2", spool.watch.path / "a")]
    assert [inode for inode in synced if inode in moved][-2:] == moved


def test_a_version_in_a_new_folder_is_durable_after_it(
    spool: Spool, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D26. Its name is taken in UploadedToS3, whose folder QueuedForUpload no longer has."""
    spool.queued.durable = spool.watch.durable = True
    write(spool.uploaded.path / "d/a")
    write(spool.watch.path / "d/a")
    synced = note_fsyncs(monkeypatch)
    assert take("d/a") == ["d/a-Version-2"]
    made = [os.stat(folder).st_ino for folder in (spool.queued.path, spool.queued.path / "d")]
    assert [inode for inode in dict.fromkeys(synced) if inode in made] == made


def test_a_name_that_is_taken_at_the_last_moment(spool: Spool, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a person who puts a file into QueuedForUpload: both stay."""
    write(spool.watch.path / "a", b"mine")
    original = kernel.rename_noreplace

    def rename(*move: object) -> None:
        if not (spool.queued.path / "a").exists():
            write(spool.queued.path / "a", b"theirs")
        original(*move)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel, "rename_noreplace", rename)
    assert take("a") == ["a-Version-2"]
    assert tree(spool.queued.path) == {"a": b"theirs", "a-Version-2": b"mine"}


def test_names_go_on_within_a_batch(spool: Spool, take: Take) -> None:
    """By what is queued and what was sent, also where the folder of what was sent appears while a batch is claimed."""
    for path in ("d/a", "d/b", "c"):
        write(spool.watch.path / path, b"second")
    write(spool.queued.path / "c", b"first")

    def send() -> None:
        write(spool.uploaded.path / "d/b", b"first")

    assert take("d/a", "d/b", "c", meanwhile=send) == ["d/a", "d/b-Version-2", "c-Version-2"]
    assert tree(spool.queued.path) == {
        "c": b"first",
        "c-Version-2": b"second",
        "d/a": b"second",
        "d/b-Version-2": b"second",
    }


def test_a_name_that_is_sent_in_between_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: Spool) -> None:
    """Looked for first where it lies and then where it goes to, a file is met, whenever it moves."""
    if not spool.queued.facilities.noreplace:
        pytest.skip("there the folders are listed")
    durability = Durability(together=False)
    write(spool.queued.path / "a", b"first")
    write(spool.watch.path / "a", b"second")
    original = os.access
    looks: list[str] = []

    def access(name: str, mode: int, **where: Any) -> bool:
        found = original(name, mode, **where)
        if name == "a" and not looks:
            (spool.queued.path / "a").rename(spool.uploaded.path / "a")
            looks.append(name)
        return found

    with Claims(spool, durability, lambda _path, _problem: None) as batch:
        fd = batch.open("", "a")
        batch.files.append(Candidate("", "a", fd, os.fstat(fd)))
        monkeypatch.setattr(os, "access", access)
        assert batch.take() == ["a-Version-2"]
    durability.close()


def test_a_folder_that_is_tidied_away_is_made_again(spool: Spool, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two claims of one batch the first file went all its way."""
    if not spool.queued.facilities.noreplace:
        pytest.skip("there each claim makes the folder for itself")
    for name in ("a", "b", "c"):
        write(spool.watch.path / "d" / name)
    original = kernel.rename_noreplace

    def rename(*move: object) -> None:
        if move[1] == "b" and (spool.queued.path / "d/a").exists():
            (spool.queued.path / "d/a").unlink()
            (spool.queued.path / "d").rmdir()
        original(*move)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel, "rename_noreplace", rename)
    assert take("d/a", "d/b", "d/c") == ["d/a", "d/b", "d/c"]
    assert sorted(tree(spool.queued.path)) == ["d/b", "d/c"]


@pytest.mark.parametrize("instead", [None, "link", "folder"])
def test_a_folder_that_left_watch_is_not_ours(spool: Spool, take: Take, tmp_path: Path, instead: str | None) -> None:
    """D27. Taken out of Watch between the look and the claim, and a link to it or another folder left in its place."""
    write(spool.watch.path / "d/a", b"mine")
    write(spool.watch.path / "b")

    def leave() -> None:
        (spool.watch.path / "d").rename(tmp_path / "outside")
        if instead == "link":
            (spool.watch.path / "d").symlink_to(tmp_path / "outside")
        elif instead == "folder":
            write(spool.watch.path / "d/a", b"else")

    assert take("d/a", "b", meanwhile=leave) == ["b"]
    assert tree(tmp_path / "outside") == {"a": b"mine"}
    assert tree(spool.queued.path) == {"b": b"content"}


def test_a_component_taken_by_the_other_kind(spool: Spool, take: Take, tmp_path: Path) -> None:
    """A file or a link in QueuedForUpload where a folder is needed: beside it; in UploadedToS3 it does not matter."""
    for path in ("a/x", "l/x", "u/x"):
        write(spool.watch.path / path)
    write(spool.queued.path / "a")
    write(tmp_path / "outside/x")
    (spool.queued.path / "l").symlink_to(tmp_path / "outside")
    (spool.uploaded.path / "u").symlink_to(tmp_path / "outside")
    assert take("a/x", "l/x", "u/x") == ["a-Version-2/x", "l-Version-2/x", "u/x"]


def test_everything_is_given_back(spool: Spool, take: Take) -> None:
    """No descriptor is left, whatever became of the files."""
    for path in ("d/a", "d/b", "e/c"):
        write(spool.watch.path / path)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    take("d/a", "d/b", "e/c", meanwhile=(spool.watch.path / "d/b").unlink)
    assert len(os.listdir("/proc/self/fd") if before else []) == len(before)


@pytest.mark.parametrize("copies", [True, False])
def test_a_queue_on_another_file_system(
    spool: Spool, take: Take, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    """Files are copied where that was asked for; else they wait, and it is told."""
    no_rename_between(monkeypatch, spool.watch.path)
    spool.queued.takes_copies = copies
    for path in ("d/a", "b"):
        write(spool.watch.path / path, path.encode())
    assert take("d/a", "b") == (["d/a", "b"] if copies else [])
    moved, kept = (spool.queued, spool.watch) if copies else (spool.watch, spool.queued)
    assert (tree(moved.path), tree(kept.path)) == ({"d/a": b"d/a", "b": b"b"}, {})
    assert [path for path, _ in told] == ([] if copies else ["d/a", "b"])


def test_a_copy_that_finds_no_room_waits(
    spool: Spool, take: Take, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on."""
    no_rename_between(monkeypatch, spool.watch.path)
    spool.queued.takes_copies = True
    for path in ("a", "b"):
        write(spool.watch.path / path, path.encode())

    def full(_source: int, _target: int, size: int) -> int:
        monkeypatch.undo()
        no_rename_between(monkeypatch, spool.watch.path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(crossing, "copy_content", full)
    assert take("a", "b") == ["b"]
    [(path, problem)] = told
    assert path == "a"
    assert os.strerror(errno.ENOSPC) in problem
    assert str(spool.queued.path / "a") in problem
    assert (tree(spool.watch.path), tree(spool.queued.path)) == ({"a": b"a"}, {"b": b"b"})
