"""The order of a FIFO queue: what is sent in one group arrives in that order, whatever happens on the way."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import app_properties
from aws_util import Aws
from pipeline.local_aws import EmbeddedAws
from pipeline.ports import LaterError, MissingError
from tests.integration.announced import Announced, embedded
from tests.integration.program import Launch, files, wait_for
from tests.unit.test_groups import WAYS, fifo_side, published
from tests.unit.test_poller import Consume
from tests.unit.test_uploader import until

SENT = [f"g{number % 5}/{number:03}" for number in range(200)]
GROUPS = [SENT[group::5] for group in range(5)]


@pytest.fixture(params=WAYS)
def consume(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consume]:
    yield from fifo_side(tmp_path, request.param, monkeypatch)


def test_whatever_fails(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads, answers of the queue, and stops in between: each group arrives in order, and each file once."""
    for path in SENT:
        consume.announce(path, path.encode())
    found, chance = published(consume, monkeypatch), random.Random(1)

    def fail(operation: str, key: str) -> None:
        if chance.random() < 0.1:
            raise MissingError(f"{operation} {key}")

    consume.store.before["download"] = partial(fail, "GET")
    consume.queue.refuse = lambda _operation, _body: LaterError("throttled") if chance.random() < 0.1 else None
    while consume.queue.bodies():
        consume.poller.step(0, 0.0)
        if chance.random() < 0.2:
            consume.poller.close(chance.choice([0, 5]))
            consume.poller = consume.new_poller(concurrency=25)
        until(consume.poller.idle)
        consume.clock.now += 60
    assert sorted(found) == sorted(SENT)
    assert [[path for path in found if path in group] for group in GROUPS] == GROUPS
    assert sorted(consume.files()) == sorted(SENT)


def test_whoever_is_killed(tmp_path: Path, launch: Launch) -> None:
    """Both pollers, with messages in hand, and objects that come late: each file still got its name in its turn."""
    keys: dict[str, Any] = {"aws_sqs": "relay.fifo", "pollProcesses": 2}
    program = launch(tmp_path, 2, **keys).started()
    url = EmbeddedAws.at(program.state / ".relay" / "embedded").url
    queue = Aws(app_properties.load(program.config, 2, tmp_path), url).queue()
    drops = [Announced(path) for path in SENT]
    late = {group[10] for group in GROUPS}
    s3 = embedded(program, "s3")

    for drop in drops:
        if drop.path not in late:
            drop.store(s3)
    for first in range(0, len(drops), 10):
        assert queue.send([drop.message for drop in drops[first : first + 10]]) == [None] * 10
    wait_for(lambda: program.log().count("not there yet") >= 5, explain=program.output)
    for drop in drops:
        if drop.path in late:
            drop.store(s3)
    wait_for(lambda: len(files(program.downloaded)) >= 70, explain=program.output)
    for name in ("poller-1", "poller-2"):
        os.kill(program.roles()[name], signal.SIGKILL)
    wait_for(lambda: len(files(program.downloaded)) == len(SENT), 60, program.output)
    assert files(program.downloaded) == {path.encode(): path.encode() for path in SENT}
    for group in GROUPS:
        named = [(program.downloaded / path).stat().st_ctime_ns for path in group]
        assert named == sorted(named), group[0]
