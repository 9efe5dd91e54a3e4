"""Transfers that stand still, processes that do, and files that end them; section A of docs/faults.md."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.program import Launch, Program, drop, files, wait_for
from tests.integration.test_flow import keys_of, left_in_queue
from tests.integration.test_processes import arrived, drained
from tests.proxy import Dam, Fault, Script, proxy
from tests.servers import MotoServer, make_bucket

pytestmark = pytest.mark.timeout(300)  # where other processes have the machine

MIB = 1 << 20
SILENT_SECONDS = 100.0
"""Some thirty are what the crt engine waits for an answer."""


def keys_for(server: MotoServer, name: str, s3: str) -> dict[str, Any]:
    """What the properties of a program say that has a bucket and a queue of its own, and S3 behind a proxy."""
    make_bucket(server, name)
    keys: dict[str, Any] = {"aws_s3_bucket": name, "aws_sqs": name, "uploadProcesses": 1, "pollProcesses": 1}
    keys |= {"aws_endpoint_url": server.endpoint, "aws_endpoint_url_s3": s3, "sleepWatchLocalFolder": 0.2}
    return keys | keys_of(server)


@pytest.mark.parametrize("engine", ["crt", "classic"])
def test_a_stop_in_the_middle_of_parts(
    tmp_path: Path, launch: Launch, moto_server: MotoServer, dam: Dam, engine: str
) -> None:
    """A8. An upload in parts that cannot end in time is aborted, the file stays queued, and the next start sends it.

    The classic engine cannot cut a request: the next start goes on from the parts there are.
    """
    name = f"parts-{engine}"
    keys = keys_for(moto_server, name, dam.endpoint) | {"aws_transfer_client": engine}
    program = launch(tmp_path, 1, shutdownSeconds=1, **keys).started()
    dam.shut("partNumber=2")
    expected = drop(program.watch, {"big": os.urandom(20 * MIB)})
    wait_for(lambda: dam.held, explain=program.output)
    s3 = moto_server.client("s3")
    assert len(s3.list_multipart_uploads(Bucket=name)["Uploads"]) == 1
    assert program.stopped() == 0
    if engine == "crt":
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=name)
    assert files(program.state / "QueuedForUpload") == expected
    dam.open()
    again = launch(tmp_path, 1, "--once", **keys)
    assert again.ended(40) == 0
    assert files(again.state / "UploadedToS3") == expected
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=name)
    assert list((program.state / ".relay" / "multipart").glob("*.json")) == []
    assert s3.get_object(Bucket=name, Key="inbox/big")["Body"].read() == expected[b"big"]
    assert "Traceback" not in again.log()


def test_a_server_that_accepts_and_never_answers(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """A10. One request of each kind is never answered: it is given up and made again, and others flow meanwhile."""
    silent = ("PUT", "/silent/inbox/up"), ("GET", "/silent/inbox/down")
    with proxy(moto_server.port) as network:
        network.fault = Script(*((*line, [Fault(cut_request=0, end="stall")]) for line in silent))
        keys = keys_for(moto_server, "silent", network.endpoint) | {"aws_transfer_client": "crt"}
        program = launch(tmp_path, 3, **keys).started()
        expected = drop(program.watch, {"up": b"1", "down": b"2"})
        wait_for(lambda: {*silent} <= {(seen.method, seen.path) for seen in network.seen}, explain=program.output)
        others = drop(program.watch, {f"{number}": b"%d" % number for number in range(20)})
        arrived(program, others)
        arrived(program, expected | others, SILENT_SECONDS)
        drained(program, expected | others)
        assert program.stopped() == 0
        assert "Traceback" not in program.log()


def test_a_file_that_ends_its_process(tmp_path: Path, launch: Launch, moto_server: MotoServer, dam: Dam) -> None:
    """A11. It ended three processes alone in hand: it goes to Failed with the reason, and the others flow."""
    program = launch(tmp_path, 1, **keys_for(moto_server, "poison", dam.endpoint)).started()
    dam.shut("/inbox/bad")
    others = drop(program.watch, {f"{number}": b"%d" % number for number in range(20)})
    bad = drop(program.watch, {"bad": b"bad"})
    failed, killed = program.state / "Failed", set[int]()
    while not files(failed):
        wait_for(lambda: dam.holds("/inbox/bad") or files(failed), 60, program.output)
        dam.held.clear()
        killed |= end_uploader(program, killed)
        assert len(killed) <= 5  # the first had others in hand as well
    assert len(killed) >= 3
    assert files(failed) == bad
    reason = json.loads((failed / ".reason" / "bad.json").read_text())
    assert "three processes" in reason["reason"]
    others |= drop(program.watch, {"after": b"1"})
    wait_for(lambda: files(program.state / "UploadedToS3") == others, 60, program.output)
    assert files(program.state / "QueuedForUpload") == {}
    dam.open()
    assert program.stopped() == 0


def end_uploader(program: Program, killed: set[int]) -> set[int]:
    """Kill the uploader, as what a file does to it would; whom."""
    pid = program.roles().get("uploader")
    if pid is None or pid in killed:
        return set()
    os.kill(pid, signal.SIGKILL)
    return {pid}


def test_a_poller_stands_still_for_longer_than_its_message_is_hidden(
    tmp_path: Path, launch: Launch, moto_server: MotoServer, dam: Dam
) -> None:
    """A13. Another delivers what it had in hand; when it goes on, it makes no second file and deletes nothing wrong."""
    keys = keys_for(moto_server, "standstill", dam.endpoint)
    expected = drop(tmp_path / "state" / "Watch", {"a": b"1" * MIB, "b": b"2" * MIB})
    assert launch(tmp_path, 1, "--once", **keys).ended(40) == 0
    dam.shut("GET /standstill/inbox/")
    keys |= {"pollProcesses": 2, "downloadConcurrency": 1, "visibilitySeconds": 10}
    program = launch(tmp_path, 2, **keys)
    wait_for(lambda: len(dam.held) == 2, explain=program.output)  # one each
    victim = program.roles()["poller-1"]
    os.kill(victim, signal.SIGSTOP)
    dam.open()
    try:
        arrived(program, expected)
        for path in program.downloaded.glob("?"):  # what lies there would be recognised by its content
            path.rename(tmp_path / path.name)
    finally:
        os.kill(victim, signal.SIGCONT)
    others = drop(tmp_path / "other" / "state" / "Watch", {f"{number}": b"%d" % number for number in range(10)})
    assert launch(tmp_path / "other", 1, "--once", **keys).ended(40) == 0
    arrived(program, others)
    wait_for(lambda: left_in_queue(moto_server, "standstill") == (0, 0), explain=program.output)
    assert program.roles()["poller-1"] == victim
    assert program.stopped() == 0
    assert files(program.downloaded) == others
    assert list((program.downloaded / ".relay" / "incoming").iterdir()) == []
