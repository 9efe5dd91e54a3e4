"""A sample of `python -m tests.fuzz`, which tries as many as one has time for."""

from __future__ import annotations

import pytest

from tests.fuzz import blind
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_understood_or_refused(name: str) -> None:
    """F1, F4, G1. Messages, metadata, names, keys and properties files: never another error, in bounded time."""
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)
    assert blind.run(name, 60) > 0
