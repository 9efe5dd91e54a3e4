"""Dead letters and kept messages go back to the queue: all that were there, once, and as they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import redrive
from pipeline.dead_letters import keep_message
from pipeline.ports import LaterError, Message, NeverError, PausedError, Received, RelayError
from pipeline.redrive import Redrive, Tally, message_of
from tests.fakes import FakeQueue
from tests.unit.test_poller import Clock

VISIBILITY = 60


class Sides:
    """A queue, its dead letters and FailedMessages, by one clock."""

    def __init__(self, folder: Path, *, fifo: bool = False) -> None:
        self.folder, self.clock = folder, Clock()
        self.queue = FakeQueue(clock=self.clock, fifo=fifo)
        self.dead = FakeQueue(clock=self.clock, visibility=VISIBILITY, fifo=fifo)
        self.tally = Tally()

    def bury(self, *bodies: str) -> None:
        for body in bodies:
            self.dead.put(body, {"drop_id": body, "size": "3", "reason": "no"}, "g")

    def run(self) -> str:
        """One redrive, a second later; what it says at its end."""
        self.clock.now += 1
        self.tally = Tally()
        sends = Redrive(self.queue, self.tally)
        started_ms = int(self.clock.now * 1000)
        sends.send_kept(self.folder)
        sends.send_dead_letters(self.dead, started_ms, VISIBILITY)
        return str(self.tally)


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sides:
    monkeypatch.setattr(redrive, "_POLL_SECONDS", 0)
    return Sides(tmp_path)


# One message


def test_it_is_sent_as_it_was() -> None:
    """Body and attributes, but for the reason; the size is a number again; its own group."""
    said = {"path": "a", "size": "12", "crc64nvme": "123", "reason": "because"}
    sent = message_of(Received("id-1", "r", "in/a", said, 3, "group"))
    assert sent == Message("in/a", {"path": "a", "size": 12, "crc64nvme": "123"}, "group", "redriven-id-1")


@pytest.mark.parametrize("size", ["", "x", "-1", "1.5", "²", "1" * 5000])
def test_a_size_that_is_no_number_is_sent_as_it_is(size: str) -> None:
    assert message_of(Received("i", "r", "b", {"size": size})).attributes == {"size": size}


def test_a_fifo_queue_takes_any_of_them() -> None:
    """It needs a group, and a deduplication id of at most 128 characters."""
    sent = message_of(Received("i" * 500, "r", "b", {}))
    assert (bool(sent.group), len(sent.unique)) == (True, 128)


# Dead letters


def test_all_dead_letters_are_sent_and_then_deleted(sides: Sides) -> None:
    """More than one answer holds; nothing is deleted before the queue has it."""
    bodies = [f"in/{number:02}" for number in range(25)]
    sides.bury(*bodies)
    sides.dead.before["delete"] = lambda body: _assert_in(body, sides.queue.bodies())
    assert sides.run() == "messages sent back: 25"
    assert sides.queue.messages() == [(body, {"drop_id": body, "size": "3"}) for body in bodies]
    assert sides.dead.bodies() == []


def _assert_in(body: str, bodies: Sequence[str]) -> None:
    assert body in bodies


def test_what_dies_again_is_left(sides: Sides) -> None:
    """However often it comes back meanwhile, it is sent once; then it is there for the next redrive, at once."""
    sides.bury("poison", "other")

    def die(body: str) -> None:
        if body == "poison":
            sides.bury("poison")

    sides.queue.before["accept"] = die
    assert sides.run() == "messages sent back: 2; left: 1 (died after the beginning)"
    assert sides.queue.bodies() == ["poison", "other"]
    assert sides.dead.visible() == 1
    assert sides.run() == "messages sent back: 1; left: 1 (died after the beginning)"


def test_others_that_keep_dying_do_not_hold_it_up(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each answer there is one more: it ends, and none of them is sent."""
    sides.bury("old")
    original = sides.dead.receive

    def receive(limit: int, wait: int) -> list[Received]:
        sides.bury("new")
        return original(limit, wait)

    monkeypatch.setattr(sides.dead, "receive", receive)
    sides.run()
    assert sides.queue.bodies() == ["old"]
    assert set(sides.dead.bodies()) == {"new"}


