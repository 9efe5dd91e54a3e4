"""What S3 refuses, and emulators take: each rule of the strict server, over real requests."""

from __future__ import annotations

import base64
import hashlib
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from awscrt import checksums  # type: ignore[import-untyped]  # it ships no types
from botocore.exceptions import ClientError

from pipeline.aws.checksum import crc64nvme_of
from pipeline.aws.errors import code_of, status_of
from tests.contract import signed
from tests.servers import Credentials, Server, make_bucket
from tests.strict.multipart import PART_MINIMUM

BODY = b"content"


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


CHECKSUMS = {
    "x-amz-checksum-crc32": _text(zlib.crc32(BODY).to_bytes(4, "big")),
    "x-amz-checksum-crc32c": _text(checksums.crc32c(BODY).to_bytes(4, "big")),
    "x-amz-checksum-crc64nvme": crc64nvme_of(BODY),
    "x-amz-checksum-sha1": _text(hashlib.sha1(BODY).digest()),
    "x-amz-checksum-sha256": _text(hashlib.sha256(BODY).digest()),
    "content-md5": _text(hashlib.md5(BODY).digest()),
}


@pytest.fixture
def bucket(strict_server: Server) -> str:
    name = f"strict-{uuid.uuid4().hex}"
    make_bucket(strict_server, name)
    return name


@pytest.fixture
def s3(strict_server: Server) -> Iterator[Any]:
    client = strict_server.client("s3", retries={"total_max_attempts": 1})
    yield client
    client.close()


def refusal(call: Any, **arguments: Any) -> str:
    """The code of the error that a call is answered with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return code_of(caught.value)


# Who asks


def test_a_request_is_signed(strict_server: Server, bucket: str) -> None:
    """Without a signature, with another's, of another day: refused; the same that is signed is done."""
    target = f"/{bucket}/a"
    with signed.connect(strict_server) as connection:
        connection.sendall(signed.as_bytes("PUT", target, {}, strict_server, BODY))
        assert signed.answer_of(connection) == (403, "AccessDenied")
    assert signed.ask(strict_server, "PUT", target, BODY, Authorization="Basic x")[0] == 400
    for headers in ({"x_amz_meta_a": "b"}, {}):
        assert signed.ask(strict_server, "PUT", target, BODY, **headers) == (200, "")
    tampered = signed.request(strict_server, "PUT", target, BODY, x_amz_meta_a="b").replace(b"meta-a: b", b"meta-a: c")
    with signed.connect(strict_server) as connection:
        connection.sendall(tampered)
        assert signed.answer_of(connection) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [("nobody", "strict-secret", "InvalidAccessKeyId"), ("strict", "wrong", "SignatureDoesNotMatch")],
)
def test_an_access_key_is_known(strict_server: Server, bucket: str, key: str, secret: str, code: str) -> None:
    """And its secret is that of the signature."""
    client = strict_server.client("s3", Credentials(key, secret))
    assert refusal(client.list_objects_v2, Bucket=bucket) == code
    client.close()


def test_a_bucket_of_another_region_is_elsewhere(strict_server: Server, s3: Any) -> None:
    """301, which names the region."""
    name = f"strict-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with signed.connect(strict_server) as connection:
        connection.sendall(signed.request(strict_server, "GET", f"/{name}/a"))
        assert signed.answer_of(connection) == (301, "PermanentRedirect")


def test_a_bucket_is_there_and_its_owners(s3: Any, bucket: str) -> None:
    """NoSuchBucket, and AccessDenied where another owner was expected."""
    assert refusal(s3.put_object, Bucket=f"no-{bucket}"[:63], Key="a", Body=b"") == "NoSuchBucket"
    assert refusal(s3.put_object, Bucket=bucket, Key="a", ExpectedBucketOwner="1" * 12) == "AccessDenied"
    s3.put_object(Bucket=bucket, Key="a", ExpectedBucketOwner="0" * 12)


# What comes


@pytest.mark.parametrize("header", CHECKSUMS)
def test_every_checksum_is_compared(strict_server: Server, bucket: str, header: str) -> None:
    """BadDigest for other bytes; nothing is stored then, and the right ones are taken."""
    target, name = f"/{bucket}/a", header.replace("-", "_")
    given = {name: CHECKSUMS[header]}
    assert signed.ask(strict_server, "PUT", target, b"Content", **given) == (400, "BadDigest")
    assert signed.ask(strict_server, "GET", target) == (404, "NoSuchKey")
    assert signed.ask(strict_server, "PUT", target, BODY, **given) == (200, "")
    bad = "InvalidDigest" if header == "content-md5" else "InvalidRequest"
    assert signed.ask(strict_server, "PUT", target, BODY, **{name: "AAA="}) == (400, bad)


