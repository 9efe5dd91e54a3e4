"""Multipart uploads, as the sink answers them."""

import re
import secrets

from bench import listing
from bench.answers import Reply, echoed, etag_of, refused
from bench.shelf import Bucket, Content, Upload
from bench.wire import Memory, Request


def begin_or_complete(bucket: Bucket, key: str, request: Request, reply: "Reply") -> None:
    """POST: a new upload, or the object of its parts."""
    if "uploads" in request.query:
        number = secrets.token_hex(16)
        bucket.uploads[number] = Upload(key, echoed(request))
        reply.xml(listing.document("InitiateMultipartUploadResult", f"<UploadId>{number}</UploadId>"))
        return
    upload = _upload(bucket, request, reply)
    if upload is None or refused(bucket, key, request, reply):
        return
    assert isinstance(request.body, Memory)
    numbers = [int(found) for found in re.findall(rb"<PartNumber>\s*(\d+)", request.body.bytes())]
    if not numbers or not set(numbers) <= upload.parts.keys():
        reply.error(400, "InvalidPart", "a part is missing")
        return
    stored = upload.complete(numbers)
    stored.headers = [*stored.headers, *echoed(request, b"x-amz-checksum-")]
    bucket.put(key, stored)
    del bucket.uploads[request.query["uploadId"]]
    content = f"<Key></Key><ETag>&quot;{stored.etag}&quot;</ETag>"
    reply.xml(listing.document("CompleteMultipartUploadResult", content))


def put_part(bucket: Bucket, _: str, request: Request, reply: "Reply") -> None:
    """PUT of a part."""
    upload = _upload(bucket, request, reply)
    if upload is None:
        return
    body: Content = request.body  # type: ignore[assignment]  # of body_for
    etag = etag_of(request, body)
    upload.parts[int(request.query["partNumber"])] = (body.size, etag, body.pieces())
    reply.send(200, [("ETag", f'"{etag}"'), *echoed(request, b"x-amz-checksum-")])


def list_parts(bucket: Bucket, _: str, request: Request, reply: "Reply") -> None:
    """The parts that are there."""
    if upload := _upload(bucket, request, reply):
        reply.xml(listing.parts(upload, request.query["uploadId"]))


def abort(bucket: Bucket, _: str, request: Request, reply: "Reply") -> None:
    """Forget the upload."""
    if _upload(bucket, request, reply):
        del bucket.uploads[request.query["uploadId"]]
        reply.send(204)


def _upload(bucket: Bucket, request: Request, reply: "Reply") -> Upload | None:
    upload = bucket.uploads.get(request.query.get("uploadId", ""))
    if upload is None:
        reply.error(404, "NoSuchUpload", "the upload was completed or aborted, or never was")
    return upload
