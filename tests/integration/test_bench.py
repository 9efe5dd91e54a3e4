"""`python -m bench` and its servers as processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from bench import verify
from bench.corpus import Corpus
from bench.failure import RunError
from bench.meter import Running, measure
from bench.network import far_away
from tests.bench_servers import ROOT, start
from tests.integration.program import marked, wait_for
from tests.servers import Server, make_bucket

BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Server]:
    with start("sink", tmp_path, "--keep", str(tmp_path)) as server:
        yield server


@pytest.fixture
def sqs(tmp_path: Path) -> Iterator[Server]:
    with start("sqs", tmp_path) as server:
        yield server


def env(mark: str = "") -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **({"RELAY_TEST_MARK": mark} if mark else {})}


def bench(*options: str, mark: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", "--peers", "none", "--stores", "sink", *options]
    return subprocess.Popen(
        command, cwd=ROOT, env=env(mark), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


# The servers, as boto3 sees them


def test_a_large_object_travels_in_parts(sink: Server, tmp_path: Path) -> None:
    """boto3's own transfers, up in parts and down in ranges; what is listed under way is gone at the end."""
    make_bucket(sink, "b")
    s3, data = sink.client("s3"), os.urandom(20_000_000)
    (tmp_path / "up").write_bytes(data)
    s3.upload_file(str(tmp_path / "up"), "b", "k", ExtraArgs={"Metadata": {"a": "1"}})
    s3.download_file("b", "k", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data
    assert s3.get_object(Bucket="b", Key="k", Range="bytes=9000000-9000009")["Body"].read() == data[9000000:9000010]
    head = s3.head_object(Bucket="b", Key="k")
    assert (head["Metadata"], head["ContentLength"], head["ETag"][-3:]) == ({"a": "1"}, 20_000_000, '-3"')
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="b")


def test_a_manifest_serves_files_as_they_lie(tmp_path: Path) -> None:
    """With the headers that it names; nothing is copied before."""
    data = os.urandom(5_000_000)
    (tmp_path / "file").write_bytes(data)
    entry = {"path": str(tmp_path / "file"), "etag": "e-1", "headers": {"x-amz-meta-a": "1"}}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"d/é": entry}))
    with start("sink", tmp_path, "--manifest", str(manifest), "--bucket", "b") as server:
        answer = server.client("s3").get_object(Bucket="b", Key="d/é")
        assert (answer["Metadata"], answer["ETag"], answer["Body"].read()) == ({"a": "1"}, '"e-1"', data)


def test_more_keys_than_a_page_holds(sink: Server) -> None:
    """Each once, in order."""
    make_bucket(sink, "b")
    s3, names = sink.client("s3"), [f"k/{number:04}" for number in range(1203)]
    for name in names:
        s3.put_object(Bucket="b", Key=name, Body=b"x")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="b", Prefix="k/")
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == names


def test_a_long_poll_wakes_at_once(sqs: Server) -> None:
    """Within milliseconds of the send: half of what a relay of one file may take must not be the queue."""
    sender, receiver = sqs.client("sqs"), sqs.client("sqs")
    url = sender.create_queue(QueueName="q")["QueueUrl"]
    received: list[float] = []

    def receive() -> None:
        for _ in range(20):
            assert receiver.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
            received.append(time.perf_counter())

    thread = threading.Thread(target=receive)
    thread.start()
    waits = []
    for number in range(20):
        time.sleep(0.02)
        started = time.perf_counter()
        sender.send_message(QueueUrl=url, MessageBody="x")
        wait_for(lambda number=number: len(received) > number, 10)  # type: ignore[misc]  # the default binds it
        waits.append(received[-1] - started)
    thread.join()
    assert sorted(waits)[10] < 0.03


