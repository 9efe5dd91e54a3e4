"""The sample of `python -m tests.chaos crashpoints` that every run of the tests takes."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import crashpoints, mutants, seccomp
from tests.chaos.crash_target import Point, Verdict

POINTS = (
    *("parent:KILL:flock:2", "parent:KILL:wait4:3", "parent:ENOSPC:write:4", "parent:EINTR:poll:3"),
    *("check:KILL:sendto:2", "check:EMFILE:socket:1"),
    *("watcher:KILL:renameat2:3", "watcher:KILL:fsync:4", "watcher:EIO:openat:12", "watcher:ENOSPC:mkdirat:1"),
    *("uploader:KILL:renameat2:3", "uploader:KILL:sendto:60", "uploader:KILL:rename:1", "uploader:EIO:pread64:9"),
    "uploader:EMFILE:openat2:4",
    *("poller:KILL:renameat2:3", "poller:KILL:fdatasync:5", "poller:ENOSPC:pwrite64:5", "poller:EIO:fsync:3"),
    "embedded:KILL:rename:4",
)
"""Where something is about to become true for others, in every role and with every fault."""


@pytest.fixture(autouse=True)
def _needs_seccomp() -> None:
    if problem := seccomp.missing():
        assert "CI" not in os.environ, problem
        pytest.skip(problem)


@pytest.mark.timeout(600)
def test_a_process_is_hit_at_a_system_call(tmp_path: Path) -> None:
    """Killed, or with an error, at twenty calls over all roles: three files arrive once and whole."""
    outcome = crashpoints.run(crashpoints.Plan(only=POINTS), folder=tmp_path, replay="crashpoints")
    assert not outcome.violations, outcome.table()
    assert not [verdict.point for _, verdict in outcome.verdicts if not verdict.reached], "there are fewer calls now"


@pytest.mark.timeout(600)
def test_a_broken_program_is_caught(tmp_path: Path) -> None:
    """A file that goes to UploadedToS3 before it is announced: killed in between, nobody is ever told of it.

    The call removes the folder that the file has just left in QueuedForUpload.
    """
    code = mutants.make("move-before-send", tmp_path)
    outcome = crashpoints.run(crashpoints.Plan(only=["uploader:KILL:unlinkat:3"]), code, folder=tmp_path / "run")
    assert "I9 LOST" in "".join(outcome.violations), outcome.table()
    ((_, verdict),) = outcome.verdicts
    assert Path(verdict.folder, "state").is_dir()


def test_who_is_not_hit_has_shown_nothing() -> None:
    """A role none of whose calls was counted; points that are not reached; or none at all."""
    tried = [(Point.read(f"watcher:KILL:fsync:{n}"), Verdict(str(n), reached=n > 1)) for n in range(20)]
    outcome = crashpoints.Outcome(tried, calls={"watcher": Counter(fsync=20), "check": Counter()})
    assert outcome.violations == ["TOO LITTLE: no call of a check was counted"]
    outcome.calls.clear()
    outcome.verdicts[5][1].reached = False
    assert outcome.violations == ["TOO LITTLE: 17 of 20 points were reached"]
    assert crashpoints.Outcome().violations == ["TOO LITTLE: 0 of 0 points were reached"]
