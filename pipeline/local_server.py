"""One life of the embedded S3 and SQS: repair, serve until told to stop, say on disk how it ended.

Only the serving process imports this: it needs asyncio and ministack, which no other process should pay for.
"""

import asyncio
import contextlib
import http.client
import importlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pipeline import kernel
from pipeline.local_aws import HOST, PROOF_PATH, EmbeddedAws, EmbeddedAwsError
from pipeline.local_ministack import load_ministack

IN_FLIGHT_SECONDS = 1.0  # what a request may still take once the server was told to stop; cuts long polls of 20 s
BIND_SECONDS = 2.0  # a killed holder's lock is free an instant before its socket is

_Send = Callable[[dict[str, Any]], Awaitable[None]]
_log = logging.getLogger(__name__)


class Server:
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
        self.app = load_ministack(self.embedded, self.objects, self.state)
        listener = _bound(self.embedded)
        self.marker.unlink(missing_ok=True)
        kernel.fsync_path(self.embedded.root)
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
        if scope["type"] == "lifespan":
            await self.app.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close"})
        elif scope["path"] == PROOF_PATH:
            status = 200 if self.ready and not self.stop.is_set() else 503
            await _answer(send, status, self.embedded.proof(status, scope["query_string"].decode("latin-1")))
        elif _is_refused(scope, self.embedded.port):
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
        kernel.fsync_path(file)
    marker.write_text(str(port))
    kernel.fsync_path(marker)
    kernel.fsync_path(marker.parent)


def _is_refused(scope: dict[str, Any], port: int) -> bool:
    """Refuse web pages (only browsers send Origin; ministack answers any) and ministack's own unguarded wipe.

    A page whose name was made to point here needs no Origin to read, but it sends its own name as Host.
    """
    changes = scope["method"] != "GET" and scope["path"].startswith(("/_ministack/", "/_localstack/"))
    headers = [(name.lower(), value) for name, value in scope["headers"]]
    hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
    ours = len(hosts) == 1 and hosts[0] in (f"{HOST}:{port}", f"localhost:{port}")
    return changes or not ours or any(name == b"origin" for name, _ in headers)


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
