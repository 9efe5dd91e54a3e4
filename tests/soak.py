"""Settings, a run and its folders, as the parts of a soak test are given them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app_properties import Settings, load
from pipeline.soak import content
from pipeline.soak.content import File
from pipeline.soak.options import SoakOptions
from pipeline.soak.run import Run, begin, settings_for

DEADLINE = 30.0
SMALL = content.sizes("300B")
"""More than the first line of a file, which says what file it is."""


def settings_at(root: Path, folder: str = "in", **aws: str) -> Settings:
    """A properties file in `root`, with further keys of [AWS]."""
    file = root / "Application.properties"
    given = {"aws_endpoint_url": "embedded", "aws_sqs": "relay", **aws}
    file.write_text(
        f"[General]\nfolderToStoreTempFiles={root}\nfolderToWatch=Watch\nfolderForDownloadedFiles=Down\n"
        f"[AWS]\naws_s3_bucket=relay\naws_s3_folder={folder}\naws_region=eu-west-1\n"
        + "".join(f"{name}={value}\n" for name, value in given.items())
    )
    return load(file, 4, root)


def run_at(root: Path, settings: Settings, **asked: Any) -> tuple[Run, Settings]:
    """A run of small files, what the relay runs with, and the folders of that."""
    run = begin(settings, SoakOptions(**{"sizes": SMALL, "seed": 7, **asked}), root / "Application.properties")
    own = settings_for(run, settings)
    for folder in (own.watch, own.queued, own.uploaded, own.failed, own.downloaded):
        (folder / run.subfolder).mkdir(parents=True)
    return run, own


def body_of(run: Run, file: File) -> bytes:
    """What a file has to hold."""
    return b"".join(run.recipe.blocks(file))


def until(condition: Callable[[], bool], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Do something again and again until a condition is true; the test fails after DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        meanwhile()
        time.sleep(0.001)


def finishes(action: Callable[[], object]) -> bool:
    """Whether something ends within the deadline; in a thread, as what waits for ever ends no test."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    return not thread.is_alive()
