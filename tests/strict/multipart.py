"""S3's multipart uploads."""

import base64
import functools
import hashlib
import secrets
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from awscrt import checksums as crt  # type: ignore[import-untyped]  # it ships no types

from bench.listing import document
from tests.strict import listing
from tests.strict.answers import XML, RefusedError, s3_error
from tests.strict.bodies import CHECKSUMS, Content, verify
from tests.strict.objects import CHECKSUM, content_of, kept, place, refuse_condition
from tests.strict.s3 import Answer, Operation, Store, Target, parsed
from tests.strict.shelf import Object, Part, Upload
from tests.strict.wire import Call

PART_MINIMUM = 5 * 1024**2
"""Bytes of every part but the last (Amazon S3 User Guide, "Multipart upload limits")."""
PART_NUMBERS = range(1, 10_001)
_FULL = ("crc32", "crc32c", "crc64nvme")
"""Checksums that S3 can tell of a whole object made of parts."""


def create(store: Store, target: Target) -> Answer:
    """CreateMultipartUpload."""
    call = target.call
    if "uploads" not in call.query:
        raise RefusedError(501, "NotImplemented", f"this server does no POST of {call.raw_query!r}")
    algorithm = _header(call, "x-amz-checksum-algorithm").lower()
    kind = _header(call, "x-amz-checksum-type").upper() or ("FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE")
    if algorithm and (algorithm not in CHECKSUMS or (kind == "FULL_OBJECT") > (algorithm in _FULL)):
        raise RefusedError(400, "InvalidRequest", f"The {kind} checksum type cannot be used with {algorithm}.")
    if algorithm == "crc64nvme" and kind != "FULL_OBJECT":
        raise RefusedError(400, "InvalidRequest", "The COMPOSITE checksum type cannot be used with crc64nvme.")
    upload = Upload(target.key, secrets.token_hex(32), kept(call), algorithm, kind == "FULL_OBJECT", store.clock.now())
    target.bucket.uploads[upload.id] = upload
    store.log.event("CREATE", bucket=target.name, key=target.key, upload=upload.id)
    content = f"<Bucket>{target.name}</Bucket><Key>{escape(target.key)}</Key><UploadId>{upload.id}</UploadId>"
    headers = [("x-amz-checksum-algorithm", algorithm.upper()), ("x-amz-checksum-type", kind)] if algorithm else []
    return Answer(200, [*XML, *headers], document("InitiateMultipartUploadResult", content))


def put_part(store: Store, target: Target) -> Answer:
    """UploadPart."""
    call, upload = target.call, _upload(target)
    number = call.query.get("partNumber", "")
    if not number.isdecimal() or int(number) not in PART_NUMBERS:
        text = "Part number must be an integer between 1 and 10000, inclusive"
        raise RefusedError(400, "InvalidArgument", text)
    content = content_of(store, call)
    given = verify(call, content)
    actual = given[0][0].removeprefix(CHECKSUM) if given else "null"
    if upload.algorithm and actual != upload.algorithm:
        text = f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm}, actual: {actual}"
        raise RefusedError(400, "InvalidRequest", text)
    content.keep()
    before = upload.parts.get(int(number))
    if before is not None:
        before.content.forget()
    part = Part(content.size, content.digest("md5").hex(), dict(given), content, store.clock.now())
    upload.parts[int(number)] = part
    call.unkept = None
    store.log.event("PART", bucket=target.name, key=target.key, upload=upload.id, number=int(number))
    return Answer(200, [("ETag", f'"{part.etag}"'), *given])


def complete(store: Store, target: Target) -> Answer:
    """CompleteMultipartUpload."""
    call, upload = target.call, _upload(target)
    parts = _chosen(upload, parsed(call))
    stored = _whole(upload, parts, store.clock.now())
    checksum = _checksum(upload, parts, stored.crc64nvme)
    _compare(call, stored, checksum)
    if "200_error" in call.faults:
        store.log.fault(call.operation, "200_error", key=target.key)
        error = RefusedError(200, "InternalError", "We encountered an internal error. Please try again.")
        return Answer(200, XML, s3_error(error))
    _refuse(store, target, upload)
    kind = "FULL_OBJECT" if upload.full_object else "COMPOSITE"
    stored.headers = [*upload.headers, checksum, ("x-amz-checksum-type", kind)]
    _end(target, upload, stored.contents)
    told = place(store, target, stored, "COMPLETE")
    version = [each for each in told if each[0] == "x-amz-version-id"]
    return Answer(200, [*XML, *version], _completed(target, stored.etag, checksum))


def _whole(upload: Upload, parts: list[Part], now: float) -> Object:
    crc = functools.reduce(_combined, parts, 0).to_bytes(8, "big")
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
    contents = [part.content for part in parts]
    return Object(sum(part.size for part in parts), etag, base64.b64encode(crc).decode(), upload.headers, contents, now)


