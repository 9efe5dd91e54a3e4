"""In which order files go, how many at once, and what one name is under each onNameConflict."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.integration.program import Launch, Program, drop, files, wait_for
from tests.integration.test_flow import arrived, folder, keys_of
from tests.servers import MotoServer, make_bucket, moto


def until_taken(program: Program, name: str) -> None:
    wait_for(lambda: not (program.watch / name).exists(), explain=program.output)


def drop_again_and_again(program: Program, name: str, bodies: list[bytes]) -> None:
    """Each as soon as the one before has left Watch; whole from its first instant there."""
    for body in bodies:
        staged = program.state / "staged"
        staged.write_bytes(body)
        staged.rename(program.watch / name)
        until_taken(program, name)


def test_one_name_again_and_again(tmp_path: Path, launch: Launch) -> None:
    """D11. While the first ones are queued, uploaded, sent: every content arrives, numbered and sent in its order."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=0.2).started()
    bodies = [b"%d" % number for number in range(1, 121)]
    drop_again_and_again(program, "r.csv", bodies)
    names = ["r.csv", *(f"r-Version-{number}.csv" for number in range(2, 121))]
    arrived(program, {os.fsencode(name): body for name, body in zip(names, bodies, strict=True)})
    sent = re.findall(r" sent +inbox/(\S+) ", program.output())
    assert sent == names
    assert program.stopped() == 0


def test_no_more_than_may_be_queued(tmp_path: Path, launch: Launch) -> None:
    """The rest waits in Watch, the newest last, and flows as soon as there is room."""
    program = launch(tmp_path, 3, maxQueuedFiles=5, sleepWatchLocalFolder=0.2).started()
    wait_for(lambda: {"uploader-1", "uploader-2"} <= program.roles().keys(), explain=program.output)
    uploaders = [pid for role, pid in program.roles().items() if role.startswith("uploader")]
    for pid in uploaders:
        os.kill(pid, signal.SIGSTOP)
    expected: dict[bytes, bytes] = {}
    for number in range(20):
        expected |= drop(program.watch, {f"{'ba'[number % 2]}{number}": b"%d" % number})
    wait_for(lambda: len(folder(program, "QueuedForUpload")) == 5, explain=program.output)
    assert sorted(folder(program, "QueuedForUpload")) == sorted([b"b0", b"a1", b"b2", b"a3", b"b4"])
    (program.state / "QueuedForUpload/b0").rename(program.state / "out")
    wait_for(lambda: b"a5" in folder(program, "QueuedForUpload"), explain=program.output)
    assert (len(folder(program, "QueuedForUpload")), len(folder(program, "Watch"))) == (5, 14)
    del expected[b"b0"]
    for pid in uploaders:
        os.kill(pid, signal.SIGCONT)
    arrived(program, expected)
    assert program.stopped() == 0


@pytest.fixture
def versioned(start: Start) -> MotoServer:
    server = start(moto)
    make_bucket(server, "versioned")
    server.client("s3").put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    return server


def test_overwrite(tmp_path: Path, launch: Launch, versioned: MotoServer) -> None:
    """One key, whose versions all arrive, each once; on this side the archive keeps all of them."""
    keys: dict[str, Any] = {"aws_endpoint_url": versioned.endpoint, "aws_s3_bucket": "versioned", **keys_of(versioned)}
    program = launch(tmp_path, 3, onNameConflict="overwrite", sleepWatchLocalFolder=0.2, **keys).started()
    bodies = [b"%d" % number for number in range(12)]
    drop_again_and_again(program, "r.csv", bodies)
    wait_for(lambda: len(files(program.downloaded)) == len(bodies), explain=program.output)
    assert sorted(files(program.downloaded).values()) == sorted(bodies)
    assert b"r.csv" in files(program.downloaded)
    names = ["r.csv", *(f"r-Version-{number}.csv" for number in range(2, 13))]
    archived = {os.fsencode(name): body for name, body in zip(names, bodies, strict=True)}
    wait_for(lambda: folder(program, "UploadedToS3") == archived, explain=program.output)
    assert program.stopped() == 0
    found = versioned.client("s3").list_object_versions(Bucket="versioned", Prefix="inbox/r")["Versions"]
    assert [entry["Key"] for entry in found] == ["inbox/r.csv"] * len(bodies)


def test_overwrite_needs_versions(tmp_path: Path, launch: Launch, versioned: MotoServer) -> None:
    """Else what is replaced would be gone: refused at the start, for whoever sends; who receives needs none."""
    make_bucket(versioned, "plain")
    keys: dict[str, Any] = {"aws_endpoint_url": versioned.endpoint, "aws_s3_bucket": "plain", **keys_of(versioned)}
    refused = launch(tmp_path / "1", 1, "--once", onNameConflict="overwrite", **keys)
    assert refused.ended(40) == 78
    assert "[General] onNameConflict: overwrite needs a bucket that keeps versions" in refused.output()
    assert "put-bucket-versioning --bucket plain" in refused.output()
    assert launch(tmp_path / "2", 2, "--once", onNameConflict="overwrite", **keys).ended(40) == 0
    embedded = launch(tmp_path / "3", 1, "--once", onNameConflict="overwrite")
    assert embedded.ended(40) == 78
    assert "the embedded one forgets them" in embedded.output()


def test_fail(tmp_path: Path, launch: Launch) -> None:
    """The second of a name goes to Failed, though the first one was sent long ago."""
    program = launch(tmp_path, 3, onNameConflict="fail", sleepWatchLocalFolder=0.2).started()
    drop_again_and_again(program, "r.csv", [b"first", b"second"])
    wait_for(lambda: folder(program, "Failed") == {b"r.csv": b"second"}, explain=program.output)
    assert folder(program, "UploadedToS3") == {b"r.csv": b"first"}
    assert "onNameConflict" in (program.state / "Failed/.reason/r.csv.json").read_text()
    assert program.stopped() == 0
