"""From bytes nobody sees to a name nobody else has, with the kernel's ways and without; killed at every step."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import kernel
from pipeline.aws.checksum import crc64nvme, crc64nvme_of
from pipeline.command import Command
from pipeline.folders import probe_within
from pipeline.kernel import try_lock
from pipeline.landing import LEDGER, Arrival, Landing
from pipeline.ledger import DONE, Ledger, Row
from pipeline.names import encode_path
from pipeline.ports import EXIT_CONFIG, LaterError, StartupError
from tests.unit.places import make, note_effects, note_fsyncs, tree, write


class Machine:
    """DownloadedFromS3 and the processes that come and go on it."""

    def __init__(self, root: Path, kind: str, *, durable: bool = False) -> None:
        self.folder = make(root, "DownloadedFromS3", kind, durable=durable)
        self.top = self.folder.path
        self.landing = Landing(self.folder, crc64nvme)

    def arrive(self, drop_id: str, path: str, body: bytes = b"content") -> Arrival:
        """A download up to the end of step 6."""
        arrival = self.landing.open_arrival()
        os.pwrite(arrival.fd, body, 0)
        arrival.drop_id, arrival.path, arrival.checksum = drop_id, path, crc64nvme_of(body)
        os.utime(arrival.fd, ns=(-1_000_000_001, -1_000_000_001))
        assert self.landing.keep([arrival]) == [None]
        return arrival

    def publish(self, drop_id: str, path: str, body: bytes = b"content") -> str | OSError | None:
        arrival = self.arrive(drop_id, path, body)
        try:
            return self.landing.publish([arrival])[0]
        finally:
            self.landing.discard(arrival)

    def kill(self, *arrivals: Arrival) -> None:
        """What the end of a process does: its descriptors close, its locks go. Then another one starts."""
        for arrival in arrivals:
            os.close(arrival.fd)
        self.landing.ledger.close()
        self.landing = Landing(self.folder, crc64nvme)

    def files(self) -> dict[str, bytes | str]:
        return {path: body for path, body in tree(self.top).items() if not path.startswith(".relay/")}

    def incoming(self) -> list[str]:
        return os.listdir(self.top / ".relay/incoming")

    def state(self, drop_id: str) -> str | None:
        row = self.landing.ledger.find(drop_id)
        return row.state if row else None


@pytest.fixture(params=["kernel", "portable"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path, request.param)


def test_a_batch(machine: Machine) -> None:
    """Every file its name, its mode and its time; the ledger knows; nothing is left in incoming."""
    arrivals = [machine.arrive(f"drop{number}", f"d{number % 2}/f{number}", b"x" * number) for number in range(6)]
    assert machine.files() == {}
    assert machine.landing.publish(arrivals) == [f"d{number % 2}/f{number}" for number in range(6)]
    for arrival in arrivals:
        machine.landing.discard(arrival)
    assert machine.files() == {f"d{number % 2}/f{number}": b"x" * number for number in range(6)}
    status = (machine.top / "d0/f2").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns, status.st_nlink) == (0o640, -1_000_000_001, 1)
    assert [machine.state(f"drop{number}") for number in range(6)] == ["delivered"] * 6
    assert machine.incoming() == []


def test_the_name_is_given_to_what_is_whole(machine: Machine) -> None:
    """To the very file that was written and verified: nothing is written where everybody sees it."""
    arrival = machine.arrive("drop", "a")
    machine.landing.publish([arrival])
    assert (machine.top / "a").stat().st_ino == os.fstat(arrival.fd).st_ino
    machine.landing.discard(arrival)


def test_the_same_drop_twice_in_one_batch(machine: Machine) -> None:
    """One file; the second is told that the drop is known, and its temporary file goes."""
    arrivals = [machine.arrive("drop", "a") for _ in range(2)]
    assert machine.landing.publish(arrivals) == ["a", None]
    for arrival in arrivals:
        machine.landing.discard(arrival)
    assert machine.landing.resume("drop")
    assert machine.files() == {"a": b"content"}
    assert machine.incoming() == []


def test_two_drops_of_one_name_in_one_batch(machine: Machine) -> None:
    """Equal content or not, each drop is a file."""
    arrivals = [machine.arrive("one", "a"), machine.arrive("two", "a"), machine.arrive("three", "a", b"3")]
    assert machine.landing.publish(arrivals) == ["a", "a-Version-2", "a-Version-3"]
    assert machine.files() == {"a": b"content", "a-Version-2": b"content", "a-Version-3": b"3"}
    for drop, name in (("one", "a"), ("two", "a-Version-2"), ("three", "a-Version-3")):
        row = machine.landing.ledger.find(drop)
        assert row is not None
        assert row.name == name


@pytest.mark.parametrize("taken", ["file", "folder", "link", "pipe"])
def test_nothing_is_overwritten(machine: Machine, tmp_path: Path, taken: str) -> None:
    """D12, F11. Whatever has the name keeps it."""
    outside = write(tmp_path / "outside", b"outside")
    if taken == "file":
        write(machine.top / "a.csv", b"theirs")
    elif taken == "folder":
        (machine.top / "a.csv").mkdir()
    elif taken == "pipe":
        os.mkfifo(machine.top / "a.csv")  # to open it as a file is opened would wait for its writer
    else:
        (machine.top / "a.csv").symlink_to(outside)
    before = machine.files()
    assert machine.publish("drop", "a.csv") == "a-Version-2.csv"
    assert machine.files() == {**before, "a-Version-2.csv": b"content"}
    assert outside.read_bytes() == b"outside"


@pytest.mark.parametrize("link", ["a/b", "a"])
def test_what_lies_behind_a_link_is_not_here(machine: Machine, tmp_path: Path, link: str) -> None:
    """F11. Equal content outside stands for no drop, whether the file or its folder is the link."""
    outside = write(tmp_path / "outside/b")
    (machine.top / link).parent.mkdir(exist_ok=True)
    (machine.top / link).symlink_to(outside if link == "a/b" else outside.parent)
    path = machine.publish("drop", "a/b")
    assert path == ("a/b-Version-2" if link == "a/b" else "a-Version-2/b")
    assert (machine.top / str(path)).read_bytes() == b"content"
    assert tree(tmp_path / "outside") == {"b": b"content"}


def test_a_component_taken_by_the_other_kind(machine: Machine, tmp_path: Path) -> None:
    """F11. Below a file, or below a link to elsewhere: beside it, and the ledger has the name it got."""
    write(machine.top / "a", b"file")
    (tmp_path / "outside").mkdir()
    (machine.top / "l").symlink_to(tmp_path / "outside")
    assert machine.publish("one", "a/b.txt") == "a-Version-2/b.txt"
    assert machine.publish("two", "l/b.txt") == "l-Version-2/b.txt"
    assert os.listdir(tmp_path / "outside") == []
    row = machine.landing.ledger.find("one")
    assert row is not None
    assert row.name == "a-Version-2/b.txt"


def test_a_lost_ledger_does_not_double_what_is_there(machine: Machine) -> None:
    """Equal content under the wanted name is had; other content is not."""
    machine.publish("one", "a")
    machine.publish("two", "b")
    machine.landing.ledger.close()
    for name in os.listdir(machine.top / ".relay"):
        if name.startswith("ledger"):
            (machine.top / ".relay" / name).unlink()
    machine.landing = Landing(machine.folder, crc64nvme)
    (machine.top / "b").write_bytes(b"changed")
    assert machine.publish("one", "a") == "a"
    assert machine.publish("two", "b") == "b-Version-2"
    assert machine.files() == {"a": b"content", "b": b"changed", "b-Version-2": b"content"}
    assert machine.incoming() == []
    assert machine.state("one") == "delivered"


@pytest.mark.parametrize("body", [b"content", b"another"])
def test_a_name_that_a_command_waits_for_is_given_to_nobody(machine: Machine, body: bytes) -> None:
    """Its file was taken away: the command, which is tried again by that name, must not meet another drop's."""
    machine.landing = Landing(machine.folder, crc64nvme, Command(("true",), 1.0, 1, 1))
    assert machine.publish("one", "d/x.csv") == "d/x.csv"
    os.unlink(machine.top / "d/x.csv")
    assert machine.publish("two", "d/x.csv", body) == "d/x-Version-2.csv"
    os.unlink(machine.top / "d/x-Version-2.csv")
    write(machine.top / "d/x.csv", b"somebody else's")
    assert machine.publish("three", "d/x.csv", body) == "d/x-Version-3.csv"
    os.unlink(machine.top / "d/x.csv")
    for drop_id in ("one", "two", "three"):
        machine.landing.ledger.note_command(drop_id, DONE, 0)
    assert machine.publish("four", "d/x.csv", body) == "d/x.csv"


