"""`main.py -Mode 4` as its user runs it: it finds what is wrong, ends as told, and cleans up after itself."""

import contextlib
import json
import os
import pty
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.soak.drawing import COLOURS
from pipeline.soak.facts import STAGES
from tests.browser import Frame, show
from tests.conftest import Start
from tests.integration.program import Launch, Program, drop, files, wait_for
from tests.integration.test_flow import keys_of, left_in_queue
from tests.integration.test_main import refusal
from tests.integration.test_soak_report import near, pixels
from tests.servers import REGION, Server, make_bucket, moto

SMALL = ("--sizes", "1KiB-64KiB", "--files", "8", "--seed", "7")


def root_of(program: Program) -> Path:
    """The run's own folder, once it has one."""
    [root] = wait_for(lambda: list((program.state / "soak").glob("*/run.json")), explain=program.output)
    return root.parent


def report_of(program: Program) -> dict[str, Any]:
    [path] = (program.state / "soak-reports").glob("*/report.json")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def rests(root: Path) -> bool:
    """Whether every folder of a run is empty, but for the relay's own."""
    names = ("Watch", "QueuedForUpload", "UploadedToS3", "DownloadedFromS3", "Failed", "FailedMessages")
    return not any(files(root / name) for name in names)


def test_everything_is_accounted_for(tmp_path: Path, launch: Launch) -> None:
    """A short run on the embedded default ends by its duration with 0, all files fed back, and a report.

    Whatever keys are configured, its own are where the judge looks for them.
    """
    program = launch(tmp_path, 4, "--duration", "6s", *SMALL, aws_s3_key_template="{drop_id}")
    assert program.ended(60) == 0, program.output()
    report, root = report_of(program), root_of(program)
    assert report["passed"]
    assert report["ended_by"] == "duration"
    assert set(report["totals"]) == set(STAGES)
    assert len(set(report["totals"].values())) == 1, report["totals"]
    assert report["totals"]["fed back"] > 3 * 8, "hardly any file was fed back"
    assert report["violations"] == report["unsettled"] == []
    assert {"main", "watcher", "uploader-1", "uploader-2", "poller-1", "poller-2", "embedded", "feeder", "judge"} <= {
        use["role"] for use in report["processes"]
    }
    assert rests(root)
    output = program.output()
    assert re.search(r"(?m)^soak \S+: passed: nothing is wrong; .* ended by duration$", output)
    assert f"--cleanup {root.name}" in output
    assert len(output.splitlines()) < 30, "every file of a soak test is said on the console"
    look_at(program.state / "soak-reports" / root.name / "report.html", tmp_path)


def look_at(page: Path, folder: Path) -> None:
    """In a browser every plot of the report of a real run shows data."""
    place = folder / "browser"
    place.mkdir()
    shown = show(place, [Frame("run", page.read_text(encoding="utf-8"), 1280)], 6_000, dark=False)["run"]
    assert shown.found, "the page was never complete"
    assert shown.found["trouble"] == ""
    assert [*shown.found["plots"]] == ["throughput", "latency", "histogram", "queues", "memory", "cpu"]
    for name, plot in shown.found["plots"].items():
        assert [length for length in plot["lines"] if length > 10] or name == "histogram", f"{name}: no line"
        assert [box for box in plot["bars"] if box[3] > box[1]] or name != "histogram", f"{name}: no bar"
        seen = pixels(shown.picture, [list(box) for box in {tuple(box) for box in plot["areas"]}])
        drawn = sum(near(seen, colour) for colour in COLOURS)
        assert drawn > 50, f"{name}: hardly any pixel of {drawn} shows a line or a bar"


