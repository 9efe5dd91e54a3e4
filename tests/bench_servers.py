"""The benchmark's own servers, started as the servers of the tests are."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

from tests.servers import Credentials, Server, free_ports

ROOT = Path(__file__).resolve().parents[1]


def start(module: str, folder: Path, *options: str) -> Server:
    """`python -m bench.MODULE` with these options; a name with a dot is a module of its own."""
    (port,) = free_ports(1)
    name = module if "." in module else f"bench.{module}"
    command = [sys.executable, "-m", name, *options, "--port", str(port)]
    env = {"PYTHONPATH": str(ROOT)}
    return Server(folder, port, Credentials("bench", "bench"), command, env, _listens)


def _listens(server: Server) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
        return True
    return False
