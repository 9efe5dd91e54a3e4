"""The only ways a file moves: nothing is followed, nothing is replaced; with the kernel's ways and without."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import kernel, moves
from pipeline.folders import Folder
from pipeline.kernel import Facilities, is_being_written, probe, rename_noreplace, try_lock
from pipeline.listing import walk
from pipeline.moves import move
from tests.unit.places import PORTABLE, make, note_effects, tree, write

KINDS = ["kernel", "portable"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(tmp_path: Path, kind: str) -> tuple[Folder, Folder]:
    return make(tmp_path, "one", kind), make(tmp_path, "two", kind)


def refuse(path: str, error: OSError) -> None:
    raise AssertionError(f"{path}: {error}")


def test_a_move_keeps_the_file(pair: tuple[Folder, Folder]) -> None:
    """Same inode, same bytes, same time, new place; the folders above are made."""
    one, two = pair
    before = write(one.path / "d/a.csv").stat()
    assert move(one, "d/a.csv", two, "e/f/a.csv") == "e/f/a.csv"
    after = (two.path / "e/f/a.csv").stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_nlink) == (after.st_ino, after.st_mtime_ns, after.st_nlink)
    assert tree(one.path) == {}


def test_a_move_never_replaces(pair: tuple[Folder, Folder]) -> None:
    """D12. File, folder or dangling link of that name: the next version, and what was there stays."""
    one, two = pair
    write(two.path / "file", b"old")
    (two.path / "folder").mkdir()
    (two.path / "link").symlink_to("nowhere")
    for name in ("file", "folder", "link"):
        write(one.path / name, b"new")
        assert move(one, name, two, name) == f"{name}-Version-2"
    assert tree(two.path) == {
        "file": b"old",
        "file-Version-2": b"new",
        "folder-Version-2": b"new",
        "link": "-> nowhere",
        "link-Version-2": b"new",
    }


def test_a_file_system_that_takes_two_names_for_one(
    pair: tuple[Folder, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """D29. Where `A` is `a`, its versions too, a name that a listing does not show is taken: on to the next version."""
    one, two = pair
    for name in ("A.txt", "A-VERSION-2.TXT"):
        write(two.path / name, b"old")
    write(one.path / "a.txt", b"new")
    original = kernel.rename_noreplace

    def folding(source_fd: int, source: str, target_fd: int, target: str, facilities: Facilities) -> None:
        if target.casefold() in map(str.casefold, os.listdir(target_fd)):
            raise FileExistsError(errno.EEXIST, "File exists", target)
        original(source_fd, source, target_fd, target, facilities)

    monkeypatch.setattr(kernel, "rename_noreplace", folding)
    monkeypatch.setattr(moves, "_same_file", lambda *_: False)  # there, the name would be found
    assert move(one, "a.txt", two, "a.txt") == "a-Version-3.txt"
    assert tree(two.path) == {"A.txt": b"old", "A-VERSION-2.TXT": b"old", "a-Version-3.txt": b"new"}


def test_versions_are_counted_on(pair: tuple[Folder, Folder]) -> None:
    """By the names in the target folder, not by probing from two upwards."""
    one, two = pair
    for name in ("a.csv", "a-Version-7.csv"):
        write(two.path / name)
    write(one.path / "a.csv")
    assert move(one, "a.csv", two, "a.csv") == "a-Version-8.csv"


def test_a_component_taken_by_the_other_kind(pair: tuple[Folder, Folder]) -> None:
    """`a` a file, then `a/b.txt`, then `a` again: three files, none inside or over another."""
    one, two = pair
    write(two.path / "a", b"file")
    write(one.path / "a/b.txt", b"inner")
    assert move(one, "a/b.txt", two, "a/b.txt") == "a-Version-2/b.txt"
    write(one.path / "a/c.txt", b"inner too")
    assert move(one, "a/c.txt", two, "a/c.txt") == "a-Version-2/c.txt"
    (one.path / "a").rmdir()
    write(one.path / "a", b"file too")
    assert move(one, "a", two, "a") == "a-Version-3"
    assert len(tree(two.path)) == 4


def test_a_link_as_a_component_is_not_entered(pair: tuple[Folder, Folder], tmp_path: Path) -> None:
    """A folder that is a link leads nowhere: beside it, not through it."""
    one, two = pair
    (tmp_path / "outside").mkdir()
    (two.path / "d").symlink_to(tmp_path / "outside")
    write(one.path / "d/a")
    assert move(one, "d/a", two, "d/a") == "d-Version-2/a"
    assert tree(tmp_path / "outside") == {}


def test_an_interrupted_move_is_finished(pair: tuple[Folder, Folder]) -> None:
    """A kill between link and unlink left both names: the second goes, the file stays once."""
    one, two = pair
    write(one.path / "a")
    os.link(one.path / "a", two.path / "a")
    assert move(one, "a", two, "a") == "a"
    assert tree(one.path) == {}
    assert tree(two.path) == {"a": b"content"}
    assert (two.path / "a").stat().st_nlink == 1


def test_an_interrupted_move_to_a_version_is_finished(tmp_path: Path) -> None:
    """Interrupted under the number it had to take: found again by its inode, and no third name is made."""
    one, two = make(tmp_path, "one", "portable"), make(tmp_path, "two", "portable")
    write(two.path / "a.csv", b"other")
    write(one.path / "a.csv")
    write(one.path / "b.csv")
    os.link(one.path / "a.csv", two.path / "a-Version-2.csv")
    os.link(one.path / "b.csv", two.path / "c.csv")  # a link somebody made on purpose is no move of ours
    assert move(one, "a.csv", two, "a.csv") == "a-Version-2.csv"
    assert move(one, "b.csv", two, "b.csv") == "b.csv"
    assert sorted(tree(two.path)) == ["a-Version-2.csv", "a.csv", "b.csv", "c.csv"]
    assert tree(one.path) == {}


def test_a_source_that_is_gone(pair: tuple[Folder, Folder]) -> None:
    """FileNotFoundError, at the top and in a folder that is gone too; nothing appears."""
    one, two = pair
    for path in ("a", "d/a"):
        with pytest.raises(FileNotFoundError):
            move(one, path, two, path)
    assert tree(two.path) == {}


@pytest.mark.parametrize("path", ["link", "d/link", "through/secret", "d/up/secret", "../secret", "d/../../secret"])
def test_nothing_is_followed(tmp_path: Path, kind: str, path: str) -> None:
    """F11. A link as the file, as a folder in the middle, and `..`: none leads out of the folder."""
    write(tmp_path / "secret", b"secret")
    folder = make(tmp_path, "one", kind)
    (folder.path / "d").mkdir()
    (folder.path / "link").symlink_to(tmp_path / "secret")
    (folder.path / "d/link").symlink_to("../../secret")
    (folder.path / "through").symlink_to(tmp_path)
    (folder.path / "d/up").symlink_to("../..")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which one differs between kernel and fallback
        folder.open(path)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV)


@pytest.mark.parametrize("path", ["../made", "d/../../made", ".."])
def test_no_move_leaves_its_folder(pair: tuple[Folder, Folder], path: str) -> None:
    """F1. Whatever lets such a path come here: nothing is made, and the file stays."""
    one, two = pair
    write(one.path / "a")
    with pytest.raises(OSError, match="cross-device") as caught:
        move(one, "a", two, path)
    assert caught.value.errno == errno.EXDEV
    assert (tree(one.path), tree(two.path)) == ({"a": b"content"}, {})
    assert sorted(os.listdir(one.path.parent)) == ["one", "two"]


def test_a_folder_renamed_away_is_still_the_folder(tmp_path: Path, kind: str) -> None:
    """F11. The root replaced by a link after it was opened: everything still happens in the real one."""
    folder = make(tmp_path, "one", kind)
    source = make(tmp_path, "source", kind)
    (tmp_path / "outside").mkdir()
    folder.path.rename(tmp_path / "real")
    (tmp_path / "one").symlink_to(tmp_path / "outside")
    write(source.path / "d/a")
    move(source, "d/a", folder, "d/a")
    assert tree(tmp_path / "real") == {"d/a": b"content"}
    assert tree(tmp_path / "outside") == {}


def test_links_raced_in_never_lead_outside(tmp_path: Path, kind: str) -> None:
    """F11. While a folder on the way is swapped for a link and back, over and over, no file gets outside."""
    one, two = make(tmp_path, "one", kind), make(tmp_path, "two", kind)
    (tmp_path / "outside").mkdir()
    over = threading.Event()

    def swap() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with contextlib.suppress(FileNotFoundError):
                (two.path / "d").rename(two.path / f"real-{number}")
            with contextlib.suppress(FileExistsError):
                (two.path / "d").symlink_to(tmp_path / "outside")
                (two.path / "d").unlink()

    thread = threading.Thread(target=swap)
    two.durable = False
    thread.start()
    try:
        for number in range(100):
            write(one.path / f"d/{number}")
            move(one, f"d/{number}", two, f"d/{number}")
    finally:
        over.set()
        thread.join()
    assert tree(tmp_path / "outside") == {}
    assert tree(one.path) == {}
    assert len(tree(two.path)) == 100


def test_walk_yields_every_entry_that_is_no_folder(tmp_path: Path, kind: str) -> None:
    """Files at any depth, links unfollowed, odd names; not what is the program's own."""
    folder = make(tmp_path, "one", kind)
    for path in ("a", "d/b", "d/e/c", "\n", ".relay/ledger", "d/.relay/x"):
        write(folder.path / path)
    (folder.path / "loop").symlink_to(".")
    (folder.path / "d/out").symlink_to("/etc")
    (folder.path / "empty").mkdir()
    found = {head: (sorted(file.name for file in files), others) for head, files, others, *_ in walk(folder, refuse)}
    assert found == {
        "": (["\n", "a"], ["loop"]),
        "d": (["b"], ["out"]),
        "d/e": (["c"], []),
        "d/.relay": (["x"], []),
        "empty": ([], []),
    }