def _compare(call: Call, stored: Object, checksum: tuple[str, str]) -> None:
    """RefusedError where the object is not what the request says of it."""
    header, value = checksum
    if _header(call, "x-amz-mp-object-size") not in ("", str(stored.size)):
        raise RefusedError(400, "InvalidRequest", "The object size is not the one that was specified.")
    if (given := _header(call, header)) and given.partition("-")[0] != value.partition("-")[0]:
        raise RefusedError(400, "BadDigest", f"The {header} you specified did not match the calculated checksum.")


def _refuse(store: Store, target: Target, upload: Upload) -> None:
    try:
        refuse_condition(target.bucket, target.key, target.call)
    except RefusedError as error:
        if error.status == 409:  # "re-initiate the multipart upload" (CompleteMultipartUpload, If-None-Match)
            store.log.fault(target.call.operation, "409", key=target.key)
            _end(target, upload, [])
        raise


def _completed(target: Target, etag: str, checksum: tuple[str, str]) -> bytes:
    name = f"Checksum{checksum[0].rpartition('-')[2].upper()}"
    content = f"<Bucket>{target.name}</Bucket><Key>{escape(target.key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
    return document("CompleteMultipartUploadResult", f"{content}<{name}>{checksum[1]}</{name}>")


def _end(target: Target, upload: Upload, taken: list[Content]) -> None:
    del target.bucket.uploads[upload.id]
    for part in upload.parts.values():
        if part.content not in taken:
            part.content.forget()


def _chosen(upload: Upload, wanted: ElementTree.Element) -> list[Part]:
    named = [{child.tag.rpartition("}")[2]: child.text or "" for child in each} for each in wanted]
    if not named or any(not {"PartNumber", "ETag"} <= each.keys() for each in named):
        raise RefusedError(400, "MalformedXML", "The XML you provided was not well-formed")
    numbers = [int(each["PartNumber"]) for each in named]
    if numbers != sorted(set(numbers)):
        raise RefusedError(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
    parts = [_named(upload, each) for each in named]
    if any(part.size < PART_MINIMUM for part in parts[:-1]):
        raise RefusedError(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    return parts


def _named(upload: Upload, named: dict[str, str]) -> Part:
    part = upload.parts.get(int(named["PartNumber"]))
    if part is None or named["ETag"].strip('"') != part.etag:
        raise RefusedError(400, "InvalidPart", "One or more of the specified parts could not be found.")
    for header, value in part.checksums.items():
        said = named.get(f"Checksum{header.rpartition('-')[2].upper()}")
        if said is None and upload.algorithm and not upload.full_object:
            raise RefusedError(400, "InvalidRequest", "The complete request must include the checksum for each part.")
        if said not in (None, value):
            raise RefusedError(400, "InvalidPart", "The checksum of a part is not the one that was uploaded.")
    return part


def _combined(crc: int, part: Part) -> int:
    value: int = crt.combine_crc64nvme(crc, int.from_bytes(part.content.digest("crc64nvme"), "big"), part.size)
    return value


def _checksum(upload: Upload, parts: list[Part], crc64nvme: str) -> tuple[str, str]:
    """The header that tells of the whole; a CRC32 of the whole is not computed, and CRC64NVME told instead."""
    if not upload.algorithm or upload.full_object:
        return f"{CHECKSUM}crc64nvme", crc64nvme
    header = f"{CHECKSUM}{upload.algorithm}"
    whole = b"".join(base64.b64decode(part.checksums[header]) for part in parts)
    digest = (
        hashlib.new(upload.algorithm, whole).digest() if upload.algorithm.startswith("sha") else _crc(upload, whole)
    )
    return header, f"{base64.b64encode(digest).decode()}-{len(parts)}"


def _crc(upload: Upload, data: bytes) -> bytes:
    value: int = (crt.crc32c if upload.algorithm == "crc32c" else crt.crc32)(data)
    return value.to_bytes(4, "big")


def abort(store: Store, target: Target) -> Answer:
    """AbortMultipartUpload."""
    upload = _upload(target)
    _end(target, upload, [])
    store.log.event("ABORT", bucket=target.name, key=target.key, upload=upload.id)
    return Answer(204)


def list_parts(_: Store, target: Target) -> Answer:
    """ListParts."""
    return Answer(200, XML, listing.parts(target.name, _upload(target), target.call.query))


def _upload(target: Target) -> Upload:
    upload: Upload | None = target.bucket.uploads.get(target.call.query.get("uploadId", ""))
    if upload is None or upload.key != target.key:
        text = "The specified multipart upload does not exist. It may have been aborted or completed."
        raise RefusedError(404, "NoSuchUpload", text)
    return upload


def _header(call: Call, name: str) -> str:
    return call.headers.get(name.encode(), b"").decode("latin-1")


OPERATIONS: dict[str, Operation] = {
    "create": create,
    "part": put_part,
    "complete": complete,
    "abort": abort,
    "parts": list_parts,
}
