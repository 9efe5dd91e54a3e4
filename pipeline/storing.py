"""Step 3: a queued file becomes an object under a key that held nothing, whatever happens to either meanwhile."""

import logging
import mimetypes
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from pipeline.drop import DROP_ID, Drop, Fingerprint, drop_id, path_metadata
from pipeline.keys import Keys
from pipeline.names import NameRefusedError, printable
from pipeline.ports import Content, LaterError, MissingError, NeverError, ObjectStore, StoredObject, TakenError
from pipeline.spool import Queued, Spool
from pipeline.values import FAIL, OVERWRITE, VERSION

log = logging.getLogger(__name__)


def content_type(path: str) -> str:
    """Guessed from the suffix alone: `guess_type` reads a whole name as a URL, and `data:` lets it choose the type."""
    return _type_of(os.path.splitext(path)[1])


@lru_cache(maxsize=256)
def _type_of(suffix: str) -> str:
    return mimetypes.guess_type(f"x{suffix}", strict=False)[0] or "application/octet-stream"


@dataclass(frozen=True)
class Route:
    """Where drops go, and in which form they are announced."""

    keys: Keys
    form: str
    region: str
    on_conflict: str = VERSION
    extra_metadata: Mapping[str, str] = field(default_factory=dict)
    """What every object carries beside the program's own."""


class Checksums(NamedTuple):
    """How content is known again: CRC64NVME as text, of an open file and of bytes."""

    of_file: Callable[[int], str]
    of_bytes: Callable[[bytes], str]


class Stale(NamedTuple):
    """An object that was stored of a file before it changed; nobody was told of it."""

    inode: int
    stored: StoredObject


class Placed(NamedTuple):
    """A drop and its object."""

    drop: Drop
    stored: StoredObject
    may_be_told: bool = False
    """Whether an earlier try stored it, of another process perhaps: then somebody may have been told of it."""


