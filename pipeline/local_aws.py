"""The embedded S3 and SQS of ``aws_endpoint_url=embedded``: ministack, hosted in one process of its own.

Every process imports this, so it stays cheap; the server itself is in local_server, what it hosts in local_ministack.

Its data folder::

    address.json  port and token, chosen once      lock         flock held by the one process that serves
    objects/      S3, whole after a kill           clean-stop   only there when the queues in state/ are true
    state/        buckets and queues, as saved by the last clean stop
"""

import contextlib
import fcntl
import hmac
import http.client
import importlib.util
import json
import logging
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import kernel
from pipeline.parent import follow_parent
from pipeline.ports import EXIT_CONFIG, EXIT_UNAVAILABLE

HOST = "127.0.0.1"
PORTS = range(20000, 32000)  # below Linux's ephemeral ports (32768 on): no outgoing connection can ever hold ours
PACKAGE = "ministack"
"""What it hosts; not needed, and perhaps not installed, where only AWS is used."""
PROOF_PATH = "/_relay/proof"  # "_" is not allowed in a bucket's name, so it hides no object

_POLL_SECONDS = (0.05, 0.5)  # between two looks at a server that starts; it costs one that repairs its queue a request
_AT_WORK = "it is still starting, or repairing its queue"
_log = logging.getLogger(__name__)


class EmbeddedAwsError(Exception):
    """The embedded server cannot be used; the text says what happened, where, and what to do next."""

    code = EXIT_UNAVAILABLE


class EmbeddedAwsFolderError(EmbeddedAwsError):
    """Its data cannot be kept where the settings say."""

    code = EXIT_CONFIG


class EmbeddedAwsTimeoutError(EmbeddedAwsError, TimeoutError):
    """It was not ready in time."""


@dataclass(frozen=True)
class EmbeddedAws:
    """Where an embedded server lives. Describes it only: starts nothing, so it is cheap and goes through a pickle."""

    root: Path
    port: int
    token: str = field(repr=False)  # shared by those who may read the folder; never sent, see proof

    @classmethod
    def at(cls, root: Path) -> "EmbeddedAws":
        """Make the data folder and choose its port and token, or read what was chosen there before."""
        root = root.absolute()
        try:
            root.mkdir(parents=True, exist_ok=True)
            root.chmod(0o700)  # keeps the token from other users
            address = _agreed_address(root / "address.json")
            return cls(root, int(address["port"]), str(address["token"]))
        except OSError as error:
            raise EmbeddedAwsFolderError(
                f"Cannot keep the embedded S3/SQS server's data in {root}: {error}. Make the folder writable for this "
                "user, or choose another folderToStoreTempFiles."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise EmbeddedAwsError(
                f"{root / 'address.json'} is damaged ({error!r}). Stop the program and remove that file: "
                "a new port is chosen, the objects stay."
            ) from error

    @property
    def url(self) -> str:
        """The endpoint of both services, the same for ever."""
        return f"http://{HOST}:{self.port}"

    def holder(self) -> int | None:
        """Pid of the process that serves now, or None. For messages only: a pid may have been given away again."""
        try:
            pid = int((self.root / "lock").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def wait_ready(self, timeout: float) -> None:
        """Return once our own server, and no stranger on its port, says it is ready.

        `timeout`: seconds without a word of it. As long as it says that it is at work it is waited for: a repair takes
        as long as there are objects.
        """
        deadline = time.monotonic() + timeout
        pause, longest = _POLL_SECONDS
        while seen := self._not_ready(max(0.1, deadline - time.monotonic())):
            if seen is _AT_WORK:
                deadline = time.monotonic() + timeout
            left = deadline - time.monotonic()
            if left <= 0:
                raise EmbeddedAwsTimeoutError(
                    f"The embedded S3/SQS server {self.url} (data in {self.root}) was not ready after {timeout:g} s: "
                    f"{seen}. Look for `embedded` in the log, or leave aws_endpoint_url empty to use AWS."
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, longest)

    def _not_ready(self, timeout: float) -> str:
        """Say why the server is not ready, or nothing if it is."""
        nonce = secrets.token_hex(16)
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)  # knows no http_proxy, as it must be
        try:
            connection.request("GET", f"{PROOF_PATH}?{nonce}")
            answer = connection.getresponse()
            body = answer.read(1024)
        except ConnectionRefusedError:
            return "nothing listens there"
        except (OSError, http.client.HTTPException) as error:
            return f"what listens there does not answer properly ({error!r})"
        finally:
            connection.close()
        if not hmac.compare_digest(body, self.proof(answer.status, nonce)):
            return f"another program answers there (HTTP {answer.status}); stop it, or see {self.root / 'address.json'}"
        return "" if answer.status == 200 else _AT_WORK

    def proof(self, status: int, nonce: str) -> bytes:
        """What only a holder of the token can answer. The token itself is never sent, so nobody can learn it."""
        return hmac.digest(self.token.encode(), f"{status} {nonce}".encode(), "sha256").hex().encode()


def serve(embedded: EmbeddedAws, bucket: str, on_unclean: Callable[[], None]) -> None:
    """Be the server until SIGTERM or the parent's death, once no other process is. Target of a spawned process.

    After an unclean end no queue is left: `on_unclean` is called in a thread while the server answers but is not ready,
    and must make the queue and announce again (on `embedded.url`, without `wait_ready`). Takes the user's AWS_*
    variables out of this process. Raises EmbeddedAwsError if it cannot serve, SystemExit(1) if it failed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise EmbeddedAwsError(
            "aws_endpoint_url=embedded needs the package ministack, which is not installed. "
            "Run `pip install -r requirements.txt`, or leave aws_endpoint_url empty to use AWS."
        )
    _follow_parent()
    with _only_server(embedded):
        from pipeline.local_server import Server  # noqa: PLC0415  - what only this process needs

        Server(embedded, bucket, on_unclean).run()


def _agreed_address(file: Path) -> dict[str, Any]:
    """Port and token: of two programs that start at the same instant one chooses, and the other waits and reads."""
    with file.open("a+") as address:
        fcntl.flock(address, fcntl.LOCK_EX)
        address.seek(0)
        if not (text := address.read()):
            text = json.dumps({"port": _free_port(), "token": secrets.token_hex(32)})
            address.write(text)
            address.flush()
            os.fsync(address.fileno())
            kernel.fsync_path(file.parent)
    stored: dict[str, Any] = json.loads(text)
    return stored


def _free_port() -> int:
    for port in random.sample(PORTS, 100):
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind((HOST, port))
            return port
    raise OSError(f"no free port of 100 tried between {PORTS.start} and {PORTS.stop}")


def _follow_parent() -> None:
    """Stop cleanly by SIGTERM alone: not by the terminal's Ctrl-C, but when the parent dies however it does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until asyncio takes over; cuts the wait for the lock
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):  # leads its group already
        os.setsid()
    follow_parent(signal.SIGTERM)


@contextlib.contextmanager
def _only_server(embedded: EmbeddedAws) -> Iterator[None]:
    with (embedded.root / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("Process %s serves %s; this one waits to take over", embedded.holder(), embedded.url)
            fcntl.flock(lock, fcntl.LOCK_EX)
            _log.info("Taking over %s", embedded.url)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
