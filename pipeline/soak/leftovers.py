"""What is still there when a soak test is at rest, and nothing should be."""

import os
from collections.abc import Iterator
from pathlib import Path

from app_properties import Settings
from pipeline.landing import INCOMING
from pipeline.names import RESERVED, STORE_PROBE, printable
from pipeline.ports import ObjectStore, RelayError
from pipeline.soak.accounts import Accounts
from pipeline.soak.run import Run, key_prefix
from pipeline.spool import REASONS


def leftovers(settings: Settings, run: Run, store: ObjectStore, accounts: Accounts) -> Iterator[str]:
    """Paths and keys of what nobody has an account of: files in any folder of the run, temporary ones, and objects.

    What belongs to a file that was said to be lost, corrupt or so is evidence, and stays.
    """
    folders = (settings.watch, settings.queued, settings.uploaded, settings.failed, settings.downloaded)
    for folder in folders:
        yield from _files(folder / run.subfolder, accounts)
    if not run.subfolder:
        yield from _files(settings.failed_messages, accounts)
        yield from _files(settings.downloaded / INCOMING, accounts)
    yield from _objects(settings, run, store, accounts)


def _files(folder: Path, accounts: Accounts) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (RESERVED, REASONS)]
        for name in names:
            if not accounts.has_story(name):
                yield printable(str(Path(place, name)))


def _objects(settings: Settings, run: Run, store: ObjectStore, accounts: Accounts) -> Iterator[str]:
    prefix = key_prefix(settings.aws_s3_folder, run.subfolder)
    try:
        for key in store.keys(prefix):
            name = key.rpartition("/")[2]
            if key != f"{prefix}{STORE_PROBE}" and not accounts.has_story(name):
                yield f"s3://{store.bucket}/{printable(key)}"
    except RelayError as error:
        yield f"s3://{store.bucket}/{prefix} cannot be listed: {error}"