def test_one_bad_file_does_not_fail_its_batch(machine: Machine) -> None:
    """A name this file system refuses is the outcome of that file alone; its drop is not lost."""
    arrivals = [machine.arrive("one", "a"), machine.arrive("bad", "x" * 300), machine.arrive("two", "b")]
    first, bad, second = machine.landing.publish(arrivals)
    assert (first, second) == ("a", "b")
    assert isinstance(bad, OSError)
    assert bad.errno == errno.ENAMETOOLONG
    for arrival in arrivals:
        machine.landing.discard(arrival)
    assert machine.files() == {"a": b"content", "b": b"content"}
    assert machine.state("bad") != "delivered"


# Kill points of steps 6 to 7b: what had been done when the process ended.


def after_open(machine: Machine) -> list[Arrival]:
    return [machine.landing.open_arrival()]


def after_keep(machine: Machine) -> list[Arrival]:
    return [machine.arrive("drop", "d/a")]


def after_begin(machine: Machine) -> list[Arrival]:
    arrival = machine.arrive("drop", "d/a")
    assert machine.landing.ledger.begin([machine.landing._row(arrival)]) == [True]
    return [arrival]


def after_folder(machine: Machine) -> list[Arrival]:
    arrivals = after_begin(machine)
    (machine.top / "d").mkdir()
    return arrivals


