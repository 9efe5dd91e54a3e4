"""The whole program and an S3 that refuses, breaks off, lies, or is not there: nothing is lost, nothing comes twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.aws.store import MULTIPART_FROM
from tests.integration.program import Launch, Program, drop, wait_for
from tests.integration.test_flow import arrived, at_rest, folder, keys_of, left_in_queue
from tests.proxy import Chance, Fault, Proxy, Request, Script, error, proxy
from tests.servers import MotoServer, make_bucket

LOST, BUSY = Fault(lose=True), error(503, "SlowDown")
SCRIPT: dict[str, list[tuple[str, list[Fault | None]]]] = {
    "busy": [("PUT", [BUSY, error(500, "InternalError"), error(429, "TooManyRequests")])],
    "broken": [("PUT", [Fault(cut_request=0), Fault(cut_request=1000)])],
    "lost": [("PUT", [LOST])],
    "conflict": [("PUT", [error(409, "ConditionalRequestConflict")])],
    "short": [("GET", [Fault(cut_answer=1000), Fault(cut_answer=0, end="close")])],
    "flipped": [("GET", [Fault(flip_answer=70_000)] * 2)],
    "large": [
        ("POST", [None, LOST, error(404, "NoSuchUpload")]),  # the first one begins the upload
        ("GET", [None, Fault(flip_answer=5)]),
    ],
}
"""What happens to the requests about each file, one after the other."""
WEATHER = {BUSY: 0.05, LOST: 0.03, Fault(cut_request=0): 0.03, Fault(cut_answer=3): 0.03, Fault(delay=0.2): 0.05}


def through(network: Proxy, server: MotoServer, name: str) -> dict[str, Any]:
    """Keys of a program whose S3 lies behind the network, and its SQS does not."""
    make_bucket(server, name)
    places = {"aws_endpoint_url_s3": network.endpoint, "aws_endpoint_url_sqs": server.endpoint, "aws_endpoint_url": ""}
    return {
        **places,
        "aws_s3_bucket": name,
        "aws_sqs": name,
        "uploadProcesses": 1,
        "pollProcesses": 1,
        **keys_of(server),
    }


def objects(server: MotoServer, bucket: str) -> dict[bytes, bytes]:
    s3 = server.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    found = {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys if "/.relay/" not in key}
    return {key.removeprefix("inbox/").encode(): body for key, body in found.items()}


@pytest.mark.parametrize("engine", ["crt", "classic"])
def test_whatever_happens_to_single_requests(
    tmp_path: Path, launch: Launch, moto_server: MotoServer, engine: str
) -> None:
    """B1, B3, B4, B5, B6, B9, B10. Scripted for some files, by chance for others: one object, one message, one file."""
    with proxy(moto_server.port) as network:
        lines = [(method, f"inbox/{name}", faults) for name, them in SCRIPT.items() for method, faults in them]
        program = launch(
            tmp_path, 3, aws_transfer_client=engine, **through(network, moto_server, name := f"single-{engine}")
        )
        network.fault = Script(*lines)
        sizes = dict.fromkeys(SCRIPT, 100_000) | {"large": MULTIPART_FROM + 1}
        expected = drop(program.started().watch, {name: os.urandom(size) for name, size in sizes.items()})
        arrived(program, expected, 90)
        network.fault = Chance(7, WEATHER)
        expected |= drop(program.watch, {f"{number}": os.urandom(5000) for number in range(40)})
        arrived(program, expected, 90)
        network.fault = lambda _request: None
        assert objects(moto_server, name) == expected
        assert program.output().count(" sent  ") == program.output().count(" received  ") == len(expected)
        assert "arrived damaged" in program.log()
        assert program.stopped() == 0
    assert left_in_queue(moto_server, name) == (0, 0)
    assert "Traceback" not in program.log()
    at_rest(program)


@contextmanager
def refusing(network: Proxy, fault: Fault) -> Iterator[None]:
    network.fault = lambda _request: fault
    yield
    network.fault = lambda _request: None


def test_while_s3_serves_nobody(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """B2, B11, B13. Files queue up, one line a minute says why and what to do, and it goes on by itself."""
    with proxy(moto_server.port) as network:
        keys = through(network, moto_server, "nobody-served")
        program = launch(tmp_path, 3, aws_transfer_client="classic", **keys).started()
        arrived(program, expected := drop(program.watch, {"before": b"1"}))
        outages: list[tuple[AbstractContextManager[None], str]] = [
            (network.down(), "check that the endpoint is up"),
            (refusing(network, error(403, "InvalidAccessKeyId")), "correct aws_access_key_id"),
            (refusing(network, error(403, "RequestTimeTooSkewed")), "set this machine's clock"),
        ]
        for outage, advice in outages:
            begun = time.monotonic()
            with outage:
                dropped = drop(program.watch, {f"{advice[:5]}-{number}": b"%d" % number for number in range(20)})
                _waits(program, dropped, expected, advice)
            arrived(program, expected := expected | dropped, 90)
            told = [
                line for line in program.output().splitlines() if "waiting, nothing is lost" in line and advice in line
            ]
            assert 0 < len(told) <= 1 + (time.monotonic() - begun) / 60, told
        assert objects(moto_server, "nobody-served") == expected
        assert program.stopped() == 0


def _waits(program: Program, dropped: dict[bytes, bytes], sent: dict[bytes, bytes], advice: str) -> None:
    """It says what to do, and all that was dropped lies queued."""
    wait_for(lambda: advice in program.output(), 60, program.output)
    wait_for(lambda: folder(program, "QueuedForUpload") == dropped, 60, program.output)
    assert folder(program, "UploadedToS3") == sent
    assert folder(program, "Failed") == {}


PROCESS = """#!/bin/sh
set -- $(date -u -d "+2 seconds" "+%s %Y-%m-%dT%H:%M:%SZ")
echo "{\\"Version\\": 1, \\"AccessKeyId\\": \\"k3y\\", \\"SecretAccessKey\\": \\"s3cret\\","
echo " \\"SessionToken\\": \\"$1\\", \\"Expiration\\": \\"$2\\"}"
"""


def test_credentials_that_expire(tmp_path: Path, launch: Launch, moto_server: MotoServer) -> None:
    """B12. Those of a process live for two seconds: they are renewed while it runs, and no file waits for a person."""
    (process := tmp_path / "process").write_text(PROCESS)
    process.chmod(0o755)
    (config := tmp_path / "config").write_text(f"[default]\ncredential_process = {process}\n")
    used: dict[str, list[int]] = {"PUT": [], "GET": []}

    def judge(request: Request) -> Fault | None:
        token = int(next(value for name, value in request.headers.items() if name.lower() == "x-amz-security-token"))
        if "/inbox/file-" in request.path:
            used[request.method].append(token)
        return error(400, "ExpiredToken") if time.time() > token + 2 else None

    with proxy(moto_server.port) as network:
        network.fault = judge
        keys = through(network, moto_server, "expiring")
        keys |= {"aws_access_key_id": "", "aws_secret_key": "", "aws_transfer_client": "crt"}
        program = launch(tmp_path, 3, env={"AWS_CONFIG_FILE": str(config)}, **keys).started()
        expected: dict[bytes, bytes] = {}
        while not all(tokens and max(tokens) - tokens[0] >= 5 for tokens in used.values()):
            expected |= drop(program.watch, {f"file-{len(expected)}": os.urandom(1000)})
            arrived(program, expected)
        assert program.stopped() == 0
