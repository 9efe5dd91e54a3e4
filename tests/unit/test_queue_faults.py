"""What SQS does to both sides, and what it may do: over a queue in memory that is as bad as SQS is allowed to be."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline import hand, pacing, poller
from pipeline.aws.checksum import crc64nvme
from pipeline.aws.errors import translate
from pipeline.aws.late import LateQueue
from pipeline.aws.sqs import RETENTION_SECONDS, Queue
from pipeline.folders import Folder
from pipeline.hand import LONGEST_SECONDS
from pipeline.landing import Landing
from pipeline.pacing import Gate
from pipeline.poller import Poller
from pipeline.ports import LaterError, Message, MessageQueue, PausedError, RelayError, StartupError
from tests.fakes import Mischief
from tests.unit.test_poller import Clock, Consume
from tests.unit.test_uploader import DEADLINE, Ingest, until


class Relay:
    """Both sides of a machine over one store and one queue."""

    def __init__(self, root: Path) -> None:
        for name in ("here", "there"):
            (root / name).mkdir()
        self.there, self.here = Consume(root / "there"), Ingest(root / "here")
        self.queue, self.clock, self.journal = self.there.queue, self.there.clock, self.there.journal
        self.here.store = self.there.store
        self.send_to(self.queue)

    def send_to(self, queue: Any) -> None:
        """An uploader that announces there."""
        self.here.uploader.close(0)
        self.here.queue = queue
        uploader = self.here.uploader = self.here.new_uploader()
        uploader._announcer._gate = uploader.gate  # the quick one of the rig

    def send(self, contents: dict[str, bytes]) -> None:
        """Through the uploader, to its end."""
        self.here.send(*(self.here.drop(path, body) for path, body in contents.items()))

    def is_whole(self, contents: dict[str, bytes]) -> None:
        """Each once on both sides, and nothing besides."""
        assert self.here.files("UploadedToS3") == self.there.files() == contents
        assert self.here.files("QueuedForUpload") == self.here.files("Failed") == {}
        assert self.there.incoming() == self.queue.bodies() == []
        assert self.queue.buried == []

    def second_poller(self) -> Poller:
        """Another process on the same folder."""
        first, self.there.landing = self.there.landing, Landing(Folder(self.there.top, durable=False), crc64nvme)
        try:
            return self.there.new_poller()
        finally:
            self.there.landing = first

    def close(self) -> None:
        self.there.poller.close(5)
        self.here.uploader.close(5)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is tested in test_pacing."""
    monkeypatch.setattr(pacing, "delay", lambda *_values: 0.0)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    made.there.poller._acknowledger.gate = Gate(base=0.001, cap=0.001)
    yield made
    made.close()


def refused(code: str) -> Exception:
    """What a worker gets to see of an answer of SQS."""
    meta: Any = {"HTTPStatusCode": 400, "RequestId": "R"}
    return translate(ClientError({"Error": {"Code": code}, "ResponseMetadata": meta}, "an operation"), "try it")


# Sending


@pytest.mark.parametrize("code", ["ServiceUnavailable", "ThrottlingException"])
@pytest.mark.parametrize("answer", ["refused", "lost"])
def test_a_queue_that_does_not_take_it(relay: Relay, code: str, answer: str) -> None:
    """C1. The file stays queued and is sent again: once if it was refused, and at most once more for a lost answer."""
    failures = 3
    trouble = relay.queue.trouble
    (trouble.queued if answer == "refused" else trouble.lost_answers)["send"].extend([refused(code)] * failures)
    queued: list[bool] = []
    relay.queue.before["accept"] = lambda _body: queued.append("a.csv" in relay.here.files("QueuedForUpload"))
    relay.send({"a.csv": b"content"})
    assert len(relay.queue.bodies()) == (1 if answer == "refused" else 1 + failures)
    assert all(queued)
    relay.there.drain()
    relay.is_whole({"a.csv": b"content"})


def test_a_lost_answer_is_a_duplicate_message_and_one_file(relay: Relay) -> None:
    """C2. Accepted, and nobody heard of it: two messages, one file."""
    relay.queue.trouble.lost_answers["send"].append(LaterError("the answer was lost"))
    relay.send({"a.csv": b"content"})
    assert relay.queue.bodies() == ["in/a.csv", "in/a.csv"]
    relay.there.drain()
    relay.is_whole({"a.csv": b"content"})


def test_three_of_ten_are_refused(relay: Relay) -> None:
    """C3. Exactly those three are sent again, and stay queued until then."""
    bad = {f"in/f{number}" for number in (2, 5, 9)}
    refusals: list[str] = []

    def refuse(operation: str, body: str) -> LaterError | None:
        if operation == "send" and body in bad - set(refusals):
            refusals.append(body)
            assert body.removeprefix("in/") in relay.here.files("QueuedForUpload")
            return LaterError("InternalError")
        return None

    relay.queue.refuse = refuse
    contents = {f"f{number}": b"%d" % number for number in range(10)}
    relay.send(contents)
    assert set(refusals) == bad
    assert sorted(relay.queue.bodies()) == [f"in/f{number}" for number in range(10)]
    relay.there.drain()
    relay.is_whole(contents)