def test_what_is_refused_is_left(sides: Sides) -> None:
    """It is told of with the reason, keeps nothing else from being sent, and is visible again at the end."""
    sides.bury("a", "bad", "b", "worse")
    refuse = {"bad": NeverError("too large"), "worse": NeverError("too large")}
    sides.queue.refuse = lambda operation, body: refuse.get(body) if operation == "send" else None
    assert sides.run() == "messages sent back: 2; left: 2 (too large)"
    assert sides.queue.bodies() == ["a", "b"]
    assert (sides.dead.bodies(), sides.dead.visible()) == (["bad", "worse"], 2)


@pytest.mark.parametrize("operation", ["send", "delete", "receive"])
def test_a_queue_that_cannot_be_used_ends_it(sides: Sides, operation: str) -> None:
    """What was in hand is visible again at once; what was sent and not deleted is sent once more by the next."""
    sides.bury("a", "b")
    (sides.queue if operation == "send" else sides.dead).trouble.queued[operation].append(PausedError("denied"))
    with pytest.raises(PausedError):
        sides.run()
    assert sides.dead.visible() == 2
    sides.run()
    assert sides.queue.bodies() == ["a", "b"] * (2 if operation == "delete" else 1)
    assert sides.dead.bodies() == []


def test_what_cannot_be_deleted_is_sent_once(sides: Sides) -> None:
    """By this redrive; it is held until its end."""
    sides.bury("a", "b")
    sides.dead.refuse = lambda operation, body: LaterError("x") if (operation, body) == ("delete", "a") else None
    assert sides.run() == "messages sent back: 2"
    assert sides.queue.bodies() == ["a", "b"]
    assert (sides.dead.bodies(), sides.dead.visible()) == (["a"], 1)


def test_a_fifo_queue_takes_what_is_sent_twice_once(sides: Sides) -> None:
    """Killed between sending and deleting, and repeated: in order, in its group, one of each."""
    sides = Sides(sides.folder, fifo=True)
    sides.bury("a", "b", "c")
    sides.dead.trouble.queued["delete"].append(PausedError("killed"))
    with pytest.raises(PausedError):
        sides.run()
    sides.run()
    assert [(message.body, message.group) for message in sides.queue.receive(10, 0)] == [(name, "g") for name in "abc"]
    assert sides.dead.bodies() == []


def test_a_dead_letter_goes_into_a_fifo_queue_that_has_just_had_it(sides: Sides) -> None:
    """Its deduplication id is not the one under which it was announced."""
    sides = Sides(sides.folder, fifo=True)
    assert sides.queue.send([Message("in/a", {"drop_id": "d"}, "g")]) == [None]
    sides.queue.delete([sides.queue.receive(1, 0)[0].receipt])
    sides.dead.put("in/a", {"drop_id": "d", "reason": "no"}, "g")
    sides.run()
    assert sides.queue.bodies() == ["in/a"]


