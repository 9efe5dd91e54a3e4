"""The messages in hand: kept invisible while they are worked on, given back when they are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest

from pipeline import hand as module
from pipeline.hand import Hand, Held
from pipeline.ports import LaterError, PausedError, ReceiptError, RelayError
from tests.fakes import FakeQueue
from tests.unit.test_uploader import until

VISIBILITY = 60
BEAT = VISIBILITY / 2


class Rig:
    """A queue and the hand on it, both by a clock that only the test moves: a machine under load changes nothing."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.queue = FakeQueue(visibility=VISIBILITY, clock=lambda: self.now)
        self.hand = Hand(self.queue, VISIBILITY)

    def take(self, body: str = "a") -> Held:
        self.queue.put(body)
        (message,) = self.queue.receive(1, 0)
        return self.hand.take(message)

    def passes(self, seconds: float) -> None:
        """So much time goes by."""
        self.now += seconds
        with self.hand._changed:  # the heartbeat waits by the real clock
            self.hand._changed.notify_all()

    def beats(self, count: int) -> None:
        """So many beats go by, each with an extension of whatever is not lost."""
        for _ in range(count):
            self._beat()

    def _beat(self) -> None:
        wanted = len(self.queue.journal.of("extended")) + sum(not held.lost for held in self.hand._held.values())
        self.passes(BEAT)
        until(lambda: len(self.queue.journal.of("extended")) >= wanted)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = Rig()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    yield made
    made.hand.close()


def test_what_is_held_stays_invisible(rig: Rig) -> None:
    """Beyond its visibility, several messages at once."""
    held = [rig.take(str(number)) for number in range(12)]
    rig.beats(3)
    assert rig.queue.visible() == 0
    assert all(rig.hand.is_ours(item) for item in held)
    assert rig.hand.count() == 12


def test_a_message_beside_lost_ones_is_extended(rig: Rig) -> None:
    """The heartbeat had nothing left that it could extend, and hears of what comes then."""
    rig.take("lost").lost = True
    rig.passes(1)
    until(lambda: rig.hand._asleep)
    held = rig.take("good")
    rig.beats(3)
    assert rig.hand.is_ours(held)


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


def test_what_is_being_given_back_is_in_hand(rig: Rig) -> None:
    """Until the queue has been told: whoever waits for the end of all work finds it there."""
    held, seen = rig.take(), []

    def look(_operation: str, _body: str) -> None:
        seen.append((rig.hand.count(), rig.hand.wait_until_empty(0), rig.hand.is_ours(held)))

    rig.queue.refuse = look
    rig.hand.give_back(held, 0)
    assert seen == [(1, False, False)]
    assert rig.hand.wait_until_empty(0)


def test_what_was_let_go_is_never_given_back(rig: Rig) -> None:
    """A message that is being deleted must not be shown to others."""
    held = rig.take()
    rig.hand.let_go(held)
    rig.hand.give_back(held, 0)
    assert rig.queue.journal.of("given back") == []


def test_a_receipt_that_sqs_refuses_is_lost(rig: Rig) -> None:
    """C10. Others may have it: not ours, not extended again, not given back."""
    held = rig.take()
    rig.queue.refuse = lambda operation, _body: ReceiptError("stale") if operation == "extend" else None
    rig.passes(BEAT)
    until(lambda: held.lost)
    assert not rig.hand.is_ours(held)
    rig.queue.refuse = lambda _operation, _body: None
    rig.hand.give_back(held, 0)
    assert rig.queue.journal.of("given back") == []


@pytest.mark.parametrize("error", [LaterError("throttled"), PausedError("no network")])
def test_trouble_is_no_loss_until_the_deadline(rig: Rig, error: RelayError) -> None:
    """C10. One failed beat is tried again in time."""
    held = rig.take()
    rig.queue.trouble.queued["extend"].append(error)
    rig.passes(BEAT)
    until(lambda: held.renew > rig.now)
    assert rig.hand.is_ours(held)
    rig.passes(BEAT - 1)
    until(lambda: held.renew > rig.now)
    assert rig.queue.journal.of("extended") == ["a"]
    rig.passes(BEAT)
    assert rig.hand.is_ours(held)


