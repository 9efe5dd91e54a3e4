"""The benchmark's sink and queue keep the contracts that the program relies on: what it is measured over is a store."""

# ruff: noqa: F401  # the imported tests are collected here, with the fixtures of this module
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.aws.sqs import Queue
from tests.bench_servers import bench_server
from tests.contract import test_queue, test_store
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
from tests.contract.test_store import (
    test_a_held_key_is_taken,
    test_a_key_is_any_text,
    test_a_key_taken_while_its_parts_travel_stays,
    test_a_store_that_knows_the_condition_is_not_asked,
    test_cancelled_between_chunks,
    test_cancelled_between_parts,
    test_deleted_it_is_gone,
    test_deleting_what_is_not_there_is_done,
    test_one_of_many_writers_wins,
    test_replaces_of_nothing_is_missing,
    test_replaces_wants_the_etag_it_names,
    test_what_goes_up_comes_down,
    test_what_is_not_there_is_missing,
)
from tests.servers import Server


@pytest.fixture(scope="module")
def bench_sqs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with bench_server(tmp_path_factory.mktemp("sqs"), "sqs") as server:
        yield server


@pytest.fixture(scope="module")
def bench_sink_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sink")
    with bench_server(folder, "sink", "--keep", str(folder)) as server:
        yield server


@pytest.fixture
def server_name(bench_sqs_server: Server) -> str:
    del bench_sqs_server
    return "bench_sqs"


@pytest.fixture
def queue(server_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Queue:
    return test_queue._served(server_name, request, tmp_path).queue


@pytest.fixture
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> test_store.Served:
    return test_store._served("bench_sink", request, tmp_path)


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> test_queue.Served | test_store.Served:
    """Both suites have a fixture of that name: which one is asked for is seen by the test's own module."""
    if request.function.__module__ == test_queue.__name__:
        return test_queue._served("bench_sqs", request, tmp_path)
    return test_store._served("bench_sink", request, tmp_path)
