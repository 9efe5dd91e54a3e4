"""S3: buckets, and what is asked of them. Objects and multipart uploads have modules of their own."""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree

from bench.listing import document, objects
from bench.wire import Body, Memory
from tests.strict import listing
from tests.strict.answers import XML, Headers, RefusedError
from tests.strict.bodies import Content
from tests.strict.clock import Clock
from tests.strict.judge import Judge
from tests.strict.log import Log
from tests.strict.shelf import ENABLED, SUSPENDED, Bucket
from tests.strict.wire import Call

ACCOUNT = "000000000000"
KEY_LIMIT = 1024
"""Bytes (Amazon S3 User Guide, "Object key naming guidelines")."""
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IGNORED = {
    "x-id",
    "list-type",
    "encoding-type",
    "prefix",
    "delimiter",
    "max-keys",
    "continuation-token",
    "start-after",
}
_IGNORED |= {"fetch-owner", "marker", "key-marker", "version-id-marker", "max-uploads", "upload-id-marker"}
"""Of a query: what says how, and not what."""


class Answer(NamedTuple):
    """What a client is answered."""

    status: int
    headers: Headers = []  # noqa: RUF012  # never changed
    body: bytes = b""
    only_head: bool = False
    """The length stands among the headers, and no body follows."""


class Target(NamedTuple):
    """What an operation works on."""

    name: str
    bucket: Bucket
    key: str
    call: Call


class Store:
    """The buckets, and what their operations need."""

    def __init__(self, clock: Clock, log: Log, judge: Judge, folder: "Folder", region: str) -> None:
        self.clock, self.log, self.judge, self.folder, self.region = clock, log, judge, folder, region
        self.buckets: dict[str, Bucket] = {}


Folder = Callable[[Call | None], Content]
"""Makes the place of a new body."""
Operation = Callable[[Store, Target], Answer]


class S3:
    """Answers the requests to S3."""

    def __init__(self, store: Store, of_objects: dict[str, Operation]) -> None:
        """`of_objects`: by operation."""
        self._store, self._of_objects = store, of_objects

    def body_for(self, call: Call) -> Body:
        """Where the body of a request goes; a conditional write is known from now on."""
        if call.operation not in ("put", "part"):
            return Memory()
        content = call.unkept = self._store.folder(call)
        name, key = _place(call.path)
        bucket = self._store.buckets.get(name)
        if call.operation == "put" and bucket is not None and is_conditional(call):
            call.write = bucket, bucket.begin(key)
        return content

    def answer(self, call: Call, region: str) -> Answer:
        """Do it; RefusedError. `region`: the one that it was signed for."""
        try:
            path = unquote(call.target.partition("?")[0], errors="strict")
        except UnicodeDecodeError:
            raise RefusedError(400, "InvalidURI", "Couldn't parse the specified URI.") from None
        name, key = _place(path)
        if not name:
            return Answer(200, XML, document("ListAllMyBucketsResult", "<Buckets></Buckets>"))
        if call.method == "PUT" and not key and not set(call.query) - _IGNORED:
            return self._create(name, call)
        target = Target(name, self._bucket(name, call, region), key, call)
        if key:
            return self._object(target)
        what = next(iter(set(call.query) - _IGNORED), "")
        act = _OF_BUCKETS.get((call.method, what))
        if act is None:
            raise RefusedError(501, "NotImplemented", f"this server does no {call.method} of a bucket's {what}")
        return act(self._store, target)

    def _object(self, target: Target) -> Answer:
        call = target.call
        if len(target.key.encode()) > KEY_LIMIT:
            raise RefusedError(400, "KeyTooLongError", "Your key is too long")
        act = self._of_objects.get(call.operation)
        if act is None or b"x-amz-copy-source" in call.headers or {"acl", "tagging", "retention"} & set(call.query):
            raise RefusedError(501, "NotImplemented", f"this server does no {call.method} of {call.raw_query!r}")
        return act(self._store, target)

    def _bucket(self, name: str, call: Call, region: str) -> Bucket:
        bucket = self._store.buckets.get(name)
        if bucket is None:
            raise RefusedError(404, "NoSuchBucket", "The specified bucket does not exist")
        if bucket.region != region:
            text = "The bucket you are attempting to access must be addressed using the specified endpoint."
            there = [("x-amz-bucket-region", bucket.region)]
            more = f"<Endpoint>{name}.s3.{bucket.region}.amazonaws.com</Endpoint><Bucket>{name}</Bucket>"
            raise RefusedError(301, "PermanentRedirect", text, there, more)
        if call.headers.get(b"x-amz-expected-bucket-owner", ACCOUNT.encode()) != ACCOUNT.encode():
            raise RefusedError(403, "AccessDenied", "Access Denied")
        return bucket

    def _create(self, name: str, call: Call) -> Answer:
        if not _BUCKET_NAME.fullmatch(name):
            raise RefusedError(400, "InvalidBucketName", "The specified bucket is not valid.")
        if name in self._store.buckets:
            raise RefusedError(409, "BucketAlreadyOwnedByYou", "you already own it")
        found = [each.text for each in parsed(call).iter() if each.tag.endswith("LocationConstraint")]
        self._store.buckets[name] = Bucket((found[0] if found else None) or self._store.region)
        return Answer(200, [("Location", f"/{name}")])


