"""The embedded S3 and SQS: real processes, real signals, a real port."""

import contextlib
import http.client
import importlib
import logging
import multiprocessing
import multiprocessing.process
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import app_properties
from pipeline import kernel, local_aws
from pipeline.aws.checksum import crc64nvme_of
from pipeline.local_aws import EmbeddedAws, EmbeddedAwsError
from pipeline.local_ministack import DurableFiles
from pipeline.parent import follow_parent
from pipeline.ports import EXIT_UNAVAILABLE

pytest.importorskip("ministack")

ROOT = Path(__file__).parents[2]
SPAWN = multiprocessing.get_context("spawn")
BUCKET = "drops"
Process = multiprocessing.process.BaseProcess
Start = Callable[..., Process]


def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.01)


def ended(process: Process, seconds: float = 10.0) -> int | None:
    process.join(seconds)
    return process.exitcode


def gone(pid: int) -> bool:
    """Whether the process ended; one whose parent was killed may stay a zombie where nobody reaps."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def run_server(embedded: EmbeddedAws, on_unclean: Callable[[], None], crash_at: str = "", prctl: bool = True) -> None:
    if not prctl:
        kernel._libc = None
    follow_parent()  # as every child of the program does first
    logging.basicConfig(filename=embedded.root / "log", level=logging.INFO, format="%(name)s %(process)d %(message)s")
    if crash_at:
        crash_in_put(crash_at)
    local_aws.serve(embedded, BUCKET, on_unclean)


def crash_in_put(crash_at: str) -> None:
    """SIGKILL at the exact instant when one of an object's two files is written and not yet renamed."""
    replace = os.replace

    def crashing_replace(source: str, target: str) -> None:
        if target.endswith(crash_at):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = crashing_replace  # type: ignore[assignment]


def run_parent(embedded: EmbeddedAws, pids: Any, prctl: bool) -> None:
    server = SPAWN.Process(target=run_server, args=(embedded, partial(note, embedded), "", prctl))
    server.start()
    pids.send(server.pid)
    server.join()


