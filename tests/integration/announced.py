"""Drops of another machine: what is in S3 and what tells of it, made without a program that sends."""

from __future__ import annotations

from typing import Any

import boto3

from aws_util import crc64nvme_of
from pipeline.drop import Drop, Fingerprint
from pipeline.local_aws import EmbeddedAws
from pipeline.names import key_for
from pipeline.notice import Event, Notice, encode
from tests.integration.program import Program
from tests.servers import REGION


def embedded(program: Program, service: str) -> Any:
    """A client of the program's own S3 and SQS."""
    url = EmbeddedAws.at(program.state / ".relay" / "embedded").url
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client(service, endpoint_url=url, region_name=REGION, **keys)  # type: ignore[call-overload]


class Announced:
    """A drop of that path, its path the content, and what tells of it."""

    def __init__(self, path: str, bucket: str = "relay") -> None:
        self.path, self.bucket = path, bucket
        seen = Fingerprint(1, len(path), 1_600_000_000_000_000_000, 1)
        self.drop = Drop(path, seen, crc64nvme_of(path.encode()), key_for("inbox", path))
        size, checksum = len(path), self.drop.crc64nvme
        notice = Notice(bucket, self.drop.key.text, path, size, checksum, self.drop.id, self.drop.mtime)
        self.message = encode(notice, "key", Event(REGION, ""))

    def store(self, s3: Any) -> None:
        metadata = self.drop.metadata()
        s3.put_object(Bucket=self.bucket, Key=self.drop.key.text, Body=self.path.encode(), Metadata=metadata)
