"""The sample of `python -m tests.chaos mode4` that every run of the tests takes."""

from pathlib import Path

import pytest

from tests.chaos import mode4


def test_all_is_accounted_for_on_another_endpoint(tmp_path: Path) -> None:
    """Eight seconds on SeaweedFS beside an SQS server: files that travel whole and in parts."""
    outcome = mode4.run(tmp_path, "seaweed", ["--seed", "5", "--sizes", "mix", "--files", "10"], 8)
    assert (outcome.code, outcome.violations) == (0, []), outcome.table()
    assert outcome.report["totals"]["fed back"] > 20
    assert outcome.page.exists()


@pytest.mark.parametrize(("first", "last", "found"), [(90e6, 160e6, False), (90e6, 170e6, True), (20e6, 70e6, True)])
def test_growth_is_found(first: float, last: float, found: bool) -> None:
    """What comes and goes is allowed, a leak is not."""
    assert mode4.grew({"rss_first": first, "rss_last": last}) == found
