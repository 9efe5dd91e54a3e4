"""Consumers of one queue that delivers messages twice, while they are killed: what each of them got, and how often.

A sender that nobody disturbs announces drops in bursts, and each kill falls into a burst. A user takes files away from
every DownloadedFromS3 meanwhile: where equal content lies beside it a second copy would not be seen.
"""

import contextlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.aws.checksum import crc64nvme_of
from pipeline.landing import LEDGER
from tests import bench_servers
from tests.chaos import kills
from tests.chaos.cast import Cast, Plan
from tests.chaos.endpoints import new_folder, on_two
from tests.chaos.kills import files_in
from tests.chaos.relay import ROOT, Relay, wait_for
from tests.chaos.repeats import AGAIN, FIRST, TWICE
from tests.servers import Server

_PARENTS = 0.25
"""Of the kills, the share that takes a whole program."""
_INTO_THE_BURST = (0.0, 0.8)
"""Of a burst, the share that is delivered before the kill: files are being fetched, named and acknowledged."""
_REST_SECONDS = 180.0
_TWICE = 0.3
"""Of the repeats that were planned, those that have to come; one that waits for its forerunner's end may not."""


@dataclass
class Outcome:
    """What a run found; all of `violations` must be empty."""

    plan: Plan
    kills: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)
    copies: int = 0
    """Files beyond one for each drop, over all folders."""
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        head = "| drops | folders | kills (parents) | deliveries | twice | came again | copies | seconds | violations |"
        row = (
            f"| {self.plan.drops:,} | {self.plan.instances} | {self.kills.total()} ({self.kills['parent']}) | "
            f"{self.deliveries.total():,} | {self.deliveries[TWICE]:,} | {self.deliveries[AGAIN]:,} | "
            f"{self.copies} | {self.seconds:.0f} | {len(self.violations)} |"
        )
        return "\n".join([head, "|" + "---|" * 9, row, *self.violations[:20]])


