"""What is refused before anything moves: folders within one another, the log within a folder, disks that are full."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_properties import Settings, load
from pipeline import start
from pipeline.kernel import PROBE
from pipeline.local_aws import EmbeddedAws, EmbeddedAwsError
from pipeline.locks import lock_side
from pipeline.ports import EXIT_CONFIG, StartupError

KEYS = "folderToWatch=Watch\nfolderForDownloadedFiles=Down\n"


def settings_of(root: Path, general: str = KEYS, mode: int = 3) -> Settings:
    file = root / "Application.properties"
    file.write_text(
        f"[General]\nfolderToStoreTempFiles={root}/state\n{general}"
        "[AWS]\naws_s3_bucket=bucket\naws_s3_folder=in\naws_region=eu-west-1\naws_sqs=q\n"
    )
    return load(file, mode, root)


@contextlib.contextmanager
def prepared(settings: Settings, mode: int) -> Iterator[None]:
    locks = start.prepare(settings, mode)
    try:
        yield
    finally:
        for fd in (*locks.ingest, *locks.consume):
            os.close(fd)


def refusal(settings: Settings, mode: int) -> str:
    with pytest.raises(StartupError) as refused, prepared(settings, mode):
        pass
    assert refused.value.code == EXIT_CONFIG
    return str(refused.value)


@pytest.mark.parametrize(
    ("mode", "general", "said"),
    [
        (1, "folderToWatch=Watch\nfolderForDownloadedFiles=Watch/in\n", "folderForDownloadedFiles"),
        (1, "folderToWatch=Watch\nfolderForFailedMessages=Watch/m\n", "folderForFailedMessages"),
        (2, "folderToWatch=Down/out\nfolderForDownloadedFiles=Down\n", "folderToWatch"),
        (2, "folderForDownloadedFiles=Failed\n", "is the same folder as"),
        (1, f"{KEYS}logFilePath=Watch/relay.log\n", "logFilePath"),
        (1, f"{KEYS}logFilePath=Down/relay.log\n", "logFilePath"),
    ],
)
def test_folders_of_another_mode_count(tmp_path: Path, mode: int, general: str, said: str) -> None:
    """Mode 1 and Mode 2 run beside each other with one file: what either would do to the other is refused by both."""
    assert said in refusal(settings_of(tmp_path, general, mode), mode)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("mode", "absent"), [(1, ("Down", "FailedMessages")), (2, ("Watch", "Failed"))])
def test_only_the_folders_of_the_mode_are_made(tmp_path: Path, mode: int, absent: tuple[str, ...]) -> None:
    """A consumer has no Watch, even where the file names one."""
    with prepared(settings_of(tmp_path), mode):
        assert not any((tmp_path / "state" / name).exists() for name in absent)


def test_folders_without_a_name_are_none(tmp_path: Path) -> None:
    """A folder that the file does not name is not the state folder, in which all others lie."""
    with prepared(settings_of(tmp_path, "folderForDownloadedFiles=Down\n", 2), 2):
        assert (tmp_path / "state" / "Down").is_dir()


def test_a_lock_holds_without_its_note(tmp_path: Path) -> None:
    """The note is information only: on a full disk it cannot be written, and the program starts."""
    (tmp_path / "ingest.json").mkdir()  # stands for whatever makes the writing fail
    [fd] = lock_side("ingest", [tmp_path], tmp_path)
    os.close(fd)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the trial folder can be made."""
    mkdir = Path.mkdir

    def full(path: Path, *args: Any, **keys: Any) -> None:
        if path.name.startswith(PROBE):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mkdir(path, *args, **keys)

    monkeypatch.setattr(Path, "mkdir", full)
    said = refusal(settings_of(tmp_path), 1)
    assert "folderToWatch" in said
    assert str(tmp_path / "state" / "Watch") in said
    assert os.strerror(errno.ENOSPC) in said


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network shares have none."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    assert str(tmp_path / "state") in refusal(settings_of(tmp_path), 1)


def test_a_place_that_cannot_keep_the_embedded_server_is_said(tmp_path: Path) -> None:
    """As any other folder that cannot be used."""
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedAwsError, match=str(tmp_path / "file")) as refused:
        EmbeddedAws.at(tmp_path / "file" / "embedded")
    assert refused.value.code == EXIT_CONFIG
