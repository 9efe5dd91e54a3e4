"""The S3 and SQS of a run: what goes wrong with them, and what they saw."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests import bench_servers
from tests.chaos.endpoints import new_folder
from tests.chaos.hostile import BUCKET
from tests.servers import Server, make_bucket

SECRET = "CANARY+secret/of/the/soak"  # it must be found nowhere


class Cloud:
    """Both services."""

    def __init__(self, store: Server, queues: Server) -> None:
        self._store, self._queues = store, queues
        make_bucket(store, BUCKET)
        self.s3, self.sqs = store.client("s3"), queues.client("sqs")

    def keys(self) -> dict[str, object]:
        """Of a properties file that selects them."""
        return {
            "aws_endpoint_url": self._queues.endpoint,
            "aws_endpoint_url_s3": self._store.endpoint,
            "aws_access_key_id": "bench",
            "aws_secret_key": SECRET,
        }


@contextlib.contextmanager
def cloud(folder: Path, seed: int) -> Iterator[Cloud]:
    """Started in a folder; ended with the block."""
    store = bench_servers.start("sink", new_folder(folder / "sink"), "--keep", str(folder / "sink"))
    words = ("--share", "0.05", "--seed", str(seed), "--journal", str(folder / "deliveries"))
    queues = bench_servers.start("tests.chaos.repeats", new_folder(folder / "sqs"), *words)
    with store, queues:
        yield Cloud(store, queues)
