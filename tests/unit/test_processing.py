"""The command for each file: run until it succeeds, never beside itself, and no message is deleted before that."""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline import pacing, poller
from pipeline.command import Command
from pipeline.drop import Drop, delivery_id
from pipeline.hand import LONGEST_SECONDS, Held
from pipeline.ledger import DONE, DUE, NONE, Row
from pipeline.pacing import Gate
from pipeline.ports import LaterError, PausedError, RelayError
from tests.unit.test_notice import body as event_body
from tests.unit.test_notice import record
from tests.unit.test_poller import Consume
from tests.unit.test_uploader import DEADLINE, until

TRIES = 3


@dataclass
class Rig:
    """A consumer with a command, a script that notes each run: what it is to do stands in a file."""

    side: Consume
    root: Path

    def does(self, script: str) -> None:
        """From now on; $1 is the path."""
        (self.root / "new").write_text(script + "\n")
        (self.root / "new").rename(self.root / "script")

    def runs(self) -> list[str]:
        """What was run so far, as the names of the files."""
        return self._lines("begun")

    def ends(self) -> list[str]:
        """What came to its end."""
        return self._lines("ended")

    def row(self, drop: Drop) -> Row:
        row = self.side.landing.ledger.find(delivery_id(drop.id, drop.key.text))
        assert row is not None
        return row

    def states(self, drop: Drop) -> tuple[str, int]:
        return self.row(drop).command, self.row(drop).tries

    def restart(self) -> None:
        """The program ended and begins anew."""
        self.side.poller.close(0)
        self.side.landing = self.side.new_landing()
        self.side.poller = self.side.new_poller()

    def repeat(self, drop: Drop) -> None:
        """The queue delivers its message again."""
        self.side.queue.put(drop.key.text, {"drop_id": drop.id})

    def receive(self) -> None:
        self.side.receive()

    def downloads(self) -> list[str]:
        return self.side.journal.of("download")

    def _lines(self, name: str) -> list[str]:
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is tested in test_pacing."""
    monkeypatch.setattr(pacing, "delay", lambda *_values: 0.0)


both_ways = pytest.mark.parametrize("rig", ["by itself", "in a thread"], indirect=True)
"""That a message can go: that of one small file, and that of all others."""


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A consumer; its files go the way of small ones, unless a test is to go `both_ways`."""
    if getattr(request, "param", "") == "in a thread":
        monkeypatch.setattr(poller, "_SMALL", -1)
    wrapper = f'echo "$RELAY_PATH" >> {tmp_path}/begun; cd {tmp_path}; . ./script; echo "$RELAY_PATH" >> ended'
    side = Consume(tmp_path, command=Command(("/bin/sh", "-ec", wrapper, "sh"), DEADLINE, TRIES, 2))
    rig = Rig(side, tmp_path)
    rig.does(":")
    yield rig
    side.poller.close(0)


@both_ways
def test_the_message_is_deleted_only_after_the_command(rig: Rig) -> None:
    """It finds the file under its name; that it is due is known from the first, and that it is done before the end."""
    drop = rig.side.announce("d/a.csv", b"content")
    rig.does(
        f'test "$1" = "{rig.side.top}/d/a.csv"; test "$(cat "$1")" = content; echo "$RELAY_BUCKET $RELAY_KEY '
        '$RELAY_DROP_ID $RELAY_SIZE" > said'
    )
    seen: list[tuple[str, int]] = []
    rig.side.queue.before["delete"] = lambda _body: seen.append(rig.states(drop))
    rig.side.receive()
    assert (rig.root / "said").read_text() == f"relay in/d/a.csv {drop.id} 7\n"
    assert seen == [(DONE, 0)]
    assert rig.side.queue.bodies() == []
    assert list((rig.side.top / ".relay/commands").iterdir()) == []


