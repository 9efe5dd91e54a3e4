"""The network that misbehaves does what it is told, and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.proxy import BROKEN, Chance, Fault, Proxy, Request, Script, answer, dam, error, proxy

LARGE = 64_000_000
BODY = bytes(range(256)) * 400
ENDS: dict[str, tuple[type[Exception], ...]] = {
    "reset": (ConnectionResetError,),
    "close": (http.client.IncompleteRead, http.client.RemoteDisconnected),
}


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers a request with its own body, and keeps what it heard."""

    protocol_version = "HTTP/1.1"
    heard: list[tuple[str, str, bytes]]

    def do_PUT(self) -> None:  # the name http.server looks for
        size = int(self.headers["Content-Length"])
        if len(body := self.rfile.read(size)) < size:
            return  # the rest never came
        self.heard.append((self.command, self.headers.get("X-Mark", ""), body))
        self.send_response_only(200)
        self.send_header("ETag", "mine")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT  # noqa: N815  # the same

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests' output is theirs."""

    def log_error(self, *_: Any) -> None:
        """Nor of connections that break."""


class Line:
    """A client, the network, and a server behind it."""

    def __init__(self, network: Proxy, heard: list[tuple[str, str, bytes]]) -> None:
        self.network, self.heard = network, heard
        self.client = http.client.HTTPConnection("127.0.0.1", network.port, timeout=30)

    def send(self, body: bytes = BODY, method: str = "PUT", **headers: str) -> http.client.HTTPResponse:
        self.client.request(method, "/b/key", body, {"X-Mark": "1", **headers})
        return self.client.getresponse()

    def put(self, body: bytes = BODY) -> bytes:
        try:
            return self.send(body).read()
        except (OSError, http.client.HTTPException):
            self.client.close()  # the next one has a connection of its own
            raise


@pytest.fixture
def line() -> Iterator[Line]:
    heard: list[tuple[str, str, bytes]] = []
    handler = type("Handler", (Echo,), {"heard": heard})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that is cut off
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with proxy(server.server_address[1]) as network:
            made = Line(network, heard)
            yield made
            made.client.close()
        server.shutdown()
        thread.join()


def test_without_a_fault_all_passes(line: Line) -> None:
    """Bodies, heads and statuses, one request after the other on one connection."""
    for body in (b"", b"1", BODY):
        given = line.send(body)
        assert (given.status, given.headers["ETag"], given.read()) == (200, "mine", body)
    given = line.send(b"12345", "HEAD")
    assert (given.headers["Content-Length"], given.read()) == ("5", b"")
    assert [body for _, _, body in line.heard] == [b"", b"1", BODY, b"12345"]
    assert [(it.method, it.path, it.body) for it in line.network.seen][:2] == [
        ("PUT", "/b/key", b""),
        ("PUT", "/b/key", b"1"),
    ]


def test_it_waits_for_a_body_that_waits(line: Line) -> None:
    """Whoever expects 100-continue is told to go on, and the server's own is not the answer."""
    assert line.send(Expect="100-continue").read() == BODY


def test_before_the_server_hears_of_it(line: Line) -> None:
    line.network.fault = Script(("PUT", "/key", [BROKEN]))
    with pytest.raises(OSError, match=r"reset|pipe"):
        line.put()
    assert line.heard == []
    assert line.put() == BODY


@pytest.mark.parametrize("end", ENDS)
def test_a_request_that_is_cut(line: Line, end: Any) -> None:
    """The server has a part of it and never an end."""
    line.network.fault = Script(("PUT", "", [Fault(cut_request=1000, end=end)]))
    with pytest.raises((OSError, http.client.RemoteDisconnected)):
        line.put()
    assert line.heard == []
    assert len(line.network.seen[0].body) == 1000


def test_a_bit_on_the_way_to_the_server(line: Line) -> None:
    line.network.fault = Script(("PUT", "", [Fault(flip_request=70_000)]))
    line.put()
    ((_, _, heard),) = line.heard
    assert [index for index, (old, new) in enumerate(zip(BODY, heard, strict=True)) if old != new] == [70_000]


@pytest.mark.parametrize("end", ENDS)
def test_an_answer_that_is_lost(line: Line, end: Any) -> None:
    """The server did what it was asked for."""
    line.network.fault = Script(("PUT", "", [Fault(lose=True, end=end)]))
    with pytest.raises(ENDS[end]):
        line.put()
    assert [body for _, _, body in line.heard] == [BODY]


@pytest.mark.parametrize("end", ENDS)
def test_an_answer_that_is_cut(line: Line, end: Any) -> None:
    """Its head says how much there should be."""
    line.network.fault = Script(("PUT", "", [Fault(cut_answer=100, end=end)]))
    with pytest.raises(ENDS[end]):
        line.put()
    assert line.put() == BODY


def test_a_bit_on_the_way_back(line: Line) -> None:
    line.network.fault = Script(("PUT", "", [Fault(flip_answer=70_000)]))
    assert [index for index, (old, new) in enumerate(zip(BODY, line.put(), strict=True)) if old != new] == [70_000]


@pytest.mark.parametrize(
    ("fault", "heard"),
    [(Fault(cut_request=0, end="stall"), 0), (Fault(lose=True, end="stall"), 1), (Fault(cut_answer=9, end="stall"), 1)],
)
def test_a_line_that_falls_silent(line: Line, fault: Fault, heard: int) -> None:
    """Before the request, before the answer, and within it: the connection stays, and nothing comes any more."""
    line.network.fault = Script(("PUT", "", [fault]))
    line.client.timeout = 1
    with pytest.raises(TimeoutError):
        line.put()
    assert len(line.heard) == heard
    assert line.put() == BODY