class Storing:
    """Stores queued files as objects. Safe to use from several threads."""

    def __init__(
        self,
        spool: Spool,
        store: ObjectStore,
        route: Route,
        checksums: Checksums,
        is_being_written: Callable[[int], bool | None],
        stopped: threading.Event,
    ) -> None:
        """`stopped` ends what is under way, with CancelledError."""
        self._spool, self._store, self._route, self._checksums = spool, store, route, checksums
        self._is_being_written, self._stopped = is_being_written, stopped
        self._stale: dict[str, Stale] = {}
        """What is to be replaced, by the path of a queued file, from one try to the next."""

    def begin(self, queued: Queued) -> tuple[Drop, Future[StoredObject]]:
        """Send a small file, read once; TakenError, or one that changed meanwhile, is for `store`."""
        seen = queued.fingerprint()
        body = queued.read(seen.size)
        drop = self._drop(queued, seen, self._checksums.of_bytes(body))
        if self._stale_of(queued) is not None:
            return drop, _refused(drop)
        return drop, self._store.begin_upload(_content(queued, drop, body), drop.key.text, self._metadata(drop))

    def store(
        self, queued: Queued, *, refused: Drop | None = None, stale: StoredObject | None = None
    ) -> tuple[Drop, StoredObject]:
        """The object that is exactly this drop, under a key that nothing else held.

        Goes on from what `begin` came to: `refused`, the drop whose key was taken, or `stale`, an object that was
        stored of the file before it changed; without one, from what an earlier try left.
        """
        if stale is not None:
            self._remember(queued, stale)
        elif (stale := self._stale_of(queued)) is None:
            placed = self._place(queued, refused)
            if queued.fingerprint() == placed.drop.fingerprint:
                return placed.drop, placed.stored
            self._remember(queued, stale := self._untold(queued, placed))
        return self._replace(queued, stale)

    def forget(self, path: str) -> None:
        """The file under this path is settled, or gone."""
        self._stale.pop(path, None)

    def set_aside(self, queued: Queued, error: NeverError) -> None:
        """To Failed, with the reason, what can never be stored."""
        if not self._spool.still_there(queued):
            log.warning("%s can never be sent (%s), but another file has its name now", queued.path, error)
            return
        when = datetime.now(UTC).isoformat(timespec="seconds")
        reason = {"path": printable(queued.path), "reason": printable(str(error)), "time": when}
        failed = self._spool.fail(queued, reason)
        log.error("set aside as %s: %s", self._spool.failed.path / failed, error)

    def _replace(self, queued: Queued, stale: StoredObject) -> tuple[Drop, StoredObject]:
        """The file once more, in the place of `stale`; LaterError while somebody is at work on it."""
        if self._is_being_written(queued.fd):
            raise LaterError(f"{queued.path} is being written again")
        placed = self._place(queued, stale=stale)
        if queued.fingerprint() != placed.drop.fingerprint:
            self._remember(queued, self._untold(queued, placed))
            raise LaterError(f"{queued.path} changes each time that it is uploaded")
        self.forget(queued.path)  # it is told of now
        return placed.drop, placed.stored

    def _untold(self, queued: Queued, placed: Placed) -> StoredObject:
        """The object, if nobody was told of it; else LaterError: it stays, and what the file is now goes beside it."""
        if placed.may_be_told:
            self.forget(queued.path)
            raise LaterError(f"{queued.path} changed after it was sent")
        return placed.stored

    def _remember(self, queued: Queued, stale: StoredObject) -> None:
        log.info("%s changed while it was uploaded; nobody was told, it is taken again", queued.path)
        self._stale[queued.path] = Stale(queued.fingerprint().inode, stale)

    def _stale_of(self, queued: Queued) -> StoredObject | None:
        """What is remembered of this very file, and not of one that had its path before."""
        found = self._stale.get(queued.path)
        return found.stored if found and found.inode == queued.fingerprint().inode else None

    def _place(self, queued: Queued, refused: Drop | None = None, stale: StoredObject | None = None) -> Placed:
        """The file as it is now, in the place of `stale` or under the first of its names whose key is free."""
        drop, stored = (refused, None) if refused else self._attempt(queued, stale)
        while stored is None:
            if placed := self._own_earlier_try(queued, drop):
                return placed
            drop, stored = self._attempt(queued)  # it has its next name
        return Placed(drop, stored)

    def _attempt(self, queued: Queued, stale: StoredObject | None = None) -> tuple[Drop, StoredObject | None]:
        drop = self._identify(queued)
        # Under another key, as its date may give it, it replaces nothing: what lies there may equal the stale one.
        replaces = stale.etag if stale and stale.key == drop.key.text else None
        try:
            return drop, self._unless_taken(queued, drop, replaces)
        except MissingError:  # somebody removed the stale one: the next try finds its key free
            self.forget(queued.path)
            raise

    def _unless_taken(self, queued: Queued, drop: Drop, replaces: str | None = None) -> StoredObject | None:
        try:
            return self._upload(queued, drop, replaces)
        except TakenError:
            return None

    def _identify(self, queued: Queued) -> Drop:
        seen = queued.fingerprint()
        return self._drop(queued, seen, self._checksums.of_file(queued.fd))

    def _drop(self, queued: Queued, seen: Fingerprint, checksum: str) -> Drop:
        """The drop that the file is now; NeverError if no object can be that."""
        try:
            key = self._route.keys.of(queued.path, seen.mtime_ns, drop_id(queued.path, seen, checksum))
            path_metadata(queued.path)  # asked for here: nothing may be sent that cannot say where it belongs
        except NameRefusedError as error:
            raise NeverError(f"{queued.path}: {error}") from None
        return Drop(queued.path, seen, checksum, key)

    def _upload(self, queued: Queued, drop: Drop, replaces: str | None) -> StoredObject:
        return self._store.upload(
            _content(queued, drop),
            drop.key.text,
            self._metadata(drop),
            replaces=replaces,
            cancelled=self._stopped.is_set,
        )

    def _metadata(self, drop: Drop) -> dict[str, str]:
        return {**self._route.extra_metadata, **drop.metadata()}

    def _own_earlier_try(self, queued: Queued, drop: Drop) -> Placed | None:
        """The key is taken: by this very drop, its object; by another, None, and the file has its next version."""
        found = self._store.look(drop.key.text)
        if found is None:  # it is free again, or the store hides what it holds
            stored = self._unless_taken(queued, drop)
            if stored is not None:
                return Placed(drop, stored)
            found = self._store.look(drop.key.text)
        if found is None or found.metadata.get(DROP_ID) != drop.id:
            replacing = self._make_way(queued, drop, found)
            return Placed(drop, replacing) if replacing else None
        if found.size == drop.fingerprint.size:
            return Placed(drop, found, may_be_told=True)
        return Placed(drop, self._upload(queued, drop, replaces=found.etag))  # a store that was killed during our PUT

    def _make_way(self, queued: Queued, drop: Drop, found: StoredObject | None) -> StoredObject | None:
        """What onNameConflict says; `found` is the other object, where it can be seen."""
        if self._route.on_conflict == OVERWRITE:  # what is replaced stays as a version; that was seen to at the start
            if found is None:
                raise LaterError(f"the key {printable(drop.key.text)} is taken, and nothing can be seen there")
            return self._upload(queued, drop, replaces=found.etag)
        if self._route.on_conflict == FAIL:
            raise NeverError(
                f"the key {printable(drop.key.text)} holds another object and onNameConflict is fail; "
                "rename the file, or set version"
            )
        self.forget(queued.path)  # another program has its key: there is nothing left to be replaced
        # The rename comes before the PUT, so that the queued path always is the key's path.
        self._spool.renumber(queued, self._taken(drop))
        log.info("%s is taken in the store: it goes on as %s", drop.path, queued.path)
        return None

    def _taken(self, drop: Drop) -> list[str]:
        """The names of the numbered versions of a drop's name whose keys the store holds."""
        versions = self._route.keys.versions(drop.path, drop.fingerprint.mtime_ns)
        found = map(versions.name_of, self._store.keys(versions.prefix)) if versions else ()
        return [name for name in found if name is not None]


def _content(queued: Queued, drop: Drop, body: bytes | None = None) -> Content:
    return Content(queued.fd, drop.fingerprint.size, drop.crc64nvme, content_type(drop.path), body)


def _refused(drop: Drop) -> Future[StoredObject]:
    """What a PUT comes to whose key is taken, without the PUT."""
    future: Future[StoredObject] = Future()
    future.set_exception(TakenError(f"{printable(drop.key.text)} holds what is to be replaced"))
    return future