def test_those_in_somebodys_hands_are_waited_for(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a redrive that was killed has them."""
    sides.bury("a")
    assert sides.dead.receive(1, 0)
    original = sides.dead.receive

    def receive(limit: int, wait: int) -> list[Received]:
        sides.clock.now += VISIBILITY / 4
        return original(limit, wait)

    monkeypatch.setattr(sides.dead, "receive", receive)
    monkeypatch.setattr(redrive, "time", SimpleNamespace(monotonic=sides.clock))
    assert sides.run() == "messages sent back: 1"


def test_a_kept_message_that_cannot_be_removed_holds_up_nobody(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent, told of, and counted as left: the next time it is sent again."""
    keep_message(sides.folder, Received("1", "r", "kept", {}), "no")
    sides.bury("dead")

    def refuse(_path: Path, **_more: bool) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert sides.run() == "messages sent back: 2; left: 1 (sent, but its file cannot be removed)"
    assert sides.queue.bodies() == ["kept", "dead"]


def test_a_kept_message_that_another_redrive_sends_is_passed_over(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed, and is gone by the time that it is read."""
    monkeypatch.setattr(redrive, "kept_messages", lambda folder: [folder / "gone.json"])
    assert sides.run() == "messages sent back: 0"


def test_the_right_to_count_is_not_needed(sides: Sides) -> None:
    """Only to receive and to delete."""
    sides.bury("a")
    sides.dead.trouble.queued["depth"].append(PausedError("denied"))
    assert sides.run() == "messages sent back: 1"


# FailedMessages


def keep(folder: Path, name: str, group: str = "") -> Path:
    message = Received(name, "receipt", f"in/{name} é\n", {"size": "1", "path": "p"}, 7, group)
    keep_message(folder, message, "no")
    return folder / f"{name}.json"


def test_kept_messages_are_sent_and_then_removed(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """Body, attributes and group as they came; one that is refused is left."""
    good, bad = keep(sides.folder, "m-1", "g"), keep(sides.folder, "m-2")
    seen: list[Message] = []
    original = sides.queue.send

    def send(messages: Sequence[Message]) -> list[RelayError | None]:
        seen.extend(messages)
        assert good.exists() == (len(seen) == 1)
        return original(messages)

    monkeypatch.setattr(sides.queue, "send", send)
    sides.queue.refuse = lambda _operation, body: NeverError("too large") if "m-2" in body else None
    assert sides.run() == "messages sent back: 1; left: 1 (too large)"
    assert seen[0] == Message("in/m-1 é\n", {"size": 1, "path": "p"}, "g", "redriven-m-1")
    assert (good.exists(), bad.exists()) == (False, True)


DAMAGE: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("empty", lambda _record: ""),
    ("cut off", lambda record: json.dumps(record)[:-9]),
    ("no object", lambda _record: "[]"),
    ("deep", lambda _record: "[" * 100_000),
    ("no body", lambda record: json.dumps({**record, "body": None})),
    ("no id", lambda record: json.dumps({name: value for name, value in record.items() if name != "id"})),
    ("attributes", lambda record: json.dumps({**record, "attributes": ["size"]})),
    ("a number", lambda record: json.dumps({**record, "attributes": {"size": 1}})),
    ("group", lambda record: json.dumps({**record, "group": 1})),
]


@pytest.mark.parametrize("damage", [damage for _, damage in DAMAGE], ids=[name for name, _ in DAMAGE])
def test_a_damaged_file_is_left(
    sides: Sides, damage: Callable[[dict[str, Any]], str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, and the others are sent."""
    bad = keep(sides.folder, "m-1")
    text = damage(json.loads(bad.read_text()))
    bad.write_text(text)
    keep(sides.folder, "m-2")
    assert sides.run() == "messages sent back: 1; left: 1 (no kept message)"
    assert str(bad) in caplog.text
    assert bad.read_text() == text
    assert [message.body for message in sides.queue.receive(10, 0)] == ["in/m-2 é\n"]


def test_what_is_no_file_is_left_alone(sides: Sides) -> None:
    """Folders, other names, what is being written."""
    (sides.folder / "x.json").mkdir()
    (sides.folder / "note.txt").write_text("mine")
    (sides.folder / ".m-1.123").write_text("{")
    assert sides.run() == "messages sent back: 0"
    assert len(list(sides.folder.iterdir())) == 3


def test_without_failed_messages_there_is_nothing_to_send(sides: Sides) -> None:
    """The folder is made by the side that receives."""
    sides.folder = sides.folder / "none"
    assert sides.run() == "messages sent back: 0"
