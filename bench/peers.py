"""The peers, with the options a good engineer would give them. Pure: only command lines and environments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.servers import BUCKET

UPLOAD, DOWNLOAD = "upload", "download"


@dataclass(frozen=True)
class Setting:
    """One step of a peer's sweep: what it is called, and its options."""

    label: str
    options: tuple[str, ...] = ()
    config: str = ""
    """The text of an AWS configuration file."""


@dataclass(frozen=True)
class Peer:
    """How one peer is run."""

    name: str
    small: tuple[Setting, ...]
    """What is tried for many small files."""
    large: tuple[Setting, ...]
    """And for a few large ones."""
    far: tuple[Setting, ...]
    """And for many small files where each request takes its time on the way."""
    command: Callable[[str, Setting, Path, str, str], list[str]]
    """(direction, setting, folder, key prefix, endpoint) → arguments, without the program."""

    def settings(self, size: int, *, far: bool = False) -> tuple[Setting, ...]:
        """What is tried for files of that size in bytes."""
        if far:
            return self.far
        return self.large if size > 16 * 1024 * 1024 else self.small

    def env(self, endpoint: str, config: Path) -> Mapping[str, str]:
        """What it is told by its environment; `config`: where its setting's configuration was written."""
        where = {"S3_ENDPOINT_URL": endpoint} if self.name == "s5cmd" else {"AWS_ENDPOINT_URL_S3": endpoint}
        return {**where, "AWS_CONFIG_FILE": str(config)} if self.name == "aws" else where


def _s5cmd(direction: str, setting: Setting, folder: Path, prefix: str, _: str) -> list[str]:
    there, here = f"s3://{BUCKET}/{prefix}/", f"{folder}/"
    ways = {UPLOAD: [here, there], DOWNLOAD: [there + "*", here]}
    return ["--log", "error", *_global(setting), "cp", *_local(setting), *ways[direction]]


def _global(setting: Setting) -> list[str]:
    return [option for option in setting.options if option.startswith("--numworkers")]


def _local(setting: Setting) -> list[str]:
    return [option for option in setting.options if not option.startswith("--numworkers")]


def _rclone(direction: str, setting: Setting, folder: Path, prefix: str, endpoint: str) -> list[str]:
    s3 = ["--s3-provider=Other", f"--s3-endpoint={endpoint}", "--s3-env-auth=true", "--s3-force-path-style=true"]
    # no HEAD of the bucket, of what was just uploaded, and no listing of an empty destination
    s3 += ["--s3-no-check-bucket", "--s3-no-head", "--no-traverse", "--s3-list-version=2", "--retries=1"]
    there = f":s3:{BUCKET}/{prefix}"
    ways = {UPLOAD: ["move", str(folder), there], DOWNLOAD: ["copy", there, str(folder)]}
    return ["--config=", "--log-level=ERROR", "--stats=0", *ways[direction], *s3, *setting.options]


def _aws(direction: str, _setting: Setting, folder: Path, prefix: str, _: str) -> list[str]:
    there = f"s3://{BUCKET}/{prefix}/"
    ways = {UPLOAD: ["mv", str(folder), there], DOWNLOAD: ["cp", there, str(folder)]}
    return ["s3", *ways[direction], "--recursive", "--only-show-errors"]


def _workers(*numbers: int) -> tuple[Setting, ...]:
    return tuple(Setting(f"--numworkers {number}", (f"--numworkers={number}",)) for number in numbers)


def _parts(*pairs: tuple[int, int]) -> tuple[Setting, ...]:
    return tuple(
        Setting(f"--numworkers {files} --concurrency {parts}", (f"--numworkers={files}", f"--concurrency={parts}"))
        for files, parts in pairs
    )


def _transfers(*numbers: int) -> tuple[Setting, ...]:
    return tuple(
        Setting(f"--transfers {number}", (f"--transfers={number}", f"--checkers={number}")) for number in numbers
    )


def _streams(*triples: tuple[int, int, int]) -> tuple[Setting, ...]:
    return tuple(
        Setting(
            f"--transfers {files} --s3-upload-concurrency {parts} --s3-chunk-size {mib}M",
            (
                f"--transfers={files}",
                f"--s3-upload-concurrency={parts}",
                f"--s3-chunk-size={mib}M",
                f"--multi-thread-streams={parts}",
            ),
        )
        for files, parts, mib in triples
    )


def _requests(*pairs: tuple[int, int]) -> tuple[Setting, ...]:
    """aws: requests at once, and MiB of a part."""
    return tuple(
        Setting(
            f"max_concurrent_requests={number}, multipart_chunksize={mib}MB",
            config=f"[default]\ns3 =\n  max_concurrent_requests = {number}\n  max_queue_size = 10000\n"
            f"  multipart_chunksize = {mib}MB\n  addressing_style = path\n",
        )
        for number, mib in pairs
    )


PEERS = {
    "s5cmd": Peer("s5cmd", _workers(16, 64, 256), _parts((4, 4), (4, 16), (16, 4)), _workers(64, 256, 512), _s5cmd),
    "rclone": Peer(
        "rclone",
        _transfers(8, 16, 32),
        _streams((2, 4, 16), (4, 4, 16), (4, 4, 64)),
        _transfers(64, 128, 256),
        _rclone,
    ),
    "aws": Peer(
        "aws", _requests((10, 8), (32, 8)), _requests((10, 8), (10, 32), (32, 32)), _requests((32, 8), (64, 8)), _aws
    ),
}


def describe(peer: Peer) -> list[str]:
    """The command lines of a peer, for the report."""
    folder, setting = Path("FOLDER"), Setting("", ("SETTING",))
    ways = (peer.command(direction, setting, folder, "PREFIX", "URL") for direction in (UPLOAD, DOWNLOAD))
    return [" ".join([peer.name, *words]) for words in ways]
