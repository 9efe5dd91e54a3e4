"""One of the benchmark's servers, which notes each request: `python -m tests.chaos.counted sink --requests FILE`."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.sink import Sink
from bench.sqs import Sqs
from bench.wire import Application, Body, Exchange, Request, serve

_SERVERS: dict[str, Callable[[], Application]] = {"sink": lambda: Sink(None), "sqs": Sqs}


class Seen(NamedTuple):
    """One request."""

    method: str
    path: str
    """Decoded."""
    query: str
    action: str
    """Of SQS."""


class Counted:
    """What a server does, and a line for each request before it is answered."""

    def __init__(self, application: Application, requests: Path) -> None:
        self._application = application
        self._file = requests.open("a", encoding="utf-8", buffering=1)

    def body_for(self, request: Request) -> Body:
        """See wire.Application."""
        return self._application.body_for(request)

    def answer(self, request: Request, exchange: Exchange) -> None:
        """See wire.Application."""
        action = request.headers.get(b"x-amz-target", b"").decode().rpartition(".")[2]
        print(json.dumps(Seen(request.method, request.path, request.raw_query, action)), file=self._file)
        self._application.answer(request, exchange)

    def gone(self, exchange: Exchange) -> None:
        """See wire.Application."""
        self._application.gone(exchange)


def seen(requests: Path) -> list[Seen]:
    """What was asked so far."""
    return [Seen(*json.loads(line)) for line in requests.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.counted", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("server", choices=sorted(_SERVERS))
    parser.add_argument("--requests", type=Path, required=True)
    serve(lambda options: Counted(_SERVERS[options.server](), options.requests), parser)