def test_a_delay_is_a_round_trip_and_no_more(sink: Server, tmp_path: Path) -> None:
    """A request takes one round trip, on a new connection two; a large body comes as it was."""
    with start("delay", tmp_path, "--to", sink.endpoint, "--milliseconds", "20") as far:
        make_bucket(sink, "b")
        s3, data = far.client("s3"), os.urandom(3_000_000)
        started = time.perf_counter()
        s3.put_object(Bucket="b", Key="k", Body=b"x")
        first = time.perf_counter() - started
        started = time.perf_counter()
        s3.put_object(Bucket="b", Key="k", Body=b"x")
        second = time.perf_counter() - started
        assert first >= 0.08
        assert 0.04 <= second < first
        s3.put_object(Bucket="b", Key="k", Body=data)
        assert s3.get_object(Bucket="b", Key="k")["Body"].read() == data


def test_a_far_network_is_left_again() -> None:
    """Whether this machine has netem or not, what comes after is in the network that was before."""
    before = os.stat("/proc/thread-self/ns/net").st_ino
    with far_away(1.0) as far:
        assert (os.stat("/proc/thread-self/ns/net").st_ino != before) == far
    assert os.stat("/proc/thread-self/ns/net").st_ino == before


# What is verified


def test_objects_are_compared(sink: Server, tmp_path: Path) -> None:
    """Missing, surplus, shortened and changed ones are named; the program's own probe is not counted."""
    make_bucket(sink, "b")
    s3, corpus = sink.client("s3"), Corpus(tmp_path / "corpus", 3, 100)

    def put(name: str, body: bytes) -> None:
        s3.put_object(Bucket="b", Key=f"p/{name}", Body=body)

    put(".relay/probe", b"")
    for path in corpus.paths()[:2]:
        put(path.name, path.read_bytes())
    verify.objects(s3, "b", "p", corpus, 2)
    with pytest.raises(RunError, match=r"1 \(file-000002.bin\) missing"):
        verify.objects(s3, "b", "p", corpus, 3)
    with pytest.raises(RunError, match=r"1 \(file-000001.bin\) too many"):
        verify.objects(s3, "b", "p", corpus, 1)
    put("file-000001.bin", b"x" * 100)
    with pytest.raises(RunError, match=r"1 \(file-000001.bin\) with other content"):
        verify.objects(s3, "b", "p", corpus, 2)
    put("file-000001.bin", b"x")
    with pytest.raises(RunError, match=r"1 \(file-000001.bin\) of another size"):
        verify.objects(s3, "b", "p", corpus, 2)


def test_messages_are_compared(sqs: Server) -> None:
    """One for each key, no more; they are taken, and can be sent again with their attributes."""
    client = sqs.client("sqs")
    url = client.create_queue(QueueName="q")["QueueUrl"]
    bodies = [f"k{number}" for number in range(25)]
    attribute = {"a": {"DataType": "String", "StringValue": "1"}}
    for body in bodies:
        client.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attribute)
    taken = verify.messages(sqs.endpoint, "q", bodies)
    verify.fill(sqs.endpoint, "q", taken)
    with verify.connection(sqs.endpoint) as wire:
        assert verify.left(wire, "q") == 25
    again = verify.messages(sqs.endpoint, "q", bodies)
    assert again[0]["MessageAttributes"] == attribute
    with pytest.raises(RunError, match="0 of 25; 25"):
        verify.messages(sqs.endpoint, "q", bodies)
    verify.fill(sqs.endpoint, "q", [*taken, taken[0]])
    with pytest.raises(RunError, match="26 of 25; none missing"):
        verify.messages(sqs.endpoint, "q", bodies)


# What a command costs


@pytest.mark.parametrize("end", ["", "import os; os.kill(os.getpid(), 9)"])
def test_the_cpu_of_descendants_counts(end: str, tmp_path: Path) -> None:
    """A grandchild's too, killed, and left behind by its parent."""
    child = BUSY + end
    parent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])"
    cost = measure([sys.executable, "-c", parent], env(), tmp_path / "log", 20)
    assert 0.3 <= cost.cpu < 2
    assert cost.ended > cost.started


