"""What one soak test is: its places, its names, and the command that repeats it."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app_properties import Settings
from pipeline import arguments, values
from pipeline.keys import BY_PATH, KeyTemplate
from pipeline.names import SOAK, is_of_soak
from pipeline.ports import EXIT_USAGE, StartupError
from pipeline.soak import content, options
from pipeline.soak.options import SoakOptions, is_run
from pipeline.soak.run import METADATA, NOTE, begin, note, places_of, queue_name, settings_for
from tests.soak import settings_at

CONFIG = Path("Application.properties")


def made(settings: Settings, **asked: Any) -> tuple[Any, Settings]:
    run = begin(settings, SoakOptions(**asked), CONFIG)
    return run, settings_for(run, settings)


def test_a_run_has_places_of_its_own(tmp_path: Path) -> None:
    """Folders, log, key prefix and queue; the rest is as it is in the properties file."""
    settings = replace(
        settings_at(tmp_path),
        log_file_path="/var/log/relay.log",
        folder_to_watch="/data/in",
        folder_for_failed_files="/data/failed",
        aws_s3_extra_metadata=(("team", "x"),),
        aws_s3_key_template=KeyTemplate("{drop_id}"),
        folder_layout="flat",
        accept_keys_outside_folder=True,
        command_after_download=("import",),
        upload_processes=7,
    )
    run, own = made(settings)
    folders = [own.watch, own.queued, own.uploaded, own.failed, own.downloaded, own.failed_messages, own.own_folder]
    assert {folder.parent for folder in (*folders, own.log_file)} == {tmp_path / "soak" / run.id}
    assert len(set(folders)) == 7
    assert (own.aws_s3_folder, own.aws_sqs) == (f"in/{SOAK}/{run.id}", "relay-soak")
    assert own.aws_s3_extra_metadata == (("team", "x"), (METADATA, run.id))
    changed = {name for name in vars(own) if getattr(own, name) != getattr(settings, name)}
    assert str(own.aws_s3_key_template) == "{path}"  # by which its objects are looked for
    assert (own.folder_layout, own.accept_keys_outside_folder) == ("path", False)  # and what arrived
    assert changed == {
        "accept_keys_outside_folder",
        "command_after_download",
        "aws_s3_folder",
        "aws_s3_key_template",
        "aws_s3_extra_metadata",
        "aws_sqs",
        "folder_for_downloaded_files",
        "folder_for_failed_files",
        "folder_layout",
        "folder_to_store_temp_files",
        "folder_to_watch",
        "log_file_path",
    }
    assert run.path("x") == "x"


def test_in_place_only_the_metadata_is_added(tmp_path: Path) -> None:
    """The relay runs as it is configured, but for keys, names and command; the run's files are in a subfolder."""
    plain = settings_at(tmp_path)
    settings = replace(
        plain,
        aws_s3_key_template=KeyTemplate("{name}"),
        folder_layout="flat",
        accept_keys_outside_folder=True,
        command_after_download=("import",),
    )
    run, own = made(settings, in_place=True)
    assert plain.aws_s3_key_template == BY_PATH
    assert own == replace(plain, aws_s3_extra_metadata=((METADATA, run.id),))
    assert run.path("x") == f"relay-soak-{run.id}/x"
    assert run.root == tmp_path / "soak" / run.id


@pytest.mark.parametrize("folder", ["in", "a/b", ""])
def test_no_consumer_takes_the_keys_for_its_own(tmp_path: Path, folder: str) -> None:
    """They lie where it acknowledges and ignores them, whatever its prefix, also without one."""
    run, own = made(settings_at(tmp_path, folder))
    assert own.aws_s3_folder == "/".join(part for part in (folder, SOAK, run.id) if part)
    assert is_of_soak(folder, f"{own.aws_s3_folder}/x")


@pytest.mark.parametrize("in_place", [False, True])
def test_the_metadata_can_be_stored(tmp_path: Path, in_place: bool) -> None:
    """As if a person had configured it."""
    run, own = made(settings_at(tmp_path), in_place=in_place)
    text = ";".join(f"{name}={value}" for name, value in own.aws_s3_extra_metadata)
    assert values.metadata(text) == ((METADATA, run.id),)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("relay", "relay-soak"),
        ("relay.fifo", "relay-soak.fifo"),
        ("relay-soak", "relay-soak-soak"),
        ("q" * 80, "q" * 71 + "-soak"),
        ("q" * 75 + ".fifo", "q" * 66 + "-soak.fifo"),
        ("q" * 71 + "-soak", "q" * 70 + "-soak"),
        ("q" * 66 + "-soak.fifo", "q" * 65 + "-soak.fifo"),
    ],
)
def test_the_queue_of_a_run(name: str, own: str) -> None:
    """Beside the configured one, of its kind, and never that one."""
    assert queue_name(name) == own


