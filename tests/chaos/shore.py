"""S3 and SQS of the benchmark in one process, for one program after the other.

Whoever holds messages may be killed: RELEASE shows all of a queue to the next taker, as if their time were over.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench.queues import Queue
from bench.sink import Sink
from bench.sqs import Sqs
from bench.wire import Body, Exchange, Request, serve

RELEASE = "Shore.Release"
_TARGET = b"x-amz-target"
_COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
_SCOPE = "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0"


class _Held(Queue):
    """A queue that lets go of what is in flight when it is told to."""

    def release(self) -> None:
        for receipt in list(self._flight):
            self.extend(receipt, 0)
        self.wake()


class Shore:
    """A sink and the queues beside it."""

    def __init__(self, keep: Path) -> None:
        self._keep, self._sink, self._queues = keep, Sink(keep), dict[str, _Held]()
        self._sqs = Sqs(self._make_queue)

    def _make_queue(self, name: str, attributes: dict[str, str]) -> Queue:
        self._queues[name] = _Held(name, attributes)
        return self._queues[name]

    def body_for(self, request: Request) -> Body:
        """See wire.Application."""
        return (self._sqs if _TARGET in request.headers else self._sink).body_for(request)

    def answer(self, request: Request, exchange: Exchange) -> None:
        """See wire.Application."""
        if request.headers.get(_TARGET) == RELEASE.encode():
            self._queues[request.path.rpartition("/")[2]].release()
            exchange.reply(200, (), b"{}")
            return
        if request.method == "DELETE" and request.path.count("/") == 1:  # a bucket, of the only program there is
            for path in self._keep.iterdir():
                path.unlink()
        (self._sqs if _TARGET in request.headers else self._sink).answer(request, exchange)

    def gone(self, exchange: Exchange) -> None:
        """See wire.Application."""
        self._sqs.gone(exchange)


class Place(NamedTuple):
    """One bucket and one queue at an endpoint, asked without a client that would cost a second to make."""

    endpoint: str
    bucket: str
    queue: str

    def make(self) -> None:
        """Make the bucket; the queue is the program's to make."""
        self._ask("PUT", f"/{self.bucket}")

    def remove(self) -> None:
        """Give back what it takes."""
        self._ask("DELETE", f"/{self.bucket}")

    def messages(self) -> tuple[int, int]:
        """Those that can be received, and those in flight; nobody has asked for a queue yet: none."""
        call = {"QueueUrl": f"{self.endpoint}/000000000000/{self.queue}", "AttributeNames": ["All"]}
        headers = {"X-Amz-Target": "AmazonSQS.GetQueueAttributes", "Content-Type": "application/x-amz-json-1.0"}
        status, body = self._ask("POST", "/", json.dumps(call), {**headers, "Authorization": _SCOPE})
        if status != 200:
            return 0, 0
        counts: dict[str, Any] = json.loads(body)["Attributes"]
        visible, held = (int(counts[name]) for name in _COUNTS)
        return visible, held

    def release(self) -> None:
        """Of shore alone: let the messages in flight come again."""
        self._ask("POST", f"/{self.queue}", "{}", {"X-Amz-Target": RELEASE})

    def objects(self) -> dict[str, int]:
        """Key → size."""
        _, body = self._ask("GET", f"/{self.bucket}?list-type=2")
        found = re.findall(r"<Contents>.*?<Key>(.*?)</Key>.*?<Size>(\d+)</Size>", body.decode(), re.DOTALL)
        return {key: int(size) for key, size in found}

    def content(self, key: str) -> bytes:
        """Of one object."""
        return self._ask("GET", f"/{self.bucket}/{key}")[1]

    def uploads(self) -> int:
        """Multipart uploads that nobody has ended."""
        return self._ask("GET", f"/{self.bucket}?uploads")[1].count(b"<UploadId>")

    def _ask(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.shore", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, required=True, help="a folder for large bodies")
    serve(lambda options: Shore(options.keep), parser)
