"""A network that misbehaves: an HTTP proxy in front of a server, and a server of one prepared answer."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """One request on its way."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Proxy:
    """Hands requests on; `change` may alter one, or raise ConnectionError to let the connection break.

    `refuse`: the error code and status that a request is answered with instead, if any.

    `lose`: those that the server carries out, and whose answers never arrive.
    """

    port: int
    change: Callable[[Request], None] = lambda _request: None
    refuse: Callable[[Request], tuple[str, int] | None] = lambda _request: None
    lose: Callable[[Request], bool] = lambda _request: False
    seen: list[Request] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def proxy(upstream_port: int) -> Iterator[Proxy]:
    """A proxy that runs as long as the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            it.seen.append(request)
            try:
                it.change(request)
            except ConnectionError:
                self.close_connection = True
                return
            refused = it.refuse(request)
            self._refuse(request, *refused) if refused else self._answer(request)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = relay  # noqa: N815  # the names http.server looks for

        def _refuse(self, request: Request, code: str, status: int) -> None:
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response_only(status)
            self.send_header("x-amz-request-id", "REQ1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if request.method != "HEAD":
                self.wfile.write(body)

        def _answer(self, request: Request) -> None:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", upstream_port)) as upstream:
                upstream.request(request.method, request.path, request.body, request.headers)
                answer = upstream.getresponse()
                body = answer.read()
            if it.lose(request):
                self.close_connection = True
                return
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if request.method == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests' output is theirs."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    it = Proxy(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def one_answer(answer: bytes, end: str) -> Iterator[str]:
    """The endpoint of a server that gives every request this answer, then: "close", "reset" or "silent"."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                connection.recv(65536)
                connection.sendall(answer)
                if end == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if end != "silent":
                    connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_ones:
            connection.close()
