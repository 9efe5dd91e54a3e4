"""The program itself, as a user runs it: main.py of an export of this tree, with a properties file."""

import compileall
import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bench.failure import BenchError
from bench.meter import Running
from bench.servers import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Endpoints, base_env

_PARTS = ("*.py", "pipeline", "logging.conf", "Application.properties")


def export(root: Path, folder: Path) -> Path:
    """Copy the program, compiled as after any first start; its main.py."""
    for part in _PARTS:
        for path in root.glob(part):
            if path.is_dir():
                shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                folder.mkdir(exist_ok=True)
                shutil.copy2(path, folder)
    compileall.compile_dir(folder, quiet=1)
    return folder / "main.py"


class Tree(NamedTuple):
    """What is measured: the commit, and whether the tree differs from it."""

    commit: str
    dirty: bool


def tree(root: Path) -> Tree:
    """Of a checkout; of anything else "unknown"."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        git = ["git", "-C", str(root)]
        commit = subprocess.check_output(
            [*git, "rev-parse", "--short=12", "HEAD"], text=True, stderr=subprocess.DEVNULL
        )
        return Tree(commit.strip(), bool(subprocess.check_output([*git, "status", "--porcelain"])))
    return Tree("unknown", False)


class Relay:
    """One set of folders, and the program over them."""

    def __init__(self, main: Path, folder: Path, endpoints: Endpoints, prefix: str, queue: str) -> None:
        """`folder`: made here; `prefix`: of its keys; `queue`: made by the program."""
        self._main, self.folder = main, folder
        self.watch = folder / "state" / "Watch"
        self.uploaded = folder / "state" / "UploadedToS3"
        self.queued = folder / "state" / "QueuedForUpload"
        self.downloaded = folder / "state" / "DownloadedFromS3"
        self.prefix, self.queue = prefix, queue
        self.watch.mkdir(parents=True)
        self._config = folder / "Application.properties"
        self._config.write_text(properties(folder / "state", endpoints, prefix, queue), encoding="utf-8")
        self._runs = 0

    def start(self, mode: int, *options: str) -> Running:
        """Run main.py."""
        self._runs += 1
        command = [sys.executable, str(self._main), "-Mode", str(mode), "--config", str(self._config), *options]
        return Running(command, base_env(self.folder), self.folder / f"console-{self._runs}.log")

    def ready(self, role: str) -> bool:
        """Whether a process of that role has written to the log."""
        with contextlib.suppress(FileNotFoundError):
            return f" {role}" in (self.folder / "state" / "relay.log").read_text(errors="replace")
        return False


def properties(state: Path, endpoints: Endpoints, prefix: str, queue: str) -> str:
    """A user's properties file; every other key has its default."""
    lines: dict[str, dict[str, object]] = {
        "General": {
            "folderToStoreTempFiles": state,
            "folderToWatch": "Watch",
            "folderForDownloadedFiles": "DownloadedFromS3",
        },
        "AWS": {
            "aws_s3_bucket": BUCKET,
            "aws_s3_folder": prefix,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_key": SECRET_KEY,
            "aws_region": REGION,
            "aws_sqs": queue,
            "aws_endpoint_url_s3": endpoints.s3,
            "aws_endpoint_url_sqs": endpoints.sqs,
        },
    }
    text = ""
    for section, keys in lines.items():
        text += f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in keys.items())
    return text


def require_program(root: Path) -> None:
    """BenchError where this is not the program's tree."""
    if not (root / "main.py").exists():
        raise BenchError(f"{root} holds no main.py: run `python -m bench` from a checkout of the program")
