"""What is refused before anything moves: folders within one another, the log within a folder, disks that are full."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_properties import Settings, load
from pipeline import crossing, kernel, locks, start
from pipeline.folders import Folder
from pipeline.kernel import PROBE, Facilities
from pipeline.local_aws import EmbeddedAws, EmbeddedAwsError
from pipeline.locks import lock_side
from pipeline.moves import move
from pipeline.ports import EXIT_CONFIG, EXIT_RUNNING, StartupError
from pipeline.roles.spool import open_spool
from tests.unit.places import another_file_system, never_stopped, no_rename_between, tree, write

KEYS = "folderToWatch=Watch\nfolderForDownloadedFiles=Down\n"
KEPT = "aws_access_key_id=AKIAHUSH\naws_secret_key=hush\n"


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
    """G2. Mode 1 and Mode 2 run beside each other with one file: what either would do to the other both refuse."""
    assert said in refusal(settings_of(tmp_path, general, mode), mode)
    assert not (tmp_path / "state").exists()


def test_links_hide_no_loop(tmp_path: Path) -> None:
    """G2, G3. A link is a way to its folder: what would lie in another behind it is refused as well."""
    (tmp_path / "state").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "state" / "Watch").symlink_to(tmp_path / "real")
    with prepared(settings_of(tmp_path), 3):
        pass
    assert "lies inside folderToWatch" in refusal(
        settings_of(tmp_path, f"folderToWatch=Watch\nfolderForDownloadedFiles={tmp_path}/real/in\n"), 3
    )
    assert os.listdir(tmp_path / "real") == []


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_two_programs_make_no_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, second: int) -> None:
    """G2. What one of them receives into, another on this machine does not watch: it is in use."""
    monkeypatch.setattr(locks, "_ORPHAN_SECONDS", 0.0)
    general = f"folderToWatch={tmp_path}/shared\n", f"folderForDownloadedFiles={tmp_path}/shared\n"
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    with prepared(settings_of(one, general[first - 1], first), first):
        with pytest.raises(StartupError, match=f"{tmp_path}/shared") as refused:
            start.prepare(settings_of(other, general[second - 1], second), second)
        assert refused.value.code == EXIT_RUNNING


@pytest.mark.parametrize(
    ("mode", "keys", "told"),
    [(0o640, KEPT, True), (0o604, KEPT, True), (0o600, KEPT, False), (0o644, "", False)],
)
def test_keys_that_others_may_read(tmp_path: Path, mode: int, keys: str, told: bool) -> None:
    """G4. The file and its mode; one without keys may be anybody's to read."""
    settings = settings_of(tmp_path)
    file = tmp_path / "Application.properties"
    file.write_text(file.read_text() + keys)
    file.chmod(mode)
    said = list(start.exposed(file, load(file, 3, tmp_path), {}))
    assert ["hush" in line for line in said] == [False] * told
    assert [f"{file} holds keys and others may read it (mode {mode:04o})" in line for line in said] == [True] * told
    assert settings.aws_secret_key == ""


@pytest.mark.parametrize(("mode", "told"), [(0o777, True), (0o702, True), (0o1777, False), (0o775, False)])
def test_folders_that_others_may_rearrange(tmp_path: Path, mode: int, told: bool) -> None:
    """G3. The key, the folder and its mode; with the sticky bit each may only add to it."""
    settings, folders = settings_of(tmp_path), {"folderForDownloadedFiles": tmp_path / "Down"}
    (tmp_path / "Down").mkdir()
    (tmp_path / "Down").chmod(mode)
    said = list(start.exposed(tmp_path / "Application.properties", settings, folders))
    assert [
        f"folderForDownloadedFiles: any user may remove and replace what lies in {tmp_path}/Down" in line
        and f"(mode {mode:04o})" in line
        for line in said
    ] == [True] * told


@pytest.mark.parametrize(("mode", "absent"), [(1, ("Down", "FailedMessages")), (2, ("Watch", "Failed"))])
def test_only_the_folders_of_the_mode_are_made(tmp_path: Path, mode: int, absent: tuple[str, ...]) -> None:
    """G3. A consumer has no Watch, even where the file names one; nobody else may write into what is made."""
    with prepared(settings_of(tmp_path), mode):
        made = [path for path in (tmp_path / "state").iterdir() if path.is_dir()]
        assert len(made) > 2
        assert not any(stat.S_IMODE(path.stat().st_mode) & 0o027 for path in made)
        assert not any((tmp_path / "state" / name).exists() for name in absent)


def test_folders_without_a_name_are_none(tmp_path: Path) -> None:
    """A folder that the file does not name is not the state folder, in which all others lie."""
    with prepared(settings_of(tmp_path, "folderForDownloadedFiles=Down\n", 2), 2):
        assert (tmp_path / "state" / "Down").is_dir()


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "{root}/data", "{root}"])
def test_a_command_has_to_be_a_program(tmp_path: Path, name: str) -> None:
    """Of those who consume: nothing is made before that is said."""
    (tmp_path / "data").touch(0o600)  # root, too, may not run what nobody may
    settings = settings_of(tmp_path, f"{KEYS}commandAfterDownload={name.format(root=tmp_path)} x\n")
    for mode in (2, 3):
        said = refusal(settings, mode)
        assert said.startswith("[General] commandAfterDownload: ")
        assert name.format(root=tmp_path) in said
        assert not (tmp_path / "state").exists()
    with prepared(settings, 1):
        pass
    with prepared(settings_of(tmp_path, f"{KEYS}commandAfterDownload=sh -c true\n"), 3):
        pass


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


