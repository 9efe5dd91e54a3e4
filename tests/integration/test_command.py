"""The command for each file, run by the program: odd names, failures, dead letters, and a kill while it runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import boto3

from pipeline.landing import LEDGER
from pipeline.ledger import Ledger
from tests.integration.program import Launch, Program, files, wait_for
from tests.servers import REGION

SCRIPT = """
import os, signal, sys, time
from pathlib import Path

notes, path = Path(sys.argv[1]), os.fsencode(sys.argv[-1])
assert sys.argv[2:-1] == ["two words"] and len(sys.argv) == 4
number = len(list(notes.glob("*-begun")))
run = notes / f"{number:03}-{os.getpid()}"
new = notes / f"new-{os.getpid()}"
new.write_bytes(os.environb[b"RELAY_PATH"] + b"\\0" + path + b"\\0" + Path(sys.argv[-1]).read_bytes())
new.rename(f"{run}-begun")
name = os.fsdecode(os.path.basename(path))
if name == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (notes / "deaf").touch()
    time.sleep(60)
if name == "slow":
    while not (notes / "go").exists():
        time.sleep(0.02)
tries = sum(item.read_bytes().startswith(os.environb[b"RELAY_PATH"] + b"\\0") for item in notes.glob("*-begun"))
if name != "slow":  # nobody may be there to hear it
    print("try", tries, file=sys.stderr)
if name == "hopeless" or name == "flaky" and tries < 3:
    sys.exit(5)
(notes / f"{run.name}-ended").touch()
"""


class Notes:
    """What the runs of the command left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "notes"
        self.folder.mkdir()
        (folder / "script.py").write_text(SCRIPT)
        words = (sys.executable, str(folder / "script.py"), str(self.folder), "two words")
        self.command = shlex.join(words)

    def runs(self, name: bytes = b"") -> list[tuple[bytes, ...]]:
        """Relative path, path and content of each that began, of one file or all; in their order."""
        found = [tuple(item.read_bytes().split(b"\0")) for item in sorted(self.folder.glob("*-begun"))]
        return [run for run in found if name in (b"", run[0])]

    def pids(self, what: str) -> list[int]:
        return [int(item.name.split("-")[1]) for item in sorted(self.folder.glob(f"*-{what}"))]


def drop(program: Program, *names: bytes) -> dict[bytes, bytes]:
    for name in names:
        (program.watch / os.fsdecode(name)).write_bytes(b"of " + name)
    return {name: b"of " + name for name in names}


def dead_letters(program: Program) -> list[tuple[str, str]]:
    """Body and reason of each, as the embedded SQS has them."""
    [url] = set(re.findall(r"Embedded S3 and SQS: (\S+?),", program.output()))
    sqs: Any = boto3.client(
        "sqs", endpoint_url=url, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    queue = sqs.get_queue_url(QueueName="relay-dlq")["QueueUrl"]
    asked = {"QueueUrl": queue, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["reason"], "VisibilityTimeout": 0}
    messages = sqs.receive_message(**asked).get("Messages", [])
    return [(message["Body"], message["MessageAttributes"]["reason"]["StringValue"]) for message in messages]


def test_a_command_for_each_file(tmp_path: Path, launch: Launch) -> None:
    """Every name as it is; a failure is tried again, and what always fails is kept with its reason."""
    notes = Notes(tmp_path)
    program = launch(
        tmp_path, 3, commandAfterDownload=notes.command, commandTries=3, pollProcesses=1, uploadProcesses=1
    ).started()
    expected = drop(program, b"a b", b"line\nline", b"caf\xe9", b"$HOME;'", b"-rf", b"flaky", b"hopeless")
    wait_for(lambda: len(notes.runs()) == 5 + 3 + 3, 60, program.output)
    wait_for(lambda: dead_letters(program), explain=program.output)
    top = os.fsencode(program.downloaded)
    for name, content in expected.items():
        times = 3 if name in (b"flaky", b"hopeless") else 1
        assert notes.runs(name) == [(name, top + b"/" + name, content)] * times
    ((body, reason),) = dead_letters(program)
    assert body == "inbox/hopeless"
    assert "failed, try 3 of 3: exit code 5: try 3" in reason
    assert program.stopped() == 0
    assert files(program.downloaded) == expected
    assert "try 1" in program.log()
    assert all(line.isprintable() for line in program.log().split("\n"))
    assert "Traceback" not in program.log()


def test_a_command_outlives_the_program(tmp_path: Path, launch: Launch) -> None:
    """After kill -9 it runs on; the next start waits for its end and runs it again, for the one file there is."""
    notes = Notes(tmp_path)
    keys: dict[str, Any] = {"commandAfterDownload": notes.command, "uploadProcesses": 1}
    program = launch(tmp_path, 3, **keys).started()
    expected = drop(program, b"slow")
    wait_for(notes.runs, explain=program.output)
    [first] = notes.pids("begun")
    program.crash()
    wait_for(lambda: program.pids() == {first}, 5, program.describe_processes)

    follower = launch(tmp_path, 3, **keys).started()
    wait_for(lambda: "runs already" in follower.log(), 40, follower.output)
    assert notes.pids("begun") == [first]
    (notes.folder / "go").touch()
    wait_for(lambda: len(notes.pids("ended")) == 2, 60, follower.output)
    assert len(notes.runs(b"slow")) == 2
    assert files(follower.downloaded) == expected
    assert follower.stopped(signal.SIGTERM) == 0
    assert list((follower.downloaded / ".relay" / "commands").iterdir()) == []
    assert "Traceback" not in follower.log()


def test_a_command_that_is_no_longer_wanted(tmp_path: Path, launch: Launch) -> None:
    """Once the key is empty nothing is due: the drop counts as delivered, and the log says of how many that is so."""
    notes = Notes(tmp_path)
    program = launch(tmp_path, 3, commandAfterDownload=notes.command, uploadProcesses=1).started()
    expected = drop(program, b"hopeless")
    wait_for(lambda: "failed, try 1" in program.log(), explain=program.output)
    assert program.stopped() == 0
    follower = launch(tmp_path, 3, uploadProcesses=1).started()
    wait_for(lambda: "commandAfterDownload is empty now: 1 files" in follower.log(), explain=follower.output)
    assert follower.stopped() == 0
    ledger = Ledger(follower.downloaded / LEDGER)
    assert ledger.waive_commands() == 0
    ledger.close()
    assert files(follower.downloaded) == expected


def test_a_stop_ends_a_command_that_does_not(tmp_path: Path, launch: Launch) -> None:
    """Within the time that the program has for it, and before its parent kills the process that waits."""
    notes = Notes(tmp_path)
    program = launch(
        tmp_path, 3, commandAfterDownload=notes.command, uploadProcesses=1, pollProcesses=1, shutdownSeconds=1
    ).started()
    expected = drop(program, b"stubborn")
    wait_for((notes.folder / "deaf").exists, explain=program.output)
    assert program.stopped() == 0
    assert "is killed" not in program.output()
    assert "Traceback" not in program.log()
    assert files(program.downloaded) == expected
    assert list((program.downloaded / ".relay" / "commands").iterdir()) == []
