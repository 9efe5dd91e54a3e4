"""The program's own way to S3 and SQS: a properties file, read as main.py reads it, and aws_util.Aws over it."""

from __future__ import annotations

from pathlib import Path

import app_properties
from aws_util import Aws
from tests.servers import REGION, Credentials


def aws(
    folder: Path,
    endpoint: str,
    credentials: Credentials | None,
    bucket: str = "no-bucket",
    queue: str = "no-queue",
    **keys: str,
) -> Aws:
    """Where `endpoint` is, as one user's properties file says it; `keys` are further keys of [AWS]."""
    table = {"aws_s3_bucket": bucket, "aws_s3_folder": "in", "aws_region": REGION, "aws_sqs": queue}
    table |= {"aws_endpoint_url": endpoint}
    if credentials is not None:
        table |= {"aws_access_key_id": credentials.aws_access_key_id}
        table |= {"aws_secret_key": credentials.aws_secret_access_key}
    lines = [f"{name} = {value}" for name, value in {**table, **keys}.items()]
    file = folder / "Application.properties"
    file.write_text("\n".join(["[General]", "folderToWatch = Watch", "[AWS]", *lines]), encoding="utf-8")
    return Aws(app_properties.load(file, 1, folder))