def test_a_message_that_is_no_longer_ours_runs_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for a free place for longer than its visibility: whoever has it now has the command run, once."""
    drop = rig.side.announce("a.csv", b"content")
    processing = rig.side.poller._processing
    assert processing is not None
    original = processing.submit

    def submit(held: Held, drops: Sequence[str], trouble: RelayError | None = None) -> None:
        held.lost = True
        original(held, drops, trouble)

    with monkeypatch.context() as patch:
        patch.setattr(processing, "submit", submit)
        rig.receive()
    assert (rig.runs(), rig.states(drop), rig.side.queue.bodies()) == ([], (DUE, 0), ["in/a.csv"])
    rig.side.drain()
    assert (rig.runs(), rig.states(drop)) == (["a.csv"], (DONE, 0))


@both_ways
def test_a_failure_brings_the_message_back(rig: Rig) -> None:
    """After growing pauses, without another download; what was tried is known after a restart."""
    rig.does("exit 7")
    drop = rig.side.announce("a.csv", b"content")
    rig.receive()
    assert rig.states(drop) == (DUE, 1)
    rig.side.clock.now += 4.9
    assert rig.side.queue.visible() == 0
    rig.side.clock.now += 0.1
    assert rig.side.queue.visible() == 1
    rig.restart()
    rig.receive()
    assert rig.states(drop) == (DUE, 2)
    rig.side.clock.now += 9.9
    assert rig.side.queue.visible() == 0
    rig.does(":")
    rig.side.drain()
    assert rig.states(drop) == (DONE, 2)
    assert rig.runs() == ["a.csv"] * 3
    assert rig.downloads() == ["in/a.csv"]
    assert rig.side.files() == {"a.csv": b"content"}


def test_a_duplicate_of_what_is_done_runs_nothing(rig: Rig) -> None:
    """It is only acknowledged; so is what arrived when no command was configured."""
    command, rig.side.command = rig.side.command, None
    rig.restart()
    early = rig.side.announce("early", b"1")
    rig.side.drain()
    rig.side.command = command
    rig.restart()
    late = rig.side.announce("late", b"2")
    rig.side.drain()
    for drop in (early, late):
        rig.repeat(drop)
        rig.side.drain()
    assert rig.runs() == ["late"]
    assert rig.states(early) == (NONE, 0)
    assert rig.side.queue.buried == []


def test_what_always_fails_goes_to_the_dead_letters(rig: Rig) -> None:
    """With the exit code and what it said last; once it is brought back it has all of its tries again."""
    rig.does("echo first; echo 'no such customer\x1b' >&2; exit 9")
    drop = rig.side.announce("a.csv", b"content")
    rig.side.drain()
    ((message, reason),) = rig.side.queue.buried
    assert message.body == "in/a.csv"
    assert f"in/a.csv: its command failed, try {TRIES} of {TRIES}: exit code 9: no such customer\\x1b" in reason
    assert rig.states(drop) == (DUE, 0)
    assert rig.runs() == ["a.csv"] * TRIES
    assert rig.side.files() == {"a.csv": b"content"}
    rig.repeat(drop)
    rig.side.drain()
    assert rig.runs() == ["a.csv"] * TRIES * 2
    assert len(rig.side.queue.buried) == 2
    rig.does(":")
    rig.repeat(drop)
    rig.side.drain()
    assert rig.states(drop) == (DONE, 0)
    assert rig.downloads() == ["in/a.csv"]


@pytest.mark.parametrize("error", [LaterError("throttled"), PausedError("no network")])
def test_dead_letters_that_fail_run_nothing_again(rig: Rig, error: Exception) -> None:
    """It had its tries; the message is kept until the dead letters have it."""
    rig.does("exit 1")
    drop = rig.side.announce("a.csv", b"content")
    rig.side.queue.trouble.queued["bury"].append(error)
    rig.side.drain()
    assert rig.runs() == ["a.csv"] * TRIES
    assert len(rig.side.queue.buried) == 1
    assert rig.states(drop) == (DUE, 0)


def begun(rig: Rig, number: int = 1) -> None:
    until(lambda: len(rig.runs()) == number)


@both_ways
def test_a_stop_is_no_failure(rig: Rig) -> None:
    """A command that does not end in time is ended, its message given back; the next start runs it again."""
    rig.does("exec sleep 60")
    drop = rig.side.announce("a.csv", b"content")
    rig.side.poller.step(0, 0.0)
    begun(rig)
    rig.restart()
    assert rig.side.queue.visible() == 1
    assert rig.states(drop) == (DUE, 0)
    rig.does(":")
    rig.side.drain()
    assert rig.states(drop) == (DONE, 0)
    assert rig.downloads() == ["in/a.csv"]
    assert rig.side.files() == {"a.csv": b"content"}


def test_a_stop_waits_for_a_command(rig: Rig) -> None:
    """As long as shutdownSeconds allow; what was not begun is not begun any more."""
    rig.does("while [ ! -e go ]; do sleep 0.01; done")
    drops = [rig.side.announce(f"f{number}", b"1") for number in range(4)]
    rig.side.poller.step(0, 0.0)
    begun(rig, 2)
    until(lambda: all(rig.side.landing.ledger.find(delivery_id(drop.id, drop.key.text)) for drop in drops))
    rig.side.poller._stopping.set()
    (rig.root / "go").touch()
    rig.side.poller.close(DEADLINE)
    assert len(rig.ends()) == len(rig.runs()) == 2
    assert sorted(rig.states(drop)[0] for drop in drops) == [DONE, DONE, DUE, DUE]
    assert rig.side.queue.visible() == len(rig.side.queue.bodies()) == 2


@both_ways
def test_downloads_do_not_wait_for_commands(rig: Rig) -> None:
    """Nothing of the transfer waits: as many files arrive as there is room for messages."""
    rig.does("while [ ! -e go ]; do sleep 0.01; done")
    for number in range(4):
        rig.side.announce(f"f{number}", b"1")
    rig.side.poller.step(0, 0.0)
    until(lambda: len(rig.side.files()) == 4)
    begun(rig, 2)
    assert rig.ends() == []
    (rig.root / "go").touch()
    until(rig.side.poller.idle)
    assert sorted(rig.ends()) == ["f0", "f1", "f2", "f3"]


@both_ways
def test_a_fifo_queue_has_its_commands_in_order(rig: Rig) -> None:
    """The next file of a folder neither arrives nor has its command before that of the one before it succeeded."""
    rig.side.queue._fifo = True
    rig.does('test -e go || test "$1" = "${1%a}"')
    for name in "abc":
        rig.side.announce(f"d/{name}", b"1")
    rig.receive()
    assert rig.side.files().keys() == {"d/a"}
    (rig.root / "go").touch()
    rig.side.drain()
    assert rig.ends() == ["d/a", "d/b", "d/c"]


def test_two_pollers_never_run_it_beside_each_other(rig: Rig) -> None:
    """Whoever finds that it runs gives the message back, with delay, and does not take it for done."""
    rig.does("while [ ! -e go ]; do sleep 0.01; done")
    drop = rig.side.announce("a.csv", b"content")
    rig.side.poller.step(0, 0.0)
    begun(rig)
    first, rig.side.landing = rig.side.poller, rig.side.new_landing()
    rig.side.poller = rig.side.new_poller()
    rig.repeat(drop)
    rig.receive()
    assert len(rig.side.queue.bodies()) == 2
    assert rig.side.queue.visible() == 0
    (rig.root / "go").touch()
    until(first.idle)
    rig.side.drain()
    assert rig.runs() == ["a.csv"]
    assert rig.downloads() == ["in/a.csv"]
    first.close(DEADLINE)


def test_who_waited_for_the_lock_looks_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another poller was done between the first look and the lock."""
    rig.does("exit 1")
    drop = rig.side.announce("a.csv", b"content")
    rig.receive()
    assert rig.side.poller._processing is not None
    locks = rig.side.poller._processing._locks
    original = locks.hold

    def hold(drop_id: str) -> object:
        rig.side.landing.ledger.note_command(drop_id, DONE, 1)
        return original(drop_id)

    monkeypatch.setattr(locks, "hold", hold)
    rig.side.drain()
    assert rig.runs() == ["a.csv"]
    assert rig.states(drop) == (DONE, 1)