def note(embedded: EmbeddedAws) -> None:
    """An on_unclean: leaves a trace that it ran, and whether clients were kept away meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", local_aws.PROOF_PATH)
        assert connection.getresponse().status == 503
    with (embedded.root / "repaired").open("a") as trace:
        trace.write("x")


def fail() -> None:
    raise ValueError("cannot announce")


def hang(embedded: EmbeddedAws) -> None:
    (embedded.root / "repaired").write_text("begun")
    threading.Event().wait()


def repair_until_told(embedded: EmbeddedAws) -> None:
    (embedded.root / "repaired").write_text("begun")
    until((embedded.root / "enough").exists, 30)


def repairs(embedded: EmbeddedAws) -> int:
    trace = embedded.root / "repaired"
    return len(trace.read_text()) if trace.exists() else 0


def client(service: str, embedded: EmbeddedAws) -> Any:
    config = Config(proxies={}, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "embedded", "aws_secret_access_key": "embedded", "region_name": "eu-central-1"}
    return boto3.client(service, endpoint_url=embedded.url, config=config, **keys)  # type: ignore[call-overload]


def queue(embedded: EmbeddedAws) -> str:
    return str(client("sqs", embedded).get_queue_url(QueueName="q")["QueueUrl"])


@pytest.fixture
def embedded(tmp_path: Path) -> EmbeddedAws:
    return EmbeddedAws.at(tmp_path / "embedded")


@pytest.fixture
def start(embedded: EmbeddedAws) -> Iterator[Start]:
    """Start a process that serves; wait until it does unless told otherwise."""
    started: list[Process] = []

    def start(on_unclean: Callable[[], None] | None = None, crash_at: str = "", ready: bool = True) -> Process:
        process = SPAWN.Process(target=run_server, args=(embedded, on_unclean or partial(note, embedded), crash_at))
        process.start()
        started.append(process)
        if ready:
            embedded.wait_ready(20)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def log(embedded: EmbeddedAws) -> str:
    file = embedded.root / "log"
    return file.read_text() if file.exists() else ""


def test_two_programs_agree_on_port_and_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(EmbeddedAws.at, [tmp_path / "shared"] * 32))
    assert len({(each.port, each.token) for each in found}) == 1
    assert found[0].port in local_aws.PORTS
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o700
    assert pickle.loads(pickle.dumps(found[0])) == found[0]
    assert found[0].token not in repr(found[0])


def test_damaged_address_is_explained(embedded: EmbeddedAws) -> None:
    (embedded.root / "address.json").write_text("{")
    with pytest.raises(EmbeddedAwsError, match=r"address\.json is damaged .* remove that file"):
        EmbeddedAws.at(embedded.root)


def test_it_starts_quietly_on_one_port_only(
    embedded: EmbeddedAws, start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    server = start()
    assert embedded.holder() == server.pid
    client("s3", embedded).head_bucket(Bucket=BUCKET)
    assert sockets(server) == {f"127.0.0.1:{embedded.port}"}
    server.terminate()
    assert ended(server) == 0
    assert capfd.readouterr() == ("", "")
    assert [line.split()[0] for line in log(embedded).splitlines()] == ["pipeline.local_server"]
    assert repairs(embedded) == 0


def sockets(process: Process) -> set[str]:
    """Local addresses of every listening TCP and every UDP socket of the process, from /proc."""
    inodes = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(descriptor.readlink()))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in inodes and (table.startswith("udp") or fields[3] == "0A"):
                address, port = fields[1].split(":")
                found.add(f"{socket.inet_ntoa(bytes.fromhex(address)[::-1])}:{int(port, 16)}")
    return found


def test_a_clean_restart_loses_nothing(embedded: EmbeddedAws, start: Start) -> None:
    first = start()
    client("s3", embedded).put_object(Bucket=BUCKET, Key="a/b", Body=b"1", Metadata={"drop-id": "d"})
    sqs = client("sqs", embedded)
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    for body in ("1", "2"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    receipt = sqs.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    first.terminate()
    assert ended(first) == 0
    start()
    assert client("s3", embedded).get_object(Bucket=BUCKET, Key="a/b")["Metadata"] == {"drop-id": "d"}
    sqs.delete_message(QueueUrl=queue(embedded), ReceiptHandle=receipt)
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert message["Body"] == "2"
    assert repairs(embedded) == 0


def test_a_long_poll_does_not_hold_up_the_stop(embedded: EmbeddedAws, start: Start) -> None:
    server = start()
    sqs = client("sqs", embedded)
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    with ThreadPoolExecutor(1) as thread:
        thread.submit(sqs.receive_message, QueueUrl=url, WaitTimeSeconds=20)
        until(lambda: f"0100007F:{embedded.port:04X} 0100007F" in Path("/proc/net/tcp").read_text())
        server.terminate()
        assert ended(server, 5) == 0
    assert (embedded.root / "clean-stop").exists()


def test_a_kill_keeps_objects_and_forgets_queues_before_anyone_sees_them(embedded: EmbeddedAws, start: Start) -> None:
    first = start()
    sqs = client("sqs", embedded)
    sqs.send_message(QueueUrl=sqs.create_queue(QueueName="q")["QueueUrl"], MessageBody="of long ago")
    first.terminate()
    assert ended(first) == 0
    second = start()
    client("s3", embedded).put_object(Bucket=BUCKET, Key="k", Body=b"1", Metadata={"drop-id": "d"})
    second.kill()
    assert ended(second) == -signal.SIGKILL
    start()
    assert repairs(embedded) == 1
    assert client("s3", embedded).get_object(Bucket=BUCKET, Key="k")["Metadata"] == {"drop-id": "d"}
    with pytest.raises(ClientError, match="NonExistentQueue"):
        queue(embedded)


@pytest.mark.parametrize("crash_at", ["/k", "/k.meta.json"])
def test_a_kill_within_a_put_leaves_no_object(embedded: EmbeddedAws, start: Start, crash_at: str) -> None:
    server = start(crash_at=crash_at)
    with contextlib.suppress(Exception):
        client("s3", embedded).put_object(Bucket=BUCKET, Key="k", Body=b"1" * (8 << 20))
    assert ended(server) == -signal.SIGKILL
    start()
    assert client("s3", embedded).list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    client("s3", embedded).put_object(Bucket=BUCKET, Key="k", Body=b"2", IfNoneMatch="*")


def test_what_cannot_be_written_is_not_acknowledged(embedded: EmbeddedAws, start: Start) -> None:
    start()
    bucket = embedded.root / "objects" / "000000000000" / BUCKET
    bucket.rmdir()
    bucket.write_text("a file where the folder of the bucket was")
    s3 = client("s3", embedded)
    with pytest.raises(ClientError, match="500"):
        s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=BUCKET, Key="k")
    bucket.unlink()


def test_a_failed_repair_ends_the_server_and_is_tried_again(embedded: EmbeddedAws, start: Start) -> None:
    server = start()
    server.kill()
    ended(server)
    assert ended(start(fail, ready=False)) == 1
    assert "ValueError: cannot announce" in log(embedded)
    start()
    assert repairs(embedded) == 1


def test_a_stop_within_the_repair_is_not_a_clean_one(embedded: EmbeddedAws, start: Start) -> None:
    server = start()
    server.kill()
    ended(server)
    server = start(partial(hang, embedded), ready=False)
    until(lambda: repairs(embedded))
    server.terminate()
    assert ended(server) == 0
    assert not (embedded.root / "clean-stop").exists()


def test_a_repair_is_waited_for_however_long_it_takes(embedded: EmbeddedAws, start: Start) -> None:
    """The limit of a wait is for silence: each proof that our own server is at work moves it on."""
    server = start()
    server.kill()
    ended(server)
    start(partial(repair_until_told, embedded), ready=False)
    until(lambda: repairs(embedded))
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(embedded.wait_ready, 0.6)
        try:
            with pytest.raises(TimeoutError) as seen:
                waiting.result(2)
            assert not isinstance(seen.value, EmbeddedAwsError)  # it is this test that waits no longer
        finally:
            (embedded.root / "enough").touch()
        waiting.result(10)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_next_takes_over(embedded: EmbeddedAws, start: Start, how: signal.Signals) -> None:
    first = start()
    client("s3", embedded).put_object(Bucket=BUCKET, Key="k", Body=b"1")
    second = start(ready=False)
    until(lambda: "waits to take over" in log(embedded))
    assert embedded.holder() == first.pid
    assert first.pid is not None
    os.kill(first.pid, how)
    ended(first)
    until(lambda: embedded.holder() == second.pid)
    embedded.wait_ready(10)
    assert EmbeddedAws.at(embedded.root) == embedded
    client("s3", embedded).head_object(Bucket=BUCKET, Key="k")
    assert repairs(embedded) == (how == signal.SIGKILL)


def test_one_that_waits_stops_at_once(embedded: EmbeddedAws, start: Start) -> None:
    start()
    second = start(ready=False)
    until(lambda: "waits to take over" in log(embedded))
    second.terminate()
    assert ended(second, 2) == 0
    embedded.wait_ready(1)


def test_a_stranger_on_the_port_is_not_trusted(
    embedded: EmbeddedAws, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", embedded.port)) as stranger:
        threading.Thread(target=answer_everything, args=(stranger,), daemon=True).start()
        assert ended(start(ready=False)) == 1
        assert f"Port {embedded.port} of the embedded S3/SQS server is taken" in capfd.readouterr().err
        with pytest.raises(EmbeddedAwsError, match="another program answers there") as seen:
            embedded.wait_ready(0.5)
        assert isinstance(seen.value, TimeoutError)
        stranger.shutdown(socket.SHUT_RDWR)


def answer_everything(stranger: socket.socket) -> None:
    while True:
        try:
            caller, _ = stranger.accept()
        except OSError:  # the test is over
            return
        with caller:
            caller.recv(65536)
            caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_nobody_there_is_said(embedded: EmbeddedAws) -> None:
    with pytest.raises(EmbeddedAwsError, match="nothing listens there"):
        embedded.wait_ready(0.1)


@pytest.mark.parametrize(
    ("method", "path", "header"), [("POST", "/_ministack/reset", "Accept"), ("GET", f"/{BUCKET}", "Origin")]
)
def test_web_pages_and_the_wipe_are_refused(
    embedded: EmbeddedAws, start: Start, method: str, path: str, header: str
) -> None:
    start()
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, headers={header: "http://a.page"})
        assert connection.getresponse().status == 403


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("localhost", 200), ("a.page", 403), ("127.0.0.1.a.page", 403)]
)
def test_a_name_that_was_made_to_point_here_is_refused(
    embedded: EmbeddedAws, start: Start, host: str, status: int
) -> None:
    """A page of a.page, whose address became 127.0.0.1, reads nothing."""
    start()
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", f"/{BUCKET}", headers={"Host": f"{host}:{embedded.port}"})
        assert connection.getresponse().status == status


@pytest.mark.parametrize("prctl", [True, False])
def test_a_killed_parent_brings_a_clean_stop(
    embedded: EmbeddedAws, parents: Callable[[bool], tuple[Process, int]], prctl: bool
) -> None:
    """By the kernel's signal, or without it by the sentinel; also for the one that waits in flock."""
    parent, server = parents(prctl)
    embedded.wait_ready(20)
    waiting_parent, waiting = parents(prctl)
    until(lambda: "waits to take over" in log(embedded))
    waiting_parent.kill()
    until(lambda: gone(waiting), 5)
    assert not gone(server)
    parent.kill()
    until(lambda: gone(server), 5)
    assert (embedded.root / "clean-stop").exists()


