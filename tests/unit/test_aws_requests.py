"""What the engines send and read: botocore's own request as the template, headers as the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, ParamValidationError

from pipeline.aws.answers import Answer
from pipeline.aws.template import template_of

NEVER_KEPT = {"authorization", "x-amz-date", "x-amz-content-sha256", "content-length", "content-type"}


@cache
def client(endpoint: str | None = None, style: str = "auto") -> Any:
    """One that must never reach anybody."""
    session = boto3.session.Session("AKIAEXAMPLE", "secret", region_name="eu-west-1")
    settings = Config(
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        connect_timeout=1,
        s3={"addressing_style": style},  # type: ignore[arg-type]  # one of three words
    )
    return session.client("s3", endpoint_url=endpoint, config=settings)


@pytest.mark.parametrize(
    ("endpoint", "style", "host", "target"),
    [
        (None, "auto", "my-bucket.s3.eu-west-1.amazonaws.com", "/in/a%20b/%C3%A9%3Fx~"),
        (None, "path", "s3.eu-west-1.amazonaws.com", "/my-bucket/in/a%20b/%C3%A9%3Fx~"),
        ("http://127.0.0.1:9000/s3", "path", "127.0.0.1:9000", "/s3/my-bucket/in/a%20b/%C3%A9%3Fx~"),
        ("http://127.0.0.1:9/relay-template", "path", "127.0.0.1:9", "/relay-template/my-bucket/in/a%20b/%C3%A9%3Fx~"),
        ("https://store.example", "virtual", "my-bucket.store.example", "/in/a%20b/%C3%A9%3Fx~"),
    ],
)
def test_a_template_is_what_botocore_would_send(endpoint: str | None, style: str, host: str, target: str) -> None:
    """Endpoint and addressing style are its decision; nothing is sent to find out."""
    found = template_of(client(endpoint, style), "get_object", Bucket="my-bucket")
    assert (found.scheme, found.host) == ("http" if endpoint and endpoint.startswith("http:") else "https", host)
    assert found.target("in/a b/é?x~") == target
    assert found.target("k", "versionId=1") == f"{found.head}k?versionId=1"
    assert ("Host", host) in found.headers
    assert found.region == "eu-west-1"


def test_a_template_carries_what_every_request_carries() -> None:
    """Storage class, encryption, tags, owner; no signature, nor anything true of one request only."""
    found = template_of(
        client(),
        "put_object",
        Bucket="my-bucket",
        Body=b"",
        StorageClass="STANDARD_IA",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="key-1",
        Tagging="a=b&c=d",
        CacheControl="no-store",
        ACL="bucket-owner-full-control",
        ExpectedBucketOwner="123456789012",
    )
    headers = {name.lower(): value for name, value in found.headers}
    assert {
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
        "x-amz-tagging": "a=b&c=d",
        "cache-control": "no-store",
        "x-amz-acl": "bucket-owner-full-control",
        "x-amz-expected-bucket-owner": "123456789012",
    }.items() <= headers.items()
    assert not NEVER_KEPT & headers.keys()
    assert not [name for name in headers if "trailer" in name or name.startswith("amz-sdk")]
    assert len(headers) == len(found.headers), "a header stands twice"


def test_a_client_is_as_it_was_afterwards() -> None:
    """The next request is sent."""
    there = client("http://127.0.0.1:9", "path")
    template_of(there, "get_object", Bucket="my-bucket")
    with pytest.raises(EndpointConnectionError):
        there.get_object(Bucket="my-bucket", Key="k")


def test_what_botocore_cannot_send_it_says() -> None:
    """A bucket's name that is none."""
    with pytest.raises(ParamValidationError, match="Invalid bucket name"):
        template_of(client(), "get_object", Bucket="no bucket")


def test_both_forms_of_an_answer_are_one() -> None:
    """botocore's dictionary and bare headers say the same."""
    of_headers = Answer.of_headers(
        [
            ("ETag", '"abc-5"'),
            ("Content-Length", "10"),
            ("Content-Range", "bytes 0-9/100"),
            ("x-amz-version-id", "v1"),
            ("X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA="),
            ("x-amz-meta-Drop-Id", "d"),
            ("x-amz-request-id", "r"),
            ("Last-Modified", "Fri, 31 Jan 2025 12:00:00 GMT"),
        ]
    )
    of_botocore = Answer.of_botocore(
        {
            "ETag": '"abc-5"',
            "ContentLength": 10,
            "ContentRange": "bytes 0-9/100",
            "VersionId": "v1",
            "ChecksumCRC64NVME": "AAAAAAAAAAA=",
            "Metadata": {"Drop-Id": "d"},
            "ResponseMetadata": {"RequestId": "r"},
            "LastModified": datetime(2025, 1, 31, 12, tzinfo=UTC),
        }
    )
    expected = Answer("abc-5", 100, "v1", "AAAAAAAAAAA=", {"drop-id": "d"}, "r", 1_738_324_800)
    assert of_headers == of_botocore == expected
    assert of_headers.stored("k").modified == 1_738_324_800
    assert Answer.of_headers([("Last-Modified", "yesterday")]).modified is None
    assert of_headers.stored("k").multipart


def test_a_checksum_of_checksums_says_nothing_of_the_whole() -> None:
    """B7. Some stores answer it for an upload in parts."""
    composite = [("ETag", '"a"'), ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), ("x-amz-checksum-type", "COMPOSITE")]
    assert Answer.of_headers(composite).crc64nvme is None
    assert Answer.of_botocore({"ChecksumCRC64NVME": "AA", "ChecksumType": "COMPOSITE"}).crc64nvme is None


@pytest.mark.parametrize("said", ["bytes 0-9", "items 0-9/100", "bytes 0-9/*"])
def test_a_range_that_says_no_whole(said: str) -> None:
    """It is never taken for the whole; without such a header the body is that."""
    assert Answer.of_headers([("Content-Length", "10"), ("Content-Range", said)]).length < 0
    assert Answer.of_headers([("Content-Length", "10")]).length == 10
