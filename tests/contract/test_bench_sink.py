"""The benchmark's sink keeps the contract of a store, by either engine: what the program is measured over is one."""

# ruff: noqa: F401  # the imported tests are collected here, with the fixtures of this module
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench_servers import start
from tests.contract import test_store
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
def bench_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """By the name that the suite makes of "bench"."""
    folder = tmp_path_factory.mktemp("sink")
    with start("sink", folder, "--keep", str(folder)) as server:
        yield server


@pytest.fixture(params=test_store.ENGINES)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> test_store.Served:
    return test_store._served(f"bench {request.param}", request, tmp_path)


@pytest.fixture
def shelf(served: test_store.Served) -> test_store.Served:
    return served
