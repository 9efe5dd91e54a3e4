"""What was never delivered, announced again over a real S3 and SQS."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import pytest

from app_properties import load
from aws_util import Aws
from pipeline.drop import DROP_ID, PATH, delivery_id
from pipeline.ledger import Ledger, Row
from pipeline.link import Link
from pipeline.ports import EXIT_CONFIG, EXIT_LOSS, EXIT_UNAVAILABLE, StartupError
from pipeline.process import Context, StopRequested
from pipeline.reconcile import ReconcileOptions
from pipeline.roles import reconcile
from tests.servers import MotoServer, make_bucket
from tests.unit.places import never_stopped

DRY = ReconcileOptions(apply=False, ledgers=(), accept_copies=False)
APPLY = ReconcileOptions(apply=True, ledgers=(), accept_copies=True)


def context_of(folder: Path, server: MotoServer, name: str, *keys: str) -> Context:
    """A bucket and the settings of a consumer, whose queue is made when it is first used."""
    make_bucket(server, name)
    file = folder / "Application.properties"
    file.write_text(
        "\n".join(
            [
                f"[General]\nfolderToStoreTempFiles={folder}\nfolderForDownloadedFiles=Down\nreconcileMinAge=0",
                *keys,
                f"[AWS]\naws_s3_bucket={name}\naws_s3_folder=in\naws_access_key_id=test\naws_secret_key=test",
                f"aws_region=us-east-1\naws_sqs={name}.fifo\naws_endpoint_url={server.endpoint}\n",
            ]
        )
    )
    return Context(load(file, None, folder), folder, None)


def run(context: Context, asked: ReconcileOptions) -> int:
    """The exit code, as the process has it."""
    try:
        reconcile.run(context, cast(Link, None), never_stopped(), asked)
    except SystemExit as end:
        return cast(int, end.code)
    return 0


def put(server: MotoServer, bucket: str, key: str, drop: str) -> str:
    s3 = server.client("s3")
    answer = s3.put_object(Bucket=bucket, Key=key, Body=b"1", Metadata={DROP_ID: drop, PATH: key.removeprefix("in/")})
    return str(answer.get("VersionId", ""))


def announced(aws: Aws) -> list[dict[str, str]]:
    """The attributes of all messages of the queue, which are deleted."""
    queue, found = aws.queue(), []
    while messages := queue.receive(10, 1):
        found += [dict(message.attributes) for message in messages]
        queue.delete([message.receipt for message in messages])
    return found


def test_a_fifo_queue_takes_it_whenever_it_had_it(tmp_path: Path, moto_server: MotoServer) -> None:
    """Such a queue drops what has the name of a message of the last five minutes: each run gives another."""
    context = context_of(tmp_path, moto_server, "reconcile-fifo")
    queue, sqs = Aws(context.settings).queue(), moto_server.client("sqs")
    put(moto_server, "reconcile-fifo", "in/a", "drop-a")
    assert run(context, DRY) == EXIT_LOSS
    assert queue.depth().visible == 0
    asked: Any = {"QueueUrl": queue.url, "MessageSystemAttributeNames": ["MessageDeduplicationId"]}
    names = set()
    for _ in range(2):
        assert run(context, APPLY) == 0
        [message] = sqs.receive_message(**asked)["Messages"]
        names.add(message["Attributes"]["MessageDeduplicationId"])
        sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])
    assert len(names) == 2
    assert all(name.startswith("drop-a-") for name in names)


def test_it_waits_for_the_queue_unless_copies_are_accepted(tmp_path: Path, moto_server: MotoServer) -> None:
    """What is in the queue may be what is missing: visible, or in somebody's hand."""
    context = context_of(tmp_path, moto_server, "reconcile-busy")
    aws = Aws(context.settings)
    put(moto_server, "reconcile-busy", "in/a", "drop-a")
    Ledger(tmp_path / "other", durable=False).close()
    careful = ReconcileOptions(apply=True, ledgers=(tmp_path / "other",), accept_copies=False)
    assert run(context, careful) == 0
    for seen in ("1 visible, 0 in flight", "0 visible, 1 in flight"):
        with pytest.raises(StartupError, match=f"the queue holds 1 messages .{seen}, 0 delayed") as caught:
            run(context, careful)
        assert caught.value.code == EXIT_UNAVAILABLE
        assert len(aws.queue().receive(1, 1)) == (seen[0] == "1")
    assert run(context, APPLY) == 0


def test_versions_that_were_overwritten_come_first(
    tmp_path: Path, moto_server: MotoServer, caplog: pytest.LogCaptureFixture
) -> None:
    """onNameConflict=overwrite: each version that no ledger knows, in their order, by its id."""
    caplog.set_level(logging.INFO)
    name = "reconcile-versions"
    context = context_of(tmp_path, moto_server, name, "onNameConflict=overwrite")
    enabled: Any = {"Status": "Enabled"}
    moto_server.client("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration=enabled)
    versions = [put(moto_server, name, "in/a", f"drop-{number}") for number in range(3)]
    ledger = Ledger(tmp_path / "other", durable=False)
    drop = delivery_id("drop-1", "in/a")
    ledger.begin([Row(drop, "temp", "a", "publishing")])
    ledger.deliver([drop])
    ledger.close()
    assert run(context, ReconcileOptions(apply=True, ledgers=(tmp_path / "other",), accept_copies=False)) == 0
    said = [(one["drop_id"], one["version_id"]) for one in announced(Aws(context.settings))]
    assert said == [("drop-0", versions[0]), ("drop-2", versions[2])]
    assert "looked at 3 objects: 1 delivered, 2 never delivered" in caplog.text


def test_an_end_before_the_end_is_no_good_end(
    tmp_path: Path, moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, it does not know whether anything is missing; without its bucket it cannot find out."""
    context = context_of(tmp_path, moto_server, "reconcile-stopped")

    def stopped(*_: object) -> bool:
        raise StopRequested

    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "_reconcile", stopped)
        assert run(context, DRY) == EXIT_LOSS
    moto_server.client("s3").delete_bucket(Bucket="reconcile-stopped")
    with pytest.raises(StartupError, match="LIST s3://reconcile-stopped") as caught:
        run(context, DRY)
    assert caught.value.code == EXIT_UNAVAILABLE


def test_nothing_is_made_where_it_only_looks(tmp_path: Path, moto_server: MotoServer) -> None:
    """Neither queue nor folder; a ledger that is not there is told of."""
    context = context_of(tmp_path, moto_server, "reconcile-dry")
    assert run(context, DRY) == 0
    assert Aws(context.settings).existing_queues() == []
    assert not (tmp_path / "Down").exists()
    with pytest.raises(StartupError, match=r"the ledger .*/nowhere cannot be read") as caught:
        run(context, ReconcileOptions(apply=False, ledgers=(tmp_path / "nowhere",), accept_copies=False))
    assert caught.value.code == EXIT_CONFIG
    assert not (tmp_path / "nowhere").exists()
