"""What one soak test is: its id, its settings, its places."""

import json
import os
import secrets
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app_properties import Settings
from pipeline.keys import BY_PATH
from pipeline.names import SOAK
from pipeline.ports import EXIT_USAGE, StartupError
from pipeline.soak.content import Recipe
from pipeline.soak.options import SoakOptions

METADATA = "soak-run"
"""Of every object that a run stores: its id. What does not carry it is not removed."""

NOTE = "run.json"
"""In a run's own folder: what `--cleanup` has to know of it."""

_CHAOS_VISIBILITY = 10
_COUNTS_SECONDS = 60.0
_REPORT_SECONDS = 60.0
_SELECTING = (
    "ignore_patterns",
    "include_patterns",
    "follow_subfolders",
    "completion_marker",
    "minimum_file_bytes",
    "maximum_file_bytes",
)
"""Settings that keep files in Watch, and would keep those of a run there."""
_QUEUE_LIMIT = 76
"""Characters: SQS allows 80, and the name of its dead letters is four longer."""


@dataclass(frozen=True)
class Run:
    """Small, frozen and picklable: the feeder and the judge are given it."""

    id: str
    seed: int
    options: SoakOptions
    config: Path
    """The properties file."""
    began: float
    """Of the monotonic clock, which all processes of a machine share."""
    began_at: datetime
    subfolder: str
    """Below the folders and the key prefix; empty where those are the run's own."""
    root: Path
    """Where its own folders are."""
    reports: Path
    parent: int
    """Process id of the program."""

    @property
    def recipe(self) -> Recipe:
        """Of its contents."""
        return Recipe(self.id, self.seed, self.options.sizes)

    def rest_seconds(self, settings: Settings) -> float:
        """What it may take to be at rest once all is accounted for: what a killed poller had in hand comes back first,
        and SQS's counts lag by up to a minute."""
        return settings.visibility_seconds + _COUNTS_SECONDS

    def stop_seconds(self, settings: Settings) -> float:
        """What the judge may take to end once nothing more is dropped: the last deadline, the rest, and a report."""
        return self.options.deadline + self.rest_seconds(settings) + _REPORT_SECONDS

    def path(self, name: str) -> str:
        """The relative path of a file."""
        return f"{self.subfolder}/{name}" if self.subfolder else name


def begin(settings: Settings, options: SoakOptions, config: Path) -> Run:
    """A new run; nothing is made yet."""
    now = datetime.now(UTC)
    run = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return Run(
        id=run,
        seed=secrets.randbelow(10**6) if options.seed is None else options.seed,
        options=options,
        config=config,
        began=time.monotonic(),
        began_at=now,
        subfolder=subfolder(run) if options.in_place else "",
        root=root(settings) / run,
        reports=(options.report or settings.state_root / "soak-reports" / run).absolute(),
        parent=os.getpid(),
    )


def places_of(settings: Settings) -> dict[str, str]:
    """Where objects and messages of a run go that has these settings: what `--cleanup` must be given again."""
    names = ("aws_s3_bucket", "aws_s3_folder", "aws_sqs", "aws_region", "aws_endpoint_url")
    return {name: getattr(settings, name) for name in (*names, "aws_endpoint_url_s3", "aws_endpoint_url_sqs")}


def note(run: Run, settings: Settings) -> None:
    """Leave a note in the run's own folder, by which it is found again, and see that a report can be written.

    `settings` are those of the properties file. StartupError (exit code 2) if no report can be written: after a day is
    too late to find that out.
    """
    try:
        run.reports.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=run.reports).close()
    except OSError as error:
        text = f"--report: nothing can be written to {run.reports}: {error.strerror}; make room, or name another folder"
        raise StartupError(text, EXIT_USAGE) from error
    run.root.mkdir(parents=True, exist_ok=True)
    kept = {"in_place": run.options.in_place, "config": str(run.config.absolute()), "places": places_of(settings)}
    (run.root / NOTE).write_text(json.dumps(kept), encoding="utf-8")


def root(settings: Settings) -> Path:
    """The folder that holds the folders of all runs."""
    return settings.state_root / "soak"


def subfolder(run: str) -> str:
    """Below the configured folders and key prefix, of a run in place."""
    return f"relay-soak-{run}"


def key_prefix(folder: str, below: str) -> str:
    """What the keys of a run begin with: the folder of the bucket, and the run's own below it; either may be empty."""
    return "".join(f"{part}/" for part in (folder, below) if part)


def settings_for(run: Run, settings: Settings) -> Settings:
    """What the relay runs with: folders, key prefix and queue of its own, unless it is to use the configured ones."""
    marked = replace(
        settings,
        aws_s3_extra_metadata=(*settings.aws_s3_extra_metadata, (METADATA, run.id)),
        aws_s3_key_template=BY_PATH,  # the judge looks objects, and what arrived, up by the paths of their files
        folder_layout="path",
        accept_keys_outside_folder=False,
        command_after_download=(),  # files of a test are nobody's, and come by the thousand
        visibility_seconds=visibility(run.options, settings),
    )
    return marked if run.options.in_place else own_places(run.id, marked)


def visibility(options: SoakOptions, settings: Settings) -> int:
    """Seconds for which a message is hidden: few, on a queue of its own, where those who have it in hand are killed."""
    own = options.chaos and not options.in_place
    return min(_CHAOS_VISIBILITY, settings.visibility_seconds) if own else settings.visibility_seconds


def own_places(run: str, settings: Settings) -> Settings:
    """`settings` with folders, key prefix and queue of a run's own."""
    defaults = Settings.__dataclass_fields__
    own: dict[str, Any] = {
        name: defaults[name].metadata["default"]
        for name in defaults
        if name.startswith("folder_") or name == "log_file_path"
    }
    own |= {name: defaults[name].metadata["read"](defaults[name].metadata["default"]) for name in _SELECTING}
    own |= {"folder_to_watch": "Watch", "folder_for_downloaded_files": "DownloadedFromS3"}
    return replace(
        settings,
        **{**own, "folder_to_store_temp_files": str(root(settings) / run)},
        aws_s3_folder="/".join(part for part in (settings.aws_s3_folder, SOAK, run) if part),
        aws_sqs=queue_name(settings.aws_sqs),
    )


def queue_name(name: str) -> str:
    """The queue of soak tests beside a queue: `relay` → `relay-soak`, `relay.fifo` → `relay-soak.fifo`."""
    stem = name.removesuffix(".fifo")
    suffix = name[len(stem) :]
    room = _QUEUE_LIMIT - len("-soak") - len(suffix)
    own = f"{stem[:room]}-soak{suffix}"
    return own if own != name else f"{stem[: room - 1]}-soak{suffix}"