def test_bytes_are_those_that_were_signed(strict_server: Server, bucket: str) -> None:
    """XAmzContentSHA256Mismatch; and two checksums of one body are one too many."""
    with signed.connect(strict_server) as connection:
        whole = signed.request(strict_server, "PUT", f"/{bucket}/a", BODY)
        connection.sendall(whole.removesuffix(BODY) + b"Content")
        assert signed.answer_of(connection) == (400, "XAmzContentSHA256Mismatch")
    two = {name.replace("-", "_"): CHECKSUMS[name] for name in ("x-amz-checksum-crc32", "x-amz-checksum-sha1")}
    assert signed.ask(strict_server, "PUT", f"/{bucket}/a", BODY, **two) == (400, "InvalidRequest")


@pytest.mark.parametrize("right", [True, False])
def test_a_checksum_in_the_trailer_is_compared(strict_server: Server, bucket: str, right: bool) -> None:
    """Of a body in AWS's chunks, as a client sends it that computes while it reads."""
    crc = CHECKSUMS["x-amz-checksum-crc64nvme"] if right else crc64nvme_of(b"other")
    body = b"7\r\ncontent\r\n0\r\nx-amz-checksum-crc64nvme:" + crc.encode() + b"\r\n\r\n"
    headers = {"content_encoding": "aws-chunked"}
    headers |= {"x_amz_decoded_content_length": "7", "x_amz_trailer": "x-amz-checksum-crc64nvme"}
    expected = (200, "") if right else (400, "BadDigest")
    assert signed.ask(strict_server, "PUT", f"/{bucket}/a", body, **headers) == expected


def test_names_and_metadata_have_limits(s3: Any, bucket: str) -> None:
    """1,024 bytes of a key, 2 KiB of metadata, names included; one more is refused."""
    s3.put_object(Bucket=bucket, Key="é" * 512, Metadata={"four": "x" * 2044})
    assert refusal(s3.put_object, Bucket=bucket, Key="é" * 512 + "x") == "KeyTooLongError"
    assert refusal(s3.put_object, Bucket=bucket, Key="a", Metadata={"four": "x" * 2045}) == "MetadataTooLarge"


def test_two_writers_who_meet_are_told(strict_server: Server, bucket: str) -> None:
    """409 for a conditional PUT during which another wrote the key; 412 for one that begins later."""
    target, condition = f"/{bucket}/a", {"if_none_match": "*"}
    slow = signed.request(strict_server, "PUT", target, BODY, **condition)
    with signed.connect(strict_server) as connection:
        connection.sendall(slow[:-1])
        while signed.ask(strict_server, "GET", f"/{bucket}/probe")[0] != 404:
            pass  # answered after what was sent before
        assert signed.ask(strict_server, "PUT", target, b"first", **condition) == (200, "")
        connection.sendall(slow[-1:])
        assert signed.answer_of(connection) == (409, "ConditionalRequestConflict")
    assert signed.ask(strict_server, "PUT", target, BODY, **condition) == (412, "PreconditionFailed")


def test_only_what_is_there_can_be_replaced(s3: Any, bucket: str) -> None:
    """If-Match: 412 for another ETag, 404 where nothing is; If-None-Match knows * alone."""
    etag = s3.put_object(Bucket=bucket, Key="a", Body=BODY)["ETag"]
    assert refusal(s3.put_object, Bucket=bucket, Key="a", IfMatch='"other"') == "PreconditionFailed"
    assert refusal(s3.put_object, Bucket=bucket, Key="b", IfMatch=etag) == "NoSuchKey"
    assert refusal(s3.put_object, Bucket=bucket, Key="b", IfNoneMatch=etag) == "NotImplemented"
    s3.put_object(Bucket=bucket, Key="a", Body=b"new", IfMatch=etag)


def test_a_range_lies_within(s3: Any, bucket: str) -> None:
    """What is asked for comes; beyond the end, and of nothing, it is refused."""
    s3.put_object(Bucket=bucket, Key="a", Body=bytes(range(256)) * 20)
    answer = s3.get_object(Bucket=bucket, Key="a", Range="bytes=250-259")
    assert (answer["Body"].read(), answer["ContentRange"]) == (
        bytes(range(250, 256)) + bytes(range(4)),
        "bytes 250-259/5120",
    )
    s3.put_object(Bucket=bucket, Key="empty")
    for key, wanted in (("a", "bytes=5120-5121"), ("empty", "bytes=0-0")):
        assert refusal(s3.get_object, Bucket=bucket, Key=key, Range=wanted) == "InvalidRange"


