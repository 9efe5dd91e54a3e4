"""What one soak test is: its id, its settings, its places."""

import os
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from app_properties import Settings
from pipeline.names import SOAK
from pipeline.soak.content import Recipe
from pipeline.soak.options import SoakOptions

METADATA = "soak-run"
"""Of every object that a run stores: its id. What does not carry it is not removed."""


@dataclass(frozen=True)
class Run:
    """Small, frozen and picklable: the feeder and the judge are given it."""

    id: str
    seed: int
    options: SoakOptions
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

    def path(self, name: str) -> str:
        """The relative path of a file."""
        return f"{self.subfolder}/{name}" if self.subfolder else name


def begin(settings: Settings, options: SoakOptions, now: datetime, monotonic: float) -> Run:
    """A new run."""
    run = f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return Run(
        id=run,
        seed=secrets.randbelow(10**6) if options.seed is None else options.seed,
        options=options,
        began=monotonic,
        began_at=now,
        subfolder=f"relay-soak-{run}" if options.in_place else "",
        root=settings.state_root / "soak" / run,
        reports=(options.report or settings.state_root / "soak-reports" / run).absolute(),
        parent=os.getpid(),
    )


def settings_for(run: Run, settings: Settings) -> Settings:
    """What the relay runs with: folders, key prefix and queue of its own, unless it is to use the configured ones."""
    marked = replace(settings, aws_s3_extra_metadata=(*settings.aws_s3_extra_metadata, (METADATA, run.id)))
    if run.options.in_place:
        return marked
    defaults = Settings.__dataclass_fields__
    own = {
        name: defaults[name].metadata["default"]
        for name in defaults
        if name.startswith("folder_") or name == "log_file_path"
    }
    own |= {"folder_to_watch": "Watch", "folder_for_downloaded_files": "DownloadedFromS3"}
    return replace(
        marked,
        **{**own, "folder_to_store_temp_files": str(run.root)},
        aws_s3_folder="/".join(part for part in (settings.aws_s3_folder, SOAK, run.id) if part),
        aws_sqs=queue_name(settings.aws_sqs),
    )


def queue_name(name: str) -> str:
    """The queue of soak tests beside a queue: `relay` → `relay-soak`, `relay.fifo` → `relay-soak.fifo`."""
    stem = name.removesuffix(".fifo")
    return f"{stem[: 75 - len(name) + len(stem)]}-soak{name[len(stem) :]}"