def after_link(machine: Machine) -> list[Arrival]:
    arrivals = after_folder(machine)
    os.link(machine.top / ".relay/incoming" / arrivals[0].temp, machine.top / "d/a")
    return arrivals


def after_rename(machine: Machine) -> list[Arrival]:
    arrivals = after_folder(machine)
    os.rename(machine.top / ".relay/incoming" / arrivals[0].temp, machine.top / "d/a")
    return arrivals


def after_renumbering(machine: Machine) -> list[Arrival]:
    arrivals = after_begin(machine)
    write(machine.top / "d/a", b"theirs")
    machine.landing.ledger.rename("drop", encode_path("d/a-Version-2"))
    return arrivals


def after_deliver(machine: Machine) -> list[Arrival]:
    arrivals = after_rename(machine)
    machine.landing.ledger.deliver(["drop"])
    return arrivals


KILLS = [after_open, after_keep, after_begin, after_folder, after_link, after_rename, after_renumbering, after_deliver]


@pytest.mark.parametrize("recover", [True, False], ids=["recovered at start", "only redelivered"])
@pytest.mark.parametrize("kill", KILLS)
def test_killed_at_every_step(machine: Machine, kill: Callable[[Machine], list[Arrival]], recover: bool) -> None:
    """Whatever the step, the redelivered message ends with the file there exactly once, whole, and nothing left."""
    machine.kill(*kill(machine))
    if recover:
        machine.landing.recover()
    if not machine.landing.resume("drop"):
        assert kill in (after_open, after_keep)
        assert isinstance(machine.publish("drop", "d/a"), str)
    if not recover:
        machine.landing.recover()
    files = machine.files()
    assert [body for body in files.values() if body == b"content"] == [b"content"]
    assert set(files) == ({"d/a", "d/a-Version-2"} if kill is after_renumbering else {"d/a"})
    assert machine.state("drop") == "delivered"
    assert machine.incoming() == []
    assert machine.landing.resume("drop")
    assert machine.files() == files


