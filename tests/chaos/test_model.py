"""What `python -m tests.chaos model` explores, but for what takes long: all of it in seconds."""

import pytest

from tests.chaos import model


@pytest.mark.parametrize("name", model.SCENARIOS)
def test_the_protocol_holds(name: str) -> None:
    """Whatever is killed, cut off, lost, late or taken away, at every instant: no invariant breaks, and it drains."""
    found = model.explore(model.SCENARIOS[name], model.PROTOCOL)
    assert not found.violation, f"{found.violation} (after {found.way} steps)"
    assert found.states > 1000


@pytest.mark.parametrize("name", model.BROKEN)
def test_a_broken_protocol_is_caught(name: str) -> None:
    """Each protection is one: without it something goes wrong, in a scenario in which the protocol holds."""
    assert model.explore_variant(model.BROKEN[name]).violation


@pytest.mark.parametrize("name", model.HARMLESS)
def test_without_power_cuts_no_fsync_is_missed(name: str) -> None:
    """It is what power cuts are survived with, and nothing else."""
    found = model.explore_variant(model.HARMLESS[name])
    assert not found.violation, f"{found.violation} (after {found.way} steps)"
