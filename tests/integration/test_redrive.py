"""Dead letters go back by --redrive, beside a running program and without one, and their files arrive."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from pipeline.aws.sqs import Queue
from tests.integration.announced import Announced, embedded
from tests.integration.program import Launch, Program, files, wait_for
from tests.servers import MotoServer, make_bucket


def poison(program: Program, s3: Any, sqs: Any, announced: Announced, queue: str = "relay") -> None:
    """Its key holds another program's object, and so the running program buries the message."""
    s3.put_object(Bucket=announced.bucket, Key=announced.drop.key.text, Body=b"another")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    assert Queue(sqs, url, None, 60).send([announced.message]) == [None]
    buried = re.compile(f" to (the dead letters|FailedMessages): .*{announced.path}")
    wait_for(lambda: buried.search(program.log()), explain=program.output)
    wait_for(lambda: not in_queue(sqs, queue), explain=program.output)


def in_queue(sqs: Any, name: str) -> int:
    """Messages that are there, in somebody's hands or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def test_what_died_arrives_once_it_can(tmp_path: Path, launch: Launch) -> None:
    """C14. Beside the running program, and, after that has ended, on its own; nothing is left of the dead letters."""
    program = launch(tmp_path, 2).started()
    s3, sqs = embedded(program, "s3"), embedded(program, "sqs")
    first, second = Announced("a.csv"), Announced("b.csv")
    poison(program, s3, sqs, first)
    assert in_queue(sqs, "relay-dlq") == 1
    first.store(s3)
    beside = launch(tmp_path, None, "--redrive")
    assert beside.ended(60) == 0, beside.output()
    assert "messages sent back: 1\n" in beside.output()
    wait_for(lambda: files(program.downloaded) == {b"a.csv": b"a.csv"}, explain=program.output)
    assert in_queue(sqs, "relay-dlq") == 0

    poison(program, s3, sqs, second)
    second.store(s3)
    assert program.stopped() == 0
    alone = launch(tmp_path, None, "--redrive")
    assert alone.ended(60) == 0, alone.output()
    assert "messages sent back: 1\n" in alone.output()
    program = launch(tmp_path, 2).started()
    wait_for(lambda: len(files(program.downloaded)) == 2, explain=program.output)
    assert files(program.downloaded) == {b"a.csv": b"a.csv", b"b.csv": b"b.csv"}


def test_what_was_kept_in_a_folder_arrives_too(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """Of a queue without dead letters; a file that is no message is named, left, and makes it exit 1."""
    name = f"bare-{uuid.uuid4().hex}"
    make_bucket(moto_server, name)
    s3, sqs = moto_server.client("s3"), moto_server.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_s3_bucket": name, "aws_sqs": name}
    keys |= {"aws_access_key_id": moto_server.credentials[0], "aws_secret_key": moto_server.credentials[1]}
    program = launch(tmp_path, 2, **keys).started()
    body = '{"Records": "none, but a long text: ' + "x" * 300
    sqs.send_message(QueueUrl=url, MessageBody=body)
    announced = Announced("a.csv", name)
    poison(program, s3, sqs, announced, name)
    kept = program.state / "FailedMessages"
    wait_for(lambda: len(list(kept.glob("*.json"))) == 2 and not in_queue(sqs, name), explain=program.output)
    assert f"what can never succeed: {body[:200]}\n" in program.log()
    announced.store(s3)
    (kept / "damaged.json").write_text("{")
    redrive = launch(tmp_path, None, "--redrive", **keys)
    assert redrive.ended(60) == 1, redrive.output()
    assert "messages sent back: 2; left: 1 (no kept message)\n" in redrive.output()
    assert str(kept / "damaged.json") in redrive.output()
    wait_for(lambda: files(program.downloaded) == {b"a.csv": b"a.csv"}, explain=program.output)
    # The other one cannot arrive, whatever is done: it is kept once more.
    wait_for(lambda: len(list(kept.glob("*.json"))) == 2 and not in_queue(sqs, name), explain=program.output)


def test_without_a_queue_it_says_so(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """Nothing is made, and no bucket is needed."""
    name = f"none-{uuid.uuid4().hex}"
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_s3_bucket": name, "aws_sqs": name}
    keys |= {"aws_access_key_id": moto_server.credentials[0], "aws_secret_key": moto_server.credentials[1]}
    redrive = launch(tmp_path, None, "--redrive", **keys)
    assert redrive.ended(60) == 69, redrive.output()
    assert f"there is no queue '{name}'" in redrive.output()
    assert name not in str(moto_server.client("sqs").list_queues().get("QueueUrls", []))
