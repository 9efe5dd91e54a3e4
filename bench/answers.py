"""One answer of the sink: headers, documents, errors, and what a request says of its object."""

import base64
import re

from bench import listing
from bench.shelf import Bucket, Content, Object
from bench.wire import Exchange, Request

XML = ("Content-Type", "application/xml")
_ECHOED = (b"x-amz-meta-", b"x-amz-checksum-", b"content-type", b"content-encoding", b"cache-control")


class Reply:
    """One answer, with its request id."""

    def __init__(self, exchange: Exchange, number: int, *, head: bool) -> None:
        self.exchange, self.request_id, self._head = exchange, ("x-amz-request-id", f"{number:016X}"), head

    def send(
        self, status: int, headers: list[tuple[str, str]] | None = None, body: bytes = b"", *, known: bool = False
    ) -> None:
        """Answer; `known`: the length stands among the headers."""
        self.exchange.reply(status, [*(headers or ()), self.request_id], body, head=known)

    def xml(self, body: bytes) -> None:
        """Answer with a document."""
        self.send(200, [XML], body)

    def error(self, status: int, code: str, message: str) -> None:
        """Refuse; an answer to HEAD has no body."""
        self.send(status, [XML], b"" if self._head else listing.error(code, message))


def refused(bucket: Bucket, key: str, request: Request, reply: Reply) -> bool:
    """Whether If-None-Match or If-Match forbids to write, which is answered."""
    wanted, stored = request.headers.get(b"if-match"), bucket.objects.get(key)
    if wanted is not None and stored is None:
        reply.error(404, "NoSuchKey", "the key does not exist")
        return True
    taken = b"if-none-match" in request.headers and stored is not None
    if taken or (wanted is not None and stored is not None and plain(wanted) != stored.etag):
        reply.error(412, "PreconditionFailed", "the key holds an object, or another one")
        return True
    return False


def etag_of(request: Request, body: Content) -> str:
    """The MD5 that the client gave, which it may compare with the answer; else the body's own digest."""
    given = request.headers.get(b"content-md5")
    return (base64.b64decode(given) if given else body.digest()).hex()


def echoed(request: Request, *prefixes: bytes) -> list[tuple[str, str]]:
    """The headers that a client gets back: those with a prefix, or all that S3 keeps."""
    wanted = prefixes or _ECHOED
    return [
        (name.decode(), value.decode("latin-1")) for name, value in request.headers.items() if name.startswith(wanted)
    ]


def checksums(stored: Object) -> list[tuple[str, str]]:
    """The headers that hold one."""
    return [header for header in stored.headers if header[0].startswith("x-amz-checksum-")]


def plain(etag: bytes) -> str:
    """An ETag without its quotes."""
    return etag.decode().strip('"')


def range_of(header: bytes, size: int) -> tuple[int, int]:
    """First byte, and the one after the last; all of it where no range, or one of several, is asked for."""
    found = re.fullmatch(rb"bytes=(\d*)-(\d*)", header.strip())
    if not found or found[1] == found[2] == b"":
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
