"""Where and how the program is run: its keys, its log, its environment; section G of docs/faults.md."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.program import MAIN, Launch, Program, drop, files, wait_for, write_properties
from tests.integration.test_main import unprivileged
from tests.servers import MotoServer, make_bucket

KEY, SECRET, TOKEN = "AKIACANARYCANARY0000", "canary/secret+0123456789abcdefghijklmnop", "canaryTOKEN=="
TALKATIVE = "boto3", "botocore", "botocore.auth", "botocore.endpoint", "urllib3.connectionpool", "awscrt"
FORGED = "12:00:00 poller I all is well"
RED = "\x1b[31m"
NAMES = ("a", "é/日本", "\udcff", "line\nend")


def talkative(folder: Path) -> Path:
    """A copy of the program whose logging.conf asks everybody for everything; its main.py."""
    home = folder / "home"
    home.mkdir()
    for name in ("main.py", "app_properties.py", "app_logger.py", "aws_util.py", "logging.conf"):
        shutil.copy(MAIN.with_name(name), home)
    shutil.copytree(MAIN.with_name("pipeline"), home / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    conf = home / "logging.conf"
    loggers = "".join(f"[logger_t{n}]\nlevel=DEBUG\nhandlers=\nqualname={name}\n" for n, name in enumerate(TALKATIVE))
    keys = ",".join(f"t{n}" for n in range(len(TALKATIVE)))
    text = conf.read_text().replace("level=INFO", "level=DEBUG")
    conf.write_text(text.replace("keys=root,pipeline", f"keys=root,pipeline,{keys}") + loggers)
    return home / "main.py"


def fail(main: Path) -> None:
    """Let a watcher end by an error that shows what it was given."""
    role = main.parent / "pipeline" / "roles" / "watcher.py"
    code = role.read_text()
    start = code.index("def run(context")
    body = code.index('"""', code.index('"""', start) + 3) + 3
    role.write_text(f'{code[:body]}\n    raise ValueError(f"shown: {{context}}")\n{code[body:]}')


@pytest.mark.parametrize("given", ["properties", "environment"])
def test_keys_are_shown_nowhere(tmp_path: Path, moto_server: MotoServer, given: str) -> None:
    """G5. Not in log, console and command lines, whatever logging.conf asks for; nor by an error, nor by a refusal."""
    main, bucket = talkative(tmp_path), f"canary-{given}"
    keys: dict[str, Any] = {"aws_endpoint_url": moto_server.endpoint, "aws_s3_bucket": bucket, "aws_sqs": bucket}
    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    if given == "properties":
        keys, env = {**keys, "aws_access_key_id": KEY, "aws_secret_key": SECRET, "aws_transfer_client": "classic"}, {}
    seen = []
    for name, ends in (("refused", "NoSuchBucket"), ("works", " received  "), ("fails", "shown: Context(")):
        if name == "works":
            make_bucket(moto_server, bucket)
        if name == "fails":
            fail(main)
        (tmp_path / name).mkdir()
        program = Program(write_properties(tmp_path / name, **keys), 3, env=env, main=main)
        try:
            drop(program.watch, {"a": b"1"})
            wait_for(lambda program=program, ends=ends: ends in program.output(), explain=program.output)  # type: ignore[misc]
            seen += [program.describe_processes(), program.output(), program.log()]
        finally:
            program.end()
    text = "\n".join(seen)
    assert " DEBUG " in text
    for canary in (KEY, SECRET, SECRET[7:], TOKEN, "Signature="):
        assert canary not in text


class Odd(BaseHTTPRequestHandler):
    """Refuses everything, with texts that would steer a terminal, or forge a line of the log."""

    def answer(self) -> None:
        """As JSON, which can hold any character, to SQS, and as XML to S3."""
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        said = {"__type": f"com.amazonaws.sqs#Odd{RED}", "message": f"{RED}red\n{FORGED}"}
        xml = f"<Error><Code>Odd\x9b31m</Code><Message>red\n{FORGED}\u202e</Message></Error>"
        body = json.dumps(said) if "x-amz-target" in self.headers else xml
        self.send_response(400)
        self.send_header("x-amz-request-id", f"{RED}id")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    do_GET = do_PUT = do_POST = do_HEAD = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' console."""