def test_walk_tells_when_a_file_came(tmp_path: Path, kind: str) -> None:
    """And its size; a rename into the folder is what counts, not when it was written."""
    folder = make(tmp_path, "one", kind)
    first = write(folder.path / "d/first", b"123")
    before = os.stat(write(folder.path / "other")).st_ctime_ns
    os.utime(write(folder.path / "second", b""), ns=(1, 1))
    first.rename(folder.path / "third")
    files = {file.name: file for listing in walk(folder, refuse) for file in listing.files}
    assert before <= files["second"].arrived <= files["third"].arrived
    assert [files[name].size for name in ("second", "third")] == [0, 3]


def test_walk_passes_over_one_bad_entry(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """D3. A file of which the system can say nothing hides none beside it."""
    folder = make(tmp_path, "one", kind)
    for path in ("d/a", "d/bad", "d/c"):
        write(folder.path / path)
    original = os.stat

    def stat(path: Any, **how: Any) -> os.stat_result:
        if path == "bad":
            raise OSError(errno.EIO, "Input/output error")
        return original(path, **how)

    monkeypatch.setattr(os, "stat", stat)
    complaints: list[str] = []
    found = list(walk(folder, lambda path, _error: complaints.append(path)))
    assert sorted(file.name for listing in found for file in listing.files) == ["a", "c"]
    assert complaints == ["d/bad"]


def test_walk_looks_only_into_what_is_wanted(tmp_path: Path, kind: str) -> None:
    """What is not entered is not even listed."""
    folder = make(tmp_path, "one", kind)
    for path in ("a", "no/b", "yes/c", "yes/no/d"):
        write(folder.path / path)
    listings = list(walk(folder, refuse, lambda name: name != "no"))
    assert [listing.head for listing in listings] == ["", "yes"]


def test_walk_asks_only_for_what_is_wanted(tmp_path: Path, kind: str) -> None:
    """Of the others it is known that they are there."""
    folder = make(tmp_path, "one", kind)
    for path in ("a", "b", "c"):
        write(folder.path / path)
    [listing] = walk(folder, refuse, takes=lambda names: [name for name in names if name > "b"])
    assert [file.name for file in listing.files] == ["c"]
    assert listing.seen == 3


def test_walk_passes_over_what_it_cannot_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unreadable folder is complained about; the others are listed; a vanished one is nothing."""
    folder = make(tmp_path, "one", kind)
    for path in ("a", "bad/b", "gone/c", "d/e"):
        write(folder.path / path)
    original = folder.open

    def refuse_bad(path: str, flags: int = os.O_RDONLY) -> int:
        if path in ("bad", "gone"):
            raise OSError(errno.EACCES if path == "bad" else errno.ENOENT, "no")
        return original(path, flags)

    monkeypatch.setattr(folder, "open", refuse_bad)
    complaints: list[str] = []
    found = walk(folder, lambda path, _error: complaints.append(path))
    assert {file[1:3] for listing in found for file in listing.files} == {("", "a"), ("d", "e")}
    assert complaints == ["bad"]


def test_tidy_removes_only_what_is_empty_and_below(tmp_path: Path, kind: str) -> None:
    """Empty folders above the path go, up to one that holds something, and never the folder itself."""
    folder = make(tmp_path, "one", kind)
    (folder.path / "a/b/c").mkdir(parents=True)
    (folder.path / "x/y").mkdir(parents=True)
    write(folder.path / "a/other")
    folder.tidy("a/b/c/gone")
    folder.tidy("x/y/gone")
    folder.tidy("never/there")
    folder.tidy("gone")
    assert sorted(os.listdir(folder.path)) == ["a"]
    assert tree(folder.path) == {"a/other": b"content"}


@pytest.mark.parametrize("path", ["gone", "d/gone", "file/x", "link/x", "link"])
def test_status_of_nothing(tmp_path: Path, kind: str, path: str) -> None:
    """None where nothing is, below a file, and behind a link; a link itself is something."""
    folder = make(tmp_path, "one", kind)
    write(folder.path / "file")
    write(tmp_path / "outside/x")
    (folder.path / "link").symlink_to(tmp_path / "outside")
    assert (folder.status(path) is None) == (path != "link")
    if path != "link":
        assert folder.beside(path) in ([], sorted(os.listdir(folder.path)), os.listdir(folder.path))


def test_a_lock_is_exclusive(tmp_path: Path) -> None:
    """Between two descriptors of one file, until the first is closed."""
    path = write(tmp_path / "a")
    first, second = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    assert try_lock(first)
    assert not try_lock(second)
    os.close(first)
    assert try_lock(second)
    os.close(second)


def test_the_probe_tells_the_truth_and_leaves_nothing(tmp_path: Path) -> None:
    """What it finds works here; no probe file stays behind."""
    fd = os.open(tmp_path, os.O_RDONLY)
    found = probe(fd)
    assert os.listdir(tmp_path) == []
    write(tmp_path / "a", b"a")
    write(tmp_path / "b", b"b")
    for facilities in (found, PORTABLE):
        with pytest.raises(FileExistsError):
            rename_noreplace(fd, "a", fd, "b", facilities)
    assert tree(tmp_path) == {"a": b"a", "b": b"b"}
    os.close(fd)


@pytest.mark.parametrize("then", ["taken away", "replaced"])
def test_what_is_taken_at_once_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """F11. Between link and unlink somebody renames the new name: the old one goes all the same."""
    original, fd = os.link, os.open(tmp_path, os.O_RDONLY)
    write(tmp_path / "a")

    def link(*values: Any, **more: Any) -> None:
        original(*values, **more)
        (tmp_path / "b").rename(tmp_path / "theirs")
        if then == "replaced":
            (tmp_path / "b").symlink_to("elsewhere")

    monkeypatch.setattr(os, "link", link)
    rename_noreplace(fd, "a", fd, "b", PORTABLE)
    os.close(fd)
    assert tree(tmp_path) == {"theirs": b"content"} | ({"b": "-> elsewhere"} if then == "replaced" else {})


def test_a_file_system_that_ignores_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where renameat2 replaces all the same it is not used, and nothing of the trial stays."""

    def replace_it(source_fd: int, source: str, target_fd: int, target: str) -> None:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)

    monkeypatch.setattr(kernel, "_renameat2", replace_it)
    fd = os.open(tmp_path, os.O_RDONLY)
    assert not probe(fd).noreplace
    assert os.listdir(tmp_path) == []
    os.close(fd)