@given(st.from_regex(r"[A-Za-z0-9_-]{1,80}(\.fifo)?", fullmatch=True).filter(lambda name: len(name) <= 80))
@example("q" * 80)
def test_the_queue_of_a_run_can_be_made(name: str) -> None:
    """SQS takes its name, and that of its dead letters."""
    own = queue_name(name)
    stem = own.removesuffix(".fifo")
    assert own != name
    assert own.endswith(".fifo") == name.endswith(".fifo")
    for wanted in (own, f"{stem}-dlq{own[len(stem) :]}"):
        assert values.queue(wanted) == wanted


def test_runs_differ(tmp_path: Path) -> None:
    """Also those that begin within a second; a seed is chosen where none was asked for."""
    runs = [begin(settings_at(tmp_path), SoakOptions(seed=seed), CONFIG) for seed in (None,) * 9 + (5,)]
    assert all(is_run(run.id) for run in runs)
    assert len({run.id for run in runs}) > 1  # two of ten may meet, once in a thousand times
    assert len({run.seed for run in runs[:-1]}) > 1
    assert runs[-1].seed == 5


def test_where_the_report_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the program's folder, or where it was asked for, from where the program was started."""
    settings = settings_at(tmp_path)
    monkeypatch.chdir(tmp_path)
    run, _ = made(settings)
    assert run.reports == tmp_path / "soak-reports" / run.id
    assert made(settings, report=Path("here"))[0].reports == tmp_path / "here"


@pytest.mark.parametrize("in_place", [False, True])
def test_a_run_leaves_a_note(tmp_path: Path, in_place: bool) -> None:
    """Nothing is made before; then what a cleanup has to know."""
    settings = settings_at(tmp_path)
    run, _ = made(settings, in_place=in_place)
    assert not run.root.exists()
    note(run, settings)
    kept = json.loads((run.root / NOTE).read_text())
    assert kept == {"in_place": in_place, "config": str(CONFIG.absolute()), "places": places_of(settings)}
    assert kept["places"]["aws_s3_bucket"] == "relay"


def test_a_report_that_could_not_be_written_is_no_surprise(tmp_path: Path) -> None:
    """It is said before anything begins, as a usage error that names the folder."""
    (tmp_path / "taken").write_bytes(b"")
    settings = settings_at(tmp_path)
    run, _ = made(settings, report=tmp_path / "taken" / "report")
    with pytest.raises(StartupError, match=r"--report: nothing can be written to .*/taken/report") as refusal:
        note(run, settings)
    assert refusal.value.code == EXIT_USAGE
    assert not run.root.exists()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"duration": 5_430.0, "files": 7, "deadline": 90.0, "max_bytes": 123_456_789_012, "chaos": True},
        {"in_place": True, "sizes": content.sizes("mix")},
        {"sizes": content.sizes("1KB-2MiB"), "rate": 2.5},
        *({"rate": rate} for rate in (0.001, 3.0, 12_345.678, 999_999.999)),
    ],
)
def test_the_command_repeats_the_run(asked: dict[str, Any]) -> None:
    """Read by the program itself, it asks for the same; a report and consent are no part of it."""
    wanted = SoakOptions(**asked)
    said = options.command(replace(wanted, report=Path("x"), yes=True), 11, "/a b/it's.properties")
    words = shlex.split(said)
    assert words[:2] == ["python", "main.py"]
    found = arguments.read(words[2:], "", "", CONFIG)
    assert (found.mode, found.config) == (arguments.SOAK_MODE, Path("/a b/it's.properties"))
    assert options.read(found) == replace(wanted, seed=11)


@pytest.mark.parametrize(
    ("asked", "configured", "seconds"),
    [({}, 60, 60), ({"chaos": True}, 60, 10), ({"chaos": True}, 5, 5), ({"chaos": True, "in_place": True}, 60, 60)],
)
def test_messages_come_back_soon_where_processes_are_killed(
    tmp_path: Path, asked: dict[str, Any], configured: int, seconds: int
) -> None:
    """On a queue of its own; the configured one stays as it is."""
    settings = replace(settings_at(tmp_path), visibility_seconds=configured)
    _, own = made(settings, **asked)
    assert own.visibility_seconds == seconds