@pytest.mark.parametrize("error", [PausedError("refused"), LaterError("503"), StartupError("no permission")])
def test_a_queue_that_is_found_later(relay: Relay, error: RelayError) -> None:
    """C16. Files are stored and wait in QueuedForUpload; each is announced once the queue is there."""
    tries = 0

    def find() -> MessageQueue:
        nonlocal tries
        tries += 1
        if len(relay.journal.of("stored")) < 3 or tries < 10:
            raise error
        assert len(relay.here.files("QueuedForUpload")) == 3
        return relay.queue

    with pytest.raises(PausedError, match=str(error)):
        LateQueue(find).send([Message("a", {})])
    relay.send_to(LateQueue(find))
    contents = {f"f{number}": b"x" for number in range(3)}
    relay.send(contents)
    found_after = tries
    assert sorted(relay.journal.of("accepted")) == sorted(relay.journal.of("stored")) == sorted(relay.queue.bodies())
    relay.there.drain()
    relay.send({"later": b"x"})
    assert tries == found_after
    relay.there.drain()
    relay.is_whole({**contents, "later": b"x"})


class Door:
    """A lock that knows how many have come to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.came: list[int] = []

    def __enter__(self) -> None:
        self.came.append(1)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_queue_that_nobody_finds_is_looked_for_once_at_a_time() -> None:
    """An endpoint that says nothing takes its time: threads that come meanwhile do not take it one after the other."""
    go, door = threading.Event(), Door()
    tries: list[int] = []

    def find() -> MessageQueue:
        tries.append(1)
        assert go.wait(DEADLINE)
        raise LaterError("no answer")

    late = LateQueue(find)
    late._lock = door  # type: ignore[assignment]
    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(late.look) for _ in range(4)]
        until(lambda: len(door.came) == 4)
        go.set()
    assert [str(look.exception()) for look in looks] == ["no answer"] * 4
    assert len(tries) == 1


# Entries of a batch


class Batches:
    """The calls of a client that carry several entries; what was sent, and answers that fail some of them."""

    def __init__(self, failing: set[str]) -> None:
        self.entries: list[dict[str, Any]] = []
        self._failing = failing

    def _answer(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  # SQS's names
        self.entries = Entries
        fails = [{"Id": each["Id"], "Code": "InternalError"} for each in Entries if each["Id"] in self._failing]
        fine = [{"Id": each["Id"]} for each in Entries if each["Id"] not in self._failing]
        return {"Successful": fine[::-1], "Failed": fails[::-1]}  # in the order that the server likes

    send_message_batch = delete_message_batch = change_message_visibility_batch = _answer


@pytest.mark.parametrize("operation", ["send", "delete", "extend"])
def test_some_entries_of_a_call_fail(operation: str) -> None:
    """C3, C4. Three of ten, whatever the order of the answer: their own outcomes, and nobody else's."""
    client = Batches({"2", "5", "9"})
    queue = Queue(client, "http://127.0.0.1/q", None, 60)  # type: ignore[arg-type]  # the calls it makes
    receipts = [f"r{number}" for number in range(10)]
    calls: dict[str, Callable[[], list[RelayError | None]]] = {
        "send": lambda: queue.send([Message(receipt, {}) for receipt in receipts]),
        "delete": lambda: queue.delete(receipts),
        "extend": lambda: queue.extend(receipts, 30),
    }
    outcomes = calls[operation]()
    assert [index for index, outcome in enumerate(outcomes) if outcome is not None] == [2, 5, 9]
    assert {type(outcome) for outcome in outcomes} == {LaterError, type(None)}


def test_ids_of_entries_are_numbers() -> None:
    """C4. A message that was received twice stands twice in one call: SQS refuses equal ids, and long ones."""
    client = Batches({"1"})
    queue = Queue(client, "http://127.0.0.1/q", None, 60)  # type: ignore[arg-type]  # the one call it makes
    first, second = queue.delete(["r" * 1000, "r" * 1000])
    assert [each["Id"] for each in client.entries] == ["0", "1"]
    assert (first, type(second)) == (None, LaterError)


# A queue that does all that a standard queue may