@pytest.fixture
def parents(embedded: EmbeddedAws) -> Iterator[Callable[[bool], tuple[Process, int]]]:
    """Start a process whose child serves; give the process and the child's pid."""
    pids, theirs = SPAWN.Pipe(duplex=False)
    started: list[tuple[Process, int]] = []

    def start(prctl: bool) -> tuple[Process, int]:
        parent = SPAWN.Process(target=run_parent, args=(embedded, theirs, prctl))
        parent.start()
        started.append((parent, pids.recv()))
        return started[-1]

    with pids, theirs:
        yield start
    for parent, child in started:
        parent.kill()
        parent.join()
        if not gone(child):
            os.kill(child, signal.SIGKILL)


def test_without_ministack_it_says_what_to_install(embedded: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedAwsError, match=r"pip install -r requirements\.txt"):
        local_aws.serve(embedded, BUCKET, fail)


def test_another_ministack_is_refused(embedded: EmbeddedAws, start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    """A checksum that changed is noticed before anything is served."""
    process = SPAWN.Process(target=run_changed_ministack, args=(embedded,))
    process.start()
    assert ended(process) == 1
    assert "not the one this program was made for (CRC64NVME changed)" in capfd.readouterr().err


def run_changed_ministack(embedded: EmbeddedAws) -> None:
    s3 = importlib.import_module("ministack.services.s3")
    s3._crc64nvme = len  # type: ignore[attr-defined]
    run_server(embedded, fail)


def test_a_checksum_is_verified_and_costs_next_to_nothing(embedded: EmbeddedAws, start: Start) -> None:
    """ministack's own takes 0.2 s a MiB, in which the server answers nobody."""
    server = start()
    body = os.urandom(16 << 20)
    s3 = client("s3", embedded)
    before = cpu_seconds(server)
    s3.put_object(Bucket=BUCKET, Key="k", Body=body, ChecksumCRC64NVME=crc64nvme_of(body))
    assert cpu_seconds(server) - before < 1.5
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(Bucket=BUCKET, Key="wrong", Body=body, ChecksumCRC64NVME=crc64nvme_of(body[1:]))


def cpu_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_name_is_given_before_its_bytes_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything acknowledged before the names are, those of new folders included."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        steps.append(f"fsync {os.path.relpath(os.readlink(f'/proc/self/fd/{descriptor}'), tmp_path)}")
        fsync(descriptor)

    def seen_replace(source: str, target: str) -> None:
        steps.append(f"name {os.path.relpath(target, tmp_path)}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    (tmp_path / "a" / "b").mkdir(parents=True)
    files = DurableFiles(tmp_path)
    for name in ("k", "l"):
        files.write(f"{tmp_path}/a/b/{name}", b"1")
        files.write(f"{tmp_path}/a/b/{name}.meta.json", "{}", text=True)
    expected = []
    for name in ("k", "l"):
        for file in (f"a/b/{name}", f"a/b/{name}.meta.json"):
            expected += [f"fsync {file}.tmp", f"name {file}"]
        expected += ["fsync a/b"] + ["fsync a", "fsync ."] * (name == "k")
    assert steps == expected


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    with pytest.raises(IsADirectoryError):
        DurableFiles(tmp_path).write(f"{tmp_path}/k", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


@pytest.mark.parametrize("silent", [False, True])
def test_a_wait_for_the_server_is_cut_by_a_signal(embedded: EmbeddedAws, silent: bool) -> None:
    """Both between two tries and within one that nobody answers."""

    class CutError(BaseException):
        pass

    def cut(*_: object) -> None:
        raise CutError

    with contextlib.ExitStack() as cleanup:
        if silent:
            cleanup.enter_context(socket.create_server(("127.0.0.1", embedded.port)))
        cleanup.callback(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, cut))
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        started = time.monotonic()
        with pytest.raises(CutError):
            embedded.wait_ready(20)
        assert time.monotonic() - started < 5
        timer.join()


def test_what_every_process_imports_is_cheap() -> None:
    """Only the serving process pays for asyncio and ministack."""
    code = "import sys, pipeline.process; print([n for n in ('asyncio', 'hypercorn', 'ministack') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert out.stdout == "[]\n"


def test_a_taken_port_ends_the_program(tmp_path: Path) -> None:
    """`python main.py` exits with 69, at once, and says what to do."""
    temporary = tmp_path / "temporary"
    properties = tmp_path / "Application.properties"
    properties.write_text(
        f"[General]\nlogFilePath={tmp_path}/log\nfolderToStoreTempFiles={temporary}\n"
        f"folderToWatch={tmp_path}/watch\nfolderForDownloadedFiles={tmp_path}/downloaded\n"
        "[AWS]\naws_s3_bucket=drops\naws_s3_folder=in\naws_region=eu-central-1\naws_sqs=q\naws_endpoint_url=embedded\n"
    )
    command = [sys.executable, "main.py", "-Mode", "3", "--config", str(properties)]
    own = own_folder(properties)
    embedded = EmbeddedAws.at(own / "embedded")
    with socket.create_server(("127.0.0.1", embedded.port)):
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == EXIT_UNAVAILABLE
    assert f"Port {embedded.port} of the embedded S3/SQS server is taken" in ran.stdout + ran.stderr


def own_folder(properties: Path) -> Path:
    return app_properties.load(properties, 3, ROOT).own_folder