@pytest.mark.parametrize("instead", [":", 'mkdir "$1"', 'ln -s /etc "$1"'])
def test_a_file_that_was_taken_counts_as_done(rig: Rig, instead: str) -> None:
    """By a person, or by the command itself before it failed: it is not run for what is not there."""
    rig.does(f'rm "$1"; {instead}; exit 1')
    drop = rig.side.announce("a.csv", b"content")
    rig.side.drain()
    assert rig.runs() == ["a.csv"]
    assert rig.states(drop) == (DONE, 1)
    assert rig.side.queue.buried == []
    assert rig.downloads() == ["in/a.csv"]


@both_ways
def test_what_lay_there_already_gets_its_command(rig: Rig) -> None:
    """A consumer that lost its ledger has the content; whether its command succeeded nobody knows any more."""
    (rig.side.top / "a.csv").write_bytes(b"content")
    drop = rig.side.announce("a.csv", b"content")
    rig.side.drain()
    assert rig.runs() == ["a.csv"]
    assert rig.states(drop) == (DONE, 0)
    assert rig.side.files() == {"a.csv": b"content"}


def test_another_version_gets_its_own(rig: Rig) -> None:
    """With the name that it has here."""
    for body in (b"one", b"two"):
        rig.side.announce("a.csv", body)
        rig.side.drain()
    assert rig.runs() == ["a.csv", "a-Version-2.csv"]