def test_an_error_of_the_program_does_not_end_the_heartbeat(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the next beat is in time; whoever gives a message back hears nothing of it."""
    held, other = rig.take("a"), rig.take("b")
    answers: dict[str, list[RelayError | None]] = {}
    with monkeypatch.context() as broken:
        broken.setattr(rig.queue, "extend", lambda *_values: answers["nobody expected it"])
        rig.passes(BEAT)
        until(lambda: held.renew > rig.now)
        rig.hand.give_back(other, 0)
    rig.passes(1)
    until(lambda: rig.queue.journal.of("extended") == ["a"])
    assert rig.hand.is_ours(held)


def test_an_outage_beyond_the_deadline_is_a_loss(rig: Rig) -> None:
    """By our own clock: SQS cannot be asked, and shows the message to others by now."""
    held = rig.take()
    rig.queue.refuse = lambda _operation, _body: LaterError("no network")
    rig.passes(BEAT)
    until(lambda: held.renew > rig.now)
    assert rig.hand.is_ours(held)
    rig.passes(BEAT)
    until(lambda: held.lost)
    assert rig.queue.visible() == 1
    assert not rig.hand.is_ours(held)


def test_beyond_its_deadline_it_is_not_ours(rig: Rig) -> None:
    """C7. Before the heartbeat has noticed: the process was stopped, or had no time for it."""
    held = rig.take()
    rig.now += VISIBILITY - 1
    assert rig.hand.is_ours(held)
    rig.now += 1
    assert not rig.hand.is_ours(held)


def test_twelve_hours_are_the_end(rig: Rig) -> None:
    """C10. SQS keeps no message in flight for longer."""
    held = rig.take()
    held.last = held.deadline
    rig.beats(1)
    until(lambda: held.renew > rig.now)
    assert rig.hand.is_ours(held)
    rig.passes(BEAT)
    until(lambda: held.lost)
    assert not rig.hand.is_ours(held)


def test_one_loss_does_not_end_the_others(rig: Rig) -> None:
    """The heartbeat goes on for what is still ours, and for what comes later."""
    lost = rig.take("lost")
    rig.queue.refuse = lambda _operation, body: ReceiptError("stale") if body == "lost" else None
    rig.passes(BEAT)
    until(lambda: lost.lost)
    later = rig.take("later")
    rig.beats(3)
    assert rig.hand.is_ours(later)


def test_each_of_a_beat_has_its_own_outcome(rig: Rig) -> None:
    """One call asks for several; the one that is refused is lost, and no other."""
    lost, *others = [rig.take(body) for body in ("lost", "a", "b")]
    rig.queue.refuse = lambda _operation, body: ReceiptError("stale") if body == "lost" else None
    rig.passes(BEAT)
    until(lambda: all(held.renew > rig.now for held in (lost, *others)))
    assert [held.lost for held in (lost, *others)] == [True, False, False]


def test_a_close_ends_the_thread(rig: Rig) -> None:
    """At once, with messages in hand; they come back when their visibility ends."""
    rig.take()
    rig.hand.close()
    assert not rig.hand._thread.is_alive()
    rig.passes(VISIBILITY)
    assert rig.queue.visible() == 1


def test_a_slow_answer_gives_no_longer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of an extension counts from when it was asked for: SQS may have begun to count then."""
    held, extend = rig.take(), rig.queue.extend

    def slow(receipts: Sequence[str], seconds: int) -> list[RelayError | None]:
        outcomes = extend(receipts, seconds)
        rig.now += 20
        return outcomes

    monkeypatch.setattr(rig.queue, "extend", slow)
    begun = held.renew
    rig.passes(BEAT)
    until(lambda: held.renew != begun)
    assert held.deadline == 1000 + BEAT + VISIBILITY
