"""What the acceptance run, `python -m tests.chaos flow`, would find."""

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import flow, relay
from tests.chaos.relay import Relay


def test_the_files_are_mixed(tmp_path: Path) -> None:
    """Empty, large and small ones, in nested folders, with spaces and letters of any script, base names that meet."""
    flow.make_files(tmp_path, 60, random.Random(1))
    names = flow.content_of(tmp_path)
    sizes = sorted(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert len(names) == 60
    assert sizes[0] == 0
    assert sizes[-2:] == [34 * flow.MIB, 64 * flow.MIB]
    assert sizes[50] < flow.MIB
    assert sum(name.endswith("/report.csv") for name in names) == 6
    assert any(" " in name for name in names)
    assert any(not name.isascii() for name in names)
    assert any(name.count("/") == 5 for name in names)


@pytest.fixture
def done(tmp_path: Path) -> Relay:
    """What a run without a fault leaves."""
    program = Relay(tmp_path, keys={})
    for folder in (program.uploaded, program.downloaded, program.downloaded / ".relay" / "incoming"):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (program.uploaded, program.downloaded):
        (folder / "a").write_bytes(b"1")
    program.watch.mkdir()
    program.queued.mkdir()
    program.failed.mkdir()
    return program


def expected_of(done: Relay) -> dict[str, str]:
    return flow.content_of(done.uploaded)


def test_nothing_is_found_where_nothing_is_wrong(done: Relay) -> None:
    """The program's own hidden files are no violation."""
    (done.downloaded / ".relay" / "ledger").write_bytes(b"1")
    assert flow.judge(done, done, expected_of(done)) == []


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda done: (done.downloaded / "a").unlink(), "LOST: a is not in DownloadedFromS3"),
        (lambda done: (done.uploaded / "a").unlink(), "LOST: a is not in UploadedToS3"),
        (lambda done: (done.downloaded / "a").write_bytes(b"2"), "DAMAGED: a in DownloadedFromS3"),
        (lambda done: (done.downloaded / "a-Version-2").write_bytes(b"1"), "INVENTED: a-Version-2 in DownloadedFromS3"),
        (lambda done: (done.watch / "b").write_bytes(b""), "LEFT BEHIND: "),
        (lambda done: (done.queued / "b").write_bytes(b""), "LEFT BEHIND: "),
        (lambda done: (done.failed / "b").write_bytes(b""), "LEFT BEHIND: "),
        (lambda done: (done.downloaded / ".relay" / "incoming" / "b").write_bytes(b""), "TEMPORARY FILE: "),
    ],
)
def test_a_fault_is_found(done: Relay, fault: Callable[[Relay], object], found: str) -> None:
    """Each by its name, and nothing else with it."""
    expected = expected_of(done)
    fault(done)
    (violation,) = flow.judge(done, done, expected)
    assert violation.startswith(found)


def test_an_orphan_is_found(done: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started by the program, whoever its parent is by now."""
    monkeypatch.setattr(relay, "GONE_SECONDS", 0.2)
    with subprocess.Popen(["sleep", "60"], env={**os.environ, relay._MARK: done._mark}) as orphan:
        try:
            assert flow.judge(done, done, expected_of(done)) == [f"ORPHAN: process {orphan.pid}"]
        finally:
            orphan.kill()