def test_memory_is_that_of_all_processes(tmp_path: Path) -> None:
    """Each with 60 MB of its own."""
    hold = "import time; data = bytearray(b'x' * 60_000_000); time.sleep(1.5)"
    parent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {hold!r}])\n{hold}"
    cost = measure([sys.executable, "-c", parent], env(), tmp_path / "log", 20)
    assert 120_000_000 < cost.pss <= cost.rss < 250_000_000


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    """Its exit code and the end of its output; one that does not end is killed with its children."""
    with pytest.raises(RunError, match=r"(?s)exit code 3.*the reason"):
        measure([sys.executable, "-c", "print('the reason'); exit(3)"], env(), tmp_path / "log", 20)
    mark = uuid.uuid4().hex
    sleep = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    running = Running([sys.executable, "-c", sleep], env(mark), tmp_path / "log")
    with pytest.raises(RunError, match="did not end within 1 s"):
        running.wait(1)
    wait_for(lambda: not list(marked(f"RELAY_TEST_MARK={mark}")), 5)


# The whole


def test_it_measures_and_writes_its_result(tmp_path: Path) -> None:
    """Fifty files in and out again: verified, told, and written as JSON, tables and picture; nothing is left."""
    out, work = tmp_path / "out", tmp_path / "work"
    work.mkdir()
    process = bench("--only", "W1", "W3", "--files", "50", "--runs", "1", "--out", str(out), "--work", str(work))
    told, _ = process.communicate(timeout=100)
    assert process.returncode == 0, told
    found = json.loads((out / "result.json").read_text())
    runs = {(each["workload"], each["who"]): each for each in found["samples"]}
    assert set(runs) == {("W1", "relay"), ("W1", "ceiling"), ("W3", "relay"), ("W3", "ceiling")}
    for each in runs.values():
        assert each["error"] == ""
        assert (each["files"], each["size"]) == (50, 10_240)
        assert 0 < each["seconds"] < 60
        assert each["cpu"] > 0
    assert runs["W1", "relay"]["pss"] > 20_000_000
    assert "Folder relay" in told
    assert "**W1: 50 files of 10 KiB**" in (out / "table.md").read_text()
    assert (out / "plot.svg").read_text().startswith("<svg")
    assert list(work.iterdir()) == []


@pytest.fixture
def measuring(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A benchmark whose servers and program run."""
    process = bench("--only", "W8", "--quick", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"))
    wait_for(lambda: any(" poller" in log.read_text() for log in tmp_path.glob("work/*/idle-*/state/relay.log")), 60)
    yield process
    for pid in _processes_of(tmp_path):  # where the test fails
        os.kill(pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def test_ctrl_c_ends_all_that_it_started(measuring: subprocess.Popen[str], tmp_path: Path) -> None:
    """Servers, program and files; exit code 130, and no result that is half of one."""
    measuring.send_signal(signal.SIGINT)
    told, _ = measuring.communicate(timeout=30)
    assert measuring.returncode == 130, told
    assert "interrupted" in told
    assert list((tmp_path / "work").iterdir()) == []
    wait_for(lambda: not _processes_of(tmp_path), 5)
    assert not (tmp_path / "out").exists()


def test_killed_it_takes_all_with_it(measuring: subprocess.Popen[str], tmp_path: Path) -> None:
    """No server and no process of the program outlives it."""
    assert len(_processes_of(tmp_path)) > 3
    measuring.kill()
    wait_for(lambda: not _processes_of(tmp_path), 10)


def _processes_of(folder: Path) -> list[int]:
    """Those whose command or working environment names the folder."""
    return [process.pid for process in psutil.process_iter() if _is_of(process, str(folder))]


def _is_of(process: psutil.Process, folder: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return folder in " ".join(process.cmdline()) or folder in process.environ().get("TMPDIR", "")
    return False