def test_a_command_that_is_missing_pauses_the_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is held and no try is counted; once it is there the file goes on."""
    program = tmp_path / "program"
    side = Consume(tmp_path, command=Command((str(program),), DEADLINE, TRIES, 1))
    drop = side.announce("a.csv", b"content")
    shut: list[Exception] = []

    def mend(error: Exception) -> None:
        shut.append(error)
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o700)

    assert side.poller._processing is not None
    monkeypatch.setattr(side.poller._processing.gate, "shut", mend)
    side.receive()
    assert [type(error) for error in shut] == [PausedError]
    assert str(program) in str(shut[0])
    row = side.landing.ledger.find(delivery_id(drop.id, drop.key.text))
    assert row is not None
    assert (row.command, row.tries) == (DONE, 0)
    assert side.journal.of("received") == ["in/a.csv"]
    side.poller.close(0)


def test_files_that_arrive_do_not_say_that_a_command_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That it cannot be started is said once, and that it works again once it does; until then nothing is received."""
    monkeypatch.setattr(poller, "_SMALL", -1)  # a thread for each, so that one can be late
    program, late = tmp_path / "program", threading.Event()
    side = Consume(tmp_path, command=Command((str(program),), DEADLINE, TRIES, 2))

    def wait(key: str) -> None:
        assert key == "in/first" or late.wait(DEADLINE)

    side.store.before["download"] = wait
    assert side.poller._processing is not None
    gate = side.poller._processing.gate = Gate(base=0.002, cap=0.002)
    tries: list[Exception] = []
    shut = gate.shut

    def note(error: Exception) -> None:
        shut(error)
        tries.append(error)

    monkeypatch.setattr(gate, "shut", note)
    for name in ("first", "second", "third"):
        side.announce(name, b"content")
    with caplog.at_level(logging.INFO, pacing.__name__):
        side.poller.step(0, 0.0)
        until(lambda: len(tries) > 1)
        late.set()
        until(lambda: len(side.files()) == 3)
        before = len(tries)
        until(lambda: len(tries) > before + 3)
        (tmp_path / "new").write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / "new").chmod(0o700)
        (tmp_path / "new").rename(program)
        until(side.poller.idle)
    said = [record.getMessage() for record in caplog.records if record.name == pacing.__name__]
    assert [line.partition(":")[0] for line in said] == ["waiting, nothing is lost", "working again"]
    assert side.queue.bodies() == []
    side.poller.close(0)


