"""The crt engine's own promises: who signs, whom it trusts, what its errors mean, and that it can be stopped."""

from __future__ import annotations

import datetime
import http.server
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from awscrt import s3  # type: ignore[import-untyped]  # it ships no types
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aws_util import Aws
from pipeline.aws import crt
from pipeline.aws.checksum import crc64nvme_of
from pipeline.aws.crt import CrtEngine
from pipeline.aws.engine import Put
from pipeline.ports import (
    EXIT_UNAVAILABLE,
    CancelledError,
    Content,
    LaterError,
    PausedError,
    RelayError,
    StartupError,
)
from tests.conftest import Start
from tests.contract import reach
from tests.proxy import one_answer, proxy
from tests.servers import Credentials, MotoServer, make_bucket, moto

KEYS = Credentials("k3y", "s3cret")
DEADLINE = 20.0


def upload(aws: Aws, folder: Path, data: bytes = b"12345") -> Any:
    """One small upload by the engine that the settings select, closed afterwards."""
    store = aws.store(folder / "journal", 2, writes=False)
    path = folder / "content"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return store.upload(Content(fd, len(data), crc64nvme_of(data)), "in/a", {})
    finally:
        os.close(fd)
        store.close()


# Which engine it is


def test_auto_is_crt(tmp_path: Path) -> None:
    """Where nothing speaks against it."""
    assert reach.aws(tmp_path, "http://127.0.0.1:9", KEYS).describe_engine() == "crt"


def test_a_proxy_makes_it_classic_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the endpoint is excepted from the proxy, nor for the embedded server, nor where a person says crt."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:8")
    store = "http://store.example"
    assert reach.aws(tmp_path, store, KEYS).describe_engine().startswith("classic: the environment names a proxy")
    assert reach.aws(tmp_path, store, KEYS, aws_transfer_client="crt").describe_engine() == "crt"
    monkeypatch.setenv("NO_PROXY", "store.example")
    assert reach.aws(tmp_path, store, KEYS).describe_engine() == "crt"
    assert reach.aws(tmp_path, store, KEYS, aws_transfer_client="classic").describe_engine() == "classic"


# Signatures


def test_credentials_are_asked_for_at_every_request(moto_server: MotoServer, tmp_path: Path) -> None:
    """B12. Those of a role change while the program runs; a session's token travels with them."""
    make_bucket(moto_server, "renewed")

    class Renewing:
        count = 0

        def get_frozen_credentials(self) -> Any:
            Renewing.count += 1
            return Frozen(f"AKID{self.count}", "secret", f"token{self.count}")

    with proxy(moto_server.port) as network:
        aws = reach.aws(tmp_path, network.endpoint, KEYS, "renewed")
        aws._session.get_credentials = Renewing  # type: ignore[method-assign,assignment]
        engine = aws._engine(aws._s3, 1)
        assert isinstance(engine, CrtEngine)
        network.seen.clear()
        for number in range(2):
            engine.put(Put(f"in/{number}", b"x", crc64nvme_of(b"x"), "text/plain")).result(DEADLINE)
        engine.close()
    said = [{name.lower(): value for name, value in request.headers.items()} for request in network.seen]
    keys = [each["authorization"].partition("Credential=")[2].partition("/")[0] for each in said]
    assert len(set(keys)) == 2, keys
    assert [each["x-amz-security-token"] for each in said] == [key.replace("AKID", "token") for key in keys]


class Frozen(NamedTuple):
    access_key: str
    secret_key: str
    token: str


def test_a_wrong_secret_reads_as_with_classic(start: Start, tmp_path: Path) -> None:
    """The service's answer, its code and its request id, and what to do."""
    guarded = start(moto)
    make_bucket(guarded, "drops")
    keys = guarded.require_auth()._replace(aws_secret_access_key="wr0ng")
    with pytest.raises(PausedError, match=r"SignatureDoesNotMatch, HTTP 403, request \w+.*aws_secret_key"):
        upload(reach.aws(tmp_path, guarded.endpoint, keys, "drops", aws_transfer_client="crt"), tmp_path)


# TLS


class Secure(NamedTuple):
    port: int
    authority: Path
    received: list[bytes]
    arrived: threading.Event
    """A request came."""