def run(folder: Path, plan: Plan, *, seed: int, code: Path = ROOT) -> Outcome:
    """Announce, deliver and kill as planned, wait until the queue is empty, judge."""
    outcome, started, journal = Outcome(plan), time.monotonic(), folder / "journal"
    queue = _repeating(new_folder(folder / "sqs"), plan.duplicates, seed, journal)
    store = bench_servers.start("sink", new_folder(folder / "sink"), "--keep", str(folder / "sink"))
    with on_two(store, queue) as keys:
        rng = random.Random(seed)
        cast = Cast(folder, plan, keys, rng, code)
        try:
            _play(cast, outcome, rng, queue, journal)
            outcome.violations += [*cast.stop(), *_dead_letters(queue)]
        finally:
            cast.end()
    lines = [line.split() for line in journal.read_text().splitlines()]
    outcome.deliveries = Counter(kind for kind, _ in lines)
    outcome.violations += judge(cast, plan, Counter(content for kind, content in lines if kind != FIRST))
    outcome.copies = sum(len(paths) for contents in cast.arrived() for paths in contents.values()) - plan.drops
    outcome.violations += lacking(outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


def lacking(outcome: Outcome) -> list[str]:
    """What did not happen, though it was planned."""
    plan, kills, twice = outcome.plan, outcome.kills.total(), outcome.deliveries[TWICE]
    found = [f"TOO LITTLE: {kills} of {plan.kills} kills"] if kills < plan.kills or not kills else []
    few = twice < _TWICE * plan.duplicates * outcome.deliveries.total()
    return found + ([f"TOO LITTLE: {twice} of {outcome.deliveries.total()} deliveries were repeats"] if few else [])


def _repeating(folder: Path, share: float, seed: int, journal: Path) -> Server:
    options = ("--share", str(share), "--seed", str(seed), "--journal", str(journal))
    return bench_servers.start("tests.chaos.repeats", folder, *options)


def _play(cast: Cast, outcome: Outcome, rng: random.Random, queue: Server, journal: Path) -> None:
    cast.start()
    try:
        _kill_while_flowing(cast, outcome, rng, journal)
        _come_to_rest(cast, queue)
    except AssertionError as error:
        outcome.violations.append(f"NOT DRAINED: {error}")
        for receiver in cast.receivers:
            receiver.show_threads()


def _kill_while_flowing(cast: Cast, outcome: Outcome, rng: random.Random, journal: Path) -> None:
    """A burst, and a kill in it, and so on; the last burst is left in peace."""
    plan = outcome.plan
    bursts = plan.kills + 1
    for number in range(bursts):
        seen, burst = _deliveries(journal), plan.drops * (number + 1) // bursts - plan.drops * number // bursts
        cast.dropper.pace.release(burst)
        if number < plan.kills:
            _await_deliveries(journal, seen + 1 + int(rng.uniform(*_INTO_THE_BURST) * burst))
            receivers = list(filter(_works, cast.receivers)) or cast.receivers
            outcome.kills[_kill_one(rng.choice(receivers), plan, rng)] += 1


def _deliveries(journal: Path) -> int:
    return journal.read_bytes().count(b"\n")


def _await_deliveries(journal: Path, count: int) -> None:
    wait_for(lambda: _deliveries(journal) >= count, _REST_SECONDS, f"{count} messages are delivered")


def _works(receiver: Relay) -> bool:
    """Whether one of its pollers has begun: while a program starts there is little that a kill could cut off."""
    return any(receiver.role_of(pid) == "poller" for pid in receiver.children())


def _kill_one(receiver: Relay, plan: Plan, rng: random.Random) -> str:
    """kill -9 of a program or of one of its pollers; which of them."""
    assert receiver.is_running(), f"it ended by itself: {receiver.console}"
    pollers = receiver.children()
    if pollers and not plan.lose_ledger and rng.random() > _PARENTS:
        receiver.kill(rng.choice(pollers))
        return "poller"
    receiver.kill(receiver.pid)
    if plan.lose_ledger:
        assert not receiver.survivors()
        for path in (receiver.downloaded / LEDGER).parent.glob("ledger.sqlite3*"):
            path.unlink()
    receiver.start()
    return "parent"


def _come_to_rest(cast: Cast, queue: Server) -> None:
    wait_for(cast.all_sent, _REST_SECONDS, "every drop is announced")
    assert cast.dropper.failure is None, cast.dropper.failure
    wait_for(lambda: not _messages(queue, "relay"), _REST_SECONDS, "the queue is empty")


def _messages(queue: Server, name: str) -> int:
    """Those that can be received, those in flight, and those that come later."""
    with contextlib.closing(queue.client("sqs")) as client:
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return sum(int(count) for attribute, count in counts.items() if attribute.startswith("ApproximateNumber"))


def _dead_letters(queue: Server) -> list[str]:
    return [f"DEAD LETTERS: {count}"] if (count := _messages(queue, "relay-dlq")) else []


def judge(cast: Cast, plan: Plan, redelivered: Counter[str]) -> list[str]:
    """Every drop is there; in one folder once, and in several no more often than its message came again.

    `redelivered`: by checksum, how often the message of a content came beyond its first time.
    """
    arrived = cast.arrived()
    found = []
    for content, (number, name) in cast.dropper.dropped.items():
        found += _judge_drop(f"drop {number} ({name})", [each.get(content, []) for each in arrived], plan, redelivered)
    for receiver, contents in zip(cast.receivers, arrived, strict=True):
        found += [f"INVENTED: {paths}" for content, paths in contents.items() if content not in cast.dropper.dropped]
        found += _judge_rest(receiver, sum(map(len, contents.values())), plan)
    return found


def _judge_drop(drop: str, places: Sequence[list[Path]], plan: Plan, redelivered: Counter[str]) -> list[str]:
    paths = [path for of_one in places for path in of_one]
    if not paths:
        return [f"LOST: {drop}"]
    found = []
    if len(paths) > 1 and len(paths) - 1 > (times := redelivered[crc64nvme_of(paths[0].read_bytes())]):
        found.append(f"COPIES: {drop} is there {len(paths)} times, its message came again {times} times")
    if not plan.lose_ledger:
        found += [f"SECOND COPY: {drop}: {of_one}" for of_one in places if len(of_one) > 1]
    return found


def _judge_rest(receiver: Relay, files: int, plan: Plan) -> list[str]:
    """Nothing is left of the work, and the ledger has each of so many files once."""
    found = [f"LEFT BEHIND: {path}" for path in files_in(receiver.state / "FailedMessages")]
    with contextlib.closing(sqlite3.connect(receiver.downloaded / LEDGER)) as base:
        states = Counter(state for (state,) in base.execute("SELECT state FROM drops"))
    if states.keys() - {"delivered"} or (states.total() != files and not plan.lose_ledger):
        found.append(f"LEDGER: {dict(states)} for {files} files of {receiver.state.parent.name}")
    return found + kills.remains(receiver)