def test_nothing_is_received_while_no_command_can_be_started(tmp_path: Path) -> None:
    """A stop ends that wait."""
    side = Consume(tmp_path, command=Command((str(tmp_path / "missing"),), DEADLINE, TRIES, 1))
    assert side.poller._processing is not None
    gate = side.poller._processing.gate = Gate(base=3600, cap=3600)
    side.announce("first", b"content")
    side.poller.step(0, 0.0)
    until(lambda: gate.remaining() > 0)
    side.announce("second", b"content")
    answers: list[int | None] = []
    step = threading.Thread(target=lambda: answers.append(side.poller.step(0, 0.0)))
    step.start()
    side.poller.close(0)
    step.join(DEADLINE)
    assert answers == [None]
    assert side.files().keys() == {"first"}
    assert side.queue.visible() == 2


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), OSError(errno.ENOSPC, "full")])
def test_what_succeeded_is_not_run_again_where_the_ledger_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The side pauses, and tells the ledger later."""
    drop = rig.side.announce("a.csv", b"content")
    ledger, failures = rig.side.landing.ledger, [error] * 2
    original = ledger.note_command

    def note(drop_id: str, command: str, tries: int) -> None:
        if failures:
            raise failures.pop()
        original(drop_id, command, tries)

    monkeypatch.setattr(ledger, "note_command", note)
    rig.receive()
    assert rig.states(drop) == (DONE, 0)
    assert rig.runs() == ["a.csv"]
    assert rig.side.queue.bodies() == []


def announce_together(rig: Rig, names: str) -> None:
    """Put one message about several objects, of one letter each, which are stored if they are not yet."""
    for name in names:
        if rig.side.store.look(f"in/{name}") is None:
            rig.side.store.put(f"in/{name}", name.encode())
    entity = {"bucket": {"name": "relay"}}
    records = (record(f"in/{name}", s3={**entity, "object": {"key": f"in/{name}"}}) for name in names)
    rig.side.queue.put(event_body(*records))


def test_each_file_of_a_message_has_its_command(rig: Rig) -> None:
    """The message is deleted when all succeeded; those that did are not run again for the others."""
    rig.does('test "$RELAY_PATH" != b || test -e go')
    announce_together(rig, "ab")
    rig.receive()
    assert len(rig.side.queue.bodies()) == 1
    (rig.root / "go").touch()
    rig.side.drain()
    assert (rig.runs(), rig.ends()) == (["a", "b", "b"], ["a", "b"])


def test_a_failure_holds_up_no_other_file_of_its_message(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """All have their turn, the log has what each said, and the message comes again with the one that is due first."""
    rig.does('echo "says $RELAY_PATH"; test "$RELAY_PATH" = c')
    announce_together(rig, "a")
    rig.receive()
    announce_together(rig, "abc")
    rig.receive()
    assert rig.runs() == ["a", "a", "b", "c"]
    assert rig.ends() == ["c"]
    assert [line.rpartition("says ")[2] for line in caplog.messages if "says" in line] == ["a", "a", "b"]
    rig.side.clock.now += 4.9
    assert rig.side.queue.visible() == 0
    rig.side.clock.now += 0.1
    assert rig.side.queue.visible() == 2


def test_what_had_all_of_its_tries_waits_for_the_others_of_its_message(rig: Rig) -> None:
    """It is not run again meanwhile; then the message is buried, for its sake alone."""
    rig.does('test "$RELAY_PATH" = b && test -e go')
    announce_together(rig, "ab")
    rig.receive()
    rig.side.landing.ledger._base.execute("UPDATE drops SET tries = ? WHERE name = 'a'", (TRIES - 1,))
    rig.side.clock.now += 5
    rig.receive()
    assert rig.side.queue.buried == []
    assert len(rig.side.queue.bodies()) == 1
    (rig.root / "go").touch()
    rig.side.drain()
    assert rig.runs() == ["a", "b", "a", "b", "b"]
    ((_, reason),) = rig.side.queue.buried
    assert reason == f"in/a: its command failed, {TRIES} times"


@pytest.mark.parametrize("bucket", ["relay", "another"])
def test_what_had_all_of_its_tries_beside_what_does_not_arrive(rig: Rig, bucket: str) -> None:
    """An object that is not there yet is waited for; then, or at once where it never comes, one message is buried."""
    rig.does('test "$RELAY_PATH" = b')
    rig.side.store.put("in/a", b"a")
    records = [(bucket, "in/b"), ("relay", "in/a")]
    rig.side.queue.put(
        event_body(*(record(key, s3={"bucket": {"name": name}, "object": {"key": key}}) for name, key in records))
    )
    for _ in range(TRIES + 3):
        rig.receive()
        rig.side.clock.now += 3600
    assert rig.runs() == ["a"] * TRIES
    if bucket == "relay":
        assert rig.side.queue.buried == []
        rig.side.store.put("in/b", b"b")
        rig.side.drain()
        assert rig.runs() == ["a"] * TRIES + ["b"]
    ((_, reason),) = rig.side.queue.buried
    assert reason.startswith("in/a: its command failed")
    assert ("another bucket" in reason) == (bucket == "another")


def test_a_pause_is_an_hour_at_most(rig: Rig) -> None:
    """However often it failed: with longer ones SQS would forget the message before its tries are over."""
    assert rig.side.command is not None
    rig.side.command = replace(rig.side.command, tries=100)
    rig.restart()
    rig.does("exit 1")
    drop = rig.side.announce("a.csv", b"content")
    rig.receive()
    rig.side.landing.ledger.note_command(delivery_id(drop.id, drop.key.text), DUE, 70)
    rig.side.clock.now += 5
    rig.receive()
    assert rig.states(drop) == (DUE, 71)
    rig.side.clock.now += 3599
    assert rig.side.queue.visible() == 0
    rig.side.clock.now += 1
    assert rig.side.queue.visible() == 1


def test_a_delay_is_one_that_sqs_allows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it should be."""
    rig.does("exit 1")
    rig.side.announce("a.csv", b"content")
    for name in ("_FIRST_SECONDS", "_LONGEST_SECONDS"):
        monkeypatch.setattr(f"pipeline.processing.{name}", 1e9)
    rig.receive()
    rig.side.clock.now += LONGEST_SECONDS - 60
    assert rig.side.queue.visible() == 0
    rig.side.clock.now += 60
    assert rig.side.queue.visible() == 1


def test_no_command_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a thread, nor a folder, nor a look into the ledger."""
    side = Consume(tmp_path)
    finds: list[str] = []
    original = side.landing.ledger.find

    def find(drop_id: str) -> Row | None:
        finds.append(drop_id)
        return original(drop_id)

    monkeypatch.setattr(side.landing.ledger, "find", find)
    side.announce("a.csv", b"content")
    side.receive()
    assert side.queue.bodies() == []
    assert len(finds) == 1
    assert not (side.top / ".relay/commands").exists()
    side.poller.close(0)
