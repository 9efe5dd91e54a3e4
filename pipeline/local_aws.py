"""The embedded S3 and SQS of ``aws_endpoint_url=embedded``: ministack, hosted in one process of its own.

Its data folder::

    address.json  port and token, chosen once      lock         flock held by the one process that serves
    objects/      S3, whole after a kill           clean-stop   only there when the queues in state/ are true
    state/        buckets and queues, as saved by the last clean stop
"""

import asyncio
import contextlib
import ctypes
import fcntl
import hmac
import http.client
import importlib
import importlib.util
import json
import logging
import multiprocessing
import os
import random
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PORTS = range(20000, 32000)  # below Linux's ephemeral ports (32768 on): no outgoing connection can ever hold ours
IN_FLIGHT_SECONDS = 1.0  # what a request may still take once the server was told to stop; cuts long polls of 20 s
BIND_SECONDS = 2.0  # a killed holder's lock is free an instant before its socket is

_PROOF_PATH = "/_relay/proof"  # "_" is not allowed in a bucket's name, so it hides no object
_PR_SET_PDEATHSIG = 1
_ITS_LOGGERS = (
    "ministack",
    "persistence",
    "s3",
    "sqs",
    "sns",
    "lambda",
    "events",
    "scheduler",
    "transfer",
    "hypercorn.error",
)
_Send = Callable[[dict[str, Any]], Awaitable[None]]
_log = logging.getLogger(__name__)


class EmbeddedAwsError(Exception):
    """The embedded server cannot be used; the text says what happened, where, and what to do next."""


class EmbeddedAwsTimeoutError(EmbeddedAwsError, TimeoutError):
    """It was not ready in time."""


