"""What the strict server draws from its seed, and its clock."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.strict.clock import Clock
from tests.strict.faults import SERVICES, Faults, UnknownFaultError


def drawn(seed: int, rates: dict[str, float], count: int = 2000) -> list[frozenset[str]]:
    faults = Faults(seed)
    faults.set_rates(rates)
    return [faults.draw(operation) for operation in ("put", "get") for _ in range(count)]


def test_a_seed_decides() -> None:
    """The same requests go wrong in the same way; with another seed others do."""
    rates = {"all.503": 0.1, "get.flip": 0.05}
    assert drawn(3, rates) == drawn(3, rates) != drawn(4, rates)


def test_rates_are_those_that_were_set() -> None:
    """Of the operation, of its service and of all, each for itself."""
    found = drawn(1, {"put.503": 0.02, "s3.reset": 0.5, "all.latency": 1, "sqs.500": 1})
    puts = Counter(kind for kinds in found[:2000] for kind in kinds)
    gets = Counter(kind for kinds in found[2000:] for kind in kinds)
    assert 15 < puts["503"] < 80
    assert 850 < puts["reset"] < 1150
    assert puts["latency"] == gets["latency"] == 2000
    assert (gets["503"], puts["500"]) == (0, 0)


def test_a_script_is_followed_in_order() -> None:
    """By the first request that an entry fits, one entry each."""
    faults = Faults(0)
    faults.follow(["get.flip", "s3.503", "all.500"])
    asked = ("put", "send", "get", "get", "put")
    assert [set(faults.draw(operation)) for operation in asked] == [{"503"}, {"500"}, {"flip"}, set(), set()]


@pytest.mark.parametrize("name", ["put", "put.", "put.partial", "all.flip", "s3.409", "nothing.503", "send.flip"])
def test_a_fault_has_a_name(name: str) -> None:
    """Those that no operation has are refused, and what was set stays."""
    faults = Faults(0)
    faults.set_rates({"put.503": 1})
    with pytest.raises(UnknownFaultError):
        faults.set_rates({name: 0.5})
    with pytest.raises(UnknownFaultError):
        faults.follow(["get.503", name])
    assert (dict(faults.rates), list(faults.script)) == ({"put.503": 1}, [])


def test_what_is_drawn_for_each_message_is_not_drawn_for_requests() -> None:
    """Else a batch would be hit ten times, or as a whole."""
    faults = Faults(0)
    faults.set_rates({"receive.duplicate": 1, "delete.partial": 1, "delete.redeliver": 1})
    assert all(faults.draw(operation) == frozenset() for operation in SERVICES)
    assert faults.happens("receive.duplicate")
    assert not faults.happens("send.partial")


def test_time_is_set_forward_and_wrong() -> None:
    """Messages age with the one; signatures are compared with the other; an answer's date has both."""
    clock = Clock()
    now, wall = clock.now(), clock.wall()
    clock.advance(1000)
    clock.skew = -500
    assert clock.now() == pytest.approx(now + 1000, abs=100)
    assert clock.wall() == pytest.approx(wall - 500, abs=100)
    assert clock.date() == pytest.approx(now + 500, abs=100)
