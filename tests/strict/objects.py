"""S3's operations on objects in one request."""

import base64
import email.utils
from collections.abc import Iterable

from bench.answers import plain, range_of
from tests.strict.answers import RefusedError
from tests.strict.bodies import Content, verify
from tests.strict.s3 import Answer, Operation, Store, Target, is_conditional
from tests.strict.shelf import Bucket, Object
from tests.strict.wire import Call

METADATA_LIMIT = 2 * 1024
"""Bytes of names and values (Amazon S3 User Guide, "Working with object metadata")."""
PUT_LIMIT = 5 * 1024**3
CHECKSUM = "x-amz-checksum-"
_KEPT = (
    *("x-amz-meta-", "content-type", "content-encoding", "content-disposition", "content-language", "cache-control"),
    *("expires", "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-website-redirect-location"),
)
_OBJECT_TYPE = ("x-amz-checksum-type", "FULL_OBJECT")


def put(store: Store, target: Target) -> Answer:
    """PutObject."""
    call, bucket, key = target.call, target.bucket, target.key
    content = content_of(store, call)
    headers, given = kept(call), verify(call, content)
    refuse_condition(bucket, key, call)
    content.keep()
    crc = base64.b64encode(content.digest("crc64nvme")).decode()
    headers += given or [(f"{CHECKSUM}crc64nvme", crc)]
    stored = Object(content.size, content.digest("md5").hex(), crc, headers, [content], store.clock.now())
    call.unkept = None
    return Answer(200, place(store, target, stored, "PUT"))


def content_of(store: Store, call: Call) -> Content:
    """The body that came; RefusedError if it may not be so large, or said not how long it is."""
    if not {b"content-length", b"transfer-encoding"} & call.headers.keys():
        raise RefusedError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    content = call.body if isinstance(call.body, Content) else store.folder(call)
    if content.size > PUT_LIMIT:
        raise RefusedError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    return content


def place(store: Store, target: Target, stored: Object, effect: str) -> list[tuple[str, str]]:
    """Let it be seen: the effect of PutObject and of CompleteMultipartUpload; the headers that tell."""
    bucket, key = target.bucket, target.key
    before = bucket.objects.get(key)
    versioned = bool(bucket.versioning)
    store.judge.wrote(
        f"{target.name}/{key}", stored, before, versioned=versioned, matched=b"if-match" in target.call.headers
    )
    bucket.store(key, stored)
    seen = {"bucket": target.name, "key": key, "size": stored.size, "crc64nvme": stored.crc64nvme}
    store.log.event(effect, **seen, drop=stored.metadata("drop-id"), version=stored.version_id)
    headers = [("ETag", f'"{stored.etag}"'), *_checksums(stored)]
    return [*headers, *([("x-amz-version-id", stored.version_id)] if versioned else [])]


