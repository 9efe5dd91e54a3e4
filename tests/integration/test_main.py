"""What main.py answers before anything moves: usage, properties, folders, endpoints. Never with a traceback."""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.local_aws import EmbeddedAws
from tests.integration.program import MAIN, Launch, Program, drop, files, wait_for, write_properties
from tests.servers import MotoServer, free_ports, make_bucket, moto

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


def run(*arguments: str | Path, **env: str) -> tuple[int, str]:
    """Exit code and console of a program that ends by itself."""
    done = subprocess.run(
        [sys.executable, str(MAIN), *map(str, arguments)],
        capture_output=True,
        env={**os.environ, **env},
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def refusal(*arguments: str | Path, **env: str) -> tuple[int, str]:
    code, text = run(*arguments, **env)
    assert "Traceback" not in text
    assert SECRET not in text
    return code, text


def unprivileged() -> list[str]:
    """A prefix that runs a command by the modes of files alone: root's capabilities override them all."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv, to take root's capabilities away")
    # Another user would not do: the interpreter itself may lie where only root may look.
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def test_says_how_it_is_used() -> None:
    """Without arguments it prints its help and exits 2."""
    code, text = refusal()
    assert code == 2
    assert "usage: main.py" in text
    assert "-Mode" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-Mode", "9"], "invalid choice: 9"),
        (["-Mode", "x"], "invalid int value"),
        (["-Mode"], "expected one argument"),
        (["-Mode", "3", "--onec"], "unrecognized arguments: --onec"),
        (["3"], "unrecognized arguments: 3"),
        (["-Mode", "2", "--redrive"], "--redrive stands without -Mode"),
        (["--redrive", "--once"], "--redrive stands without -Mode, --once"),
    ],
)
def test_wrong_arguments(arguments: list[str], said: str) -> None:
    """A wrong argument is named, with the usage, and exits 2."""
    code, text = refusal(*arguments)
    assert code == 2
    assert said in text
    assert "usage:" in text


def test_help_and_version() -> None:
    """--help and --version exit 0; the version is a number and nothing else."""
    code, text = refusal("--help")
    assert (code, "--once" in text) == (0, True)
    code, text = refusal("--version")
    assert code == 0
    assert [part.isdigit() for part in text.strip().split(".")] == [True] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[AWS]\naws_s3_buckett=x\n", ":2: [AWS] aws_s3_buckett: unknown key; did you mean aws_s3_bucket?"),
        ("[AWS]\nfolderToWatch=x\n", ":2: [AWS] folderToWatch: this key belongs into [General]"),
        ("[Genral]\n", "[Genral]: unknown section; did you mean General?"),
        ("[AWS]\naws_s3_folder=x\n", "[AWS] aws_s3_bucket: missing"),
        ("[AWS]\n\x1b[31mx=1\n", ":2: [AWS] \\x1b[31mx: unknown key"),
        ("x\n", "not a properties file"),
        ("[AWS]\na=1\na=1\n", "not a properties file"),
    ],
)
def test_bad_properties(tmp_path: Path, text: str, said: str) -> None:
    """G1. A properties file that cannot be used exits 78 and says where and why."""
    path = tmp_path / "p"
    path.write_text(text)
    code, output = refusal("--mode", "3", "--config", path)
    assert code == 78
    assert str(path) in output
    assert said in output


@pytest.mark.parametrize(
    ("key", "value", "section"),
    [
        ("aws_s3_bucket", "Not A Bucket", "AWS"),
        ("aws_sqs", "q" * 81, "AWS"),
        ("aws_s3_folder", "a/../b", "AWS"),
        ("aws_region", "", "AWS"),
        ("aws_endpoint_url", "localhost:9000", "AWS"),
        ("aws_secret_key", SECRET, "AWS"),  # and no aws_access_key_id
        ("aws_sqs_message_format", "xml", "AWS"),
        ("uploadProcesses", "0", "Concurrency"),
        ("pollProcesses", "²", "Concurrency"),
        ("sleepPollSQS", "soon", "Concurrency"),
        ("visibilitySeconds", "nan", "Concurrency"),
        ("folderToWatch", "", "General"),
        ("folderToWatch", "a\0b", "General"),
        ("folderForDownloadedFiles", "", "General"),
    ],
)
def test_bad_value(tmp_path: Path, key: str, value: str, section: str) -> None:
    """G1. A value that cannot be is named with file, line, section and key, and exits 78."""
    path = write_properties(tmp_path, **{key: value})
    code, text = refusal("-Mode", "3", "--config", path)
    assert code == 78
    named = "aws_access_key_id" if key == "aws_secret_key" else key
    line = next((n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(f"{named}=")), 0)
    where = f"{path}:{line}" if line else f"{path}"
    assert f"{where}: [{section}] {named}: " in text
    assert not (tmp_path / "state").exists()


def test_missing_properties(tmp_path: Path) -> None:
    """G1. A properties file that is not there exits 78 and says which option gives another."""
    code, text = refusal("-Mode", "1", "--config", tmp_path / "none")
    assert (code, f"{tmp_path / 'none'}: no such file" in text, "--config" in text) == (78, True, True)
    code, text = refusal("-Mode", "1", "--config", tmp_path)
    assert (code, "cannot be read" in text) == (78, True)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"folderForDownloadedFiles": "Watch/in"}, ("folderForDownloadedFiles", "lies inside folderToWatch")),
        ({"folderForUploadedFiles": "Watch"}, ("folderForUploadedFiles", "is the same folder as")),
        ({"folderToWatch": "."}, ("lies inside folderToWatch",)),
        ({"folderToWatch": "file"}, ("folderToWatch", "is not a folder")),
        ({"folderToWatch": "file/below"}, ("folderToWatch", "cannot be made")),
        ({"folderToStoreTempFiles": "state/file"}, ("folderToStoreTempFiles",)),
        ({"logFilePath": "."}, ("logFilePath",)),
        ({"logFilePath": "file/log"}, ("logFilePath",)),
        ({"folderToWatch": "x" * 300}, ("folderToWatch", "cannot be made")),
    ],
)
def test_impossible_folders(tmp_path: Path, keys: dict[str, Any], said: tuple[str, ...]) -> None:
    """G2, G3. Folders that cannot serve are refused with 78, naming the key, before anything starts."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "file").write_text("not a folder")
    if "folderToStoreTempFiles" in keys:
        keys = {"folderToStoreTempFiles": str(tmp_path / keys["folderToStoreTempFiles"])}
    code, text = refusal("-Mode", "3", "--config", write_properties(tmp_path, **keys))
    assert code == 78
    assert all(part in text for part in said)


@pytest.mark.parametrize(
    ("folder", "mode"),
    [
        ("Watch", 0o500),
        ("QueuedForUpload", 0o300),
        ("DownloadedFromS3", 0o000),
        (".relay", 0o500),
        (".relay", 0o300),
    ],
)
def test_folder_without_permission(tmp_path: Path, folder: str, mode: int) -> None:
    """D4. A folder this user may not read or write is refused with 78 and what to do."""
    path = tmp_path / "state" / folder
    path.mkdir(parents=True)
    path.chmod(mode)
    command = [*unprivileged(), sys.executable, str(MAIN), "-Mode", "3", "--config", str(write_properties(tmp_path))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    finally:
        path.chmod(0o700)
    assert "Traceback" not in done.stderr
    assert (done.returncode, str(path) in done.stderr, "change its owner or mode" in done.stderr) == (78, True, True)


def test_unprivileged_user(tmp_path: Path) -> None:
    """G10. Without any capability, and without a home, it relays files; its own state is for nobody else."""
    program = Program(write_properties(tmp_path), 3, env={"HOME": "/nonexistent"}, prefix=unprivileged())
    try:
        program.started()
        dropped = drop(program.watch, {"a": b"1"})
        wait_for(lambda: files(program.downloaded) == dropped, explain=program.output)
        assert stat.S_IMODE((program.state / ".relay").stat().st_mode) == 0o700
        assert program.stopped() == 0
    finally:
        program.end()


def test_a_started_program_says_what_it_does(tmp_path: Path, launch: Launch) -> None:
    """Where its log is and how its processes end with it; SIGUSR1 shows the parent's threads, and it goes on."""
    program = launch(tmp_path, 2).started()
    assert f" {program.state / 'relay.log'}\n" in program.output()
    assert re.search(r" check +I kernel +(parent-death signal|parent's sentinel)$", program.output(), re.MULTILINE)
    program.send(signal.SIGUSR1)
    wait_for(lambda: "supervisor.py" in program.output(), explain=program.output)
    assert program.stopped() == 0


def test_folders_on_two_file_systems(tmp_path: Path) -> None:
    """D5. Files travel by rename: a queue on another file system is refused with 78 and the remedy."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, to mount a file system")
    queued = tmp_path / "state" / "QueuedForUpload"
    queued.mkdir(parents=True)
    config = write_properties(tmp_path)
    script = 'mount -t tmpfs none "$1" || exit 200; shift; exec "$@"'
    inner = ["sh", "-c", script, "sh", str(queued), sys.executable, str(MAIN), "-Mode", "1", "--config", str(config)]
    unshare = ["unshare", "-m", *([] if os.geteuid() == 0 else ["-r"])]
    done = subprocess.run([*unshare, *inner], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 200 or done.stderr.startswith("unshare:"):
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 78, done.stderr
    assert "folderQueuedForUpload" in done.stderr
    assert "put both on one file system" in done.stderr
    assert "or set crossDeviceMoves=1" in done.stderr
    assert files(tmp_path / "state" / "Watch") == {}  # the trial leaves nothing


def test_port_of_the_embedded_server_is_taken(tmp_path: Path, launch: Launch) -> None:
    """Another program on the port of the embedded server ends the start with 69 and the remedy."""
    embedded = EmbeddedAws.at(tmp_path / "state" / ".relay" / "embedded")
    with socket.create_server(("127.0.0.1", embedded.port)):
        program = launch(tmp_path, 3)
        assert program.ended() == 69
    assert f"Port {embedded.port} of the embedded S3/SQS server is taken" in program.output()
    assert "address.json" in program.output()
    assert "Traceback" not in program.output()


def test_endpoint_refuses(tmp_path: Path, launch: Launch) -> None:
    """An endpoint where nothing listens ends the start with 69, naming it and what to check."""
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    program = launch(tmp_path, 3, aws_endpoint_url=endpoint, aws_access_key_id="AKIATEST", aws_secret_key=SECRET)
    assert_unavailable(program, endpoint, "check that the endpoint is up")


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({"AWS_PROFILE": "nowhere"}, 78, "nowhere"),
        ({"AWS_CONFIG_FILE": "broken"}, 78, "broken"),
        ({"AWS_ENDPOINT_URL": "not a url"}, 78, "endpoint"),
        ({"AWS_CA_BUNDLE": "/nonexistent.pem"}, 69, "AWS_CA_BUNDLE"),
    ],
)
def test_unusable_environment(
    tmp_path: Path, launch: Launch, silent: str, env: dict[str, Any], code: int, said: str
) -> None:
    """G1. AWS_* variables that cannot be used are named, without a traceback."""
    (tmp_path / "broken").write_text("[default\nx")
    if "AWS_CONFIG_FILE" in env:
        env = {"AWS_CONFIG_FILE": str(tmp_path / "broken")}
    env = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": SECRET} | env
    if "AWS_CA_BUNDLE" in env:
        env["AWS_ENDPOINT_URL"] = silent.replace("http:", "https:")
    program = launch(tmp_path, 1, aws_endpoint_url="", env=env)
    assert program.ended() == code
    assert said in program.output()
    assert "Traceback" not in program.output()


@pytest.fixture
def silent() -> Iterator[str]:
    """An endpoint that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_the_endpoint_is_silent(tmp_path: Path, launch: Launch, silent: str) -> None:
    """A10. A start that hangs at an endpoint survives the end of its process, and SIGTERM stops it at once."""
    keys: dict[str, Any] = {"aws_endpoint_url": silent, "aws_access_key_id": "AKIATEST", "aws_secret_key": SECRET}
    program = launch(tmp_path, 3, shutdownSeconds=20, **keys)  # were it given up, it would be later
    os.kill(wait_for(lambda: connected_to(program, silent), explain=program.output), signal.SIGKILL)
    wait_for(lambda: "check ended (signal SIGKILL), started again" in program.output(), explain=program.output)
    wait_for(lambda: connected_to(program, silent), explain=program.output)
    assert program.stopped(seconds=10) == 0


def connected_to(program: Program, endpoint: str) -> int:
    """The process of `program` that has a connection to `endpoint`, which is its check; 0 if there is none."""
    remote = f"0100007F:{int(endpoint.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[2] == remote}
    for pid in program.pids():
        with contextlib.suppress(OSError):
            if sockets & {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}:
                return pid
    return 0


def no_bucket(_server: MotoServer) -> dict[str, Any]:
    return {"aws_access_key_id": "AKIATEST", "aws_secret_key": SECRET}


def no_credentials(server: MotoServer) -> dict[str, Any]:
    make_bucket(server, "relay")
    return {}


def wrong_secret(server: MotoServer) -> dict[str, Any]:
    make_bucket(server, "relay")
    return {"aws_access_key_id": server.require_auth().aws_access_key_id, "aws_secret_key": SECRET}


def unknown_key(server: MotoServer) -> dict[str, Any]:
    make_bucket(server, "relay")
    server.require_auth()
    return {"aws_access_key_id": "AKIANOBODY", "aws_secret_key": SECRET}


def no_queue_permission(server: MotoServer) -> dict[str, Any]:
    make_bucket(server, "relay")
    key, secret = server.require_auth({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    return {"aws_access_key_id": key, "aws_secret_key": secret}


@pytest.fixture(scope="module")
def auth_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with moto(tmp_path_factory.mktemp("auth")) as server:
        yield server


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (no_bucket, ("'relay'", "NoSuchBucket", "create the bucket")),
        (no_credentials, ("no credentials", "aws_access_key_id")),
        (wrong_secret, ("SignatureDoesNotMatch", "correct aws_secret_key")),
        (unknown_key, ("InvalidAccessKeyId", "correct aws_access_key_id")),
        (no_queue_permission, ("'relay'", "sqs:", "AccessDenied")),
    ],
)
def test_aws_refuses(
    tmp_path: Path,
    launch: Launch,
    auth_server: MotoServer,
    prepare: Callable[[MotoServer], dict[str, Any]],
    said: tuple[str, ...],
) -> None:
    """G5. What AWS refuses at the start ends the program with 69, the code and what to do next, and no secret."""
    auth_server.reset()
    program = launch(tmp_path, 3, aws_endpoint_url=auth_server.endpoint, **(keys := prepare(auth_server)))
    assert_unavailable(program, *said, secret=keys.get("aws_secret_key", SECRET))


def assert_unavailable(program: Program, *said: str, secret: str = SECRET) -> None:
    assert program.ended() == 69
    for text in (program.output(), program.log()):
        assert all(part in text for part in said), text
        assert "Traceback" not in text
        assert secret not in text
    assert files(program.downloaded) == {}