def test_what_is_planted_is_named(tmp_path: Path, launch: Launch) -> None:
    """One file taken away, one changed, one copied, all of them before the relay claims them: exit 1 names each."""
    words = ("--duration", "3s", "--deadline", "12s", *SMALL)
    program = launch(tmp_path, 4, *words, completionCheck="settle", settleSeconds=2)
    watch = root_of(program) / "Watch"
    # Files with an even number appear by a rename, so they are complete when they are seen.
    lost, corrupt, twice = (watch / f"drop-{number:06}.bin" for number in (2, 4, 6))
    wait_for(lambda: lost.exists() and corrupt.exists() and twice.exists(), explain=program.output)
    lost.rename(tmp_path / "taken")
    content = bytearray(corrupt.read_bytes())
    content[-1] ^= 1
    corrupt.write_bytes(content)
    (watch / "copy.bin").write_bytes(twice.read_bytes())
    assert program.ended(60) == 1, program.output()
    found = {(violation["kind"], violation["name"]) for violation in report_of(program)["violations"]}
    assert found == {
        ("lost", lost.name),
        ("corrupt", corrupt.name),
        ("duplicate", "UploadedToS3/copy.bin"),
        ("duplicate", "DownloadedFromS3/copy.bin"),
    }
    output = program.output()
    assert ": FAILED: 1 lost, 1 corrupt, 2 duplicate;" in output
    assert re.search(rf"(?m)^lost +{lost.name}  not settled 1\d\.\d s after its drop; it never left Watch$", output)
    assert re.search(rf"(?m)^corrupt +{corrupt.name}  .*: byte {len(content) - 1} differs", output)
    assert re.search(rf"(?m)^duplicate +DownloadedFromS3/copy.bin  .*the content of {twice.name} again$", output)


def test_ctrl_c_drains(tmp_path: Path, launch: Launch) -> None:
    """Ctrl-C while files are under way: they are settled, then it ends with 0."""
    program = launch(tmp_path, 4, *SMALL)
    downloaded = root_of(program) / "DownloadedFromS3"
    wait_for(lambda: downloaded.is_dir() and files(downloaded), explain=program.output)
    program.send(signal.SIGINT, group=True)
    assert program.ended(60) == 0, program.output()
    report = report_of(program)
    assert report["ended_by"] == "Ctrl-C"
    assert report["totals"]["generated"] == report["totals"]["fed back"] > 0
    assert rests(root_of(program))


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path, launch: Launch) -> None:
    """What is under way then is named, is neither lost nor settled, and makes it exit 1."""
    program = launch(tmp_path, 4, "--deadline", "20m", *SMALL, completionCheck="settle", settleSeconds=600)
    watch = root_of(program) / "Watch"
    wait_for(lambda: len(files(watch)) == 8, explain=program.output)
    program.send(signal.SIGINT, group=True)
    wait_for(lambda: "draining" in program.output(), explain=program.output)
    time.sleep(0.6)  # sooner it would be taken for an echo of the first: here the time is the condition
    program.send(signal.SIGINT, group=True)
    assert program.ended(30) == 1
    report = report_of(program)
    assert report["unsettled"] == [f"drop-{number:06}.bin" for number in range(1, 9)]
    assert report["violations"] == []
    assert "8 unsettled" in program.output()


@pytest.mark.parametrize("role", ["feeder", "judge"])
def test_ctrl_c_at_its_very_start(tmp_path: Path, launch: Launch, role: str) -> None:
    """Right when the feeder or the judge appears: it ends soon, and never with 0 without having tested anything."""
    program = launch(tmp_path, 4, *SMALL)
    wait_for(lambda: names_of(program.pids()) & {role}, explain=program.output)
    program.send(signal.SIGINT, group=True)
    code = program.ended(45)
    reports = list((program.state / "soak-reports").glob("*/report.json"))
    if code == 0:
        report = report_of(program)
        assert report["totals"]["generated"] == report["totals"]["fed back"] > 0
    else:
        assert code == 1
        assert not reports or not report_of(program)["passed"]


@pytest.mark.parametrize("role", ["feeder", "judge"])
def test_the_end_of_a_part_of_it_is_said(tmp_path: Path, launch: Launch, role: str) -> None:
    """A feeder or judge that is killed is named and ends the program at once, with 1; nothing has passed then."""
    program = launch(tmp_path, 4, *SMALL)
    downloaded = root_of(program) / "DownloadedFromS3"
    wait_for(lambda: downloaded.is_dir() and files(downloaded), explain=program.output)
    [pid] = [pid for pid in program.pids() if names_of({pid}) == {role}]
    os.kill(pid, signal.SIGKILL)
    assert program.ended(30) == 1
    assert f"{role} ended (signal SIGKILL)" in program.output()
    assert ": passed" not in program.output()
    if role == "feeder":
        assert not report_of(program)["passed"]


