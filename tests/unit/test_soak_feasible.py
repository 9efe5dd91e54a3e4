"""What cannot pass is refused before a soak test begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.ports import EXIT_USAGE, StartupError
from pipeline.soak import content, feasible
from pipeline.soak.options import SoakOptions
from pipeline.soak.run import begin, settings_for
from tests.soak import settings_at


@pytest.mark.parametrize(
    ("asked", "keys", "said"),
    [
        ({"deadline": 9}, {}, "a file may wait for its turn; give at least 10s"),
        ({"deadline": 29, "chaos": True}, {}, "the visibility of a message, twice (20); give at least 30s"),
        ({"deadline": 129, "chaos": True, "in_place": True}, {}, "twice (120); give at least 130s"),
        ({"deadline": 69}, {"minimum_age_seconds": 60.0}, "minimumAgeSeconds (60); give at least 70s"),
        ({}, {"completion_check": "settle", "settle_seconds": 600.0}, "settleSeconds (600); give at least 610s"),
        ({"max_bytes": 16 << 20, "sizes": content.sizes("1KiB-9MiB")}, {}, "less than one file may have"),
        ({"in_place": True}, {"ignore_patterns": ("*.tmp", "drop-*")}, "ignorePatterns=drop-* keeps the files"),
        ({"in_place": True}, {"include_patterns": ("*.csv", "*.txt")}, "includePatterns=*.csv *.txt keeps"),
        ({"in_place": True}, {"follow_subfolders": False}, "followSubfolders=0 keeps"),
        ({"in_place": True}, {"completion_marker": ".done"}, "completionMarker=.done keeps"),
        ({"in_place": True}, {"minimum_file_bytes": 1025}, "minimumFileBytes=1025 keeps"),
        ({"in_place": True}, {"maximum_file_bytes": (8 << 20) - 1}, "maximumFileBytes=8388607 keeps"),
    ],
)
def test_it_is_refused(tmp_path: Path, asked: dict[str, Any], keys: dict[str, Any], said: str) -> None:
    """As a usage error that names what is to be changed."""
    settings = replace(settings_at(tmp_path), **keys)
    with pytest.raises(StartupError) as refusal:
        feasible.check(SoakOptions(**asked), settings)
    assert said in str(refusal.value)
    assert refusal.value.code == EXIT_USAGE


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ({}, {}),
        ({"chaos": True}, {}),
        ({"deadline": 130, "chaos": True, "in_place": True}, {}),
        ({"deadline": 30, "chaos": True}, {}),
        ({}, {"completion_check": "auto", "settle_seconds": 600.0}),
        ({}, {"completion_marker": ".done", "follow_subfolders": False, "maximum_file_bytes": 1}),
        ({"in_place": True}, {"include_patterns": ("*.csv", "*.bin"), "minimum_file_bytes": 1024}),
    ],
)
def test_it_is_not_refused(tmp_path: Path, asked: dict[str, Any], keys: dict[str, Any]) -> None:
    """The defaults pass, and what is just enough."""
    feasible.check(SoakOptions(**asked), replace(settings_at(tmp_path), **keys))


def test_nothing_hides_the_files_of_a_run_on_its_own_places(tmp_path: Path) -> None:
    """There the defaults hold."""
    keys: dict[str, Any] = {
        "ignore_patterns": ("*",),
        "include_patterns": ("*.csv",),
        "follow_subfolders": False,
        "completion_marker": ".done",
        "minimum_file_bytes": 10**9,
        "maximum_file_bytes": 1,
    }
    settings = replace(settings_at(tmp_path), **keys)
    feasible.check(SoakOptions(), settings)
    used = settings_for(begin(settings, SoakOptions(), tmp_path / "p"), settings)
    assert used.ignore_patterns[0] == ".*"
    assert [getattr(used, key) for key in [*keys][1:]] == [(), True, "", 0, 0]
