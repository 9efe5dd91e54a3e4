"""The messages in hand: kept invisible while they are worked on, given back when they are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline import hand as module
from pipeline.hand import Hand, Held
from pipeline.ports import LaterError, PausedError, ReceiptError, RelayError
from tests.fakes import FakeQueue
from tests.unit.test_uploader import until

SHORT = 0.2
"""Seconds of visibility: many heartbeats go by in a test."""


class Rig:
    """A queue with a short visibility, by the real clock, and the hand on it."""

    def __init__(self, visibility: float = SHORT) -> None:
        self.queue = FakeQueue(visibility=visibility)
        self.hand = Hand(self.queue, visibility)  # type: ignore[arg-type]  # fractions of a second keep tests short

    def take(self, body: str = "a") -> Held:
        self.queue.put(body)
        (message,) = self.queue.receive(1, 0)
        return self.hand.take(message)

    def beats(self, count: int) -> None:
        """Wait for so many extensions more."""
        before = len(self.queue.journal.of("extended"))
        until(lambda: len(self.queue.journal.of("extended")) >= before + count)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(FakeQueue, "extend", extend_fractions)
    made = Rig()
    yield made
    made.hand.close()


def extend_fractions(queue: FakeQueue, receipts: list[str], seconds: float) -> list[RelayError | None]:
    """FakeQueue.extend without its check for whole seconds' range."""
    queue.trouble.strike("extend")
    return [queue._extend(receipt, seconds) for receipt in receipts]  # type: ignore[arg-type]


def test_what_is_held_stays_invisible(rig: Rig) -> None:
    """Beyond its visibility, several messages at once."""
    held = [rig.take(str(number)) for number in range(12)]
    rig.beats(12 * 3)
    assert rig.queue.visible() == 0
    assert all(rig.hand.is_ours(item) for item in held)
    assert rig.hand.count() == 12


def test_what_is_let_go_is_not_extended(rig: Rig) -> None:
    """It is settled: no further call for it, and it is not ours any more."""
    first, second = rig.take("first"), rig.take("second")
    rig.hand.let_go(first)
    rig.beats(3)
    assert set(rig.queue.journal.of("extended")) == {"second"}
    assert not rig.hand.is_ours(first)
    assert rig.hand.is_ours(second)


def test_given_back_at_once(rig: Rig) -> None:
    """Others see it without waiting for its visibility to end; giving back twice asks once."""
    held = rig.take()
    rig.hand.give_back(held, 0)
    assert rig.queue.visible() == 1
    rig.hand.give_back(held, 0)
    assert rig.queue.journal.of("given back") == ["a"]
    assert rig.hand.count() == 0


def test_what_was_let_go_is_never_given_back(rig: Rig) -> None:
    """A message that is being deleted must not be shown to others."""
    held = rig.take()
    rig.hand.let_go(held)
    rig.hand.give_back(held, 0)
    assert rig.queue.journal.of("given back") == []


def test_a_receipt_that_sqs_refuses_is_lost(rig: Rig) -> None:
    """Others may have it: not ours, not extended again, not given back."""
    held = rig.take()
    rig.queue.refuse = lambda operation, _body: ReceiptError("stale") if operation == "extend" else None
    until(lambda: held.lost)
    assert not rig.hand.is_ours(held)
    rig.queue.refuse = lambda _operation, _body: None
    rig.hand.give_back(held, 0)
    assert rig.queue.journal.of("given back") == []


@pytest.mark.parametrize("error", [LaterError("throttled"), PausedError("no network")])
def test_trouble_is_no_loss_until_the_deadline(rig: Rig, error: RelayError) -> None:
    """One failed beat is tried again in time."""
    held = rig.take()
    rig.queue.trouble.queued["extend"].append(error)
    rig.beats(2)
    assert rig.hand.is_ours(held)


def test_an_outage_beyond_the_deadline_is_a_loss(rig: Rig) -> None:
    """By our own clock: SQS cannot be asked, and shows the message to others by now."""
    held = rig.take()
    rig.queue.refuse = lambda _operation, _body: LaterError("no network")
    until(lambda: held.lost)
    assert rig.queue.visible() == 1
    assert not rig.hand.is_ours(held)


def test_twelve_hours_are_the_end(rig: Rig) -> None:
    """SQS keeps no message in flight for longer."""
    held = rig.take()
    held.last = held.deadline
    until(lambda: held.lost)
    assert not rig.hand.is_ours(held)


def test_one_loss_does_not_end_the_others(rig: Rig) -> None:
    """The heartbeat goes on for what is still ours, and for what comes later."""
    lost = rig.take("lost")
    rig.queue.refuse = lambda _operation, body: ReceiptError("stale") if body == "lost" else None
    until(lambda: lost.lost)
    later = rig.take("later")
    rig.beats(4)
    assert rig.hand.is_ours(later)


def test_a_close_ends_the_thread(rig: Rig) -> None:
    """At once, with messages in hand; they come back when their visibility ends."""
    rig.take()
    rig.hand.close()
    assert not rig.hand._thread.is_alive()
    until(lambda: rig.queue.visible() == 1)