@pytest.mark.parametrize("made_before", [False, True])
def test_a_link_is_durable_before_the_unlink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_before: bool
) -> None:
    """Else a power cut may keep the unlink and forget the link; whoever made that, this process or one before."""
    one, two = make(tmp_path, "one", "portable"), make(tmp_path, "two", "portable")
    write(one.path / "a")
    if made_before:
        os.link(one.path / "a", two.path / "a")
    done = note_effects(monkeypatch, tmp_path)
    assert move(one, "a", two, "a") == "a"
    assert done == ["link two/a"] * (not made_before) + ["fsync two", "unlink one/a"]


def test_a_new_folder_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name in the folder above, before anything is put into it."""
    top = make(tmp_path, "top", "kernel", durable=True)
    done = note_effects(monkeypatch, tmp_path)
    with top.made_parent("d/e/a"):
        pass
    assert done == ["mkdir top/d", "fsync top", "mkdir top/d/e", "fsync top/d"]


def test_a_folder_that_is_there_is_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D26. Whoever made it may have been killed before it was: with it would go what is put into it."""
    top = make(tmp_path, "top", "kernel", durable=True)
    (top.path / "d/e").mkdir(parents=True)
    done = note_effects(monkeypatch, tmp_path)
    for _ in range(2):  # once: it is entered for each file
        with top.made_parent("d/e/a"):
            assert done == ["fsync top", "fsync top/d"]
    with top.made_parent("d/e/a", sync=False):
        top.sync({"d/e/a", "d/b", "gone/a"})
    assert done[2:] == ["fsync top", "fsync top/d", "fsync top/d/e"]


