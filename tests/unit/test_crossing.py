"""Moves between two file systems: whole, once, and whatever a kill leaves is put right."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import copying, crossing, kernel
from pipeline.crossing import OWN, recover
from pipeline.folders import Folder
from pipeline.moves import move
from pipeline.records import Record, open_record
from tests.unit.places import another_file_system, facilities_of, no_rename_between, note_effects, tree, write

LONG_AGO = 10**18 + 123_456_789


class Far:
    """A source and a target that no rename leads between."""

    def __init__(self, near: Path, far: Path, kind: str, *, durable: bool = True) -> None:
        self.source, self.target = (
            Folder(path, durable=durable, facilities=facilities_of(kind, path), takes_copies=True)
            for path in (near, far)
        )

    def move(self, path: str = "d/a", wanted: str | None = None) -> str:
        return move(self.source, path, self.target, wanted or path)

    def recover(self) -> None:
        recover(self.target, (self.source,))

    def drop(self, body: bytes = b"content", path: str = "d/a") -> Path:
        file = write(self.source.path / path, body)
        os.utime(file, ns=(LONG_AGO, LONG_AGO))
        return file

    @property
    def left(self) -> dict[str, bytes | str]:
        return tree(self.source.path)

    @property
    def there(self) -> dict[str, bytes | str]:
        """What is in the target, and nothing of the program's own beside it."""
        assert os.listdir(self.target.path / OWN) == []
        return tree(self.target.path)

    @property
    def everywhere(self) -> dict[str, bytes | str]:
        """In exactly one of the two."""
        left, there = self.left, self.there
        assert not (left.keys() & there.keys())
        return left | there


@pytest.fixture(params=["real-kernel", "real-portable", "injected-kernel", "injected-portable"])
def far(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    how, _, kind = request.param.partition("-")
    (near := tmp_path / "near").mkdir()
    if how == "injected":
        (elsewhere := tmp_path / "far").mkdir()
        no_rename_between(monkeypatch, near)
        yield Far(near, elsewhere, kind)
        return
    place = another_file_system(tmp_path)
    if place is None:
        pytest.skip("there is only one file system that can be written to")
    with tempfile.TemporaryDirectory(dir=place, prefix="relay-test-") as other:
        yield Far(near, Path(other), kind)


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Far:
    """Two folders between which no rename leads, for what is the same on all of them."""
    for name in ("near", "far"):
        (tmp_path / name).mkdir()
    no_rename_between(monkeypatch, tmp_path / "near")
    return Far(tmp_path / "near", tmp_path / "far", "kernel")


def test_a_file_is_moved_with_its_time_and_permissions(far: Far) -> None:
    """The same bytes, mtime to the nanosecond, and mode, but for what would run as this user."""
    body = os.urandom(3 << 20)
    far.drop(body).chmod(0o4640)
    assert far.move() == "d/a"
    assert (far.left, far.there) == ({}, {"d/a": body})
    status = (far.target.path / "d/a").stat()
    assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode), status.st_nlink) == (LONG_AGO, 0o640, 1)


def test_a_copy_can_be_read_by_its_owner(one: Far) -> None:
    """A file may be there for everybody but its owner; the copy has another owner, and that one sends it."""
    one.drop().chmod(0o044)
    if os.geteuid():
        pytest.skip("only root opens a file that its owner may not read")
    one.move()
    assert stat.S_IMODE((one.target.path / "d/a").stat().st_mode) == 0o444


@pytest.mark.parametrize("body", [b"", b"x"])
def test_small_files_are_files(far: Far, body: bytes) -> None:
    """One without content, and one of a byte."""
    far.drop(body)
    far.move()
    assert (far.left, far.there) == ({}, {"d/a": body})


def test_nothing_is_replaced(far: Far) -> None:
    """A name that is taken, and a folder whose name is a file: the next version of each."""
    write(far.target.path / "d/a.csv", b"first")
    write(far.target.path / "f", b"file")
    far.drop(b"second", "d/a.csv")
    far.drop(b"third", "f/b")
    assert far.move("d/a.csv") == "d/a-Version-2.csv"
    assert far.move("f/b") == "f-Version-2/b"
    assert far.there == {"d/a.csv": b"first", "d/a-Version-2.csv": b"second", "f": b"file", "f-Version-2/b": b"third"}


