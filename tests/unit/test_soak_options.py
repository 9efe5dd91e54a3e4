"""The command line of Mode 4, and what a run would cost."""

import argparse
from pathlib import Path

import pytest

from pipeline.soak import content, options
from pipeline.soak.estimate import estimate, is_loopback
from pipeline.soak.options import SoakOptions


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    options.add_arguments(parser)
    return parser.parse_args(words)


def test_nothing_given() -> None:
    """The defaults, and nothing that another mode would have to refuse."""
    assert options.read(parse()) == SoakOptions()
    assert options.given(parse()) == []


def test_everything_given() -> None:
    """In the units that people write."""
    words = "--duration 1h30m --files 5 --sizes mix --rate 2.5/s --seed 7 --max-bytes 10GB --deadline 90 --report d"
    found = options.read(parse(*words.split(), "--in-place", "--chaos", "--yes"))
    assert found == SoakOptions(
        5400.0, 5, content.sizes("mix"), 2.5, 7, 10**10, 90.0, Path("d"), in_place=True, chaos=True, yes=True
    )


def test_the_command_that_repeats_a_run() -> None:
    """Read again, it asks for the same."""
    asked = options.read(
        parse("--duration", "10m", "--sizes", "1KiB-2MiB", "--rate", "3", "--max-bytes", "1GiB", "--chaos")
    )
    words = options.command(asked, 11, "my file.properties").split("--seed")[1].split()
    again = options.read(parse("--seed", *words))
    assert again.seed == 11
    assert SoakOptions(**{**vars(again), "seed": None}) == asked


def test_cleanup() -> None:
    """Of every run, or of one; a path is no run."""
    assert options.read(parse("--cleanup")).cleanup == options.ALL
    assert options.read(parse("--cleanup", "20261124-101500-ab12")).cleanup == "20261124-101500-ab12"
    with pytest.raises(argparse.ArgumentError, match="is no run"):
        parse("--cleanup", "../../home")


@pytest.mark.parametrize(
    "words",
    [
        *("--duration 0", "--duration 10x", "--duration", "--files 0", "--files -1", "--sizes 9MiB-1", "--rate 0"),
        *("--rate x", "--seed -1", "--max-bytes 0", "--max-bytes 1TB", "--deadline m"),
    ],
)
def test_what_is_refused(words: str) -> None:
    """By argparse, with a text of ours."""
    with pytest.raises(argparse.ArgumentError, match=r"no |expected one|nothing could|go from"):
        parse(*words.split())


def test_the_estimate_is_of_the_right_size() -> None:
    """1 GiB in files of 1 MB: half of it up, some 500 files, and nearly all of the price is transfer."""
    found = estimate(1 << 30, 1e6, 600, None, fifo=False)
    assert found.files == 537
    assert found.bytes_out == 1 << 29
    assert 0.048 < found.dollars < 0.06
    assert "537 files: 537 MB up" in str(found)
    assert estimate(1 << 30, 1e6, 60, 1, fifo=False).files == 60
    assert estimate(1 << 30, 0, None, None, fifo=False).files == 1 << 19  # empty ones count for their headers


def test_the_estimate_knows_how_long_it_takes() -> None:
    """Polls go on as long as the run: for its duration, or as long as a rate takes, by every poller."""
    years = estimate(1 << 30, 0, None, 0.001)
    assert years.dollars > 400
    assert estimate(1 << 40, 1e6, 600, 1).requests_sqs == 600 * 3 + 600 * 2 + 600 // 20
    assert estimate(1 << 40, 1e6, 600, 1, pollers=10).requests_sqs == 600 * 3 + 600 * 2 + 600 // 2


@pytest.mark.parametrize(
    ("url", "here"),
    [
        *(("http://127.0.0.1:9000", True), ("http://localhost:1", True), ("http://[::1]:4566", True), ("", False)),
        *(
            ("https://s3.eu-west-1.amazonaws.com", False),
            ("http://10.0.0.1", False),
            ("http://localhost.evil.org", False),
        ),
    ],
)
def test_loopback(url: str, here: bool) -> None:
    """Only what is surely this machine."""
    assert is_loopback(url) is here
