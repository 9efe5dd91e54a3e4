"""An S3 that costs almost nothing, so that a measurement shows the client alone: `python -m bench.sink`.

It checks no signature and no checksum. Bodies of up to 1 MiB are kept in memory, larger ones are counted and dropped;
with `--keep FOLDER` they are kept in files and ETags are MD5, as S3's are, for objects that are to be downloaded.
`--manifest FILE` (JSON: key → {"path": …, "etag": …, "headers": {…}}) puts files of this machine into the bucket.
A bucket that is deleted takes its objects with it.
"""

import argparse
import asyncio
import email.utils
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path

from bench import listing, multipart
from bench.answers import Reply, checksums, echoed, etag_of, plain, range_of, refused
from bench.sendfile import Piece, send
from bench.shelf import KEPT_IN_MEMORY, Bucket, Content, Dropped, InFile, InMemory, Local, Object, slice_of
from bench.wire import Body, Exchange, Memory, Request, head_of, serve

_http_date = functools.lru_cache(64)(functools.partial(email.utils.formatdate, usegmt=True))


class Sink:
    """The buckets, and what is asked of them."""

    def __init__(self, keep: Path | None) -> None:
        self._keep = keep
        self._buckets: dict[str, Bucket] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()  # a loop keeps only weak references

    def load(self, name: str, manifest: Path) -> None:
        """Make a bucket of files of this machine."""
        bucket = self._buckets[name] = Bucket()
        for key, entry in json.loads(manifest.read_text()).items():
            body = Local(Path(entry["path"]))
            etag = entry.get("etag") or body.digest().hex()
            bucket.put(key, Object(body.size, etag, list(entry.get("headers", {}).items()), body.pieces()))

    def body_for(self, request: Request) -> Body:
        """See wire.Application."""
        if request.method != "PUT":
            return Memory()
        whole = request.headers.get(b"content-length", b"-1")
        length = int(request.headers.get(b"x-amz-decoded-content-length", whole))
        if 0 <= length <= KEPT_IN_MEMORY:
            return InMemory(md5=self._keep is not None)
        return InFile(self._keep) if self._keep else Dropped()

    def answer(self, request: Request, exchange: Exchange) -> None:
        """See wire.Application."""
        _, name, key = request.path.split("/", 2) if request.path.count("/") > 1 else (*request.path.split("/"), "")
        reply = Reply(exchange, next(self._numbers), head=request.method == "HEAD")
        if not name:
            reply.xml(listing.document("ListAllMyBucketsResult", "<Buckets></Buckets>"))
        elif key:
            self._object(request, name, key, reply)
        else:
            self._bucket(request, name, reply)

    def gone(self, exchange: Exchange) -> None:
        """See wire.Application."""

    def _bucket(self, request: Request, name: str, reply: Reply) -> None:
        bucket, query = self._buckets.get(name), request.query
        if request.method == "PUT":
            self._buckets.setdefault(name, Bucket())
            reply.send(200)
        elif bucket is None:
            reply.error(404, "NoSuchBucket", "the bucket does not exist")
        elif request.method == "DELETE":
            del self._buckets[name]
            reply.send(204)
        elif request.method == "HEAD":
            reply.send(200)
        elif "location" in query or "versioning" in query:
            reply.xml(listing.document("LocationConstraint" if "location" in query else "VersioningConfiguration", ""))
        elif "uploads" in query:
            reply.xml(listing.uploads(name, bucket))
        elif request.method == "GET":
            reply.xml(listing.objects(name, bucket, query))
        else:
            reply.error(501, "NotImplemented", "the sink does not do this")

    def _object(self, request: Request, name: str, key: str, reply: Reply) -> None:
        bucket = self._buckets.get(name)
        if bucket is None:
            reply.error(404, "NoSuchBucket", "the bucket does not exist")
            return
        uploads = "uploadId" in request.raw_query or "uploads" in request.raw_query
        act: Callable[[Bucket, str, Request, Reply], None] | None = {
            "PUT": multipart.put_part if uploads else self._put,
            "GET": multipart.list_parts if uploads else self._get,
            "HEAD": self._get,
            "DELETE": multipart.abort if uploads else self._delete,
            "POST": multipart.begin_or_complete if uploads else None,
        }.get(request.method)
        if act is None:
            reply.error(501, "NotImplemented", "the sink does not do this")
        else:
            act(bucket, key, request, reply)

    def _put(self, bucket: Bucket, key: str, request: Request, reply: Reply) -> None:
        if refused(bucket, key, request, reply):
            return
        body: Content = request.body or InMemory(md5=self._keep is not None)  # type: ignore[assignment]  # of body_for
        stored = Object(body.size, etag_of(request, body), echoed(request), body.pieces())
        bucket.put(key, stored)
        reply.send(200, [("ETag", f'"{stored.etag}"'), *checksums(stored)])

    def _get(self, bucket: Bucket, key: str, request: Request, reply: Reply) -> None:
        stored = bucket.objects.get(key)
        if stored is None:
            reply.error(404, "NoSuchKey", "the key does not exist")
        elif b"if-match" in request.headers and plain(request.headers[b"if-match"]) != stored.etag:
            reply.error(412, "PreconditionFailed", "the object has another ETag")
        else:
            self._send(stored, request, reply)

    def _send(self, stored: Object, request: Request, reply: Reply) -> None:
        start, end = range_of(request.headers.get(b"range", b""), stored.size)
        headers = [("ETag", f'"{stored.etag}"'), ("Last-Modified", _http_date(int(stored.modified)))]
        headers += [("Accept-Ranges", "bytes"), ("Content-Length", str(end - start))]
        wants_checksums = request.headers.get(b"x-amz-checksum-mode", b"").upper() == b"ENABLED"
        headers += [each for each in stored.headers if wants_checksums or not each[0].startswith("x-amz-checksum-")]
        partial = (start, end) != (0, stored.size)
        if start >= end and stored.size:
            reply.error(416, "InvalidRange", "the object ends before")
        elif request.method == "HEAD" or stored.pieces is not None:
            headers += [("Content-Range", f"bytes {start}-{end - 1}/{stored.size}")] if partial else []
            pieces = [] if request.method == "HEAD" else slice_of(stored.pieces or [], start, end - start)
            self._send_pieces(206 if partial else 200, headers, pieces, reply)
        else:
            reply.error(501, "NotImplemented", "the body was dropped; give the sink --keep FOLDER")

    def _send_pieces(
        self, status: int, headers: list[tuple[str, str]], pieces: list[bytes | Piece], reply: Reply
    ) -> None:
        files = [piece for piece in pieces if isinstance(piece, Piece)]
        if not files:
            reply.send(status, headers, b"".join(piece for piece in pieces if isinstance(piece, bytes)), known=True)
            return
        assert len(files) == len(pieces), "parts of one object are kept in one way"
        head = head_of(status, [*headers, reply.request_id], None)
        task = asyncio.get_running_loop().create_task(send(reply.exchange.transport, head, files))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _delete(self, bucket: Bucket, key: str, _: Request, reply: Reply) -> None:
        bucket.remove(key)
        reply.send(204)


def _make(options: argparse.Namespace) -> Sink:
    sink = Sink(options.keep)
    if options.manifest:
        sink.load(options.bucket, options.manifest)
    return sink


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.sink", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="a folder for large bodies")
    parser.add_argument("--manifest", type=Path, help="objects to begin with")
    parser.add_argument("--bucket", default="bench", help="the bucket of the manifest")
    serve(_make, parser)
