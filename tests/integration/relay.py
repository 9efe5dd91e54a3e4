"""A program that several tests share, each with a folder of its own in Watch."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from tests.integration.program import Program, drop, files, wait_for, write_properties
from tests.servers import REGION

INTERVAL = 0.2
"""Seconds between two looks at Watch."""
SETTLE = 0.6


class Relay:
    """A running program and the folder of one test."""

    def __init__(self, program: Program, place: str) -> None:
        self.program, self.place = program, place
        self.watch = program.watch / place
        self.watch.mkdir()

    def lying(self, folder: str) -> dict[bytes, bytes]:
        """What lies in a folder of the program, as far as it is this test's."""
        return files(self.program.state / folder / self.place)

    def look_again(self) -> None:
        """Wait until a file that is dropped now has arrived: a later look has passed over all that lies here."""
        name = f"look-{time.monotonic_ns()}"
        drop(self.program.watch / "looks", {name: b""})
        wait_for((self.program.downloaded / "looks" / name).exists, explain=self.program.output)

    def delivered(self, expected: dict[str, bytes], seconds: float = 30.0) -> None:
        """Wait for exactly `expected`: in UploadedToS3, announced, as objects, in DownloadedFromS3."""
        wanted = {os.fsencode(name): content for name, content in expected.items()}
        wait_for(lambda: self.lying("DownloadedFromS3").keys() >= wanted.keys(), seconds, self.program.output)
        self.look_again()
        wait_for(lambda: not self.lying("QueuedForUpload"), explain=self.program.output)
        for folder in ("DownloadedFromS3", "UploadedToS3"):
            assert self.lying(folder) == wanted, folder
        assert self.announced() == sorted(expected)
        assert self.objects() == expected

    def announced(self) -> list[str]:
        """The names of this test in the log's lines of what was sent."""
        return sorted(re.findall(rf" sent +inbox/{self.place}/(.*?)  ", self.program.output()))

    def objects(self) -> dict[str, bytes]:
        """What the store holds."""
        s3, prefix = client(self.program), f"inbox/{self.place}/"
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket="relay", Prefix=prefix).get("Contents", [])]
        return {key.removeprefix(prefix): s3.get_object(Bucket="relay", Key=key)["Body"].read() for key in keys}


def client(program: Program) -> Any:
    """An S3 client of the program's embedded server."""
    [url] = set(re.findall(r"Embedded S3 and SQS: (\S+?),", program.output()))
    return boto3.client("s3", endpoint_url=url, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")


def running(folder: Path, **keys: object) -> Iterator[Program]:
    """A program in Mode 3 that looks often, to be stopped without a traceback: what a fixture yields from."""
    keys = {"sleepWatchLocalFolder": INTERVAL, "settleSeconds": SETTLE, "uploadProcesses": 1, **keys}
    program = Program(write_properties(folder, **keys), 3)
    try:
        drop(program.started().watch / "looks", {"first": b""})
        # From here on nothing rests because a process has still to start.
        wait_for((program.downloaded / "looks" / "first").exists, explain=program.output)
        yield program
        assert program.stopped() == 0
        assert "Traceback" not in program.log()
    finally:
        program.end()