def test_it_is_refused_where_nobody_asked_for_it(far: Far) -> None:
    """EXDEV, as before, and nothing is made."""
    far.target.takes_copies = False
    far.drop()
    with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
        far.move()
    assert far.left == {"d/a": b"content"}
    assert tree(far.target.path) == {}


def test_what_is_mounted_inside_is_not_believed(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share inside a local folder: whether anybody writes there nobody knows, and a rename was refused too."""
    far.drop()
    monkeypatch.setattr(kernel, "tells_writers", lambda _fd: False)
    far.source.facilities = kernel.Facilities(lease=True)
    with pytest.raises(OSError, match="mounted inside") as refused:
        far.move()
    assert refused.value.filename == str(far.source.path / "d/a")
    assert far.left == {"d/a": b"content"}
    far.source.facilities = kernel.Facilities()  # the settle time decided
    far.move()
    assert (far.left, far.there) == ({}, {"d/a": b"content"})


def test_a_file_that_is_gone(far: Far) -> None:
    """FileNotFoundError, and nothing is left."""
    with pytest.raises(FileNotFoundError):
        far.move("a")
    assert tree(far.target.path) == {}


def test_each_way_of_copying_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the kernel or through memory, in several calls; one way that ends in the middle is followed by the next."""
    body = os.urandom(100_000)
    source, ways = write(tmp_path / "source", body), dict(copying._WAYS)
    monkeypatch.setattr(copying, "_CHUNK", 30_000)

    def half(source: int, target: int, done: int) -> int:
        return ways["pread"](source, target, done) if done < 50_000 else 0

    def refused(_source: int, _target: int, _done: int) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    trials: list[dict[str, Any]] = [{name: way} for name, way in ways.items() if name != "copy_file_range"]
    trials += [
        ways,
        {"sendfile": half, "pread": ways["pread"]},
        {"copy_file_range": refused, "sendfile": ways["sendfile"]},
    ]
    for trial in trials:
        monkeypatch.setattr(copying, "_WAYS", trial)
        with source.open("rb") as reader, (tmp_path / "target").open("w+b") as writer:
            assert copying.copy_content(reader.fileno(), writer.fileno(), len(body)) == len(body)
        assert (tmp_path / "target").read_bytes() == body


def test_an_endless_file_is_not_copied_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What grows faster than it is read is given up at once."""
    calls: list[int] = []

    def ten(_source: int, _target: int, done: int) -> int:
        calls.append(done)
        return 10

    monkeypatch.setattr(copying, "_WAYS", {"pread": ten})
    assert copying.copy_content(0, 1, 25) == 30
    assert calls == [0, 10, 20]


# ------------------------------------------------------------------ what happens meanwhile


def meanwhile(patch: pytest.MonkeyPatch, when: str, action: Callable[[], object], owner: object = crossing) -> None:
    """Do something once, right before a step of `crossing`."""
    original, actions = getattr(owner, when), [action]

    def step(*args: Any) -> Any:
        while actions:
            actions.pop()()
        return original(*args)

    patch.setattr(owner, when, step)


def skip_without_leases(far: Far) -> None:
    if not facilities_of("kernel", far.source.path).lease:
        pytest.skip("this file system does not say who writes")


def rewrite(file: Path) -> None:
    file.write_bytes(b"changed")


def append(file: Path) -> None:
    with file.open("ab") as out:
        out.write(b"more")


def replace(file: Path) -> None:
    other = write(file.with_name("other"), b"content")
    os.utime(other, ns=(LONG_AGO, LONG_AGO))
    other.rename(file)


@pytest.mark.parametrize("change", [rewrite, append, replace])
@pytest.mark.parametrize("when", ["copy_content", "_refuse_changed", "_name_it", "_remove_source"])
def test_a_file_that_changes_stays(
    far: Far, monkeypatch: pytest.MonkeyPatch, when: str, change: Callable[[Path], None]
) -> None:
    """Whenever it does: what it is now lies where it was, the copy is gone, and the next try takes it."""
    file = far.drop()
    with monkeypatch.context() as patch:
        meanwhile(patch, when, lambda: change(file))
        if when in ("copy_content", "_refuse_changed"):  # it is seen before anybody could see the copy
            meanwhile(patch, "_name_it", lambda: pytest.fail("named"))
        with pytest.raises(OSError, match="changed while it was copied") as refused:
            far.move()
    assert refused.value.errno == errno.EBUSY
    now = file.read_bytes()
    assert (far.left, far.there) == ({"d/a": now}, {})
    assert os.listdir(far.target.path) == [".relay"]
    far.move()
    assert (far.left, far.there) == ({}, {"d/a": now})


@pytest.mark.parametrize("when", ["copy_content", "_name_it", "_remove_source"])
def test_a_file_that_is_being_written_stays(far: Far, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Its writer may write on: nothing it writes is lost."""
    skip_without_leases(far)
    file, writers = far.drop(), list[int]()
    meanwhile(monkeypatch, when, lambda: writers.append(os.open(file, os.O_WRONLY | os.O_APPEND)))
    with pytest.raises(OSError, match="open for writing") as refused:
        far.move()
    assert str(file) in str(refused.value)
    assert (far.left, far.there) == ({"d/a": b"content"}, {})
    os.write(writers[0], b" and more")
    os.close(writers[0])
    far.move()
    assert (far.left, far.there) == ({}, {"d/a": b"content and more"})


def test_a_file_with_a_writer_is_not_copied(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its settle time decides it may have one, for hours: it is not copied again and again."""
    skip_without_leases(far)
    file = far.drop()
    with monkeypatch.context() as patch, file.open("ab"):
        patch.setattr(crossing, "copy_content", lambda *_: pytest.fail("copied"))
        with pytest.raises(OSError, match="open for writing") as refused:
            far.move()
    assert (refused.value.errno, refused.value.filename) == (errno.EBUSY, str(file))
    assert (far.left, far.there, os.listdir(far.target.path)) == ({"d/a": b"content"}, {}, [".relay"])
    far.move()
    assert (far.left, far.there) == ({}, {"d/a": b"content"})


def test_a_file_that_is_taken_away_after_it_was_named_is_moved(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is the only one then."""
    file = far.drop()
    meanwhile(monkeypatch, "_remove_source", file.unlink)
    assert far.move() == "d/a"
    assert far.there == {"d/a": b"content"}


def test_a_copy_that_somebody_took_is_theirs(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source changes, and meanwhile the copy was taken out of the target: neither is touched."""
    file = far.drop()

    def both() -> None:
        (far.target.path / "d/a").rename(far.target.path / "taken")
        write(far.target.path / "d/a", b"theirs")
        rewrite(file)

    meanwhile(monkeypatch, "_remove_source", both)
    with pytest.raises(OSError, match="changed"):
        far.move()
    assert far.left == {"d/a": b"changed"}
    far.recover()
    assert far.there == {"d/a": b"theirs", "taken": b"content"}


@pytest.mark.parametrize(("owner", "when"), [(crossing, "_name_it"), (Record, "write")])
def test_a_folder_that_is_tidied_away_is_made_again(
    far: Far, monkeypatch: pytest.MonkeyPatch, owner: object, when: str
) -> None:
    """While the copy grew, or right before it gets its name."""
    far.drop()
    meanwhile(monkeypatch, when, (far.target.path / "d").rmdir, owner)
    assert far.move() == "d/a"
    assert far.there == {"d/a": b"content"}


def test_a_copy_that_is_removed_is_no_reason_to_remove_the_file(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody tidied up in the program's own folder, after the record said that the copy is to get its name."""
    far.drop()
    original = Record.write

    def write(record: Record, move: Any) -> None:
        original(record, move)
        os.unlink(record.copy, dir_fd=record.own.fd)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", write)
        with pytest.raises(FileNotFoundError):
            far.move()
    far.recover()
    assert (far.left, far.there) == ({"d/a": b"content"}, {})


def test_a_record_that_is_removed_costs_nothing(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole folder of the program's own, once the copy has its name."""
    far.drop()
    meanwhile(monkeypatch, "_remove_source", lambda: shutil.rmtree(far.target.path / OWN))
    assert far.move() == "d/a"
    assert far.left == {}
    far.recover()
    assert far.there == {"d/a": b"content"}


def test_a_removal_that_came_to_pass_is_not_undone(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it was answered by an error, as on a network share: the copy is the only one."""
    far.drop()
    unlink = os.unlink

    def fail(name: str, **keys: Any) -> None:
        unlink(name, **keys)
        if name == "a":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            far.move()
    far.recover()
    assert (far.left, far.there) == ({}, {"d/a": b"content"})


def test_no_two_move_one_file(far: Far) -> None:
    """The second waits; what a living process has in hand no recovery touches."""
    far.drop()
    with pytest.MonkeyPatch.context() as patch:

        def second() -> None:
            far.recover()
            with pytest.raises(BlockingIOError, match="another process"):
                far.move()

        meanwhile(patch, "_refuse_changed", second)
        assert far.move() == "d/a"
    assert (far.left, far.there) == ({}, {"d/a": b"content"})


def test_nobody_has_the_copy_before_the_source_is_gone(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its name already, it is locked, as a queued file that is in another's hands."""
    far.drop()
    locked: list[bool] = []

    def look() -> None:
        with (far.target.path / "d/a").open("rb") as file:
            locked.append(not kernel.try_lock(file.fileno()))

    meanwhile(monkeypatch, "_remove_source", look)
    far.move()
    assert locked == [True]
    with (far.target.path / "d/a").open("rb") as file:
        assert kernel.try_lock(file.fileno())


@pytest.mark.parametrize("full", ["write", "fsync", "pwrite"])
def test_a_full_disk_leaves_the_file_where_it_is(far: Far, monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    """The copy is removed, and the error names folder and file."""
    far.drop(b"x" * 50_000)
    (far.target.path / "d").mkdir()
    monkeypatch.setattr(copying, "_CHUNK", 80_000)
    monkeypatch.setattr(copying, "_WAYS", {"pread": copying._by_reading})
    calls: list[Any] = []

    def fail(*args: Any) -> Any:
        if full == "fsync" and (calls or stat.S_ISDIR(os.fstat(args[0]).st_mode)):
            return original(*args)  # once, for the copy
        calls.append(args)
        if full != "write" or len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args)

    original = getattr(os, full)
    with monkeypatch.context() as patch:
        patch.setattr(os, full, fail)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as refused:
            far.move()
    assert f"{far.target.path}/d/a" in str(refused.value)
    assert far.left == {"d/a": b"x" * 50_000}
    assert far.there == {}


def test_a_file_that_does_not_fit_is_not_copied(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the disk would be full each time; the error names folder and file, and what fits just so is copied."""
    far.drop(b"x" * 8193)
    room = os.fstatvfs(far.target.fd)
    free = room.f_bfree, 1, *room[5:]  # less than what root alone may use

    def say(size: int, blocks: int = room.f_blocks) -> None:
        monkeypatch.setattr(os, "fstatvfs", lambda _fd: os.statvfs_result((1 << 20, size, blocks, *free)))

    say(8192)
    with monkeypatch.context() as patch:
        patch.setattr(crossing, "copy_content", lambda *_: pytest.fail("copied"))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as refused:
            far.move()
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(far.target.path / "d/a"))
    assert "8.19 KB are needed, 8.19 KB free" in str(refused.value)
    assert (far.left, far.there, os.listdir(far.target.path)) == ({"d/a": b"x" * 8193}, {}, [".relay"])
    say(8193)
    far.move()
    far.drop(b"y" * 8193, "d/b")
    say(0, blocks=0)  # it does not tell
    far.move("d/b")
    assert (far.left, far.there) == ({}, {"d/a": b"x" * 8193, "d/b": b"y" * 8193})


def test_a_folder_that_cannot_be_written_costs_no_copy(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be removed from its folder is not copied again and again."""
    far.drop()
    monkeypatch.setattr(os, "access", lambda path, _mode, **_keys: path != ".")
    monkeypatch.setattr(crossing, "copy_content", lambda *_: pytest.fail("copied"))
    with pytest.raises(PermissionError, match="d/a"):
        far.move()


def test_a_file_in_a_sticky_folder_is_for_its_owner(one: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the folder's, or root: nobody else can remove it, and would copy it again and again."""
    owners = (4710, 4711) if os.geteuid() == 0 else (os.geteuid(), os.geteuid())

    def drop() -> Path:
        file = one.drop()
        for path, owner in zip((file.parent, file), owners, strict=True):
            os.chown(path, owner, -1)
        return file

    file = drop()
    file.parent.chmod(0o1777)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 4712)
        patch.setattr(crossing, "copy_content", lambda *_: pytest.fail("copied"))
        with pytest.raises(PermissionError, match="sticky") as refused:
            one.move()
    assert (refused.value.errno, refused.value.filename) == (errno.EPERM, str(file))
    assert (one.left, os.listdir(one.target.path)) == ({"d/a": b"content"}, [])
    for number, user in enumerate((0, *owners)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        one.move("d/a", str(number))
        drop()
    file.parent.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    one.move()
    assert one.there == dict.fromkeys(("0", "1", "2", "d/a"), b"content")


# ------------------------------------------------------------------ kills

EFFECTS = (
    *("mkdir", "open", "ftruncate", "pwrite", "copy_file_range", "sendfile", "write", "utime", "fchmod", "fsync"),
    *("unlink", "link", "rename", "rmdir"),
)


class KilledError(BaseException):
    """Nothing of the program runs after it but what the kernel does for it: it closes what was open."""


class Killer:
    """Ends the program before its n-th effect on a disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._left, self.tripped = 0, False
        for name in EFFECTS:
            patch.setattr(os, name, self._wrap(getattr(os, name), name))
        patch.setattr(kernel, "_renameat2", self._wrap(kernel._renameat2, "renameat2"))

    def before(self, number: int, action: Callable[[], object]) -> bool:
        """Whether `action` was ended so; False if it came to its own end."""
        self._left, self.tripped = number, False
        try:
            action()
        except KilledError:
            self.tripped = True
        self._left = 0
        return self.tripped

    def _wrap(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def effect(*args: Any, **keys: Any) -> Any:
            if name != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
                self._left -= 1
                if self._left == 0:
                    raise KilledError
            return None if name == "fsync" else original(*args, **keys)  # no power cut here, and it takes its time

        return effect


def settled(far: Far, body: bytes) -> None:
    """After a recovery: one whole file, with its time, in one of the two places."""
    assert list(far.everywhere.values()) == [body]
    [name] = far.everywhere
    [file] = [path for top in (far.source, far.target) if (path := top.path / name).exists()]
    assert (name, file.stat().st_mtime_ns, file.stat().st_nlink) == ("d/a", LONG_AGO, 1)


def reset(far: Far, body: bytes) -> None:
    for folder in (far.source, far.target):
        for name in os.listdir(folder.path):
            shutil.rmtree(folder.path / name)
    far.drop(body)


def test_a_kill_at_any_point_leaves_one_file(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """D5. Before every effect of the move, and again before every effect of the recovery; then it is moved on."""
    body, killer, number, ends = b"content" * 100, Killer(monkeypatch), 1, set()
    reset(far, body)
    while killer.before(number, far.move):
        again = 1
        while killer.before(again, far.recover):
            again += 1
            reset(far, body)
            killer.before(number, far.move)
        settled(far, body)
        ends.add(bool(far.left))
        if far.left:
            far.move()
        assert (far.left, far.there) == ({}, {"d/a": body})
        number += 1
        reset(far, body)
    assert number > 12
    assert ends == {True, False}


def test_a_kill_while_a_failed_move_is_taken_back(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer came after the copy got its name: whatever it writes on is the file, and no other is left."""
    skip_without_leases(far)
    killer, number, killed = Killer(monkeypatch), 1, True
    while killed:
        reset(far, b"content")
        writers: list[int] = []

        def write_on(writers: list[int] = writers) -> None:
            writers.append(os.open(far.source.path / "d/a", os.O_WRONLY))

        def fail() -> None:
            with pytest.raises(OSError, match="open for writing"):
                far.move()

        with pytest.MonkeyPatch.context() as patch:
            meanwhile(patch, "_remove_source", write_on)
            killed = killer.before(number, fail)
        for writer in writers:
            os.close(writer)
        far.recover()
        settled(far, b"content")
        number += 1
    assert number > 15


def test_a_kill_before_a_changed_file_is_left(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, killed, and then changed: both are drops, and neither is lost."""
    killer = Killer(monkeypatch)
    reset(far, b"content")
    meanwhile(monkeypatch, "_remove_source", lambda: setattr(killer, "_left", 1))
    assert killer.before(1000, far.move)
    append(far.source.path / "d/a")
    far.recover()
    assert (far.left, far.there) == ({"d/a": b"contentmore"}, {"d/a": b"content"})


def test_a_copy_that_went_on_is_not_made_again(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, killed, and moved on by another before the recovery: the source goes all the same."""
    killer = Killer(monkeypatch)
    reset(far, b"content")
    meanwhile(monkeypatch, "_remove_source", lambda: setattr(killer, "_left", 1))
    assert killer.before(1000, far.move)
    (far.target.path / "d/a").rename(far.target.path / "elsewhere")
    far.recover()
    assert (far.left, far.there) == ({}, {"elsewhere": b"content"})


def test_another_try_ends_an_earlier_one(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a recovery between them: the file is gone from where it was, and there is no second copy."""
    killer = Killer(monkeypatch)
    reset(far, b"content")
    meanwhile(monkeypatch, "_remove_source", lambda: setattr(killer, "_left", 1))
    assert killer.before(1000, far.move)
    with pytest.raises(FileNotFoundError):
        far.move()
    assert (far.left, far.there) == ({}, {"d/a": b"content"})


@pytest.mark.parametrize(
    "text",
    [
        *("7", "null", '"four"', "{}", "[]", "[" * 100_000, '["{near}", "a", 7, "a"]', '["{near}", "a", [1], "a"]'),
        *('[7, "a", [1, 2, 3, 4], "a"]', '["{near}", 7, [1, 2, 3, 4], "a"]', '["{near}", "a", [1, 2, 3, 4], null]'),
        *('["{near}", "d/a\\u0000", [1, 2, 3, 4], "a"]', '["{near}", "d/a", [1, 2, 3, 4], "d\\ud800/a"]'),
    ],
)
def test_what_is_no_record_ends_nothing(one: Far, text: str) -> None:
    """Whatever lies there, it is removed, and nothing else is touched: no start fails on it."""
    one.drop()
    name = "0" * 32
    write(one.target.path / OWN / f"{name}.json", text.replace("{near}", str(one.source.path)).encode())
    with contextlib.closing(one.target.own(OWN)) as own, open_record(own, name) as record:
        assert record.read() is None
    one.recover()
    assert (one.left, one.there) == ({"d/a": b"content"}, {})


def test_what_is_left_of_another_folder_is_left_alone(
    one: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The properties file names another Watch since: what lies in the first is nobody's to remove."""
    killer = Killer(monkeypatch)
    one.drop()
    meanwhile(monkeypatch, "_remove_source", lambda: setattr(killer, "_left", 1))
    assert killer.before(1000, one.move)
    one.source.path.rename(tmp_path / "moved")
    other = Folder(tmp_path / "moved")
    recover(one.target, (other,))
    assert (tree(other.path), one.there) == ({"d/a": b"content"}, {"d/a": b"content"})


def test_a_durable_move_reaches_the_disk_in_order(one: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy, its record and their names; then its name; then that the source is gone; then the record goes."""
    one.drop()
    (one.target.path / "d").mkdir()
    own = one.target.own(OWN)
    folders = {"own": own.path, "target": one.target.path / "d", "source": one.source.path / "d"}
    folders |= {"top": one.target.path, "from": one.source.path}
    known = {path.stat().st_ino: name for name, path in folders.items()}
    steps: list[str] = []

    def note(module: Any, name: str, step: Callable[..., str]) -> None:
        original = getattr(module, name)

        def call(*args: Any, **keys: Any) -> None:
            original(*args, **keys)
            steps.append(step(*args))

        monkeypatch.setattr(module, name, call)

    note(os, "fsync", lambda fd: known.get(os.fstat(fd).st_ino, "file"))
    note(os, "unlink", lambda name: f"no {os.path.splitext(name)[1] or name}")
    note(kernel, "rename_noreplace", lambda *_: "named")
    one.move()
    assert steps == ["top", "file", "own", "file", "named", "target", "own", "no a", "from", "source", "no .json"]


def test_a_move_that_is_ended_later_is_durable_before_its_source_goes(
    one: Far, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that gave the copy its name ended before it came to that."""
    with monkeypatch.context() as patch:
        killer = Killer(patch)
        one.drop()
        meanwhile(patch, "_remove_source", lambda: setattr(killer, "_left", 1))
        assert killer.before(1000, one.move)
    done = note_effects(monkeypatch, tmp_path)
    one.recover()
    assert [step for step in done if "/d" in step] == ["fsync far/d", "unlink near/d/a", "fsync near/d"]


def test_a_move_that_is_taken_back_is_durable_before_its_record_goes(
    one: Far, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else a power cut may leave the copy under its name, and nothing that says whose copy it is."""
    one.drop()
    monkeypatch.setattr(crossing, "_remove_source", lambda *_: False)
    done, ftruncate = note_effects(monkeypatch, tmp_path), os.ftruncate

    def emptied(fd: int, size: int) -> None:
        done.append("emptied")
        ftruncate(fd, size)

    monkeypatch.setattr(os, "ftruncate", emptied)
    with pytest.raises(OSError, match="changed while it was copied"):
        one.move()
    back = next(index for index, step in enumerate(done) if step.startswith("_renameat2") and step.endswith(".part"))
    assert done[back + 1 : back + 3] == [f"fsync far/{OWN}", "emptied"]