@pytest.fixture
def secure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secure]:
    """An https server that takes every PUT, its certificate of an authority nobody knows, for localhost or `param`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(getattr(request, "param", "localhost"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority, private = tmp_path / "authority.pem", tmp_path / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    received: list[bytes] = []
    arrived = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:  # the name http.server looks for
            arrived.set()
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response_only(200)
            self.send_header("ETag", '"abc"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests' output is theirs."""

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that does not trust us hangs up."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    server = Quiet(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield Secure(server.server_address[1], authority, received, arrived)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("engine", ["crt", "classic"])
def test_an_authority_of_ones_own(secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """B15. AWS_CA_BUNDLE names it for both engines."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(secure.authority))
    there = f"https://localhost:{secure.port}"
    assert upload(reach.aws(tmp_path, there, KEYS, aws_transfer_client=engine), tmp_path).etag == "abc"
    assert secure.received == [b"12345"]


@pytest.mark.parametrize(
    ("secure", "trusted"), [("localhost", False), ("elsewhere.example", True)], indirect=["secure"]
)
def test_who_is_not_known_gets_nothing(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """B15. An unknown authority, or another host's certificate: not a byte. The start is refused, and says what to do.

    classic says it later, too; crt hangs up only after a while, and tries again for minutes.
    """
    if trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(secure.authority))
    there = f"https://localhost:{secure.port}"
    with pytest.raises(StartupError, match="AWS_CA_BUNDLE") as caught:
        reach.aws(tmp_path, there, KEYS).check(sends=True)
    assert caught.value.code == EXIT_UNAVAILABLE
    with pytest.raises(PausedError, match="AWS_CA_BUNDLE"):
        upload(reach.aws(tmp_path, there, KEYS, aws_transfer_client="classic"), tmp_path)
    store = reach.aws(tmp_path, there, KEYS, aws_transfer_client="crt").store(tmp_path / "j", 2, writes=False)
    future = store.begin_upload(Content(-1, 1, crc64nvme_of(b"x"), body=b"x"), "in/a", {})
    assert not secure.arrived.wait(2)
    assert not future.done() or future.exception()
    store.close()
    assert secure.received == []


# Errors that no service sent


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [("http://127.0.0.1:9", PausedError), ("http://nowhere.invalid", PausedError)],
    ids=["refused", "no such host"],
)
def test_nobody_there(tmp_path: Path, endpoint: str, kind: type[RelayError]) -> None:
    """B2. The whole side waits; the text names the key, the error and the settings to look at."""
    with pytest.raises(kind, match=r"PUT s3://no-bucket/in/a: .*\(AWS_IO_\w+\); check that the endpoint is up"):
        upload(reach.aws(tmp_path, endpoint, KEYS, aws_transfer_client="crt"), tmp_path)


def test_what_is_no_answer(tmp_path: Path) -> None:
    """A server that does not speak HTTP: this file, later."""
    with one_answer(b"220 mail.example ESMTP\r\n", "close") as endpoint, pytest.raises(LaterError):
        upload(reach.aws(tmp_path, endpoint, KEYS, aws_transfer_client="crt"), tmp_path)


def test_a_transfer_that_hangs_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a request and says nothing: `cancel` ends it at once, with the error of a stop."""
    monkeypatch.setattr(Aws, "_find_region", lambda _aws: None)  # it would hang as well
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        store = reach.aws(tmp_path, endpoint, KEYS, aws_transfer_client="crt").store(tmp_path / "j", 2, writes=False)
        future = store.begin_upload(Content(-1, 1, crc64nvme_of(b"x"), body=b"x"), "in/a", {})
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1)
            started = time.monotonic()
            store.cancel()
            with pytest.raises(CancelledError):
                future.result(DEADLINE)
            assert time.monotonic() - started < 5
        store.close()


def test_an_event_loop_that_does_not_run_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime says nothing of it, and no request would ever end; a process that begins anew has another one."""
    monkeypatch.setattr(crt, "_TRIAL_SECONDS", 0.01)
    monkeypatch.setattr(s3, "S3Client", lambda **_: SimpleNamespace(shutdown_event=threading.Event()))
    with pytest.raises(OSError, match="event loop"):
        reach.aws(tmp_path, "http://127.0.0.1:9", KEYS).store(tmp_path / "journal", 2, writes=False)
