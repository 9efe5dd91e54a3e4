"""What the files of a soak test hold: tell any two apart, and say where a damaged one differs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.aws.store import MULTIPART_FROM
from pipeline.names import next_version
from pipeline.soak.content import MIX, MULTIPART, File, Recipe, Sizes, file_of, first_difference, size, sizes

RECIPE = Recipe("20261124-101500-ab12", 7, Sizes(1 << 10, 8 << 20))


def content(recipe: Recipe, file: File) -> bytes:
    return b"".join(recipe.blocks(file))


def test_a_content_follows_from_its_recipe_and_no_other() -> None:
    """The same twice; another seed, drop, version or run gives other bytes after the first line too."""
    recipe = RECIPE._replace(sizes=Sizes(4096, 4096))
    first = content(recipe, File(3, 1))
    assert first == content(recipe, File(3, 1))
    assert len(first) == 4096
    others = [
        content(recipe, File(3, 2)),
        content(recipe, File(4, 1)),
        content(recipe._replace(seed=8), File(3, 1)),
        content(recipe._replace(run="x"), File(3, 1)),
    ]
    assert len({first[200:], *(other[200:] for other in others)}) == 5


def test_blocks_of_one_file_differ() -> None:
    """A block in the place of another is seen."""
    recipe = RECIPE._replace(sizes=Sizes(3 << 20, 3 << 20))
    blocks = list(recipe.blocks(File(1, 1)))
    assert [len(block) for block in blocks] == [1 << 20] * 3
    assert len({block[200:] for block in blocks}) == 3


@pytest.mark.parametrize("length", [0, 1, 30, 100, 1 << 20, (1 << 20) + 1])
def test_every_length(length: int) -> None:
    """Shorter than the first line, and around a block."""
    recipe = RECIPE._replace(sizes=Sizes(length, length))
    assert len(content(recipe, File(5, 9))) == recipe.size(File(5, 9)) == length


def test_a_content_says_which_it_is() -> None:
    """To its own run only."""
    head = content(RECIPE, File(12, 34))[:200]
    assert RECIPE.identify(head) == File(12, 34)
    assert RECIPE._replace(run="other").identify(head) is None
    assert RECIPE.identify(b"anything") is None


def test_names_are_those_that_the_relay_would_give() -> None:
    """A name and its next version; what merely looks alike is none."""
    assert File(17, 1).name == "drop-000017.bin"
    assert File(17, 1).next.name == next_version("drop-000017.bin", ["drop-000017.bin"])
    assert File(17, 9).next.name == next_version(File(17, 9).name, [File(17, 9).name])
    assert file_of("drop-000017-Version-2.bin") == File(17, 2)
    for name in ("drop-000017-Version-1.bin", "drop-17.bin", "drop-000017.bin.1", "drop-0000017.bin", "a.csv"):
        assert file_of(name) is None


def test_sizes_are_spread_over_orders_of_magnitude() -> None:
    """Within the bounds, and as many between 1 and 2 KiB as between 4 and 8 MiB."""
    found = [RECIPE.size(File(drop, 1)) for drop in range(1, 2001)]
    assert min(found) >= 1 << 10
    assert max(found) <= 8 << 20
    low, high = sum(size < 2 << 10 for size in found), sum(size >= 4 << 20 for size in found)
    assert math.isclose(low, high, rel_tol=0.5)
    assert math.isclose(sum(found) / len(found), RECIPE.sizes.mean, rel_tol=0.2)


def test_the_mix_holds_an_empty_file_and_one_in_parts() -> None:
    """Whatever the versions; the rest is small."""
    mix = sizes(MIX)
    found = [mix.of(File(drop, version), 1) for drop in range(1, 21) for version in (1, 2)]
    assert found.count(0) == found.count(MULTIPART) == 2
    assert MULTIPART > MULTIPART_FROM
    assert sum(found[::2]) / 20 == mix.mean


@pytest.mark.parametrize(("text", "low", "high"), [("1KiB-8MiB", 1024, 8 << 20), ("64KB", 64000, 64000), ("0-9", 0, 9)])
def test_sizes_as_people_write_them(text: str, low: int, high: int) -> None:
    """With binary and decimal units, or none."""
    assert sizes(text) == Sizes(low, high)


@pytest.mark.parametrize("text", ["", "x", "8MiB-1KiB", "1-", "-1", "1TB", "6GiB", "1 K", "1.5MiB"])
def test_sizes_that_are_none(text: str) -> None:
    """A ValueError, for the command line to show."""
    with pytest.raises(ValueError, match=r"."):
        sizes(text)
    assert size("1 KiB") == 1024


@given(st.binary(max_size=300), st.integers(0, 299), st.integers(1, 255))
def test_the_first_difference(data: bytes, at: int, by: int) -> None:
    """The offset of the byte that was changed, or of the end."""
    assert first_difference(data, data) == len(data)
    assert first_difference(data, data[:at]) == min(at, len(data))
    if at < len(data):
        changed = bytearray(data)
        changed[at] ^= by
        assert first_difference(data, bytes(changed)) == at
