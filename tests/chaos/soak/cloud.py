"""The S3 and SQS of a run: what goes wrong with them, and what they saw."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.endpoints import new_folder
from tests.chaos.hostile import BUCKET
from tests.servers import make_bucket
from tests.strict.process import INTRUDER, StrictServer, strict

SECRET = "CANARY+secret/of/the/soak"  # it must be found nowhere
_KEY_ID = "soak"
RATES = {
    "all.503": 0.02,
    "all.lost_answer": 0.02,
    "all.reset": 0.01,
    "all.reset_body": 0.01,
    "get.flip": 0.005,
    "get.truncate": 0.005,
    "complete.200_error": 0.02,
    "put.409": 0.01,
    "receive.duplicate": 0.05,
    "receive.shuffle": 0.05,
    "delete.redeliver": 0.01,
    "send.partial": 0.02,
    "delete.partial": 0.02,
    "extend.partial": 0.02,
}
"""Of all requests or messages of a kind, those with which this goes wrong."""


class Cloud:
    """Both services, and the judge inside them."""

    def __init__(self, server: StrictServer) -> None:
        self._server = server
        make_bucket(server, BUCKET)
        server.tell("keys", {"id": _KEY_ID, "secret": SECRET})
        self.s3, self.sqs = server.client("s3"), server.client("sqs")
        # Whoever else waits for it is waited for, too: one try, and another one later.
        self.intruder = server.client("sqs", INTRUDER, retries={"total_max_attempts": 1}, read_timeout=5)

    def keys(self) -> dict[str, object]:
        """Of a properties file that selects them."""
        return {
            "aws_endpoint_url": self._server.endpoint,
            "aws_access_key_id": _KEY_ID,
            "aws_secret_key": SECRET,
        }

    def judge(self, consumers: Iterable[tuple[Path, Path]]) -> None:
        """Where files arrive, and to where their users take them: what is deleted has to be there."""
        said = [{"folder": str(folder), "taken": [str(taken)]} for folder, taken in consumers]
        self._server.tell("judge", {"consumers": said})

    def spoil(self) -> None:
        """From now on things go wrong."""
        self._server.tell("faults", RATES)

    def calm(self) -> None:
        """And no more."""
        self._server.tell("faults", {})

    def down(self, seconds: float) -> None:
        """Nobody is connected, or can be, for so long."""
        self._server.tell("down", {"seconds": seconds})

    def violations(self) -> list[str]:
        """What was not as promised in the instant something took effect."""
        return [f"AT THE INSTANT: {text}" for text in self._server.ask("violations")]

    def counts(self) -> dict[str, Any]:
        """Requests, effects and faults so far; the faults by their kind alone."""
        counts: dict[str, Any] = self._server.ask("counts")
        faults: Counter[str] = Counter()
        for name, number in counts["faults"].items():
            faults[name.partition(".")[2]] += number
        return {**counts, "faults": faults}


@contextlib.contextmanager
def cloud(folder: Path, seed: int) -> Iterator[Cloud]:
    """Started in a folder; ended with the block."""
    with strict(new_folder(folder / "cloud"), str(seed)) as server:
        yield Cloud(server)
