"""What S3 holds of ours and no consumer has, as far as ledgers and folder say: its message is gone."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pipeline.folders import Folder, is_regular
from pipeline.ledgers import Ledgers, ReadLedger
from pipeline.names import encode_path, flat_name, is_of_program
from pipeline.ports import Listed, ObjectStore, RelayError
from pipeline.undelivered import Stored, look_at

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReconcileOptions:
    """What a person asked of --reconcile."""

    apply: bool
    """Announce what is missing, rather than say what it is."""
    ledgers: tuple[Path, ...]
    """Of the other consumers."""
    accept_copies: bool
    """What one of them has, whose ledger is not here, may come a second time."""


class Fate(StrEnum):
    """What became of an object, as far as can be seen."""

    DELIVERED = "delivered"
    DUE = "delivered, and their command did not succeed"
    HERE = "in the folder, though no ledger knows them"
    MISSING = "never delivered"
    YOUNG = "too young to tell"
    OLD = "older than ledgerDays"
    FOREIGN = "not of this program"
    UNSEEN = "could not be looked at"


TO_ANNOUNCE = (Fate.MISSING, Fate.DUE)
"""Only a message brings the file, or has the command run."""


class Rules(NamedTuple):
    """Which objects are looked at. Times are seconds since the epoch."""

    folder: str
    """Below which keys lie."""
    since: float
    """What was stored earlier may have been delivered and forgotten."""
    until: float
    """What was stored later may still be on its way."""
    versions: bool = False
    """Whether each version of a key is a drop that is delivered by itself."""


class Reconciliation:
    """One pass over everything that is stored."""

    def __init__(self, store: ObjectStore, ledgers: Ledgers, is_here: Callable[[Stored], bool], rules: Rules) -> None:
        """`is_here`: whether a drop that no ledger knows lies in the folder all the same."""
        self._store, self._ledgers, self._is_here, self._rules = store, ledgers, is_here, rules
        self.counts = Counter[Fate]()
        """Of objects, or of versions; whole once `missing` has come to its end."""

    def missing(self) -> Iterator[Stored]:
        """What was never delivered, one after the other. PausedError where S3 cannot be used."""
        for listed, found in look_at(self._store, self._rules.folder, self._candidates()):
            fate = self._fate(listed, found)
            self.counts[fate] += 1
            if fate in TO_ANNOUNCE and isinstance(found, Stored):
                yield found

    def _candidates(self) -> Iterator[Listed]:
        """What has to be looked at: for the rest the listing says enough."""
        folder = self._rules.folder
        for listed in self._store.listed(f"{folder}/" if folder else "", versions=self._rules.versions):
            if is_of_program(folder, listed.key):
                continue
            if fate := self._by_listing(listed):
                self.counts[fate] += 1
            else:
                yield listed

    def _by_listing(self, listed: Listed) -> Fate | None:
        if listed.modified > self._rules.until:
            return Fate.YOUNG
        if listed.modified < self._rules.since:
            return Fate.OLD
        had = not self._rules.versions and self._ledgers.had_since(listed.key, listed.modified)
        return Fate.DELIVERED if had else None

    def _fate(self, listed: Listed, found: Stored | RelayError | None) -> Fate:
        if isinstance(found, RelayError):
            log.warning("cannot be looked at: %s: %s", listed.key, found)
            return Fate.UNSEEN
        if found is None:
            return Fate.FOREIGN
        if self._ledgers.has(found.delivery_id):
            return Fate.DELIVERED
        if self._ledgers.is_due(found.delivery_id):
            return Fate.DUE
        return Fate.HERE if self._is_here(found) else Fate.MISSING


class Inbox:
    """DownloadedFromS3 as it lies there, for drops that no ledger knows; nothing is made in it."""

    def __init__(
        self, path: Path | None, ledger: ReadLedger | None, checksum: Callable[[int], str], *, flat: bool = False
    ) -> None:
        """`path`: None on a machine that has none; `ledger`: its own, if it has one.

        `checksum` computes the CRC64NVME of an open file; `flat`: files lie there without the folders of their paths.
        """
        self._flat = flat
        self._folder = Folder(path) if path and path.is_dir() else None
        self._ledger, self._checksum = ledger, checksum

    def close(self) -> None:
        """Give the descriptor back."""
        if self._folder:
            self._folder.close()

    def holds(self, stored: Stored) -> bool:
        """Whether the content lies under its path, and is not that of another drop which was given this path."""
        path, size, checksum = stored.origin.path, stored.object.size, stored.origin.crc64nvme
        path = flat_name(path) if self._flat else path
        if self._folder is None or checksum is None:
            return False
        if self._ledger and self._ledger.held_by_another(encode_path(path), stored.delivery_id):
            return False
        try:
            fd = self._folder.open(path)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            return is_regular(status) and status.st_size == size and self._checksum(fd) == checksum
        finally:
            os.close(fd)