def names_of(pids: set[int]) -> set[str]:
    """What processes call themselves."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


def test_an_outage(tmp_path: Path, launch: Launch, start: Start) -> None:
    """S3 and SQS go away for good: it ends after its duration and a deadline, with the list of what is missing."""
    server = start(moto)
    make_bucket(server, "soak")
    keys: dict[str, Any] = {"aws_endpoint_url": server.endpoint, "aws_s3_bucket": "soak", **keys_of(server)}
    words = ("--duration", "4s", "--deadline", "10s", *SMALL)
    program = launch(tmp_path, 4, *words, **keys)
    downloaded = root_of(program) / "DownloadedFromS3"
    wait_for(lambda: downloaded.is_dir() and files(downloaded), explain=program.output)
    wait_for(lambda: "until 4 s" in program.output(), explain=program.output)  # the judge is there, too
    server.kill()
    assert program.ended(140) == 1, program.output()
    report = report_of(program)
    assert report["ended_by"] == "duration"
    assert report["violations"][-1]["kind"] == "left"  # the bucket cannot be looked into
    stuck = {found["name"] for found in report["violations"][:-1]}
    assert 0 < len(stuck) <= 8
    assert {found["kind"] for found in report["violations"]} <= {"lost", "left"}
    assert all(name in program.output() for name in stuck)
    assert len(report["faults"]) < 60, "a line for each try"


def test_chaos(tmp_path: Path, launch: Launch) -> None:
    """Processes of the relay are killed meanwhile, and still every file is accounted for."""
    words = ("--chaos", "--duration", "20s", "--deadline", "60s", "--sizes", "mix", "--files", "8", "--seed", "3")
    program = launch(tmp_path, 4, *words, sleepWatchLocalFolder=0.5)
    assert program.ended(150) == 0, program.output()
    report = report_of(program)
    assert sum(report["kills"].values()) >= 3
    assert report["totals"]["generated"] == report["totals"]["fed back"] > 8
    assert {fault["kind"] for fault in report["faults"]} >= {"killed", "warning"}
    assert rests(root_of(program))


def test_it_is_drawn_on_a_terminal(tmp_path: Path, launch: Launch) -> None:
    """On a terminal there is one picture, drawn over itself, that no line of the relay disturbs."""
    ours, theirs = pty.openpty()
    folder = tmp_path / "run"
    folder.mkdir()
    first = launch(folder, 4, "--duration", "1s", *SMALL)  # for its properties file
    assert first.ended(60) == 0
    program = Program(first.config, 4, "--duration", "4s", *SMALL, env={"TERM": "xterm"}, stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := _read(ours):
            shown += chunk
        assert program.ended(60) == 0
    finally:
        program.end()
        os.close(ours)
    assert b"\x1b[" in shown
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    for word in ("fed back", "until 4 s", "latency", "no violation", "uploader-2", "soak-reports"):
        assert word in text
    assert " sent  " not in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the last process that had it has ended
        return b""


def test_cleanup_takes_what_a_kill_left_and_nothing_else(
    tmp_path: Path, launch: Launch, ministack_server: Server
) -> None:
    """After kill -9 of a run: its objects, messages and folders go, those of others stay, and so does the report."""
    make_bucket(ministack_server, "soak")
    keys: dict[str, Any] = {
        "aws_endpoint_url": ministack_server.endpoint,
        "aws_s3_bucket": "soak",
        "aws_sqs": "cleaned",
        **keys_of(ministack_server),
    }
    s3, sqs = ministack_server.client("s3"), ministack_server.client("sqs")
    s3.put_object(Bucket="soak", Key="inbox/other.bin", Body=b"1")
    s3.put_object(Bucket="soak", Key="inbox/.relay-soak/20260101-000000-abcd/drop-000001.bin", Body=b"1")
    program = launch(tmp_path, 4, *SMALL, pollProcesses=1, **keys)
    root = root_of(program)
    wait_for(lambda: sum(b"drop-" in name for name in files(root / "DownloadedFromS3")) > 0, explain=program.output)
    program.crash()
    wait_for(lambda: not program.pids(), explain=program.describe_processes)
    url = sqs.get_queue_url(QueueName="cleaned-soak")["QueueUrl"]
    prefix = f"inbox/.relay-soak/{root.name}/"
    for body in (f"{prefix}drop-000001.bin", f"{prefix}drop-000009-Version-3.bin", "inbox/other.bin"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    assert prefix in keys_in(s3)

    again = launch(tmp_path, 4, "--duration", "1s", *SMALL, **keys)
    assert again.ended(30) == 75
    assert "--cleanup" in again.output()
    report = tmp_path / "state" / "soak-reports" / "kept" / "report.html"
    drop(report.parent, {report.name: b"1"})

    other = launch(tmp_path, 4, "--cleanup", **{**keys, "aws_s3_bucket": "other"})
    assert other.ended(60) == 78
    assert f"{root.name} (--config {program.config})" in other.output()
    assert prefix in keys_in(s3)

    assert launch(tmp_path, 4, "--cleanup", root.name, **keys).ended(60) == 0
    assert prefix not in keys_in(s3)
    assert "inbox/other.bin" in keys_in(s3)
    assert "20260101-000000-abcd/drop-000001.bin" in keys_in(s3)
    assert not root.exists()
    assert report.exists()
    wait_for(lambda: left_in_queue(ministack_server, "cleaned-soak", REGION) == (1, 0))


def keys_in(s3: Any) -> str:
    return "\n".join(item["Key"] for item in s3.list_objects_v2(Bucket="soak").get("Contents", []))


def test_in_place(tmp_path: Path, launch: Launch) -> None:
    """It uses the configured folders, in a folder of its own in each, and leaves what else lies there alone."""
    mine = {"mine.txt": b"1", "sub/mine.txt": b"2"}
    drop(tmp_path / "state" / "DownloadedFromS3", mine)
    expected = drop(tmp_path / "state" / "UploadedToS3", mine)
    program = launch(tmp_path, 4, "--in-place", "--duration", "4s", *SMALL)
    root = root_of(program)
    assert program.ended(60) == 0, program.output()
    assert report_of(program)["totals"]["fed back"] > 8
    for name in ("DownloadedFromS3", "UploadedToS3"):
        assert files(program.state / name) == expected
    assert (program.state / "Watch" / f"relay-soak-{root.name}").is_dir()
    assert " 75 " not in program.output()
    cleanup = launch(tmp_path, 4, "--cleanup")
    assert cleanup.ended(60) == 0, cleanup.output()
    assert not root.exists()
    folders = [path for path in program.state.iterdir() if path.name != ".relay"]
    assert not [path for folder in folders for path in folder.rglob(f"relay-soak-{root.name}")]
    assert files(program.state / "DownloadedFromS3") == expected


def test_two_runs_do_not_meet(tmp_path: Path, launch: Launch) -> None:
    """Beside Mode 3 on one properties file: neither sees the other's files, and a running one is not cleaned up."""
    relay = launch(tmp_path, 3).started()
    expected = drop(relay.watch, {"a/b.txt": b"1", "c": b"2"})
    soak = launch(tmp_path, 4, *SMALL)
    root = root_of(soak)
    wait_for(lambda: files(root / "DownloadedFromS3"), explain=soak.output)
    refused = launch(tmp_path, 4, "--cleanup")
    assert refused.ended(30) == 75
    assert "already running" in refused.output()
    expected |= drop(relay.watch, {"d": b"3"})
    wait_for(lambda: files(relay.downloaded).keys() >= expected.keys(), explain=relay.output)
    assert soak.stopped(signal.SIGINT, 60) == 0, soak.output()
    assert files(relay.downloaded) == files(relay.state / "UploadedToS3") == expected
    assert relay.stopped() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-Mode", "3", "--chaos"], "--chaos: only Mode 4 has this"),
        (["-Mode", "1", "--duration", "5m", "--files", "3"], "--duration, --files: only Mode 4 has this"),
        (["-Mode", "4", "--once"], "--once belongs to Modes 1 to 3"),
        (["-Mode", "4", "--sizes", "8MiB-1KiB"], "the sizes go from a smaller to a larger one"),
        (["-Mode", "4", "--duration", "soon"], "'soon' is no time such as 90s, 10m or 2h30m"),
        (["-Mode", "4", "--cleanup", "../x"], "is no run such as"),
        (["-Mode", "4", "--chaos", "--deadline", "20s"], "give at least 30s"),
    ],
)
def test_wrong_options(words: list[str], said: str) -> None:
    """They are named, and nothing begins."""
    code, text = refusal(*words)
    assert (code, said in text) == (2, True), text


def test_nobody_is_billed_unasked(tmp_path: Path, launch: Launch) -> None:
    """Where requests leave this machine it says what it would cost, and begins only if somebody agrees."""
    program = launch(tmp_path, 4, aws_endpoint_url="https://s3.example.org", aws_access_key_id="a", aws_secret_key="b")
    assert program.ended(30) == 2
    output = program.output()
    assert re.search(r"about [\d,]+ files: 537 MB up and as much down, .*about \$\d+\.\d\d", output)
    assert "https://s3.example.org" in output
    assert "add --yes" in output
    assert not (program.state / "soak").exists()
