"""A sender and a receiver with a queue between them, their user, and whoever sends what is hostile to it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.hostile import BUCKET, EVIL, FOLDER, OBJECTS, Hostile, messages
from tests.chaos.kills import files_in
from tests.chaos.relay import STORM
from tests.chaos.soak.cloud import Cloud
from tests.chaos.soak.disk import Disk
from tests.chaos.soak.plan import CONSUME, INGEST, Plan
from tests.chaos.soak.program import Program
from tests.chaos.soak.user import User

_KEYS = {**STORM, "ignorePatterns": "", "minFreeBytes": 0}


class Pair:
    """Number `number` of a run."""

    def __init__(self, folder: Path, plan: Plan, number: int, cloud: Cloud, code: Path) -> None:
        self.number, self._cloud = number, cloud
        self.prefix, self.queue = f"{FOLDER}{number}", f"relay{number}"
        keys = {**_KEYS, **cloud.keys(), "aws_s3_bucket": BUCKET, "aws_s3_folder": self.prefix, "aws_sqs": self.queue}
        keys |= dict.fromkeys(("uploadProcesses", "pollProcesses"), 2 - number % 2)
        home = folder / f"receiver{number}"
        self.disk = Disk(home) if number < plan.pairs - 1 and plan.disks else None
        """Of the receiver, where it can have one of its own."""
        self.sender = Program(folder / f"sender{number}", code, INGEST, keys)
        self.receiver = Program(home, code, CONSUME, keys)
        relays, staging = (self.sender.relay, self.receiver.relay), folder / "staging" / str(number)
        self.user = User(number, relays, staging, home / "taken", plan)
        self._hostile, self._queue_url = _each_once(), ""
        self._attacks: list[Hostile] = []
        self._accepted: set[int] = set()
        """Those of which the queue said so; it may have others, too."""
        for name, metadata in OBJECTS.items():
            cloud.s3.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}", Body=EVIL, Metadata=metadata)

    @property
    def programs(self) -> tuple[Program, Program]:
        """Both."""
        return self.sender, self.receiver

    def program(self, side: str) -> Program:
        """One of them."""
        return self.sender if side == INGEST else self.receiver

    def attack(self) -> str:
        """Send one hostile message, with its number as an attribute; what row it is of."""
        message, number = next(self._hostile), len(self._attacks)
        self._attacks.append(message)
        attributes = {"n": str(number), **message.attributes}
        self._queue_url = self._queue_url or self._url(self.queue)
        self._cloud.intruder.send_message(
            QueueUrl=self._queue_url,
            MessageBody=message.body.replace(f"{FOLDER}/", f"{self.prefix}/"),
            MessageAttributes={n: {"DataType": "String", "StringValue": text} for n, text in attributes.items()},
        )
        self._accepted.add(number)
        return message.row

    def counts(self) -> tuple[int, int]:
        """Files dropped, and arrived."""
        return self.user.dropped, self.user.book.arrived()

    def violations(self) -> list[str]:
        """What was seen and must not be."""
        return self.user.violations + [problem for program in self.programs for problem in program.violations]

    def open(self) -> list[str]:
        """What has not come to its end."""
        found = [*self.user.book.open()]
        found += [f"LEFT BEHIND: {path}" for path in self._left()]
        if not found and not self._is_idle():
            found.append("NOT DRAINED: messages are left")
        return found

    def left_behind(self) -> list[str]:
        """What lies where nothing may at the end."""
        found = [*files_in(self.sender.relay.failed), *files_in(self.receiver.relay.state / "FailedMessages")]
        found += (self.sender.relay.state / ".relay" / "multipart").glob("*.json")
        return [f"LEFT BEHIND: {path}" for path in [*self._left(), *found]]

    def give_back(self) -> None:
        """The disk, which ends with the run; what the receiver said there stays."""
        if self.disk:
            relay = self.receiver.relay
            for path in filter(Path.exists, (relay.log, relay.console)):
                shutil.copy(path, relay.state.parents[1] / f"{self.receiver.name}-{path.name}")
            self.disk.close()

    def _left(self) -> list[Path]:
        return [*files_in(self.sender.relay.watch), *files_in(self.sender.relay.queued)]

    def _is_idle(self) -> bool:
        """Whether no message is there, in flight or delayed."""
        asked = self._cloud.sqs.get_queue_attributes(QueueUrl=self._url(self.queue), AttributeNames=["All"])
        return not any(int(n) for name, n in asked["Attributes"].items() if name.startswith("ApproximateNumber"))

    def dead_letters(self) -> list[str]:
        """What is wrong with them: each hostile message is there, and nothing else."""
        found, dead = [], set()
        for body, number in self._take_dead():
            if number:
                dead.add(int(number))
            else:
                found.append(f"GOOD ONE BURIED: {body[:120]}")
        return found + [f"DELETED: {self._attacks[number].body[:80]}" for number in self._accepted - dead]

    def _take_dead(self) -> Iterator[tuple[str, str]]:
        asked = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"], "VisibilityTimeout": 600}
        url = self._url(f"{self.queue}-dlq")
        while found := self._cloud.sqs.receive_message(QueueUrl=url, **asked).get("Messages"):
            for message in found:
                said = message.get("MessageAttributes", {})
                yield message["Body"], said.get("n", {}).get("StringValue", "")

    def _url(self, name: str) -> str:
        return str(self._cloud.sqs.get_queue_url(QueueName=name)["QueueUrl"])


def _each_once() -> Iterator[Hostile]:
    """Those that one delivery ends."""
    return (message for message in messages() if not message.comes_again and len(json.dumps(message.body)) < 100_000)