@dataclass(frozen=True)
class EmbeddedAws:
    """Where an embedded server lives. Describes it only: starts nothing, so it is cheap and goes through a pickle."""

    root: Path
    port: int
    token: str = field(repr=False)  # shared by those who may read the folder; never sent, see _proof

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
            raise EmbeddedAwsError(
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
        """Return once our own server, and no stranger on its port, says it is ready; `timeout` is in seconds."""
        deadline = time.monotonic() + timeout
        while seen := self._not_ready(max(0.1, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                raise EmbeddedAwsTimeoutError(
                    f"The embedded S3/SQS server {self.url} (data in {self.root}) was not ready after {timeout:g} s: "
                    f"{seen}. Look for {__name__} in the log, or leave aws_endpoint_url empty to use AWS."
                )
            time.sleep(0.05)

    def _not_ready(self, timeout: float) -> str:
        """Say why the server is not ready, or nothing if it is."""
        nonce = secrets.token_hex(16)
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)  # knows no http_proxy, as it must be
        try:
            connection.request("GET", f"{_PROOF_PATH}?{nonce}")
            answer = connection.getresponse()
            body = answer.read(1024)
        except ConnectionRefusedError:
            return "nothing listens there"
        except (OSError, http.client.HTTPException) as error:
            return f"what listens there does not answer properly ({error!r})"
        finally:
            connection.close()
        if not hmac.compare_digest(body, self._proof(answer.status, nonce)):
            return f"another program answers there (HTTP {answer.status}); stop it, or see {self.root / 'address.json'}"
        return "" if answer.status == 200 else f"process {self.holder()} is still starting, or repairing its queue"

    def _proof(self, status: int, nonce: str) -> bytes:
        """What only a holder of the token can answer. The token itself is never sent, so nobody can learn it."""
        return hmac.digest(self.token.encode(), f"{status} {nonce}".encode(), "sha256").hex().encode()


def serve(embedded: EmbeddedAws, bucket: str, on_unclean: Callable[[], None]) -> None:
    """Be the server until SIGTERM or the parent's death, once no other process is. Target of a spawned process.

    After an unclean end no queue is left: `on_unclean` is called in a thread while the server answers but is not ready,
    and must make the queue and announce again (on `embedded.url`, without `wait_ready`). Takes the user's AWS_*
    variables out of this process. Raises EmbeddedAwsError if it cannot serve, SystemExit(1) if it failed.
    """
    if importlib.util.find_spec("ministack") is None:
        raise EmbeddedAwsError(
            "aws_endpoint_url=embedded needs the package ministack, which is not installed. "
            "Run `pip install -r requirements.txt`, or leave aws_endpoint_url empty to use AWS."
        )
    _follow_parent()
    with _only_server(embedded):
        _Server(embedded, bucket, on_unclean).run()


class _Server:
    """One life of the server, lived by the holder of the lock."""

    def __init__(self, embedded: EmbeddedAws, bucket: str, on_unclean: Callable[[], None]) -> None:
        self.embedded, self.bucket, self.on_unclean = embedded, bucket, on_unclean
        self.objects, self.state = embedded.root / "objects", embedded.root / "state"
        self.marker = embedded.root / "clean-stop"
        self.ready = self.failed = False
        self.requests: set[asyncio.Task[Any]] = set()

    def run(self) -> None:
        """Repair what the last life left, serve, and say on disk whether this life ended well."""
        self.queues_true = self._last_stop_was_clean()
        if not self.queues_true:
            # Before ministack reads them: otherwise a client could be given messages of long ago.
            for stale in self.state.glob("sqs.json*"):
                stale.unlink()
        self.objects.mkdir(mode=0o700, exist_ok=True)
        _remove_unfinished(self.objects)
        self.app = _load_ministack(self.embedded, self.objects, self.state)
        listener = _bound(self.embedded)
        self.marker.unlink(missing_ok=True)
        _fsync(self.embedded.root)
        before = self._saved_queues()
        asyncio.run(self._serve(listener))
        self._end(saved=self._saved_queues() != before)

    def _last_stop_was_clean(self) -> bool:
        """The port is part of it: ministack finds queues by URL, so those of another port are as good as lost."""
        never_ran = not self.objects.exists()
        return never_ran or (self.marker.exists() and self.marker.read_text() == str(self.embedded.port))

    def _saved_queues(self) -> tuple[int, int] | None:
        file = self.state / "sqs.json"
        return (file.stat().st_ino, file.stat().st_mtime_ns) if file.exists() else None

    def _end(self, saved: bool) -> None:
        if self.failed:
            raise SystemExit(1)
        if not saved:  # ministack only logs it when it cannot write
            _log.error("The queues could not be saved in %s; they are made again at the next start", self.state)
            raise SystemExit(1)
        if self.queues_true:  # else stopped in the middle of on_unclean, which must run again
            _save_clean_stop(self.state, self.marker, self.embedded.port)

    async def _serve(self, listener: socket.socket) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        cut = asyncio.create_task(self._cut_requests_at_stop())
        config = importlib.import_module("hypercorn.config").Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.errorlog = logging.getLogger("hypercorn.error")  # its own default is a handler on stderr
        config.keep_alive_timeout, config.graceful_timeout = 75, IN_FLIGHT_SECONDS + 1
        threading.Thread(target=self._open, name="open", daemon=True).start()
        await importlib.import_module("hypercorn.asyncio").serve(self._gate, config, shutdown_trigger=self.stop.wait)
        cut.cancel()

    async def _cut_requests_at_stop(self) -> None:
        # From Python 3.12 on Server.wait_closed() waits for every connection, before hypercorn's own timeout begins.
        await self.stop.wait()
        await asyncio.sleep(IN_FLIGHT_SECONDS)
        for request in self.requests:
            request.cancel()

    async def _gate(self, scope: dict[str, Any], receive: Any, send: _Send) -> None:
        """Stand before ministack: prove who we are, and refuse what neither an SDK nor we would ever ask."""
        if scope["type"] != "http":
            await self.app.app(scope, receive, send)
        elif scope["path"] == _PROOF_PATH:
            status = 200 if self.ready and not self.stop.is_set() else 503
            await _answer(send, status, self.embedded._proof(status, scope["query_string"].decode("latin-1")))
        elif _is_refused(scope):
            await _answer(send, 403, b"Refused by the embedded server")
        else:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  - a coroutine always runs in one
            self.requests.add(task)
            try:
                await self.app.app(scope, receive, send)
            finally:
                self.requests.discard(task)

    def _open(self) -> None:
        """Bring what answers already to where clients may use it. Runs in a thread, as on_unclean blocks."""
        try:
            _make_bucket(self.embedded.port, self.bucket)
            if not self.queues_true:
                self.on_unclean()
            self.ready = self.queues_true = True
            _log.info("Embedded S3 and SQS: %s, data in %s, pid %d", self.embedded.url, self.embedded.root, os.getpid())
        except BaseException:  # noqa: BLE001  - whatever it is, a server that never gets ready must end, and be restarted
            if not self.stop.is_set():
                _log.exception("The embedded server at %s cannot be made ready and ends", self.embedded.url)
                self.failed = True
                self.loop.call_soon_threadsafe(self.stop.set)


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
            _fsync(file.parent)
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
    with contextlib.suppress(OSError, AttributeError):  # no prctl: not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died before prctl
        sys.exit(0)


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


def _bound(embedded: EmbeddedAws) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last life may linger
    deadline = time.monotonic() + BIND_SECONDS
    while True:
        try:
            listener.bind((HOST, embedded.port))
            listener.listen(1)  # on Linux two sockets may be *bound* so; it is the second listen that fails
            return listener
        except OSError as error:
            if time.monotonic() >= deadline:
                listener.close()
                raise EmbeddedAwsError(
                    f"Port {embedded.port} of the embedded S3/SQS server is taken by another program ({error}). Stop "
                    f"that program, or remove {embedded.root / 'address.json'} while no instance runs: a new port is "
                    "chosen and the queue is made again."
                ) from error
            time.sleep(0.05)


def _load_ministack(embedded: EmbeddedAws, objects: Path, state: Path) -> Any:
    """Import ministack, which reads its settings at that moment, and make what it acknowledges durable."""
    foreign = ("AWS_", "MINISTACK_", "LOCALSTACK_")
    for name in [name for name in os.environ if name.startswith(foreign) or name in ("AUTH", "USE_SSL")]:
        del os.environ[name]
    os.environ |= {"GATEWAY_PORT": str(embedded.port), "BIND_HOST": HOST, "MINISTACK_HOST": HOST, "SERVICES": "s3,sqs"}
    os.environ |= {"S3_PERSIST": "1", "S3_DATA_DIR": str(objects), "PERSIST_STATE": "1", "STATE_DIR": str(state)}
    os.environ |= {"SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "WARNING"}
    os.environ["DOCKER_HOST"] = "unix:///nonexistent"  # else it removes containers of other ministacks at start
    logging.getLogger().addHandler(logging.NullHandler())  # else its basicConfig() may write to the console
    for name in _ITS_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    importlib.import_module("ministack.services.sqs")  # what is not imported is not saved
    _make_durable(importlib.import_module("ministack.services.s3"))
    return importlib.import_module("ministack.app")


def _make_durable(s3: Any) -> None:
    """Have ministack fsync what it acknowledges, and not acknowledge what it could not write (it only logs that)."""
    write, persist = s3._atomic_write, s3._persist_object

    def durable_write(path: str, data: bytes, *, text: bool = False) -> None:
        write(path, data, text=text)
        _fsync(Path(path))
        if text:  # the metadata, written last: one fsync of the folder is for both
            _fsync(Path(path).parent)

    def checked_persist(bucket: str, key: str, record: dict[str, Any]) -> None:
        persist(bucket, key, record)
        if record["body"] is not None:  # it lets go of the body once that is on disk
            s3._buckets[bucket]["objects"].pop(key, None)
            raise OSError(f"S3 object {bucket}/{key} could not be written; is the disk full?")

    s3._atomic_write, s3._persist_object = durable_write, checked_persist


def _remove_unfinished(objects: Path) -> None:
    """Remove what a kill within a PUT leaves: data without metadata. Nobody was ever told that it was stored."""
    for folder, below, names in os.walk(objects):
        if Path(folder) == objects:
            below[:] = [name for name in below if name != ".versions"]  # old versions never have metadata of their own
        present = set(names)
        for name in names:
            # An object named `x.tmp` has metadata; a half-written file never does.
            if not (name.endswith(".meta.json") or f"{name}.meta.json" in present):
                _log.warning("Removing %s, left by an upload that was cut off", Path(folder, name))
                Path(folder, name).unlink()


def _save_clean_stop(state: Path, marker: Path, port: int) -> None:
    for file in (*state.glob("*.json"), state):
        _fsync(file)
    marker.write_text(str(port))
    _fsync(marker)
    _fsync(marker.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_refused(scope: dict[str, Any]) -> bool:
    """Refuse web pages (only browsers send Origin; ministack answers any) and ministack's own unguarded wipe."""
    changes = scope["method"] != "GET" and scope["path"].startswith(("/_ministack/", "/_localstack/"))
    return changes or any(name.lower() == b"origin" for name, _ in scope["headers"])


async def _answer(send: _Send, status: int, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def _make_bucket(port: int, bucket: str) -> None:
    """Make the bucket unless it is there. ministack reads no signature, and so this needs no AWS client."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    with contextlib.closing(connection):
        for method in ("HEAD", "PUT"):
            connection.request(method, f"/{bucket}")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return
    raise OSError(f"bucket {bucket} cannot be made: HTTP {answer.status}")