@pytest.mark.parametrize("seed", [1, 2])
def test_duplicates_disorder_and_messages_that_do_not_die(relay: Relay, seed: int) -> None:
    """C5, C6, C8, C9. In any order, a third of them twice, a twentieth after their delete: each file once."""
    relay.queue.mischief = Mischief(seed, twice=0.3, undead=0.05, vain=0.1, disorder=True)
    contents = {f"d{number % 3}/f{number}": b"x" * number for number in range(30)}
    relay.send(contents)
    assert len(relay.queue.bodies()) > len(contents)
    relay.there.drain()
    relay.is_whole(contents)


@pytest.mark.parametrize("seconds", [0, 300])
def test_a_duplicate_is_not_downloaded(relay: Relay, seconds: float) -> None:
    """C5, C9. At once or after five minutes: it is recognised, deleted, and costs no request to the store."""
    relay.send({"a.csv": b"content"})
    message, said = relay.queue.messages()[0]
    relay.there.drain()
    relay.clock.now += seconds
    relay.queue.put(message, said)
    relay.there.drain()
    relay.is_whole({"a.csv": b"content"})
    assert relay.journal.of("download") == ["in/a.csv"]
    assert relay.journal.of("deleted") == ["in/a.csv", "in/a.csv"]


def test_a_delete_that_deletes_nothing(relay: Relay) -> None:
    """C8. The receipt had expired, SQS says OK all the same: the message comes again, is recognised and deleted."""
    relay.queue.vain_deletes = True
    relay.send({"a.csv": b"content"})

    def expire(_key: str) -> None:
        relay.clock.now += 60

    relay.there.store.after["download"] = expire
    relay.there.receive()
    assert relay.queue.bodies() == ["in/a.csv"]
    assert relay.there.files() == {"a.csv": b"content"}
    relay.there.store.after.clear()
    relay.there.drain()
    relay.is_whole({"a.csv": b"content"})
    assert relay.journal.of("download") == ["in/a.csv"]


@pytest.mark.parametrize("knows", [True, False])
def test_a_message_expires_during_its_download(relay: Relay, knows: bool) -> None:
    """C7. Another process has it by then and is faster: one file, and what the slow one has is thrown away.

    So it is where the slow one knows of it, by its own clock, and where it does not and tries to publish.
    """
    relay.send({"a.csv": b"content"})
    slow, go = threading.Event(), threading.Event()

    def stall(_key: str) -> None:
        if not slow.is_set():
            slow.set()
            assert go.wait(DEADLINE)

    relay.there.store.before["download"] = stall
    first, second = relay.there.poller, relay.second_poller()
    first.step(0, 0.0)
    assert slow.wait(DEADLINE)
    (held,) = first._hand._held.values()
    relay.clock.now += 60
    assert second.step(0, 0.0) == 1
    until(second.idle)
    assert relay.there.files() == {"a.csv": b"content"}
    if knows:
        held.deadline = 0.0
    go.set()
    until(first.idle)
    second.close(5)
    relay.is_whole({"a.csv": b"content"})
    assert len(relay.journal.of("download")) == 2
    assert relay.journal.of("deleted") == ["in/a.csv"]


# Receiving