def refuse_condition(bucket: Bucket, key: str, call: Call) -> None:
    """RefusedError where If-None-Match or If-Match forbids to write, or another writer has been faster."""
    wanted, none = call.headers.get(b"if-match"), call.headers.get(b"if-none-match")
    if none not in (None, b"*"):
        raise RefusedError(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    there: Object | None = bucket.objects.get(key)
    if ("409" in call.faults and is_conditional(call)) or (call.write and call.write[1].overtaken):
        text = "The conditional request cannot succeed due to a conflicting operation against this resource."
        raise RefusedError(409, "ConditionalRequestConflict", text)
    if wanted is not None and there is None:
        raise RefusedError(404, "NoSuchKey", "The specified key does not exist.")
    if none is not None and there is not None:
        raise failed("If-None-Match")
    if wanted is not None and there is not None and plain(wanted) != there.etag:
        raise failed("If-Match")


def failed(condition: str) -> RefusedError:
    """A condition that does not hold."""
    text = "At least one of the pre-conditions you specified did not hold"
    return RefusedError(412, "PreconditionFailed", text, more=f"<Condition>{condition}</Condition>")


def kept(call: Call) -> list[tuple[str, str]]:
    """The headers that a client gets back; RefusedError if its metadata are too large."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in call.headers.items()]
    kept = [each for each in headers if each[0].startswith(_KEPT)]
    size = sum(len(name) - 11 + len(value) for name, value in kept if name.startswith("x-amz-meta-"))
    if size > METADATA_LIMIT:
        raise RefusedError(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
    return kept


def get(store: Store, target: Target) -> Answer:
    """GetObject and HeadObject."""
    call, bucket = target.call, target.bucket
    stored = _found(bucket, target.key, call.query.get("versionId", ""))
    etag = f'"{stored.etag}"'
    if b"if-match" in call.headers and plain(call.headers[b"if-match"]) != stored.etag:
        raise failed("If-Match")
    if b"if-none-match" in call.headers and plain(call.headers[b"if-none-match"]) == stored.etag:
        return Answer(304, [("ETag", etag)])
    start, end = range_of(call.headers.get(b"range", b""), stored.size)
    if start >= end and b"range" in call.headers:
        more = f"<ActualObjectSize>{stored.size}</ActualObjectSize>"
        raise RefusedError(416, "InvalidRange", "The requested range is not satisfiable", more=more)
    partial = (start, end) != (0, stored.size) or b"range" in call.headers
    headers = [*_seen(stored, bucket, call, partial=partial), ("ETag", etag), ("Content-Length", str(end - start))]
    headers += [("Content-Range", f"bytes {start}-{end - 1}/{stored.size}")] if partial else []
    body = b"" if call.method == "HEAD" else stored.read(start, end)
    return Answer(206 if partial else 200, headers, body, only_head=True)


def _found(bucket: Bucket, key: str, version_id: str) -> Object:
    stored = bucket.find(key, version_id)
    if stored is None:
        if version_id:
            raise RefusedError(404, "NoSuchVersion", "The specified version does not exist.")
        marked = bool(bucket.versions.get(key))
        raise RefusedError(404, "NoSuchKey", "The specified key does not exist.", _marker(marked))
    if stored.deleted:
        raise RefusedError(405, "MethodNotAllowed", "The specified method is not allowed", _marker(True))
    return stored


def _marker(marked: bool) -> Iterable[tuple[str, str]]:
    return [("x-amz-delete-marker", "true")] if marked else []


def _seen(stored: Object, bucket: Bucket, call: Call, *, partial: bool) -> list[tuple[str, str]]:
    headers = [("Last-Modified", email.utils.formatdate(int(stored.modified), usegmt=True)), ("Accept-Ranges", "bytes")]
    headers += [each for each in stored.headers if not each[0].startswith(CHECKSUM)]
    if call.headers.get(b"x-amz-checksum-mode", b"").upper() == b"ENABLED" and not (partial and call.method == "GET"):
        headers += _checksums(stored)
    if bucket.versioning:
        headers.append(("x-amz-version-id", stored.version_id or "null"))
    return headers


def _checksums(stored: Object) -> list[tuple[str, str]]:
    found = [each for each in stored.headers if each[0].startswith(CHECKSUM)]
    return found if any(name == _OBJECT_TYPE[0] for name, _ in found) else [*found, _OBJECT_TYPE]


def remove(store: Store, target: Target) -> Answer:
    """DeleteObject: done, whatever was there."""
    bucket, key, version_id = target.bucket, target.key, target.call.query.get("versionId", "")
    if version_id:
        gone = bucket.delete_version(key, version_id)
        headers = [("x-amz-version-id", version_id), *_marker(gone is not None and gone.deleted)]
    else:
        gone = bucket.objects.get(key)
        marker = bucket.delete(key, store.clock.now())
        headers = [("x-amz-version-id", marker.version_id), *_marker(True)] if marker else []
    announced = gone is not None and gone.announced
    store.log.event("DELETE", bucket=target.name, key=key, version=version_id, announced=announced)
    return Answer(204, headers)


OPERATIONS: dict[str, Operation] = {"put": put, "get": get, "head": get, "remove": remove}