def test_a_person_takes_the_file_before_it_was_noted(machine: Machine) -> None:
    """D28. Row without temporary file: it was published, and what was taken away does not come back."""
    machine.kill(*after_rename(machine))
    (machine.top / "d/a").unlink()
    assert machine.landing.recover() == 1
    assert machine.state("drop") == "delivered"
    assert machine.files() == {}


def test_discard_never_removes_what_the_ledger_promised(machine: Machine) -> None:
    """The transaction is through and the rename failed: without the temporary file the row would read as published."""
    (arrival,) = after_begin(machine)
    arrival.in_ledger = True
    machine.landing.discard(arrival)
    assert machine.incoming() == [arrival.temp]
    assert machine.landing.resume("drop")
    assert machine.files() == {"d/a": b"content"}


@pytest.mark.parametrize("kept", [False, True])
def test_discard_removes_what_nobody_was_promised(machine: Machine, kept: bool) -> None:
    """A download that came to nothing leaves nothing."""
    machine.landing.discard(machine.arrive("drop", "a") if kept else machine.landing.open_arrival())
    assert machine.incoming() == []
    assert not machine.landing.resume("drop")


def test_recovery_leaves_the_files_of_living_processes(machine: Machine) -> None:
    """Strays go; what another process of this folder holds locked stays, promised or not."""
    alive, promised = machine.arrive("alive", "alive"), after_begin(machine)[0]
    for name in ("part-1", "whole-2"):
        write(machine.top / ".relay/incoming" / name)
    (machine.top / ".relay/incoming/folder").mkdir()
    other = Landing(machine.folder, crc64nvme)
    other.recover()
    assert sorted(machine.incoming()) == sorted([alive.temp, promised.temp, "folder"])
    with pytest.raises(LaterError):
        other.resume("drop")
    assert machine.landing.publish([alive]) == ["alive"]


