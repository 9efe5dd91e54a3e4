"""What is announced again when the embedded server has lost its queues, over a real S3 and SQS."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from app_properties import Settings, load
from aws_util import Aws
from pipeline import reannounce
from pipeline.drop import DROP_ID, LONG_PATH, PATH, delivery_id
from pipeline.landing import LEDGER
from pipeline.ledger import DUE, Ledger, Row
from tests.servers import MotoServer, make_bucket

NAME = "announced-again"


@pytest.fixture
def settings(tmp_path: Path, moto_server: MotoServer) -> Settings:
    make_bucket(moto_server, NAME)
    file = tmp_path / "Application.properties"
    file.write_text(
        f"[General]\nfolderToStoreTempFiles={tmp_path}\nfolderToWatch=Watch\nfolderForDownloadedFiles=Down\n"
        f"[AWS]\naws_s3_bucket={NAME}\naws_s3_folder=in\naws_access_key_id=test\naws_secret_key=test\n"
        f"aws_region=us-east-1\naws_sqs={NAME}\naws_endpoint_url={moto_server.endpoint}\n"
    )
    return load(file, 3, tmp_path)


def test_what_was_not_delivered_is_announced_again(
    settings: Settings, moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each object of ours once, unless the ledger has it delivered; a `publishing` row is not that, nor a command due.

    Nothing foreign, and nothing of a soak test, whose consumer is another.
    """
    monkeypatch.setattr(reannounce, "_PROGRESS_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    s3 = moto_server.client("s3")

    def put(key: str, **metadata: str) -> None:
        s3.put_object(Bucket=NAME, Key=key, Body=b"1", Metadata=metadata)

    unknown = [f"in/unknown/{number}" for number in range(21)]  # more than two batches
    for key in (*unknown, "in/delivered", "in/publishing", "in/due"):
        put(key, **{DROP_ID: key.rpartition("/")[2], PATH: key.removeprefix("in/")})
    put("in/2026/03/x-mzk7.csv", **{DROP_ID: "mzk7", LONG_PATH: "YS94LmNzdg=="})  # by a template, of a/x.csv
    put("in/foreign")
    put("in/.relay-soak/20260101-101500-ab12/drop-000001.bin", **{DROP_ID: "soak", PATH: "drop-000001.bin"})
    put("elsewhere/ours", **{DROP_ID: "elsewhere", PATH: "ours"})
    path = settings.downloaded / LEDGER
    path.parent.mkdir(parents=True)
    ledger = Ledger(path)
    done, begun, due = (delivery_id(name, f"in/{name}") for name in ("delivered", "publishing", "due"))
    rows = [Row(done, "t1", "delivered", ""), Row(begun, "t2", "publishing", ""), Row(due, "t3", "due", "", DUE)]
    assert ledger.begin(rows) == [True] * 3
    ledger.deliver([done, due])
    ledger.close()

    reannounce.announce_undelivered(settings, Aws(settings))

    said = announced(moto_server)
    assert sorted(said) == sorted([*unknown, "in/publishing", "in/due", "in/2026/03/x-mzk7.csv"])
    assert said["in/2026/03/x-mzk7.csv"] == "a/x.csv"
    assert said["in/publishing"] == "publishing"
    assert "looked at 20 objects" in caplog.text
    assert "announced 24 objects again" in caplog.text


def announced(server: MotoServer) -> dict[str, str]:
    """Take every message from the queue: body → path."""
    sqs: Any = server.client("sqs")
    url = sqs.get_queue_url(QueueName=NAME)["QueueUrl"]
    said: dict[str, str] = {}
    asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "MessageAttributeNames": ["path"]}
    while messages := sqs.receive_message(**asked).get("Messages"):
        for message in messages:
            assert message["Body"] not in said, "announced twice"
            said[message["Body"]] = message["MessageAttributes"]["path"]["StringValue"]
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return said