def test_an_answer_of_its_own(line: Line) -> None:
    """The server hears nothing, and the connection stays."""
    line.network.fault = Script(
        ("PUT", "", [error(301, "Moved", x_amz_bucket_region="x")]), ("HEAD", "", [error(503, "Busy")])
    )
    given = line.send()
    assert (given.status, given.headers["x-amz-bucket-region"]) == (301, "x")
    assert b"<Code>Moved</Code>" in given.read()
    given = line.send(b"", "HEAD")
    assert (given.status, given.read()) == (503, b"")
    assert line.heard == []
    assert line.put() == BODY


def test_headers_changed_on_their_way(line: Line) -> None:
    """Those of the request by whoever is asked, those of the answer by the fault."""

    def fault(request: Request) -> Fault:
        request.headers.pop("X-Mark")
        return Fault(say=(("ETag", "other"), ("X-New", "1")))

    line.network.fault = fault
    given = line.send()
    assert (given.headers["ETag"], given.headers["X-New"], given.read()) == ("other", "1", BODY)
    assert [mark for _, mark, _ in line.heard] == [""]
    line.network.fault = lambda _request: Fault(say=(("etag", ""),))
    assert "ETag" not in line.send().headers


def test_a_slow_and_a_late_line(line: Line) -> None:
    """So many bytes a second there and back, after so many seconds."""
    line.network.fault = lambda _request: Fault(rate=100_000)
    begun = time.monotonic()
    assert line.put(BODY[:50_000]) == BODY[:50_000]
    assert time.monotonic() - begun > 0.9
    line.network.fault = lambda _request: Fault(delay=0.5)
    begun = time.monotonic()
    line.put(b"1")
    assert time.monotonic() - begun > 0.45


def test_a_dam_holds_what_it_is_told_to(line: Line) -> None:
    """Until it is opened; the server hears nothing of it meanwhile."""
    with dam(line.network.upstream) as network, ThreadPoolExecutor(1) as pool:
        behind = Line(network, line.heard)
        network.shut("PUT /b/k")
        assert behind.send(method="HEAD").status == 200
        behind.client.close()
        line.heard.clear()
        held = pool.submit(behind.put)
        while not network.holds("/b/key"):
            assert not held.done()
        assert line.heard == []
        network.open()
        assert held.result() == BODY
        behind.client.close()


def test_nobody_listens(line: Line) -> None:
    """Those who are connected hear of it; afterwards it is as before."""
    line.put()
    with line.network.down():
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
            line.put()
        with pytest.raises(ConnectionRefusedError):
            line.put()
    assert line.put() == BODY


def test_a_server_that_is_gone_breaks_the_connection() -> None:
    with proxy(9) as network, pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        Line(network, []).put()


def test_a_large_body_is_not_held() -> None:
    """Where nobody takes it at the other end the network takes no more than sockets hold, either way."""
    request = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server, proxy(server.getsockname()[1]) as network:
        for asked, given in [(LARGE, b""), (0, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)]:
            with socket.create_connection(("127.0.0.1", network.port)) as client:
                client.sendall(request % asked)
                served, _ = server.accept()
                with served:
                    served.sendall(given)
                    assert _taken(served if given else client) < LARGE / 2


def _taken(sender: socket.socket) -> int:
    """Bytes that go before none is taken any more."""
    sender.settimeout(1)
    taken = 0
    with contextlib.suppress(TimeoutError):
        while taken < LARGE:
            taken += sender.send(bytes(100_000))
    return taken


def test_scripts_take_their_faults_in_order() -> None:
    """Each line for its own requests; what no line is about goes through."""
    script = Script(("GET", "/a", [BROKEN, None, error(503, "Busy")]), ("PUT", "", itertools.repeat(BROKEN)))
    asked = [Request(method, path, {}) for method, path in [("GET", "/b"), *[("GET", "/b/a")] * 4, ("PUT", "/a")]]
    assert [script(it) for it in asked] == [None, BROKEN, None, error(503, "Busy"), None, BROKEN]


def test_chance_follows_from_its_seed() -> None:
    rates = {BROKEN: 0.1, Fault(lose=True): 0.2}
    request = Request("GET", "/", {})
    first, again, other = (Chance(seed, rates) for seed in (1, 1, 2))
    drawn = [first(request) for _ in range(2000)]
    assert drawn == [again(request) for _ in range(2000)]
    assert drawn != [other(request) for _ in range(2000)]
    shares = [drawn.count(fault) / 2000 for fault in (BROKEN, Fault(lose=True), None)]
    assert shares == pytest.approx([0.1, 0.2, 0.7], abs=0.05)


def test_a_mistake_in_a_test_is_not_hidden() -> None:
    """What `fault` raises comes out at the end."""

    def fault(_request: Request) -> None:
        raise KeyError("a mistake")

    network = Proxy(9, fault=fault)
    network.start()
    with pytest.raises((OSError, http.client.RemoteDisconnected)):
        Line(network, []).put()
    with pytest.raises(KeyError, match="a mistake"):
        network.stop()


def test_an_answer_is_whole() -> None:
    assert answer(200, b"12", {"A": "b"}) == b"HTTP/1.1 200 Prepared\r\nContent-Length: 2\r\nA: b\r\n\r\n12"