WAYS = ["folderToWatch → folderQueuedForUpload", "folderQueuedForUpload → folderForUploadedFiles"]


def rename_refuses(patch: pytest.MonkeyPatch, names: set[str], number: int) -> None:
    """Nothing can be renamed into some folders."""
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target.parent.name in names:
            raise OSError(number, os.strerror(number))
        return rename(path, target)

    patch.setattr(Path, "rename", refuse)


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is refused ends, and its locks with it; here it goes on."""
    monkeypatch.setattr(start, "lock_side", lambda *_: ())


def crossings(settings: Settings, mode: int = 1) -> list[str]:
    return list(start.prepare(settings, mode).crossing)


@pytest.mark.usefixtures("unlocked")
def test_file_systems_are_crossed_only_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the key it is refused, and that says which key to set; with it, the steps are named."""
    assert crossings(settings_of(tmp_path, f"{KEYS}crossDeviceMoves=1\n")) == []
    rename_refuses(monkeypatch, {"QueuedForUpload", "UploadedToS3"}, errno.EXDEV)
    assert "or set crossDeviceMoves=1" in refusal(settings_of(tmp_path), 1)
    assert crossings(settings_of(tmp_path, f"{KEYS}crossDeviceMoves=1\n")) == WAYS
    left = [path.name for path in (tmp_path / "state").rglob("*") if path.name.startswith(PROBE)]
    assert left == []


@pytest.mark.usefixtures("unlocked")
def test_folders_that_really_lie_on_two_file_systems(tmp_path: Path) -> None:
    """As the kernel says it."""
    place = another_file_system(tmp_path)
    if place is None:
        pytest.skip("there is only one file system that can be written to")
    with tempfile.TemporaryDirectory(dir=place, prefix="relay-test-") as far:
        general = f"folderToWatch={far}\nfolderForDownloadedFiles=Down\n"
        assert "crossDeviceMoves=1" in refusal(settings_of(tmp_path, general), 1)
        assert crossings(settings_of(tmp_path, f"{general}crossDeviceMoves=1\n")) == WAYS[:1]
        assert os.listdir(far) == []


@pytest.mark.usefixtures("unlocked")
def test_crossing_excuses_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another error of the rename, or a folder on another file system in which nothing can be made."""
    settings = settings_of(tmp_path, f"{KEYS}crossDeviceMoves=1\n")
    with monkeypatch.context() as patch:
        rename_refuses(patch, {"Failed"}, errno.EACCES)
        said = refusal(settings, 1)
        assert "folderForFailedFiles" in said
        assert "crossDeviceMoves" not in said
    rename_refuses(monkeypatch, {"Failed"}, errno.EXDEV)
    mkdir = Path.mkdir

    def full(path: Path, *args: Any, **keys: Any) -> None:
        if path.parent.name == "Failed":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mkdir(path, *args, **keys)

    monkeypatch.setattr(Path, "mkdir", full)
    assert "folderForFailedFiles: nothing can be made" in refusal(settings, 1)


# ------------------------------------------------------------------ the folders as the processes open them


def test_each_folder_has_what_its_file_system_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they cross: leases are Watch's, moves the target's, one call for a batch that of both; Watch is let be."""
    has = {
        "Watch": Facilities(beneath=True, lease=True, together=True),
        "QueuedForUpload": Facilities(noreplace=True, beneath=True),
        "UploadedToS3": Facilities(lease=True),
        "Failed": Facilities(together=True),
    }

    def probe(fd: int, *, moves: bool = True) -> Facilities:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        assert moves == (path.name != "Watch")
        return has[path.name if path.name in has else path.parent.name]

    monkeypatch.setattr(kernel, "probe", probe)
    spool = open_spool(settings_of(tmp_path, f"{KEYS}crossDeviceMoves=1\n"), never_stopped())
    assert spool.watch.facilities == Facilities(noreplace=True, beneath=True, lease=True)
    for folder in (spool.queued, spool.uploaded, spool.failed):
        assert folder.facilities == has[folder.path.name]
        assert folder.takes_copies
    assert os.listdir(spool.watch.path) == []
    spool = open_spool(settings_of(tmp_path), never_stopped())
    assert spool.watch.facilities == spool.failed.facilities == has["QueuedForUpload"]
    assert not spool.queued.takes_copies


@pytest.mark.parametrize(
    ("source", "target"),
    [("Watch", "QueuedForUpload"), ("QueuedForUpload", "UploadedToS3"), ("QueuedForUpload", "Failed")],
)
def test_a_process_ends_the_moves_that_a_kill_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str
) -> None:
    """D24. Before it has anything to do: the copy has its name, and the file that was copied goes."""
    settings = settings_of(tmp_path, f"{KEYS}crossDeviceMoves=1\n")
    open_spool(settings, never_stopped())
    folders = {name: Folder(tmp_path / "state" / name, takes_copies=True) for name in (source, target)}
    write(folders[source].path / "a")
    with monkeypatch.context() as patch:
        no_rename_between(patch, folders[source].path)
        patch.setattr(crossing, "_remove_source", lambda *_: exit_at_once())
        with pytest.raises(SystemExit):
            move(folders[source], "a", folders[target], "a")
    assert tree(folders[source].path) == {"a": b"content"}
    open_spool(settings, never_stopped())
    assert tree(folders[source].path) == {}
    assert tree(folders[target].path) == {"a": b"content"}


def exit_at_once() -> bool:
    raise SystemExit


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
