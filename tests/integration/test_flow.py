"""Files through the whole program: what is dropped arrives, whole, once, under its name, on every endpoint."""

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.integration.program import Launch, Program, drop, files, wait_for
from tests.servers import REGION, MotoServer, Server, make_bucket, ministack, moto
from tests.unit.places import another_file_system

MIB = 1 << 20


def folder(program: Program, name: str) -> dict[bytes, bytes]:
    return files(program.state / name)


def arrived(program: Program, expected: dict[bytes, bytes], seconds: float = 40.0) -> None:
    """Wait until exactly `expected` lies in DownloadedFromS3 and in UploadedToS3, and nothing before it."""
    wait_for(lambda: files(program.downloaded).keys() >= expected.keys(), seconds, program.output)
    assert files(program.downloaded) == expected
    wait_for(lambda: not folder(program, "QueuedForUpload"), explain=program.output)
    assert folder(program, "UploadedToS3") == expected
    assert folder(program, "Watch") == {}
    assert folder(program, "Failed") == {}


def at_rest(program: Program) -> None:
    """Nothing temporary is left."""
    assert list((program.downloaded / ".relay" / "incoming").iterdir()) == []
    assert [path for path in (program.state / ".relay").rglob("multipart/*") if path.is_file()] == []


def keys_of(server: Server) -> dict[str, Any]:
    return {"aws_access_key_id": server.credentials[0], "aws_secret_key": server.credentials[1]}


def left_in_queue(server: Server, name: str, region: str = REGION) -> tuple[int, int]:
    sqs = server.client("sqs", region_name=region)
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def test_relay_on_embedded(tmp_path: Path, launch: Launch) -> None:
    """D15. Whatever is dropped while it runs arrives with equal bytes and times; Ctrl-C ends it and leaves nothing."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=1).started()
    small = {f"many/{number % 7}/f{number:03}.csv": b"%d" % number * number for number in range(200)}
    odd = {
        "a b/c  d.txt": b"spaces",
        "grün/日本/🎈.txt": "ünï".encode(),
        "empty": b"",
        "back\\slash": b"1",
        "100%25.txt": b"%",
        "+&?#;='\"<>.txt": b"marks",
        "big.bin": os.urandom(MIB) * 40,
    }
    expected = drop(program.watch, small | odd)
    old = program.watch / "old.txt"
    staged = tmp_path / "state" / "old.txt"
    staged.write_bytes(b"old")
    os.utime(staged, ns=(10**18 + 123456789, 10**18 + 123456789))
    staged.rename(old)  # as a mover does
    expected[b"old.txt"] = b"old"
    arrived(program, expected)
    for name in ("UploadedToS3", "DownloadedFromS3"):
        assert (program.state / name / "old.txt").stat().st_mtime_ns == 10**18 + 123456789
    for path in expected:
        times = [(program.state / name / os.fsdecode(path)).stat() for name in ("UploadedToS3", "DownloadedFromS3")]
        assert times[0].st_mtime_ns == times[1].st_mtime_ns

    program.send(signal.SIGINT, group=True)
    assert program.ended() == 0
    at_rest(program)
    console = program.output().splitlines()
    sent = [line for line in console if " sent  " in line]
    received = [line for line in console if " received  " in line]
    assert (len(sent), len(received)) == (len(expected), len(expected))
    # Beside these only the start, the workers and the end speak: nothing is said of a poll or a scan.
    assert len(console) - len(sent) - len(received) < 25, console
    assert all(line.partition(" I ")[2] in program.log() for line in (*sent, *received))

    again = launch(tmp_path, 3).started()
    expected |= drop(again.watch, {"next": b"day"})
    arrived(again, expected)
    assert again.stopped() == 0
    assert "WARNING" not in program.log()
    assert "ERROR" not in program.log()


def test_once(tmp_path: Path, launch: Launch) -> None:
    """--once does what is there and ends with 0: sending alone, then receiving alone, then both."""
    expected = drop(tmp_path / "state" / "Watch", {"a/1": b"1", "2": b"2"})
    first = launch(tmp_path, 1, "--once")
    assert first.ended(30) == 0
    assert folder(first, "UploadedToS3") == expected
    assert not first.downloaded.exists()
    assert launch(tmp_path, 2, "--once").ended(30) == 0
    assert files(first.downloaded) == expected
    expected |= drop(tmp_path / "state" / "Watch", {"a/3": b"3"})
    assert launch(tmp_path, 3, "--once").ended(40) == 0
    assert files(first.downloaded) == expected
    at_rest(first)


def test_names_and_unfinished_files(tmp_path: Path, launch: Launch) -> None:
    """Versions, odd bytes, open files and ignored names, in one run."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=0.3).started()

    # The same name again goes on as Version-2, on both sides.
    expected = drop(program.watch, {"report.csv": b"one"})
    arrived(program, expected)
    drop(program.watch, {"report.csv": b"two"})
    expected[b"report-Version-2.csv"] = b"two"
    arrived(program, expected)

    # A file that is being written is left until it is closed, however long it rests.
    with (program.watch / "slow.txt").open("wb") as slow:
        slow.write(b"half")
        slow.flush()
        expected |= drop(program.watch, {"after-slow": b"1"})
        arrived_but(program, expected, {b"slow.txt": b"half"})
        slow.write(b" and half")
    expected[b"slow.txt"] = b"half and half"
    arrived(program, expected)

    # Hidden and half-copied names are left alone until they are renamed, and links are never followed.
    ignored = drop(program.watch, {".hidden": b"1", "x.part": b"2", ".git/config": b"3", "y.tmp": b"4"})
    (program.watch / "link").symlink_to("/etc/passwd")
    expected |= drop(program.watch, {"after-ignored": b"1"})
    link = {b"link": Path("/etc/passwd").read_bytes()}
    arrived_but(program, expected, ignored | link)
    (program.watch / "link").unlink()
    for name in (".hidden", ".git/config", "y.tmp"):
        (program.watch / name).unlink()
    (program.watch / "x.part").rename(program.watch / "x")
    expected[b"x"] = b"2"
    arrived(program, expected)

    # Names are bytes: they arrive as they were; the log shows them escaped, on one line.
    odd = {b"not-utf8-\xff\xfe.txt": b"1", b"new\nline": b"2", b"esc\x1b[31m": b"3", b"d\xe9/\xe9": b"4"}
    expected |= drop(program.watch, {os.fsdecode(path): content for path, content in odd.items()})
    arrived(program, expected)
    for text in (program.output(), program.log()):
        assert "\x1b" not in text
        assert "new\\nline" in text
        assert "esc\\x1b[31m" in text
        assert not [line for line in text.splitlines() if not line[:2].isdigit()]
    assert program.stopped() == 0