class Doze(threading.Event):
    """Whoever waits for it sleeps by the test's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now += timeout or 0
        return self.is_set()


@pytest.mark.parametrize(("polls_long", "calls"), [(True, 3), (False, 30)])
def test_an_empty_queue_keeps_nobody_busy(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, polls_long: bool, calls: int
) -> None:
    """C11. Three calls a minute; where the queue does not know long polling, one every `sleepPollSQS` seconds."""
    clock, asked = relay.clock, []

    def receive(limit: int, wait: int) -> list[Any]:
        asked.append((limit, wait))
        clock.now += wait if polls_long else 0.001
        return []

    monkeypatch.setattr(relay.queue, "receive", receive)
    monkeypatch.setattr(poller, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(relay.there.poller, "_stopping", Doze(clock))
    end = clock.now + 60
    while clock.now < end:
        assert relay.there.poller.step(20, 2.0) == 0
    assert asked == [(4, 20)] * calls


def test_a_queue_that_gives_few(relay: Relay) -> None:
    """C11. Fewer than were asked for, or none though there are some: the room is used for the next ones."""
    relay.queue.mischief = Mischief(4, disorder=True)
    contents = {f"f{number}": b"x" for number in range(12)}
    relay.send(contents)
    relay.there.drain()
    relay.is_whole(contents)
    assert relay.there.poller._slots._value == 4  # what a semaphore has left


def test_too_many_messages_are_in_flight(relay: Relay) -> None:
    """C12. The queue gives out no more (OverLimit): no crash, nothing is lost, and it goes on when it does."""
    relay.send({f"f{number}": b"x" for number in range(5)})
    others = relay.queue.receive(2, 0)
    relay.queue.most_in_flight = 2
    assert [relay.there.poller.step(0, 0.0) for _ in range(5)] == [None] * 5
    relay.queue.extend([message.receipt for message in others], 0)
    relay.there.drain()
    relay.is_whole({f"f{number}": b"x" for number in range(5)})


REFUSALS = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "AccessDenied",
    "KmsDisabled",
]


@pytest.mark.parametrize("operation", ["send", "receive", "delete"])
@pytest.mark.parametrize("code", REFUSALS)
def test_a_queue_that_refuses(relay: Relay, caplog: pytest.LogCaptureFixture, operation: str, code: str) -> None:
    """C13. The side waits and says so once, messages in hand stay in hand, and all goes on by itself."""
    problem = refused(code)
    assert type(problem) is PausedError
    relay.queue.trouble.queued[operation].extend([problem] * 8)
    with caplog.at_level(logging.INFO):
        relay.send({"a.csv": b"content"})
        relay.there.drain()
    relay.is_whole({"a.csv": b"content"})
    assert relay.journal.of("received") == ["in/a.csv"]
    said = [record.getMessage() for record in caplog.records if record.name == "pipeline.pacing"]
    assert ["waiting, nothing is lost" in said[0], said[1:]] == [True, ["working again"]]


def test_a_store_that_refuses_is_said_once(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    """That the queue answers meanwhile does not mean that anything works again."""
    relay.send({"a.csv": b"content"})
    relay.there.store.trouble.queued["download"].extend([PausedError("no such bucket")] * 20)
    with caplog.at_level(logging.INFO):
        while not relay.there.files():
            relay.there.poller.step(0, 0.0)
        until(relay.there.poller.idle)
    relay.is_whole({"a.csv": b"content"})
    said = [record.getMessage() for record in caplog.records if record.name == "pipeline.pacing"]
    assert said == ["waiting, nothing is lost: no such bucket", "working again"]


# Time


@pytest.fixture
def by_clock(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Let time go by in steps: `pass_time(seconds, step)`, with whatever the heartbeat does at each."""
    monkeypatch.setattr(hand, "time", SimpleNamespace(monotonic=relay.clock))

    def pass_time(seconds: float, step: float) -> None:
        beat = relay.there.poller._hand
        end = relay.clock.now + seconds
        while relay.clock.now < end:
            relay.clock.now += step
            with beat._changed:
                beat._changed.notify_all()  # the heartbeat waits by the real clock
            until(lambda: not beat._due())

    return pass_time


def test_what_waits_is_held(relay: Relay, by_clock: Callable[[float, float], None]) -> None:
    """C13. While the side has to wait, for ten minutes here, nobody else gets what it has in hand."""
    relay.send({"a.csv": b"content"})
    gate = relay.there.poller.gate = Gate(base=3600, cap=3600)
    relay.there.store.trouble.queued["download"].append(PausedError("no credentials"))
    relay.there.poller.step(0, 0.0)
    until(lambda: gate.remaining() > 0)
    by_clock(600, 30)
    assert relay.queue.visible() == 0
    assert relay.journal.of("received") == ["in/a.csv"]
    gate._until = 0.0
    relay.there.poller.close(5)
    relay.there.poller = relay.there.new_poller()
    relay.there.drain()
    relay.is_whole({"a.csv": b"content"})


def test_twelve_hours_in_flight(relay: Relay, by_clock: Callable[[float, float], None]) -> None:
    """C10. Then SQS shows it to others, whatever we ask for: the download is given up, and another's arrives."""
    relay.send({"a.csv": b"content"})
    stalled, go = threading.Event(), threading.Event()

    def stall(_key: str) -> None:
        if not stalled.is_set():
            stalled.set()
            assert go.wait(DEADLINE)

    relay.there.store.before["download"] = stall
    relay.queue._visibility = relay.there.poller._hand._visibility = 3600  # fewer beats
    relay.there.poller.step(0, 0.0)
    assert stalled.wait(DEADLINE)
    (held,) = relay.there.poller._hand._held.values()
    by_clock(LONGEST_SECONDS - 3600, 1800)
    assert not held.lost
    assert relay.queue.visible() == 0
    by_clock(3600, 1800)
    assert held.lost
    assert relay.queue.visible() == 1
    go.set()
    until(relay.there.poller.idle)
    assert relay.there.files() == {}
    relay.there.drain()
    relay.is_whole({"a.csv": b"content"})


def test_nobody_received_for_longer_than_the_queue_keeps_messages(relay: Relay) -> None:
    """C15. The message is gone; the object and the file that was sent are where they were."""
    relay.queue.retention = RETENTION_SECONDS
    relay.send({"a.csv": b"content"})
    relay.clock.now += RETENTION_SECONDS
    assert relay.there.receive() == 0
    assert relay.there.files() == {}
    assert relay.there.store.contents() == {"in/a.csv": b"content"}
    assert relay.here.files("UploadedToS3") == {"a.csv": b"content"}
