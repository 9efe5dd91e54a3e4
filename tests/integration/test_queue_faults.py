"""The whole program and a queue that is not there, or has nothing to say."""

from __future__ import annotations

import itertools
import os
import re
import time
from pathlib import Path
from typing import Any

from tests.conftest import Start
from tests.integration.program import Launch, drop, files, wait_for
from tests.integration.test_flow import folder, keys_of, left_in_queue
from tests.proxy import Fault, Script, proxy
from tests.servers import MotoServer, Server, make_bucket, ministack


def test_the_queue_is_down_at_the_start(tmp_path: Path, launch: Launch, moto_server: MotoServer, start: Start) -> None:
    """C16. Files are claimed and stored, and wait; once the queue is there they are announced and received."""
    make_bucket(moto_server, name := "queue-down")
    queues = start(ministack, services="sqs")
    queues.stop()
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_endpoint_url_sqs": queues.endpoint}
    keys |= {"aws_s3_bucket": name, "aws_sqs": name, **keys_of(moto_server)}
    receiver = launch(tmp_path / "there", 2, **keys)
    sender = launch(tmp_path / "here", 1, **keys).started()
    expected = drop(sender.watch, {f"d/{number}": b"%d" % number for number in range(5)} | {"big": b"x" * (9 << 20)})
    s3 = moto_server.client("s3")

    def stored() -> set[str]:
        found = s3.list_objects_v2(Bucket=name, Prefix="inbox/").get("Contents", [])
        return {item["Key"].removeprefix("inbox/") for item in found} - {".relay/probe"}

    wait_for(lambda: stored() == {path.decode() for path in expected}, explain=sender.output)
    assert folder(sender, "QueuedForUpload") == expected
    told = re.compile(rf"it begins without the queue.*{re.escape(queues.endpoint)}")
    wait_for(lambda: all(told.search(program.output()) for program in (sender, receiver)), explain=receiver.output)
    queues.start()
    wait_for(lambda: files(receiver.downloaded) == expected, 60, explain=lambda: sender.output() + receiver.output())
    assert folder(sender, "UploadedToS3") == expected
    assert (sender.stopped(), receiver.stopped()) == (0, 0)
    assert left_in_queue(queues, name) == (0, 0)


def test_once_needs_the_queue(tmp_path: Path, launch: Launch, moto_server: MotoServer, start: Start) -> None:
    """C16. A run that is to end says at once, with 69, that it could not do what is there."""
    make_bucket(moto_server, name := "queue-down-once")
    queues = start(ministack, services="sqs")
    queues.stop()
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_endpoint_url_sqs": queues.endpoint}
    program = launch(tmp_path, 1, "--once", aws_s3_bucket=name, **keys, **keys_of(moto_server))
    assert program.ended(30) == 69
    assert "check that the endpoint is up" in program.output()


def test_a_stop_cuts_a_long_poll(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """A8, C11. With nothing in hand a stop takes no longer than processes do to end, though a poll waits 20 seconds."""
    make_bucket(moto_server, name := "long-poll")
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_s3_bucket": name, "aws_sqs": name}
    with proxy(moto_server.port) as network:
        keys |= {"aws_endpoint_url_sqs": network.endpoint, "shutdownSeconds": 20, **keys_of(moto_server)}
        program = launch(tmp_path, 2, pollProcesses=1, **keys)

        def polls() -> bool:
            return any(b'"WaitTimeSeconds": 20' in request.body for request in network.seen)

        wait_for(polls, explain=program.output)
        begun = time.monotonic()
        assert program.stopped() == 0
        assert time.monotonic() - begun < 10


def test_a_stop_gives_back_what_is_in_hand(tmp_path: Path, launch: Launch, ministack_server: Server) -> None:
    """A8, C10. A download that cannot end in time: its message is another's at once, not after ten minutes."""
    make_bucket(ministack_server, name := "given-back")
    keys: dict[str, Any] = {"aws_endpoint_url": ministack_server.endpoint, "aws_s3_bucket": name, "aws_sqs": name}
    keys |= keys_of(ministack_server)
    expected = drop(tmp_path / "here" / "state" / "Watch", {"big": os.urandom(1 << 20)})
    assert launch(tmp_path / "here", 1, "--once", **keys).ended(30) == 0
    with proxy(ministack_server.port) as line:
        line.fault = Script(("GET", "/big", itertools.repeat(Fault(rate=1000.0))))
        # Without a free place no poll is under way, to which the server, not knowing that it was cut, would give it.
        keys |= {"visibilitySeconds": 600, "shutdownSeconds": 1, "pollProcesses": 1, "downloadConcurrency": 1}
        stopped = launch(tmp_path / "there", 2, aws_endpoint_url_s3=line.endpoint, **keys)
        wait_for(lambda: any("/big" in request.path for request in line.seen), explain=stopped.output)
        assert left_in_queue(ministack_server, name) == (0, 1)
        assert stopped.stopped() == 0
        assert left_in_queue(ministack_server, name) == (1, 0)
    again = launch(tmp_path / "there", 2, "--once", **keys)
    assert again.ended(30) == 0
    assert files(again.downloaded) == expected
