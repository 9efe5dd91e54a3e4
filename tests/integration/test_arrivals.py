"""Where files arrive, as the properties file says it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3

from tests.integration import relay
from tests.integration.program import Launch, Program, drop, files, wait_for
from tests.servers import REGION


def announce(program: Program, key: str, body: bytes) -> None:
    """Store an object as another program does, and have the bucket's own event of it sent."""
    relay.client(program).put_object(Bucket="relay", Key=key, Body=body)
    [url] = set(re.findall(r"Embedded S3 and SQS: (\S+?),", program.output()))
    make: Any = boto3.client
    sqs = make("sqs", endpoint_url=url, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    s3 = {"bucket": {"name": "relay"}, "object": {"key": key, "size": len(body)}}
    record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}
    queue = sqs.get_queue_url(QueueName="relay")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({"Records": [record]}))
    sqs.close()


def test_flat_and_from_outside(tmp_path: Path, launch: Launch) -> None:
    """With both keys set: last names alone, versions of one name, and an object that no folder of ours holds."""
    program = launch(tmp_path, 3, folderLayout="flat", acceptKeysOutsideFolder=1).started()
    drop(program.watch, {"d/a.csv": b"1", "e/f/b.csv": b"2"})
    wait_for(lambda: len(files(program.downloaded)) == 2, explain=program.output)
    announce(program, "elsewhere/a.csv", b"3")
    announce(program, "top", b"4")
    expected = {b"a.csv": b"1", b"b.csv": b"2", b"a-Version-2.csv": b"3", b"top": b"4"}
    wait_for(lambda: files(program.downloaded).keys() >= expected.keys(), explain=program.output)
    assert files(program.downloaded) == expected
    assert program.stopped() == 0


def test_as_it_is_shipped(tmp_path: Path, launch: Launch) -> None:
    """Without them folders stay, and a key from outside is no file of ours."""
    program = launch(tmp_path, 3).started()
    drop(program.watch, {"d/a.csv": b"1"})
    wait_for(lambda: files(program.downloaded), explain=program.output)
    announce(program, "elsewhere/a.csv", b"3")
    announce(program, "inbox/e/a.csv", b"4")
    wait_for(lambda: len(files(program.downloaded)) == 2, explain=program.output)
    wait_for(lambda: "to the dead letters: a message about 'elsewhere/a.csv'" in program.log(), explain=program.output)
    assert files(program.downloaded) == {b"d/a.csv": b"1", b"e/a.csv": b"4"}
    assert program.stopped() == 0