def test_a_link_is_made_in_a_folder_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D26. Its other name goes next; whether the folder is one that was seen before, or has but its number."""
    one, two = (make(tmp_path, name, "portable", durable=True) for name in ("one", "two"))
    (two.path / "d").mkdir()
    done = note_effects(monkeypatch, tmp_path)
    for name in ("a", "b"):
        write(one.path / name)
        del done[:]
        assert move(one, name, two, f"d/{name}") == f"d/{name}"
        assert done == ["fsync two", f"link two/d/{name}", "fsync two/d", f"unlink one/{name}"]


def test_a_folder_that_is_made_again_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D26. It may have the number of the one that is gone."""
    top = make(tmp_path, "top", "kernel", durable=True)
    for _ in range(3):
        done = note_effects(monkeypatch, tmp_path)
        with top.made_parent("d/a"):
            pass
        assert "fsync top" in done
        top.tidy("d/a")


def test_folders_are_not_everybodys(tmp_path: Path) -> None:
    """Whatever the umask; the program's own are for its user alone."""
    before = os.umask(0)
    try:
        top = make(tmp_path, "top", "kernel")
        with top.made_parent("d/a"):
            pass
        top.own(".relay/own").close()
    finally:
        os.umask(before)
    modes = [(top.path / name).stat().st_mode & 0o777 for name in ("d", ".relay", ".relay/own")]
    assert modes == [0o750, 0o700, 0o700]