def arrived_but(program: Program, expected: dict[bytes, bytes], waiting: dict[bytes, bytes]) -> None:
    """As `arrived`, with `waiting` still untouched in Watch."""
    wait_for(lambda: files(program.downloaded).keys() >= expected.keys(), explain=program.output)
    # What is dropped now is found by a later look at the folder, which has passed over the others once more.
    expected |= drop(program.watch, {f"look-{len(expected)}": b""})
    wait_for(lambda: files(program.downloaded).keys() >= expected.keys(), explain=program.output)
    assert folder(program, "Watch") == waiting
    assert files(program.downloaded) == expected


@pytest.mark.parametrize(("form", "engine"), [("key", "crt"), ("s3-event", "classic")])
def test_two_programs_on_moto(tmp_path: Path, launch: Launch, moto_server: MotoServer, form: str, engine: str) -> None:
    """One program sends, another with folders of its own and two pollers receives; the queue is empty at the end."""
    name = f"two-{form}"
    make_bucket(moto_server, name)
    keys: dict[str, Any] = {
        "aws_endpoint_url": moto_server.endpoint,
        "aws_s3_bucket": name,
        "aws_sqs": name,
        **keys_of(moto_server),
    }
    keys |= {"aws_sqs_message_format": form, "aws_transfer_client": engine}
    sender = launch(tmp_path / "here", 1, **keys)
    receiver = launch(tmp_path / "there", 2, pollProcesses=2, **keys).started()
    sender.started()
    expected = drop(sender.watch, {f"{number}/f {number}.txt": b"%d" % number for number in range(40)})
    wait_for(lambda: len(files(receiver.downloaded)) >= len(expected), explain=receiver.output)
    assert files(receiver.downloaded) == expected
    assert folder(sender, "UploadedToS3") == expected
    wait_for(lambda: left_in_queue(moto_server, name) == (0, 0))
    assert {"poller-1", "poller-2"} <= receiver.roles().keys()
    assert not (tmp_path / "there" / "state" / "Watch").exists()
    assert (sender.stopped(), receiver.stopped()) == (0, 0)
    lines = [line for line in receiver.output().splitlines() if " received  " in line]
    assert len(lines) == len(expected)
    at_rest(receiver)


