"""What SQS has forgotten is found in S3 and announced again."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import boto3

from tests.integration.program import Launch, Program, drop, files, wait_for
from tests.servers import REGION

LEDGER = "DownloadedFromS3/.relay/ledger.sqlite3"


def queue_of(program: Program) -> tuple[Any, str]:
    """A client of the embedded server that this program runs, and the queue there."""
    [url] = set(re.findall(r"Embedded S3 and SQS: (\S+?),", program.output()))
    sqs = boto3.client("sqs", endpoint_url=url, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    return sqs, sqs.get_queue_url(QueueName="relay")["QueueUrl"]


def test_what_was_never_delivered_is_announced_again(tmp_path: Path, launch: Launch) -> None:
    """C15. Three of five messages are gone: they are found, and brought, once; it runs beside the program."""
    sender = launch(tmp_path, 1, sleepWatchLocalFolder=0.2).started()
    dropped = drop(sender.watch, {f"sub/{number}": b"%d" % number for number in range(5)})
    wait_for(lambda: files(sender.state / "UploadedToS3") == dropped, explain=sender.output)
    sqs, url = queue_of(sender)
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=3, VisibilityTimeout=60)["Messages"]
    lost = sorted(message["Body"] for message in messages)
    assert len(lost) == 3
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def ended(mode: int | None, *options: str) -> tuple[int, str]:
        program = launch(tmp_path, mode, *options, reconcileMinAge=0)
        return program.ended(40), program.output()

    def reconciled(*options: str) -> tuple[int, list[str], str]:
        code, output = ended(None, "--reconcile", *options)
        return code, sorted(re.findall(r" missing +(inbox/\S+)  1 B  0 min old", output)), output

    def waiting() -> str:
        names = ["ApproximateNumberOfMessages"]
        return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]])

    assert not sender.downloaded.exists()
    code, missing, output = reconciled()
    assert (code, missing) == (1, sorted(f"inbox/{name.decode()}" for name in dropped)), output
    assert not sender.downloaded.exists()
    assert ended(2, "--once")[0] == 0
    assert len(files(sender.downloaded)) == 2

    ledger = str(sender.state / LEDGER)
    code, missing, output = reconciled()
    assert (code, missing, waiting()) == (1, lost, "0"), output
    assert ": 2 delivered, 3 never delivered" in output
    assert (reconciled("--apply", "--ledger", ledger)[:2], waiting()) == ((0, lost), "3")

    assert ended(2, "--once")[0] == 0
    assert files(sender.downloaded) == dropped
    assert reconciled("--apply", "--ledger", ledger)[:2] == (0, [])
    assert waiting() == "0"
    assert sender.stopped() == 0


def test_a_consumer_forgets_what_was_moved_away_long_ago(tmp_path: Path, launch: Launch) -> None:
    """At its start, with ledgerDays; of what still lies in its place it keeps the row."""
    state = tmp_path / "state"
    drop(state / "Watch", {"moved": b"1", "kept": b"2"})
    program = launch(tmp_path, 3, ledgerDays=25).started()
    wait_for(lambda: len(files(program.downloaded)) == 2, explain=program.output)
    assert program.stopped() == 0
    (program.downloaded / "moved").unlink()
    with contextlib.closing(sqlite3.connect(state / LEDGER)) as ledger:
        ledger.execute("UPDATE drops SET noted = 1000")
        ledger.commit()
    again = launch(tmp_path, 2, "--once", ledgerDays=25)
    assert again.ended(40) == 0
    with contextlib.closing(sqlite3.connect(state / LEDGER)) as ledger:
        assert ledger.execute("SELECT name, state FROM drops").fetchall() == [("kept", "delivered")]
