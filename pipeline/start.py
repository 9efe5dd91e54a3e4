"""What has to be true of the folders before anything starts; whatever is not is said before anything moves."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from app_properties import Settings
from pipeline.kernel import PROBE
from pipeline.locks import lock_side
from pipeline.ports import EXIT_CONFIG, StartupError

INGEST_MODES, CONSUME_MODES = (1, 3, 4), (2, 3, 4)
_FOLDER_MODE = 0o750
_STEPS = (
    ("folderToWatch", "folderQueuedForUpload"),
    ("folderQueuedForUpload", "folderForUploadedFiles"),
    ("folderQueuedForUpload", "folderForFailedFiles"),
)
"""From where to where files of the ingest side go."""


def folders_of(settings: Settings, mode: int) -> dict[str, Path]:
    """Key → folder, for each folder that a mode uses."""
    folders: dict[str, Path] = {}
    if mode in INGEST_MODES:
        folders["folderToWatch"] = settings.watch
        folders["folderQueuedForUpload"] = settings.queued
        folders["folderForUploadedFiles"] = settings.uploaded
        folders["folderForFailedFiles"] = settings.failed
    if mode in CONSUME_MODES:
        folders["folderForDownloadedFiles"] = settings.downloaded
        folders["folderForFailedMessages"] = settings.failed_messages
    return folders


def _configured(settings: Settings) -> dict[str, Path]:
    """Key → folder, for each folder that the file names or that has a default: programs of other modes may use them."""
    folders = folders_of(settings, 3)
    named = {
        "folderToWatch": settings.folder_to_watch,
        "folderForDownloadedFiles": settings.folder_for_downloaded_files,
    }
    return {key: folder for key, folder in folders.items() if named.get(key, "default")}


class Locks(NamedTuple):
    """The descriptors that hold the folders of each side; empty where a mode has no such side."""

    ingest: tuple[int, ...]
    consume: tuple[int, ...]
    crossing: tuple[str, ...] = ()
    """The steps of a file's way that lead to another file system, for the log."""


def prepare(settings: Settings, mode: int) -> Locks:
    """Make the folders of a mode, lock them, and see that a file can go its way.

    StartupError (75) names who has them already, or (78) the key and the folder that cannot be used.
    """
    folders = folders_of(settings, mode)
    _refuse_other_encoding()
    if mode in CONSUME_MODES:
        _refuse_missing_command(settings.command_after_download)
    _refuse_nesting(_configured(settings), settings.log_file)
    _make("folderToStoreTempFiles", settings.own_folder, 0o700)
    for key, folder in folders.items():
        _make(key, folder, _FOLDER_MODE)
    try:
        locks = _lock(settings, mode)
    except OSError as error:
        raise StartupError(
            f"{error.filename or settings.state_root} cannot be locked: {error.strerror}; "
            "put the folders where this user may lock them",
            EXIT_CONFIG,
        ) from error
    if mode in INGEST_MODES:
        # Not before: another instance must not meet what is tried.
        return locks._replace(crossing=_try_to_move(folders, copies=settings.cross_device_moves))
    return locks


def exposed(config: Path, settings: Settings, folders: Mapping[str, Path]) -> Iterator[str]:
    """What other users of this machine may do and should not, a line for each."""
    mode = stat.S_IMODE(config.stat().st_mode)
    if settings.aws_secret_key and mode & (stat.S_IRGRP | stat.S_IROTH):
        yield (
            f"{config} holds keys and others may read it (mode {mode:04o}): chmod 600 it, or leave both keys empty "
            "and use the default credential chain"
        )
    for key, folder in folders.items():
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield (
                f"[General] {key}: any user may remove and replace what lies in {folder} (mode {mode:04o}): "
                "chmod o-w it, or set its sticky bit"
            )


def _lock(settings: Settings, mode: int) -> Locks:
    state = settings.own_folder
    ingest = lock_side("ingest", (settings.watch, settings.queued), state) if mode in INGEST_MODES else ()
    consume = lock_side("consume", (settings.downloaded,), state) if mode in CONSUME_MODES else ()
    return Locks(ingest, consume)


