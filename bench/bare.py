"""The ceiling: a client that does nothing but move the bytes: `python -m bench.bare upload|download FOLDER PREFIX URL`.

No signature, checksum, retry, message or name check; keep-alive connections, requests written by hand. What it reaches
is what the sink and this machine give to any client.
"""

import os
import re
import socket
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

_CONNECTIONS = 16
"""At once, for small files: all requests are written, then all answers read."""
_THREADS = 4
"""At once, for large files, which the kernel copies."""
_LARGE = 4 * 1024 * 1024
_BLOCK = 1024 * 1024
Step = Callable[["Wire", Path], None]


class Wire:
    """One connection."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._socket = socket.create_connection((where.hostname or "", where.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    def put(self, target: str, path: Path) -> None:
        """Send a file; the answer has not been read yet."""
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
            if size < _LARGE:
                self._socket.sendall(head + file.read())
            else:
                self._socket.sendall(head)
                self._socket.sendfile(file)

    def get(self, target: str) -> None:
        """Ask for an object."""
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def answer(self, path: Path | None = None) -> None:
        """Read an answer, into a file if there is one to be written."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._buffer += self._receive()
        head = bytes(self._buffer[:end])
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server answered {head!r}")
        found = re.search(rb"(?i)content-length: (\d+)", head)
        left = int(found[1]) if found else 0
        body, self._buffer = self._buffer[end + 4 : end + 4 + left], self._buffer[end + 4 + left :]
        if path:
            with path.open("wb", buffering=0) as file:
                file.write(body)
                left -= len(body)
                while left:
                    left -= file.write(self._receive())

    def _receive(self) -> bytes:
        data = self._socket.recv(_BLOCK)
        if not data:
            raise SystemExit("the server closed the connection")
        return data


def upload(folder: Path, prefix: str, url: str) -> None:
    """All files of a folder."""
    files = sorted(folder.iterdir())

    def send(wire: Wire, path: Path) -> None:
        wire.put(f"/{prefix}/{quote(path.name)}", path)

    _run(files, files[0].stat().st_size, url, send, lambda wire, _: wire.answer())


def download(folder: Path, prefix: str, url: str) -> None:
    """All objects of a prefix, into a folder."""
    names, size = _listed(prefix, url)

    def ask(wire: Wire, path: Path) -> None:
        wire.get(f"/{prefix}/{quote(path.name)}")

    _run([folder / name for name in names], size, url, ask, lambda wire, path: wire.answer(path))


def _run(paths: list[Path], size: int, url: str, begin: Step, end: Step) -> None:
    """Small files: begin a batch, then end it, so that all connections are busy; large ones: each in one thread."""
    if size < _LARGE:
        wires = [Wire(url) for _ in range(_CONNECTIONS)]
        for start in range(0, len(paths), _CONNECTIONS):
            pairs = list(zip(wires, paths[start : start + _CONNECTIONS], strict=False))
            for step in (begin, end):
                for wire, path in pairs:
                    step(wire, path)
        return

    def one(path: Path) -> None:
        wire = Wire(url)
        begin(wire, path)
        end(wire, path)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, paths))


def _listed(prefix: str, url: str) -> tuple[list[str], int]:
    """Names, and the size of the last one."""
    bucket, _, below = prefix.partition("/")
    names: list[str] = []
    size, more = 0, ""
    while True:
        query = f"list-type=2&prefix={quote(below)}/&start-after={quote(more)}"
        with urllib.request.urlopen(f"{url}/{bucket}?{query}") as answer:  # noqa: S310  # a URL of 127.0.0.1
            text = answer.read().decode()
        for key, length in re.findall(r"<Key>([^<]+)</Key>.*?<Size>(\d+)</Size>", text):
            name = key.removeprefix(f"{below}/")
            if "/" not in name:
                names.append(name)
                size = int(length)
            more = key
        if "<IsTruncated>true" not in text:
            return names, size


if __name__ == "__main__":
    {"upload": upload, "download": download}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3], sys.argv[4])
