"""Measurements in bounded memory."""

import pytest

from pipeline.soak.facts import Latency
from pipeline.soak.series import Latencies, Recorder


def test_rows_as_they_came() -> None:
    """A column that begins later, or pauses, has holes."""
    recorder = Recorder()
    recorder.add(1, {"a": 1})
    recorder.add(2, {"a": None, "b": 5})
    found = recorder.series()
    assert found.seconds == [1, 2]
    assert found.columns == {"a": [1, None], "b": [None, 5]}


@pytest.mark.parametrize("count", [9, 10, 11, 97, 1000])
def test_a_long_run_keeps_few_rows_and_every_measurement(count: int) -> None:
    """As means of neighbours: the rows are bounded, ascending, and cover the whole run."""
    recorder = Recorder(10)
    for second in range(count):
        recorder.add(second, {"a": 2.0 * second})
    found = recorder.series()
    assert len(found.seconds) <= 11
    assert found.seconds == sorted(found.seconds)
    assert found.seconds[-1] >= count * 0.75
    assert found.columns["a"] == [pytest.approx(2 * seconds) for seconds in found.seconds]


def test_latencies() -> None:
    """Exact for the last thousand; within 5 % for all; nothing before the first."""
    latencies = Latencies()
    assert latencies.all() == latencies.recent()
    for number in range(1, 2_001):
        latencies.add(number / 1000)
    recent, every = latencies.recent(), latencies.all()
    assert (recent.p50, recent.p99, recent.highest) == (1.5, 1.99, 2.0)
    assert every.p50 == pytest.approx(1.0, rel=0.05)
    assert every.p99 == pytest.approx(1.98, rel=0.05)
    assert sum(count for _, count in every.buckets) == 2_000
    assert [bound for bound, _ in every.buckets] == sorted(bound for bound, _ in every.buckets)


def test_latencies_since_the_last_time() -> None:
    """Each belongs to one row of the plot, exactly; the others keep them all."""
    latencies = Latencies()
    assert latencies.take_new() == Latency()
    for seconds in (3.0, 1.0, 2.0):
        latencies.add(seconds)
    assert latencies.take_new() == Latency(2.0, 3.0, 3.0)
    assert latencies.take_new() == Latency()
    latencies.add(0.5)
    assert latencies.take_new() == Latency(0.5, 0.5, 0.5)
    assert latencies.recent() == Latency(1.0, 3.0, 3.0)
    assert sum(count for _, count in latencies.all().buckets) == 4


def test_zero_is_a_latency() -> None:
    """Clocks have steps."""
    latencies = Latencies()
    latencies.add(0.0)
    assert latencies.all().highest == 0.0
    assert sum(count for _, count in latencies.all().buckets) == 1