def test_an_unknown_file_system_is_not_believed() -> None:
    """That a lease is granted says nothing where nobody knows who grants it."""
    fd = os.open("/proc/self", os.O_RDONLY)
    assert not kernel.tells_writers(fd)
    assert not probe(fd, moves=False).lease
    os.close(fd)


def test_a_folder_is_asked_without_touching_it(tmp_path: Path) -> None:
    """All but moves can be told so, and nothing is made in it, not for an instant."""
    fd = os.open(tmp_path, os.O_RDONLY)
    os.utime(fd, ns=(0, 0))
    found = probe(fd, moves=False)
    assert os.fstat(fd).st_mtime_ns == 0
    assert found == replace(probe(fd), noreplace=False)
    os.close(fd)


def test_the_ways_in_use_are_told() -> None:
    """One phrase for each facility, in either state."""
    assert PORTABLE.describe() == "link and unlink, component by component, settle time, file by file"
    assert Facilities(True, True, True, True).describe() == "renameat2, openat2, leases, syncfs"


def test_a_writer_is_noticed(tmp_path: Path) -> None:
    """Open for writing: yes; closed: no; and the lease that was taken to ask is gone."""
    fd = os.open(tmp_path, os.O_RDONLY)
    if not probe(fd).lease:
        pytest.skip("this file system does not say who writes")
    os.close(fd)
    path = write(tmp_path / "a")
    reader = os.open(path, os.O_RDONLY)
    with path.open("ab"):
        assert is_being_written(reader) is True
    assert is_being_written(reader) is False
    assert fcntl.fcntl(reader, 1025) == fcntl.F_UNLCK
    os.close(reader)


@pytest.mark.parametrize("made_again", [True, False])
@pytest.mark.parametrize("which", ["source", "target"])
def test_a_removed_folder_is_an_error(pair: tuple[Folder, Folder], which: str, made_again: bool) -> None:
    """ESTALE with its path and what to do, rather than trying for ever; and the folder knows that it is another."""
    one, two = pair
    gone = one if which == "source" else two
    if which == "target":
        write(one.path / "a")
    assert gone.is_current()
    gone.path.rmdir()
    if made_again:
        (gone.path.parent / "keeps the inode").mkdir()
        gone.path.mkdir()
    assert not gone.is_current()
    with pytest.raises(OSError, match="was removed while the program ran; restart") as caught:
        move(one, "a", two, "a")
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, str(gone.path))


def test_a_file_that_takes_the_place_of_the_moved_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written under the old name between link and unlink: it was not moved, so it is not removed."""
    one, two = make(tmp_path, "one", "portable"), make(tmp_path, "two", "portable")
    write(one.path / "a", b"first")
    original = os.fsync

    def fsync(fd: int) -> None:
        original(fd)
        write(one.path / "new", b"second").replace(one.path / "a")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert move(one, "a", two, "a") == "a"
    assert tree(one.path) == {"a": b"second"}
    assert tree(two.path) == {"a": b"first"}
