"""The servers a run talks to: the sink, the queue, SeaweedFS, and a delay before each where a workload asks for it."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bench.failure import BenchError
from bench.wrapper import die_with_parent

ACCESS_KEY, SECRET_KEY, REGION = "bench", "benchsecret", "us-east-1"
BUCKET = "bench"
_ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 30.0
_WEED_PORTS = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer", "admin") for kind in ("", ".grpc")]
_WEED_OFF = ["s3.autoCreateBucket", "s3.allowDeleteBucketNotEmpty", "admin.ui", "webdav", "master.telemetry"]
_WEED_ZERO = ["s3.port.iceberg", "s3.port.lance", "volume.preStopSeconds"]


class Endpoints(NamedTuple):
    """Where S3 and SQS answer."""

    s3: str
    sqs: str


def client(service: str, url: str) -> Any:
    """A boto3 client of the benchmark's own, to prepare and to verify."""
    config = Config(
        signature_version="s3v4" if service == "s3" else "v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
    )
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    make: Any = boto3.session.Session(region_name=REGION).client
    return make(service, endpoint_url=url, config=config, **keys)


class Servers:
    """Starts servers; all of them end with the block."""

    def __init__(self, python: Path, tools: Path, folder: Path) -> None:
        """`python`: the interpreter of our servers; `tools`: where `weed` lies; `folder`: for data and logs."""
        self._python, self._tools, self._folder = python, tools, folder
        self._running = contextlib.ExitStack()

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @contextlib.contextmanager
    def more(self) -> Iterator["Servers"]:
        """Servers of the same kind that end with an inner block."""
        with Servers(self._python, self._tools, self._folder) as inner:
            yield inner

    def sink(self, *, keep: bool = False, manifest: Path | None = None) -> str:
        """Our S3; `keep`: with the content of large objects; `manifest`: what its bucket holds at the start."""
        options = ["--keep", tempfile.mkdtemp(dir=self._folder, prefix="kept-")] if keep else []
        options += ["--manifest", str(manifest), "--bucket", BUCKET] if manifest else []
        return self._ours("sink", *options)

    def sqs(self) -> str:
        """Our SQS."""
        return self._ours("sqs")

    def delayed(self, url: str, milliseconds: float) -> str:
        """The same server, so many milliseconds away in each direction."""
        return self._ours("delay", "--to", url, "--milliseconds", str(milliseconds))

    def seaweedfs(self) -> str:
        """A real store, with its data on disk."""
        folder = Path(tempfile.mkdtemp(dir=self._folder, prefix="weed-"))
        ports = _free_ports(len(_WEED_PORTS))
        listen = [f"-{option}={port}" for option, port in zip(_WEED_PORTS, ports, strict=True)]
        listen += [f"-{option}=false" for option in _WEED_OFF] + [f"-{option}=0" for option in _WEED_ZERO]
        listen += [f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        listen += [f"-s3.localSocket={folder}/s3", f"-filer.localSocket={folder}/filer"]
        self._running.callback(shutil.rmtree, folder, ignore_errors=True)
        process = self._start([str(self._tools / "weed"), f"-logdir={folder}", "mini", *listen], folder / "weed.log")
        self._running.callback(process.kill)  # its data goes anyway, and an orderly stop takes ten seconds
        url = f"http://127.0.0.1:{ports[0]}"
        _wait_for_store(url)
        return url

    def _ours(self, module: str, *options: str) -> str:
        command = [str(self._python), "-m", f"bench.{module}", *options]
        process = self._start(command, self._folder / f"{module}.log", stdout=subprocess.PIPE)
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        if not url:
            raise BenchError(f"bench.{module} did not start:\n" + (self._folder / f"{module}.log").read_text())
        return url

    def _start(self, command: list[str], log: Path, stdout: int | None = None) -> "subprocess.Popen[bytes]":
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        env = {"PATH": os.defpath, "HOME": str(self._folder), "TMPDIR": str(self._folder), **keys}
        with log.open("ab") as output:
            process = subprocess.Popen(
                die_with_parent(command),
                cwd=_ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout or output,
                stderr=output,
                start_new_session=True,
            )
        self._running.callback(_end, process)
        return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_store(url: str) -> None:
    """SeaweedFS answers before its volumes have joined."""
    s3, deadline = client("s3", url), time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ClientError, BotoCoreError):
            if "probe" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
                s3.create_bucket(Bucket="probe")
            s3.put_object(Bucket="probe", Key="probe", Body=b"1")
            return
        time.sleep(0.1)
    raise BenchError(f"SeaweedFS did not serve {url} within {_START_SECONDS:g} s; try --stores sink")


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below those that the kernel gives to clients."""
    found: list[int] = []
    for port in random.sample(range(10_000, 32_000), 1000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise BenchError("no free ports on 127.0.0.1")


def base_env(home: Path) -> dict[str, str]:
    """The environment of a client: none of the user's AWS settings and proxies."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION}
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "AWS_DEFAULT_REGION": REGION}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    return {"PATH": path, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", **keys, **nowhere}
