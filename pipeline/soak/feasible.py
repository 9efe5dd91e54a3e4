"""Whether a soak test can pass at all with these options and settings; what cannot is said before it begins."""

import fnmatch

from app_properties import Settings
from pipeline.ports import EXIT_USAGE, StartupError
from pipeline.soak.content import File
from pipeline.soak.options import SoakOptions
from pipeline.soak.run import visibility

_WORK_SECONDS = 10.0
"""What the way of a file takes at least to be fit for a deadline, beside what it has to wait."""


def check(asked: SoakOptions, settings: Settings) -> None:
    """StartupError (exit code 2) names the option or key that would make every file a lost one."""
    _check_deadline(asked, settings)
    largest = 2 * asked.sizes.high
    if asked.max_bytes is not None and largest > asked.max_bytes:
        raise StartupError(
            f"--max-bytes: {asked.max_bytes:,} bytes are less than one file may have, there and back ({largest:,}); "
            "give more, or smaller --sizes",
            EXIT_USAGE,
        )
    if asked.in_place and (hiding := _hiding(asked, settings)):
        raise StartupError(
            f"[General] {hiding} keeps the files of a soak test in Watch, such as {File(1, 1).name}; "
            "run it without --in-place, or change that key",
            EXIT_USAGE,
        )


def _hiding(asked: SoakOptions, settings: Settings) -> str:
    """The key, with its value, for which the watcher would leave the files of a run alone; empty if there is none."""
    name, low, high = File(1, 1).name, asked.sizes.low, asked.sizes.high
    included = settings.include_patterns
    hiding = {
        "ignorePatterns": " ".join(each for each in settings.ignore_patterns if fnmatch.fnmatchcase(name, each)),
        "includePatterns": "" if any(fnmatch.fnmatchcase(name, each) for each in included) else " ".join(included),
        "followSubfolders": "" if settings.follow_subfolders else "0",
        "completionMarker": settings.completion_marker,
        "minimumFileBytes": f"{settings.minimum_file_bytes}" if low < settings.minimum_file_bytes else "",
        "maximumFileBytes": f"{settings.maximum_file_bytes}" if high > settings.maximum_file_bytes > 0 else "",
    }
    return next((f"{key}={value}" for key, value in hiding.items() if value), "")


def _check_deadline(asked: SoakOptions, settings: Settings) -> None:
    waits = {"minimumAgeSeconds": settings.minimum_age_seconds}
    if settings.completion_check == "settle":
        waits["settleSeconds"] = settings.settle_seconds
    if asked.chaos:  # what a killed poller had in hand comes back after that; the next one may be killed as well
        waits["the visibility of a message, twice"] = 2.0 * visibility(asked, settings)
    least = sum(waits.values()) + _WORK_SECONDS
    if asked.deadline < least:
        reasons = ", ".join(f"{key} ({seconds:g})" for key, seconds in waits.items() if seconds)
        raise StartupError(
            f"--deadline: {asked.deadline:g} seconds are too short: a file may wait for {reasons or 'its turn'}; "
            f"give at least {least:g}s",
            EXIT_USAGE,
        )