def test_an_error_in_the_middle_keeps_the_promise(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up between 7a and 7b: the row stays `publishing`, and the next delivery ends it."""
    original = kernel.rename_noreplace
    monkeypatch.setattr(kernel, "rename_noreplace", full_disk)
    outcome = machine.publish("drop", "a")
    assert isinstance(outcome, OSError)
    assert machine.state("drop") == "publishing"
    assert len(machine.incoming()) == 1
    monkeypatch.setattr(kernel, "rename_noreplace", original)
    assert machine.landing.resume("drop")
    assert machine.files() == {"a": b"content"}


def full_disk(*_values: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_ledger_that_cannot_be_written_publishes_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction fails: nothing is visible. What it may have written after all shows at the next write."""

    def refuse(_rows: object) -> list[bool]:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(machine.landing.ledger, "begin", refuse)
        with pytest.raises(sqlite3.OperationalError):
            machine.publish("drop", "a")
        assert len(machine.incoming()) == 1
        patch.setattr(machine.landing.ledger, "write", refuse_to_write)
        with pytest.raises(sqlite3.OperationalError):
            machine.landing.open_arrival()  # else each try leaves one more file
    assert machine.files() == {}
    machine.landing.discard(machine.landing.open_arrival())
    assert machine.incoming() == []


def refuse_to_write() -> None:
    raise sqlite3.OperationalError("disk I/O error")


def test_a_transaction_that_came_through_after_all(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit was reported as failed and is there: its file is, too."""
    original = machine.landing.ledger.begin

    def begin(rows: list[Row]) -> list[bool]:
        original(rows)
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(machine.landing.ledger, "begin", begin)
        patch.setattr(machine.landing.ledger, "find", lambda _drop_id: None)  # not seen until the log is read anew
        with pytest.raises(sqlite3.OperationalError):
            machine.publish("drop", "a")
    machine.landing.discard(machine.landing.open_arrival())
    assert machine.landing.resume("drop")
    assert machine.files() == {"a": b"content"}


@pytest.mark.parametrize("ids", [("one", "two"), ("two", "one")])
def test_equal_drops_of_one_name_in_one_batch(machine: Machine, ids: tuple[str, str]) -> None:
    """Whichever row the ledger finds first, both are files; also beside an equal one of a lost ledger."""
    arrivals = [machine.arrive(drop, "done") for drop in ids]
    assert machine.landing.publish(arrivals) == ["done", "done-Version-2"]
    assert machine.files() == {"done": b"content", "done-Version-2": b"content"}


@pytest.mark.parametrize("name", [".relay", ".relay/incoming"])
def test_a_planted_link_is_refused(tmp_path: Path, name: str) -> None:
    """F11. Nothing is made, opened or removed where a link in the place of the program's own folder leads."""
    folder = make(tmp_path, "DownloadedFromS3", "kernel")
    outside = write(tmp_path / "outside/part-1")
    (folder.path / name).parent.mkdir(exist_ok=True)
    (folder.path / name).symlink_to(tmp_path / "outside")
    with pytest.raises(StartupError, match="is a link or a file") as caught:
        Landing(folder, crc64nvme)
    assert caught.value.code == EXIT_CONFIG
    if name == ".relay":
        with pytest.raises(StartupError):
            probe_within(folder.path)
    assert os.listdir(tmp_path / "outside") == [outside.name]


def test_a_link_planted_later_leads_nowhere(machine: Machine, tmp_path: Path) -> None:
    """F11. The program's own folder is taken away while it runs, and a link has its place: the folder is used on."""
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "incoming/part-1"):
        write(tmp_path / "outside" / name, b"theirs")
    before = tree(tmp_path / "outside")
    (machine.top / ".relay").rename(machine.top / "away")
    (machine.top / ".relay").symlink_to(tmp_path / "outside")
    assert machine.publish("drop", "a") == "a"
    machine.landing.recover()
    machine.landing.ledger.close()
    assert tree(tmp_path / "outside") == before
    assert (machine.top / "a").read_bytes() == b"content"


def test_only_temporary_files_are_removed(machine: Machine) -> None:
    """What somebody else put there stays."""
    write(machine.top / ".relay/incoming/mine")
    write(machine.top / ".relay/incoming/part-1")
    machine.landing.recover()
    assert machine.incoming() == ["mine"]


def test_a_published_file_that_was_moved_is_not_published_again(tmp_path: Path) -> None:
    """A kill between link and unlink, and a person renames the file before the next start: it is there once."""
    machine = Machine(tmp_path, "portable")
    machine.kill(*after_link(machine))
    (machine.top / "d/a").rename(machine.top / "mine")
    assert machine.landing.resume("drop")
    assert machine.files() == {"mine": b"content"}
    assert machine.incoming() == []
    assert machine.state("drop") == "delivered"


def test_a_stray_of_a_commit_that_was_cut_off(tmp_path: Path) -> None:
    """What a kill left in the log, where nobody sees it yet, never speaks of a file that was removed since."""
    machine = Machine(tmp_path, "kernel")
    other = Landing(machine.folder, crc64nvme)
    arrival = machine.arrive("drop", "a")
    index = machine.top / f"{LEDGER}-shm"
    seen = index.read_bytes()
    assert machine.landing.ledger.begin([machine.landing._row(arrival)]) == [True]
    with index.open("r+b") as file:  # killed before the index had the commit
        file.write(seen)
    os.close(arrival.fd)
    assert other.recover() == 0
    assert machine.incoming() == []
    (tmp_path / "later" / ".relay").mkdir(parents=True)
    for suffix in ("", "-wal"):  # what the next start finds once nobody has the ledger open
        (tmp_path / "later" / f"{LEDGER}{suffix}").write_bytes((machine.top / f"{LEDGER}{suffix}").read_bytes())
    assert Ledger(tmp_path / "later" / LEDGER).find("drop") is None


def test_a_file_taken_for_a_stray_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process starts between the making of a temporary file and its lock: what is then used has a name."""
    machine = Machine(tmp_path, "portable")
    original = kernel.create_hidden
    held: list[int] = []

    def create(folder_fd: int, mode: int) -> tuple[int, str]:
        fd, temp = original(folder_fd, mode)
        if not held:  # about to be removed
            held.append(machine.landing.incoming.open(temp))
            assert try_lock(held[0])
        elif len(held) == 1:  # removed already
            held.append(0)
            Landing(machine.folder, crc64nvme).recover()
        return fd, temp

    monkeypatch.setattr(kernel, "create_hidden", create)
    arrival = machine.landing.open_arrival()
    assert machine.incoming() == [arrival.temp]
    assert os.fstat(arrival.fd).st_nlink == 1
    os.close(held[0])
    assert not try_lock(machine.landing.incoming.open(arrival.temp))


def test_a_removed_target_is_an_error(machine: Machine) -> None:
    """The file is still there and its folder is not: ESTALE, rather than trying for ever."""
    arrival = machine.arrive("drop", "a")
    (machine.top / ".relay").rename(machine.top.parent / ".relay")
    machine.top.rmdir()
    with pytest.raises(OSError, match="was removed") as caught:
        machine.landing._settle(Row("drop", arrival.temp, "a", "publishing"))
    assert caught.value.errno == errno.ESTALE


def test_the_ledger_lies_in_the_hidden_folder(machine: Machine) -> None:
    """In DownloadedFromS3 itself, on its file system, and readable by its owner alone."""
    assert (machine.top / LEDGER).exists()
    assert (machine.top / ".relay/incoming").stat().st_mode & 0o077 == 0


def test_the_content_is_durable_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, incoming folder, then the rename, then the target folder: each fsynced in this order."""
    machine = Machine(tmp_path, "kernel", durable=True)
    order: list[str] = []
    real = SimpleNamespace(fsync=os.fsync, rename=kernel.rename_noreplace)
    known = {os.stat(machine.top).st_ino: "target", os.stat(machine.top / ".relay/incoming").st_ino: "incoming"}

    def fsync(fd: int) -> None:
        order.append(known.get(os.fstat(fd).st_ino, "file"))
        real.fsync(fd)

    def rename(*values: object) -> None:
        order.append("rename")
        real.rename(*values)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(kernel, "rename_noreplace", rename)
    machine.publish("drop", "a")
    assert order == ["file", "incoming"] * 2 + ["rename", "target"]  # once as it arrives, once as it gets its name


def test_a_folder_that_a_killed_process_made_is_durable_before_it_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D26. From the top down: it may have ended before it came to that, and with the folder the file would go."""
    machine = Machine(tmp_path, "kernel", durable=True)
    machine.kill(*after_folder(machine))
    folders = [os.stat(path).st_ino for path in (machine.top, machine.top / "d")]
    synced = note_fsyncs(monkeypatch)
    machine.landing.recover()
    assert machine.state("drop") == "delivered"
    assert synced == folders


def test_a_file_that_cannot_be_locked_is_not_left(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for no message, and the next start is far away."""
    monkeypatch.setattr("pipeline.landing.try_lock", fails(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        machine.landing.open_arrival()
    assert os.listdir(machine.landing.incoming.fd) == []


def fails(number: int) -> Callable[[int], bool]:
    def fail(_fd: int) -> bool:
        raise OSError(number, os.strerror(number))

    return fail


def test_the_name_is_durable_before_it_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ledger calls delivered is deleted from the queue next."""
    machine = Machine(tmp_path, "kernel", durable=True)
    arrival = machine.arrive("drop", "d/a")
    done, deliver = note_effects(monkeypatch, machine.top), machine.landing.ledger.deliver

    def note(drop_ids: list[str]) -> None:
        done.append("delivered")
        deliver(drop_ids)

    monkeypatch.setattr(machine.landing.ledger, "deliver", note)
    machine.landing.publish([arrival])
    assert done[-4:] == ["_renameat2 d/a", "fsync .", "fsync d", "delivered"]


@pytest.mark.parametrize("kind", ["kernel", "portable"])
def test_a_folder_that_another_process_makes_is_durable_with_what_is_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """D26. That one may be killed before it is: a file that is gone with it must not count as delivered, nor as named.

    Where moves are link and unlink, it comes before the link, which is all that is left of the file then.
    """
    machine = Machine(tmp_path, kind, durable=True)
    arrival = machine.arrive("drop", "d/e/a")
    (machine.top / "d/e").mkdir(parents=True)
    done, deliver = note_effects(monkeypatch, machine.top), machine.landing.ledger.deliver

    def note(drop_ids: list[str]) -> None:
        done.append("delivered")
        deliver(drop_ids)

    monkeypatch.setattr(machine.landing.ledger, "deliver", note)
    machine.landing.publish([arrival])
    before = done[: done.index("link d/e/a" if kind == "portable" else "delivered")]
    assert [step for step in before if step in ("fsync .", "fsync d")] == ["fsync .", "fsync d"]
    assert done[-2:] == ["fsync d/e", "delivered"]


def test_what_cannot_be_made_durable_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the outcome of that one file, of which the ledger hears nothing; the others go."""
    machine = Machine(tmp_path, "kernel", durable=True)
    bad, good = machine.arrive("bad", "bad"), machine.arrive("good", "good")
    fsync, broken = os.fsync, os.fstat(bad.fd).st_ino

    def fail(fd: int) -> None:
        if os.fstat(fd).st_ino == broken:
            raise OSError(errno.EIO, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail)
    first, second = machine.landing.publish([bad, good])
    assert isinstance(first, OSError)
    assert second == "good"
    assert machine.files() == {"good": b"content"}
    assert machine.state("bad") is None


def test_another_content_of_the_same_size_is_no_copy(machine: Machine) -> None:
    """A lost ledger knows nothing of what has the name; what lies there decides, byte for byte."""
    write(machine.top / "a", b"CONTENT")
    assert machine.publish("drop", "a") == "a-Version-2"
    assert machine.files() == {"a": b"CONTENT", "a-Version-2": b"content"}


def test_a_copy_that_somebody_put_there_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it counts as delivered: the message is deleted next, and nobody else has made it so."""
    machine = Machine(tmp_path, "kernel", durable=True)
    write(machine.top / "a")
    arrival = machine.arrive("drop", "a")
    done = note_effects(monkeypatch, machine.top)
    assert machine.landing.publish([arrival]) == ["a"]
    assert "fsync a" in done
    assert machine.files() == {"a": b"content"}


def test_a_name_that_is_taken_at_the_last_moment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """D12. By a person, after the ledger was told of it: both stay, and the ledger knows the name that it got."""
    arrival, begin = machine.arrive("drop", "a"), machine.landing.ledger.begin

    def late(rows: list[Row]) -> list[bool]:
        write(machine.top / "a", b"theirs")
        return begin(rows)

    monkeypatch.setattr(machine.landing.ledger, "begin", late)
    assert machine.landing.publish([arrival]) == ["a-Version-2"]
    assert machine.files() == {"a": b"theirs", "a-Version-2": b"content"}
    row = machine.landing.ledger.find("drop")
    assert row is not None
    assert row.name == "a-Version-2"


def test_a_name_that_was_given_before_a_kill_is_durable_before_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where moves are link and unlink: the process that made the link may have ended before it came to that."""
    machine = Machine(tmp_path, "portable", durable=True)
    machine.kill(*after_link(machine))
    done = note_effects(monkeypatch, machine.top)
    assert machine.landing.resume("drop")
    steps = [step.partition("/part-")[0] for step in done]
    assert steps[: steps.index("unlink .relay/incoming")] == ["fsync .", "fsync d"]
