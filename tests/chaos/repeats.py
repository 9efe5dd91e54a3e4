"""An SQS that delivers some of its messages more than once, as SQS may: `python -m tests.chaos.repeats`.

A repeat is a message of the same id with a receipt of its own, which has to be deleted for itself. It comes at once, to
whoever asks next; later, whatever became of the first one; or after that was deleted.
"""

import argparse
import functools
import random
from pathlib import Path
from typing import TextIO

from bench.queues import Message, Queue
from bench.sqs import Sqs
from bench.wire import Exchange, Request, serve

FIRST, AGAIN, TWICE = "first", "again", "twice"
"""What the journal calls a delivery: of a new message, of one that was not deleted in time, of a repeat."""
WHENS = ("at once", "later", "after the delete")
_LATER_SECONDS = (0.05, 4.0)


class Repeating(Queue):
    """Draws for each delivery whether the message is delivered once more."""

    def __init__(
        self, name: str, attributes: dict[str, str], share: float, rng: random.Random, journal: TextIO
    ) -> None:
        """`share`: of all deliveries, those that are repeats."""
        super().__init__(name, attributes)
        self._share, self._rng, self._journal = share, rng, journal
        self._seen: set[str] = set()
        self._after_delete: dict[str, Message] = {}  # by the id of the message that has to go first

    def receive(self, limit: int, visibility: float) -> list[Message]:
        """See Queue."""
        found = super().receive(limit, visibility)
        for message in found:
            self._note(message)
            if self._rng.random() < self._share:
                self._repeat(message, self._rng.choice(WHENS))
        return found

    def delete(self, receipt: str) -> bool:
        """See Queue."""
        message = self._flight.get(receipt)
        if message and (twin := self._after_delete.pop(message.id, None)):
            self._send_later(twin)
        return super().delete(receipt)

    def _note(self, message: Message) -> None:
        kind = AGAIN if message.receives > 1 else TWICE if message.id in self._seen else FIRST
        self._seen.add(message.id)
        self._journal.write(f"{kind} {message.attributes['crc64nvme']['StringValue']}\n")

    def _repeat(self, message: Message, when: str) -> None:
        twin = Message(message.body, message.md5, message.attributes, message.digest)
        twin.id = message.id
        if when == "at once":
            self.send(twin, 0)
        elif when == "later":
            self._send_later(twin)
        else:
            self._after_delete[message.id] = twin

    def _send_later(self, message: Message) -> None:
        self.send(message, self._rng.uniform(*_LATER_SECONDS))


class RepeatingSqs(Sqs):
    """Looks after each call whether it made something that others wait for."""

    def answer(self, request: Request, exchange: Exchange) -> None:
        """See wire.Application."""
        super().answer(request, exchange)
        for queue in self._queues.values():
            self._serve(queue)


def _make(options: argparse.Namespace) -> Sqs:
    rng, journal = random.Random(options.seed), options.journal.open("w", buffering=1)
    return RepeatingSqs(functools.partial(Repeating, share=options.share, rng=rng, journal=journal))


if __name__ == "__main__":
    text = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.repeats", description=text)
    parser.add_argument("--share", type=float, required=True, help="of all deliveries, those that are repeats")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True, help="has a line for each delivery")
    serve(_make, parser)