def test_the_message_is_the_key(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """With format key the body is the object's key; with s3-event an S3 event notification."""
    bodies = []
    for form in ("key", "s3-event"):
        name = f"body-{form}"
        make_bucket(moto_server, name)
        keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_s3_bucket": name, "aws_sqs": name}
        drop(tmp_path / form / "state" / "Watch", {"a b/ü.txt": b"1"})
        program = launch(tmp_path / form, 1, "--once", aws_sqs_message_format=form, **keys, **keys_of(moto_server))
        assert program.ended(30) == 0
        sqs = moto_server.client("sqs")
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        bodies += [message["Body"] for message in sqs.receive_message(QueueUrl=url)["Messages"]]
    assert bodies[0] == "inbox/a b/ü.txt"
    record = json.loads(bodies[1])["Records"][0]
    assert (record["eventSource"], record["s3"]["bucket"]["name"]) == ("aws:s3", "body-s3-event")


@pytest.mark.parametrize("form", ["key", "s3-event"])
def test_keys_by_a_template(tmp_path: Path, launch: Launch, moto_server: MotoServer, form: str) -> None:
    """Keys are as the template says, and files arrive under their own paths, however odd or long, with their times."""
    name = f"template-{form}"
    make_bucket(moto_server, name)
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_s3_bucket": name, "aws_sqs": name}
    keys |= {"aws_sqs_message_format": form, "aws_s3_key_template": "{yyyy}/{mm}/{stem}-{drop_id}{suffix}"}
    odd = ("r.csv", "a/r.csv", "b/r.csv", "a b/+%2f?&.tar.gz", "ü/日本/🎈", "back\\slash/\x1b\t.x", "\udcff/\udcfe.bin")
    long = "/".join(["é" * 125] * 4)
    watch = tmp_path / "state" / "Watch"
    expected = drop(watch, {path: path.encode("utf-8", "surrogateescape") for path in (*odd, long)})
    march = 1_772_859_599_123_456_789
    for path in expected:
        os.utime(os.path.join(os.fsencode(watch), path), ns=(march, march))
    program = launch(tmp_path, 3, "--once", **keys, **keys_of(moto_server))
    assert program.ended(60) == 0
    arrived(program, expected)
    assert all(os.stat(os.path.join(os.fsencode(program.downloaded), path)).st_mtime_ns == march for path in expected)

    s3 = moto_server.client("s3")
    found = [item["Key"] for item in s3.list_objects_v2(Bucket=name, Prefix="inbox/2026/03/")["Contents"]]
    ids = {key: s3.head_object(Bucket=name, Key=key)["Metadata"]["drop-id"] for key in found}
    stems = sorted(key.replace(drop_id, "ID").removeprefix("inbox/2026/03/") for key, drop_id in ids.items())
    plain = (
        "r-ID.csv",
        "r-ID.csv",
        "r-ID.csv",
        "+%2f?&.tar-ID.gz",
        "🎈-ID",
        "\x1b\t-ID.x",
        "%FE-ID.bin",
        "é" * 125 + "-ID",
    )
    assert stems == sorted(plain)
    assert len(set(ids.values())) == len(expected)
    assert left_in_queue(moto_server, name) == (0, 0)
    at_rest(program)


@pytest.mark.parametrize("engine", ["crt", "classic"])
def test_s3_and_sqs_apart(
    tmp_path: Path, launch: Launch, seaweed_server: Server, ministack_server: Server, engine: str
) -> None:
    """Store and queue may be two servers: SeaweedFS holds the objects, ministack the messages."""
    name = f"apart-{engine}"
    make_bucket(seaweed_server, name)
    keys: dict[str, Any] = {
        "aws_endpoint_url": "",
        "aws_s3_bucket": name,
        "aws_sqs": name,
        "aws_transfer_client": engine,
        **keys_of(seaweed_server),
    }
    keys |= {"aws_endpoint_url_s3": seaweed_server.endpoint, "aws_endpoint_url_sqs": ministack_server.endpoint}
    sender = launch(tmp_path / "here", 1, **keys)
    receiver = launch(tmp_path / "there", 2, **keys).started()
    sender.started()
    expected = drop(sender.watch, {"grün/a b.txt": b"1", "big": os.urandom(MIB) * 20, "empty": b""})
    wait_for(lambda: len(files(receiver.downloaded)) >= len(expected), explain=receiver.output)
    assert files(receiver.downloaded) == expected
    assert (sender.stopped(), receiver.stopped()) == (0, 0)
    wait_for(lambda: left_in_queue(ministack_server, name) == (0, 0))


OLDER_FILE = Path(__file__).resolve().parents[1] / "older.properties"


@pytest.mark.parametrize("make", [moto, ministack])
def test_a_file_with_the_older_keys_alone(tmp_path: Path, start: Start, make: Any) -> None:
    """A properties file that knows no newer key runs unchanged; AWS_* variables give endpoint and credentials."""
    server = start(make)
    make_bucket(server, "icd-users")
    config = tmp_path / "Application.properties"
    older, place = OLDER_FILE.read_text(), "folderToStoreTempFiles=TEMP/Atanu\n"
    assert place in older
    config.write_text(older.replace(place, f"folderToStoreTempFiles={tmp_path}/state\n"))
    env = {"AWS_ENDPOINT_URL": server.endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "s3cr3t-value"}
    program = Program(config, 3, env=env)
    try:
        wait_for(lambda: "poller" in program.output(), explain=program.output)
        expected = drop(program.watch, {"r.csv": b"1,2\n", "sub/r.csv": b"3"})
        arrived(program, expected)
        assert program.stopped() == 0
    finally:
        program.end()
    assert "s3cr3t-value" not in program.output() + (program.state / "s3uploadTest-Atanu.log").read_text()
    found = server.client("s3").list_objects_v2(Bucket="icd-users", Prefix="atanu.banik/s3uploadTest/")["Contents"]
    assert {item["Key"] for item in found if ".relay" not in item["Key"]} == {
        "atanu.banik/s3uploadTest/r.csv",
        "atanu.banik/s3uploadTest/sub/r.csv",
    }
    assert left_in_queue(server, "atanu_banik", "us-west-2") == (0, 0)


def test_watch_on_another_file_system(tmp_path: Path, launch: Launch) -> None:
    """D5. Copied where it was renamed before: with equal bytes and times, and Watch holds nothing of the program."""
    place = another_file_system(tmp_path)
    if place is None:
        pytest.skip("there is only one file system that can be written to")
    with tempfile.TemporaryDirectory(dir=place, prefix="relay-test-") as watch:
        expected = drop(Path(watch), {"d/small": b"1", "empty": b"", "big": os.urandom(MIB) * 9, "old.csv": b"old"})
        os.utime(Path(watch, "old.csv"), ns=(10**18 + 123456789, 10**18 + 123456789))
        refused = launch(tmp_path, 3, folderToWatch=watch)
        assert refused.ended() == 78
        assert "or set crossDeviceMoves=1" in refused.output()
        program = launch(tmp_path, 3, folderToWatch=watch, crossDeviceMoves=1, sleepWatchLocalFolder=1).started()
        assert "files are copied: folderToWatch → folderQueuedForUpload" in program.output()
        arrived(program, expected)
        expected |= drop(Path(watch), {f"many/{number}": b"%d" % number for number in range(50)})
        drop(Path(watch), {"old.csv": b"newer"})
        arrived(program, expected | {b"old-Version-2.csv": b"newer"})
        kept = program.state / "UploadedToS3" / "old.csv"
        assert kept.stat().st_mtime_ns == 10**18 + 123456789
        assert program.stopped() == 0
        assert files(Path(watch), hidden=()) == {}
        assert list((program.state / "QueuedForUpload/.relay/crossing").iterdir()) == []