@pytest.fixture
def odd_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_a_server_says_forges_nothing(
    tmp_path: Path, launch: Launch, odd_server: str, moto_server: MotoServer
) -> None:
    """G6. Errors of S3 and of SQS with escape sequences and line ends: each is a printable line."""
    make_bucket(moto_server, "odd")
    for place in ("s3", "sqs"):
        urls = {"aws_endpoint_url_s3": moto_server.endpoint, "aws_endpoint_url_sqs": moto_server.endpoint}
        urls[f"aws_endpoint_url_{place}"] = odd_server
        keys: dict[str, Any] = {"aws_endpoint_url": "", "aws_s3_bucket": "odd", **urls}
        keys |= {"aws_access_key_id": KEY, "aws_secret_key": SECRET}
        program = launch(tmp_path / place, 1, "--once", **keys)
        assert program.ended(60) == 69
        for text in (program.output(), program.log()):
            assert "Odd" in text or "400" in text
            assert all(line.isprintable() for line in text.split("\n"))
            assert not any(line.startswith(FORGED) for line in text.splitlines())


def arrived(program: Program, expected: dict[bytes, bytes]) -> bool:
    """Exactly these files."""
    return files(program.downloaded) == expected


def test_the_log_is_moved_away(tmp_path: Path, launch: Launch) -> None:
    """G7. As logrotate does: each process goes on in a file of the old name, and no line is lost or stands twice."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=0.2).started()
    log = program.state / "relay.log"
    moved: list[Path] = []
    expected: dict[bytes, bytes] = {}
    for turn in range(3):
        expected |= drop(program.watch, {f"{turn}-{number}": b"1" for number in range(20)})
        wait_for(functools.partial(arrived, program, expected), explain=program.output)
        moved.append(log.rename(log.with_name(f"relay.log.{turn}")))
    assert program.stopped() == 0
    texts = [path.read_text() for path in (*moved, log)]
    assert "stopped, exit code 0" in texts[-1]
    for role in ("uploader", "poller"):
        assert all(f" {role}-" in text for text in texts[:3]), role
    lines = "".join(texts).splitlines()
    for name in map(bytes.decode, expected):
        for what in (" sent ", " received "):
            assert len([line for line in lines if what in line and f"/{name}  " in f"{line}  "]) == 1, name


def test_the_folder_of_the_log_goes(tmp_path: Path, launch: Launch) -> None:
    """G7. Files flow, and processes start again, without it; once it is back so is the log."""
    program = launch(tmp_path, 3, logFilePath="logs/relay.log", sleepWatchLocalFolder=0.2)
    logs = program.state / "logs"
    wait_for(lambda: " poller" in (program.output() if logs.exists() else ""), explain=program.output)
    logs.rename(tmp_path / "away")
    logs.write_bytes(b"")  # in its place: it cannot be made again
    expected = drop(program.watch, {f"a{number}": b"1" for number in range(10)})
    wait_for(functools.partial(arrived, program, expected), explain=program.output)
    [watcher] = [pid for pid in program.pids() if b"watcher" in Path(f"/proc/{pid}/comm").read_bytes()]
    os.kill(watcher, signal.SIGKILL)
    wait_for(lambda: "started again" in program.output(), explain=program.output)
    expected |= drop(program.watch, {f"b{number}": b"1" for number in range(10)})
    wait_for(functools.partial(arrived, program, expected), explain=program.output)
    logs.unlink()
    logs.mkdir()
    expected |= drop(program.watch, {f"c{number}": b"1" for number in range(10)})
    wait_for(lambda: (logs / "relay.log").exists() and " received " in (logs / "relay.log").read_text())
    wait_for(functools.partial(arrived, program, expected), explain=program.output)
    assert program.stopped() == 0
    assert "Traceback" not in program.output()


def test_other_properties_under_load(tmp_path: Path, launch: Launch) -> None:
    """G8. SIGHUP stops it in the middle; the next start goes on with the file as it is then: each arrives once."""
    keys: dict[str, Any] = {
        "sleepWatchLocalFolder": 0.2,
        "maxQueuedFiles": 10,
        "uploadConcurrency": 2,
        "downloadConcurrency": 2,
    }
    program = launch(tmp_path, 3, **keys).started()
    expected = drop(program.watch, {f"d{number % 7}/{number}": b"%d" % number for number in range(150)})
    wait_for(lambda: len(files(program.downloaded)) > 2, explain=program.output)
    write_properties(tmp_path, uploadProcesses="none")  # what runs does not look at it
    assert program.stopped(signal.SIGHUP) == 0
    assert len(files(program.downloaded)) < len(expected)
    refused = launch(tmp_path, 3, uploadProcesses="none")
    assert refused.ended() == 78
    other: dict[str, Any] = {
        "uploadProcesses": 1,
        "pollProcesses": 1,
        "aws_sqs_message_format": "s3-event",
        "durability": "process",
    }
    program = launch(tmp_path, 3, **other)
    wait_for(lambda: len(files(program.downloaded)) >= len(expected), 120, program.output)
    assert program.stopped() == 0
    assert files(program.downloaded) == expected
    assert files(program.state / "UploadedToS3") == expected


def bare(folder: Path) -> list[str]:
    """A prefix: nothing may be written but below a folder, no capability, few descriptors, no place to stand on."""
    gone = folder / "gone"
    script = (
        'mount --bind "$1" "$1" && mount -o remount,bind,ro / || exit 200; mkdir "$2"; cd "$2" && rmdir "$2"; '
        'umask 0077; ulimit -n 128; shift 2; exec "$@"'
    )
    prefix = ["unshare", "-m", "sh", "-c", script, "sh", str(folder), str(gone)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a mount namespace, and to be root in it")
    return [*prefix, *unprivileged()]


def test_a_bare_environment(tmp_path: Path) -> None:
    """G10, G3. The C locale, no HOME, no such zone, a strict umask, 128 descriptors, a cwd that is gone, no rights."""
    link = tmp_path / "state" / "Watch"
    link.parent.mkdir()
    (tmp_path / "real").mkdir()
    link.symlink_to(tmp_path / "real")
    clean = ["env", *["-u", "HOME", "-u", "USER", "-u", "LANG", "LC_ALL=C", "TZ=Nowhere/At_All", "TMPDIR=/nonexistent"]]
    program = Program(write_properties(tmp_path), 3, prefix=[*bare(tmp_path), *clean])
    try:
        dropped = drop(tmp_path / "real", dict.fromkeys(NAMES, b"1"))
        wait_for(lambda: files(program.downloaded) == dropped, explain=program.output)
        assert program.stopped() == 0
        assert f"{link} → {tmp_path / 'real'}\n" in program.output()
        assert "Traceback" not in program.output()
    finally:
        program.end()


@pytest.mark.parametrize("env", [{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}])
def test_names_have_to_be_utf8(tmp_path: Path, env: dict[str, str]) -> None:
    """G10. In a locale of another encoding names would arrive as others: 78, and what to set."""
    command = [sys.executable, str(MAIN), "-Mode", "3", "--config", str(write_properties(tmp_path))]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **env}, timeout=40, check=False)
    assert done.returncode == 78
    assert b"set LC_ALL=C.UTF-8 or PYTHONUTF8=1" in done.stderr
    assert not (tmp_path / "state").exists()


def test_what_others_may_do_is_told(tmp_path: Path) -> None:
    """G3, G4. Keys that others may read, and folders that they may rearrange: a line each, in log and console."""
    state = tmp_path / "state"
    (state / "QueuedForUpload").mkdir(parents=True)
    (state / "QueuedForUpload").chmod(0o777)
    keys = {"aws_access_key_id": KEY, "aws_secret_key": SECRET}
    config = write_properties(tmp_path, **keys)
    config.chmod(0o644)
    program = Program(config, 1)
    try:
        assert program.started().stopped() == 0
        for text in (program.output(), program.log()):
            assert f"{config} holds keys and others may read it (mode 0644)" in text
            assert "folderQueuedForUpload: any user may remove and replace" in text
            assert text.count("any user may") == 1
    finally:
        program.end()