# Parts

PART = bytes(PART_MINIMUM)


def begin(s3: Any, bucket: str, *parts: bytes, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An upload of these parts; what names it, and them."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a", **more)["UploadId"]
    named = {"Bucket": bucket, "Key": "a", "UploadId": upload}
    algorithm = {"ChecksumAlgorithm": more["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in more else {}
    sent = [
        {"PartNumber": number, "ETag": s3.upload_part(**named, PartNumber=number, Body=body, **algorithm)["ETag"]}
        for number, body in enumerate(parts, 1)
    ]
    return named, sent


def complete(s3: Any, named: dict[str, Any], parts: list[dict[str, Any]], **more: Any) -> Any:
    return s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **more)


def test_a_whole_of_parts_has_the_checksum_of_its_bytes(s3: Any, bucket: str) -> None:
    """CRC64NVME of all of them; another one that was said is refused, and the upload is still there."""
    whole = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    named, parts = begin(s3, bucket, PART, BODY, **whole)
    with pytest.raises(ClientError, match="BadDigest"):
        complete(s3, named, parts, ChecksumCRC64NVME=crc64nvme_of(BODY))
    assert complete(s3, named, parts)["ChecksumCRC64NVME"] == crc64nvme_of(PART + BODY)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == PART + BODY
    with pytest.raises(ClientError, match="NoSuchUpload"):
        complete(s3, named, parts)


def test_parts_that_make_no_object(s3: Any, bucket: str) -> None:
    """One too small before the last, one that was not sent, another ETag, another order: refused each."""
    named, parts = begin(s3, bucket, PART, PART[1:], BODY)
    cases = {
        "EntityTooSmall": parts,
        "InvalidPart": [parts[0], {"PartNumber": 4, "ETag": parts[2]["ETag"]}],
        "InvalidPartOrder": [parts[2], parts[0]],
        "MalformedXML": [],
    }
    for code, chosen in cases.items():
        assert refusal(complete, s3=s3, named=named, parts=chosen) == code
    wrong = [parts[0], {**parts[2], "ETag": parts[0]["ETag"]}]
    assert refusal(complete, s3=s3, named=named, parts=wrong) == "InvalidPart"
    assert refusal(s3.upload_part, **named, PartNumber=10_001, Body=b"") == "InvalidArgument"
    complete(s3, named, [parts[0], parts[2]])
    assert s3.get_object(Bucket=bucket, Key="a")["ContentLength"] == len(PART + BODY)


def test_a_part_has_the_checksum_of_its_upload(s3: Any, bucket: str) -> None:
    """One of another kind, or none, is refused."""
    named, _ = begin(s3, bucket, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
    for more in ({}, {"ChecksumAlgorithm": "SHA256"}):
        assert refusal(s3.upload_part, **named, PartNumber=1, Body=BODY, **more) == "InvalidRequest"


# Lists


def test_lists_come_in_pages(s3: Any, bucket: str) -> None:
    """Keys that XML cannot carry, uploads and parts, each once, whatever the size of a page."""
    keys = sorted(f"in/{name}" for name in ("a\x01b", "é", "a b", "a+b", "%41", "new\nline"))
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    uploads = sorted(s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"] for _ in range(5))
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [entry["UploadId"] for page in pages for entry in page["Uploads"]] == uploads
    named = {"Bucket": bucket, "Key": "a", "UploadId": uploads[0]}
    for number in range(1, 6):
        s3.upload_part(**named, PartNumber=number, Body=str(number).encode())
    pages = s3.get_paginator("list_parts").paginate(**named, PaginationConfig={"PageSize": 2})
    assert [entry["PartNumber"] for page in pages for entry in page["Parts"]] == [1, 2, 3, 4, 5]


def test_versions_come_in_pages(s3: Any, bucket: str) -> None:
    """Those from before versions were kept, too; the latest of a key first."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"0")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = [s3.put_object(Bucket=bucket, Key=key, Body=b"1")["VersionId"] for key in "aab"]
    s3.delete_object(Bucket=bucket, Key="b")
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    found = [(entry["Key"], entry["VersionId"]) for page in pages for entry in page.get("Versions", [])]
    assert found == [("a", made[1]), ("a", made[0]), ("a", "null"), ("b", made[2])]
    assert [entry["Key"] for page in pages for entry in page.get("DeleteMarkers", [])] == ["b"]
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="b")
    assert status_of(caught.value) == 404
    assert s3.get_object(Bucket=bucket, Key="a", VersionId="null")["Body"].read() == b"0"