def settle(call: Call) -> None:
    """Its request is over: what it brought and nobody keeps goes, and it is no longer one who writes."""
    if call.unkept is not None:
        call.unkept.forget()
    if call.write is not None:
        bucket, write = call.write
        bucket.end(write)
    call.unkept = call.write = None


def parsed(call: Call) -> ElementTree.Element:
    """A document that was sent; an empty one if none was; RefusedError."""
    data = call.body.bytes() if isinstance(call.body, Memory) else b""
    try:
        return ElementTree.fromstring(data or b"<Nothing/>")
    except ElementTree.ParseError:
        raise RefusedError(400, "MalformedXML", "The XML you provided was not well-formed") from None


def is_conditional(call: Call) -> bool:
    """Whether it is only to be done if the key holds what is said, or nothing."""
    return b"if-none-match" in call.headers or b"if-match" in call.headers


def _place(path: str) -> tuple[str, str]:
    _, name, key = path.split("/", 2) if path.count("/") > 1 else (*path.split("/", 1), "")
    return name, key


def _delete(store: Store, target: Target) -> Answer:
    if target.bucket.objects or target.bucket.versions:
        raise RefusedError(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
    del store.buckets[target.name]
    return Answer(204)


def _head(_: Store, target: Target) -> Answer:
    return Answer(200, [("x-amz-bucket-region", target.bucket.region)])


def _list(_: Store, target: Target) -> Answer:
    listing.limit_of(target.call.query, "max-keys")
    return Answer(200, XML, objects(target.name, target.bucket, target.call.query))


def _location(store: Store, target: Target) -> Answer:
    region = "" if target.bucket.region == "us-east-1" else target.bucket.region
    return Answer(200, XML, document("LocationConstraint", region))


def _versioning(_: Store, target: Target) -> Answer:
    status = f"<Status>{target.bucket.versioning}</Status>" if target.bucket.versioning else ""
    return Answer(200, XML, document("VersioningConfiguration", status))


def _set_versioning(_: Store, target: Target) -> Answer:
    found = [each.text for each in parsed(target.call).iter() if each.tag.endswith("Status")]
    if found not in ([ENABLED], [SUSPENDED]):
        raise RefusedError(400, "IllegalVersioningConfigurationException", "it is enabled or suspended")
    target.bucket.versioning = found[0] or ""
    return Answer(200)


_OF_BUCKETS: dict[tuple[str, str], Operation] = {
    ("DELETE", ""): _delete,
    ("HEAD", ""): _head,
    ("GET", ""): _list,
    ("GET", "location"): _location,
    ("GET", "versioning"): _versioning,
    ("PUT", "versioning"): _set_versioning,
    ("GET", "versions"): lambda _, it: Answer(200, XML, listing.versions(it.name, it.bucket, it.call.query)),
    ("GET", "uploads"): lambda _, it: Answer(200, XML, listing.uploads(it.name, it.bucket, it.call.query)),
}