def _refuse_nesting(folders: Mapping[str, Path], log_file: Path) -> None:
    # Not Path.resolve(), which raises where links go round in a circle; that is said when the folder is made.
    real = {key: Path(os.path.realpath(folder)) for key, folder in folders.items()}
    for one, inner in real.items():
        for other, outer in real.items():
            if one != other and inner.is_relative_to(outer):
                relation = "is the same folder as" if inner == outer else "lies inside"
                raise StartupError(
                    f"[General] {one} ({inner}) {relation} {other} ({outer}); give each a folder of its own",
                    EXIT_CONFIG,
                )
    real_log = Path(os.path.realpath(log_file))
    for key, folder in real.items():
        if real_log.is_relative_to(folder):
            raise StartupError(
                f"[General] logFilePath: {real_log} lies inside {key} ({folder}); put the log elsewhere", EXIT_CONFIG
            )


def _refuse_other_encoding() -> None:
    """Names of files are bytes that other machines have to read as the same characters."""
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise StartupError(
            f"names of files are read as {encoding} here, and would arrive as others: "
            "set LC_ALL=C.UTF-8 or PYTHONUTF8=1",
            EXIT_CONFIG,
        )


def _refuse_missing_command(words: tuple[str, ...]) -> None:
    if words and shutil.which(words[0]) is None:
        raise StartupError(
            f"[General] commandAfterDownload: {words[0]} is no program that this user may run; "
            "give the full path of one, or leave the key empty",
            EXIT_CONFIG,
        )


def _make(key: str, folder: Path, mode: int) -> None:
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except FileExistsError:
        raise StartupError(
            f"[General] {key}: {folder} is not a folder; move it away or name another", EXIT_CONFIG
        ) from None
    except OSError as error:
        raise StartupError(
            f"[General] {key}: {folder} cannot be made: {error.strerror}; make it, or name another", EXIT_CONFIG
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartupError(
            f"[General] {key}: {folder} cannot be read and written by this user (uid {os.geteuid()}); "
            "change its owner or mode, or name another",
            EXIT_CONFIG,
        )


def _try_to_move(folders: Mapping[str, Path], *, copies: bool) -> tuple[str, ...]:
    """See that a file can go its way; with `copies`, the steps of it that lead to another file system.

    A rename is what moves a file along: bind mounts share a device number, so only a trial tells. The trial is an empty
    folder, which nobody could take for a file to relay.
    """
    crossing = []
    for source, target in _STEPS:
        with _trial_folder(source, folders[source]) as trial:
            try:
                trial.rename(folders[target] / trial.name).rmdir()
            except OSError as error:
                if error.errno != errno.EXDEV or not copies:
                    raise _refusal(source, target, folders, error) from error
                crossing.append(f"{source} → {target}")
                with _trial_folder(target, folders[target]):
                    pass  # it can be written to
    return tuple(crossing)


@contextlib.contextmanager
def _trial_folder(key: str, folder: Path) -> Iterator[Path]:
    trial = folder / f"{PROBE}{secrets.token_hex(8)}"
    try:
        trial.mkdir(mode=0o700)
    except OSError as error:
        raise StartupError(
            f"[General] {key}: nothing can be made in {folder}: {error.strerror}; make room, or name another",
            EXIT_CONFIG,
        ) from error
    try:
        yield trial
    finally:
        with contextlib.suppress(FileNotFoundError):  # it went its way
            trial.rmdir()


def _refusal(source: str, target: str, folders: Mapping[str, Path], error: OSError) -> StartupError:
    way_out = "put both on one file system (two Docker volumes are two)"
    if error.errno == errno.EXDEV:
        way_out += ", or set crossDeviceMoves=1: files are copied then, which takes its time"
    return StartupError(
        f"[General] {target}: a file cannot be renamed from {folders[source]} to {folders[target]}: "
        f"{error.strerror}; {way_out}",
        EXIT_CONFIG,
    )
