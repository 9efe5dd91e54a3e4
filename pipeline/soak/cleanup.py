"""Remove what a soak test left behind, and nothing that it did not make."""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app_properties import Settings
from pipeline.locks import lock_side
from pipeline.ports import LaterError, MessageQueue, ObjectStore, Received, RelayError, batches
from pipeline.shapes import UnreadableError, read
from pipeline.soak.content import file_of
from pipeline.soak.options import ALL, is_run
from pipeline.soak.run import METADATA, NOTE, key_prefix, own_places, places_of, root, subfolder
from pipeline.spool import REASONS

log = logging.getLogger(__name__)

_MESSAGES = 10_000
"""The most that are looked at in one queue: each is hidden from others meanwhile."""
_POLLS, _POLL_SECONDS = 3, 1
_LOOK_SECONDS = 120.0
"""What looking at a long queue may take, beyond waiting for messages in flight."""


@dataclass(frozen=True)
class Left:
    """One run that may have left something."""

    run: str
    in_place: bool
    """It used the configured folders, key prefix and queue."""
    elsewhere: str = ""
    """The properties file of a run whose bucket, queue or endpoint are not those of this one."""

    def places(self, settings: Settings) -> Settings:
        """Where it lies; `settings` are those of the properties file."""
        return settings if self.in_place else own_places(self.run, settings)

    def prefix(self, settings: Settings) -> str:
        """What its keys begin with."""
        return key_prefix(self.places(settings).aws_s3_folder, subfolder(self.run) if self.in_place else "")


def find(settings: Settings, which: str, *, in_place: bool) -> list[Left]:
    """The runs that this machine knows, or the one that was named; `in_place`: so was that, if no note says it."""
    if which != ALL:
        return [_left(which, settings, in_place=in_place)]
    known = sorted(path.name for path in root(settings).glob("*") if is_run(path.name))
    return [_left(run, settings, in_place=False) for run in known]


def lock(left: Sequence[Left], settings: Settings) -> list[int]:
    """Keep others from the folders of these runs, as long as the descriptors are open. StartupError (75): one runs."""
    held: list[int] = []
    for places in dict.fromkeys(one.places(settings) for one in left):
        for side, folders in (("ingest", (places.watch, places.queued)), ("consume", (places.downloaded,))):
            held += lock_side(side, [folder for folder in folders if folder.is_dir()], places.own_folder)
    return held


def needs_aws(left: Left, settings: Settings) -> bool:
    """Whether objects and messages lie anywhere but in its own folder."""
    return left.in_place or not settings.all_embedded


def remove_messages(queue: MessageQueue, bucket: str, prefix: str, seconds: float) -> int:
    """Delete the messages that announce nothing but keys below `prefix`; others go back. How many were deleted.

    What a poller had in hand when it was killed is waited for, `seconds` at most: the visibility of a message. Others
    are hidden for as long as that takes, so that each is received once and comes no nearer to the dead letters.
    """
    deleted, others, empty = 0, dict[str, str](), 0
    waited = time.monotonic() + seconds
    try:
        while empty < _POLLS or (queue.depth().in_flight > len(others) and time.monotonic() < waited):
            if deleted + len(others) >= _MESSAGES or time.monotonic() >= waited + _LOOK_SECONDS:
                log.warning("not every message of the queue was looked at; run it again when it is less busy")
                break
            messages = queue.receive(10, _POLL_SECONDS)
            ours, foreign = _sorted(messages, bucket, prefix)
            others |= foreign
            _change(queue, list(foreign.values()), math.ceil(seconds + 2 * _LOOK_SECONDS))
            deleted += sum(outcome is None for outcome in queue.delete(ours)) if ours else 0
            empty = 0 if messages else empty + 1  # SQS may ask but a part of its servers
    finally:
        _change(queue, list(others.values()), 0)
    return deleted


def _sorted(messages: Sequence[Received], bucket: str, prefix: str) -> tuple[list[str], dict[str, str]]:
    """Receipts of the messages about keys below `prefix`, and of the others, by message."""
    ours = [message.receipt for message in messages if _announces(message, bucket, prefix)]
    return ours, {message.id: message.receipt for message in messages if message.receipt not in ours}


def remove_objects(store: ObjectStore, prefix: str, run: str, unmarked: Container[str] = ()) -> int:
    """Delete the objects below `prefix` that carry the run's id, and those of the keys `unmarked`; how many."""
    count = 0
    for key in store.keys(prefix):
        before = None
        while (stored := store.look(key)) is not None:
            if stored.metadata.get(METADATA) != run and key not in unmarked:
                log.info("left alone, as soak test %s did not make it: s3://%s/%s", run, store.bucket, key)
                break
            if (stored.etag, stored.version_id) == before:
                raise LaterError(f"DELETE s3://{store.bucket}/{key}: the object is still there; try again later")
            # Where the bucket keeps versions, the one before it appears.
            store.delete(key, stored.version_id)
            before, count = (stored.etag, stored.version_id), count + 1
    return count


def remove_folders(left: Left, settings: Settings) -> list[Path]:
    """Remove the run's own folders, or in configured ones its files; the folders that are gone. OSError."""
    removed = [root(settings) / left.run]
    if left.in_place:
        places = (settings.watch, settings.queued, settings.uploaded, settings.failed, settings.downloaded)
        removed += [place / subfolder(left.run) for place in places]
        removed += [settings.failed / REASONS / subfolder(left.run)]
    there = [folder for folder in removed if folder.is_dir() and not folder.is_symlink()]
    if removed[0] in there and not (removed[0] / NOTE).exists():
        log.warning("left alone, as no soak test left its %s there: %s", NOTE, removed[0])
        there.remove(removed[0])
    for folder in removed[1:]:
        if folder in there:
            _remove_own_files(folder)
    if removed[0] in there:
        shutil.rmtree(removed[0])
    with suppress(OSError):  # others are in it
        root(settings).rmdir()
    return [folder for folder in there if not folder.exists()]


def _change(queue: MessageQueue, receipts: list[str], seconds: int) -> None:
    """Hide messages for so long; 0 gives them back. Where that fails they come back when their visibility ends."""
    for batch in batches(receipts):
        try:
            queue.extend(batch, seconds)
        except RelayError as error:
            log.warning("%d messages go back later: %s", len(batch), error)


def _remove_own_files(folder: Path) -> None:
    """Whatever has not the name of a soak test's file was put there by somebody else."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            stem = name.removeprefix(".").removesuffix(".tmp").removesuffix(".json")
            if file_of(stem) is not None:
                Path(place, name).unlink()
            else:
                log.info("left alone, as no soak test made it: %s", Path(place, name))
        with suppress(OSError):  # something was left alone
            Path(place).rmdir()


def _announces(message: Received, bucket: str, prefix: str) -> bool:
    try:
        notices = read(message.body, message.attributes, bucket).notices
    except UnreadableError:
        return False
    return bool(notices) and all(notice.bucket == bucket and notice.key.startswith(prefix) for notice in notices)


def _left(run: str, settings: Settings, *, in_place: bool) -> Left:
    kept = _read(root(settings) / run / NOTE)
    there = kept.get("places", places_of(settings))
    elsewhere = "" if there == places_of(settings) else str(kept.get("config", "another properties file"))
    return Left(run, kept.get("in_place", in_place) is True, elsewhere)


def _read(note: Path) -> dict[str, object]:
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
    except FileNotFoundError:  # it was stopped before it began, or ran on another machine
        return {}
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s); what it would say is taken from the command line", note, error)
        return {}
    return kept if isinstance(kept, dict) else {}
