"""Requests as bytes, signed as botocore signs them, for what its clients would not send."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers import REGION, Server


def request(server: Server, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    """Head and body; `x_amz_date="…"` is a header. What is given stands beside the signature, or instead of it."""
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = AWSRequest(method, server.endpoint + target, dict(own), body)
    if "x_amz_trailer" in headers:
        signed.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    S3SigV4Auth(Credentials(*server.credentials), "s3", REGION).add_auth(signed)
    return as_bytes(method, target, {**dict(signed.headers.items()), **own}, server, body)


def as_bytes(method: str, target: str, headers: Mapping[str, str], server: Server, body: bytes) -> bytes:
    """The same without a signature."""
    lines = {"Host": urlsplit(server.endpoint).netloc, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body


def connect(server: Server) -> socket.socket:
    """A connection of one's own."""
    return socket.create_connection(("127.0.0.1", server.port), 30)


def answer_of(connection: socket.socket) -> tuple[int, str]:
    """Status and error code of the next answer; "" where there is none."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    found = re.search(r"<Code>([^<]*)</Code>", answer.read().decode())
    return answer.status, found[1] if found else ""


def ask(server: Server, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """The answer to one request."""
    with connect(server) as connection:
        connection.sendall(request(server, method, target, body, **headers))
        return answer_of(connection)
