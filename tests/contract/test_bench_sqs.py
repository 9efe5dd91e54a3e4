"""The benchmark's queue keeps the contract of a queue: what the program is measured over is one."""

# ruff: noqa: F401  # the imported tests are collected here, with the fixtures of this module
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.aws.sqs import Queue
from tests.bench_servers import start
from tests.contract import test_queue
from tests.contract.test_queue import (
    test_a_bad_receipt_fails_alone,
    test_a_queue_that_exists_is_taken_as_it_is,
    test_an_empty_queue_gives_nothing,
    test_buried_twice_the_last_reason_counts,
    test_buried_with_its_reason,
    test_deleted_it_never_comes,
    test_given_back_it_comes_again,
    test_it_knows_how_many_messages_it_holds,
    test_messages_that_are_delayed_are_counted_apart,
    test_never_more_than_asked_for,
    test_numbers_are_numbers,
    test_ten_messages_travel_with_their_attributes,
    test_two_instances_make_one_queue,
    test_without_dead_letters_nothing_is_buried,
)
from tests.servers import Server


@pytest.fixture(scope="module")
def bench_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """By the name that the suite makes of `server_name`."""
    with start("sqs", tmp_path_factory.mktemp("sqs")) as server:
        yield server


@pytest.fixture
def server_name() -> str:
    return "bench"


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> test_queue.Served:
    return test_queue._served("bench", request, tmp_path)


@pytest.fixture
def queue(served: test_queue.Served) -> Queue:
    return served.queue
