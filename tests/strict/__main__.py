"""Run the server until SIGTERM: `python -m tests.strict --folder F --port P --seed S`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from bench.wire import run_server
from tests.strict.server import Server
from tests.strict.wire import Connection


def _make(options: argparse.Namespace) -> Callable[[], Connection]:
    server = Server(options.folder, options.seed, options.region)
    return lambda: Connection(server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.strict", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for events.jsonl and the bodies of objects")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--region", default="us-east-1")
    run_server(_make, parser)
