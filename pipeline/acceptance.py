"""What may be asked for, and what may get a name: messages and objects are anybody's until they are compared here."""

import os
from collections.abc import Callable

from pipeline.drop import Origin, delivery_id, foreign_version_id, origin_of
from pipeline.landing import Arrival
from pipeline.names import (
    NameRefusedError,
    checked_path,
    flat_name,
    is_below,
    is_of_other_soak,
    is_of_program,
    path_of_key,
    printable,
)
from pipeline.notice import Notice
from pipeline.ports import ChangedError, LaterError, NeverError, Received, StoredObject
from pipeline.shapes import Announced, UnreadableError, read


class Acceptance:
    """What one consumer accepts: objects of one bucket, below one folder of it or, with `outside`, anywhere in it."""

    def __init__(
        self, bucket: str, folder: str, checksum: Callable[[int], str], *, flat: bool = False, outside: bool = False
    ) -> None:
        """`checksum` computes the CRC64NVME of an open file; `flat` leaves the folders of a path out."""
        self._bucket, self._folder, self._checksum = bucket, folder, checksum
        self._flat, self._outside = flat, outside

    def announced(self, message: Received) -> Announced:
        """What a message announces; what may be asked for of it `check` says. NeverError if it cannot be read."""
        try:
            notices, others = read(message.body, message.attributes, self._bucket)
        except UnreadableError as error:
            raise NeverError(f"a message that cannot be read ({error}): {printable(message.body[:200])}") from None
        own = {notice.key for notice in notices if self._is_own(notice)}
        return Announced([notice for notice in notices if not self._is_own(notice)], [*others, *sorted(own)])

    def check(self, notice: Notice) -> None:
        """NeverError for whatever must not even be asked for, LaterError for what somebody else is to have."""
        if notice.bucket != self._bucket:
            raise NeverError(f"a message about another bucket, {printable(notice.bucket[:100])!r}")
        if is_of_other_soak(self._folder, notice.key):
            raise LaterError(f"a message of another soak test, which shares this queue: {printable(notice.key[:200])}")
        try:
            path_of_key(self._folder_of(notice.key), notice.key)
        except NameRefusedError as error:
            raise NeverError(f"a message about {printable(notice.key[:200])!r}: {error}") from None

    def known_as(self, notice: Notice) -> str | None:
        """What the ledger knows the object by that a message speaks of, as far as the message says it."""
        if notice.drop_id:
            return delivery_id(notice.drop_id, notice.key)
        if notice.version_id in (None, "null"):  # the object says since when it is there, and no message does
            return None
        return delivery_id(foreign_version_id(self._bucket, notice.key, notice.version_id), notice.key)

    def accept(self, arrival: Arrival, notice: Notice, stored: StoredObject) -> None:
        """The bytes are those that were announced: the arrival is told its path, identity, checksum and time."""
        try:
            origin = origin_of(stored, self._bucket, self._folder_of(stored.key))
            arrival.path = self._path(origin, stored.key)
        except NameRefusedError as error:
            raise NeverError(f"the object {printable(notice.key[:200])!r}: {error}") from None
        arrival.drop_id, arrival.checksum = delivery_id(origin.drop_id, stored.key), self._checksum(arrival.fd)
        _refuse_contradiction(notice, origin, stored)
        size = os.fstat(arrival.fd).st_size
        if size != stored.size or origin.crc64nvme not in (None, arrival.checksum):
            raise ChangedError(
                f"{notice.key!r} arrived damaged: {size} of {stored.size} bytes, checksum {arrival.checksum} "
                f"instead of {printable(str(origin.crc64nvme)[:40])}"
            )
        if origin.mtime_ns is not None:
            os.utime(arrival.fd, ns=(origin.mtime_ns, origin.mtime_ns))

    def says(self, key: str, path: str) -> bool:
        """Whether a key alone says what path a file got."""
        return path_of_key(self._folder_of(key), key) == path

    def _is_own(self, notice: Notice) -> bool:
        """Whether the bucket announces here what a soak test stores, or what the store is tried with."""
        ours = notice.bucket == self._bucket and is_of_program(self._folder, notice.key)
        return ours and not is_of_other_soak(self._folder, notice.key)

    def _folder_of(self, key: str) -> str:
        """The folder of the bucket below which a key is a path: none for one that may lie outside of ours."""
        return "" if self._outside and not is_below(self._folder, key) else self._folder

    def _path(self, origin: Origin, key: str) -> str:
        """What a file is to be called; outside of our folder the whole key says it, whatever the object does."""
        path = checked_path(origin.path if is_below(self._folder, key) else key, _other_separators())
        return flat_name(path) if self._flat else path


def _other_separators() -> str:
    return "".join(mark for mark in (os.sep, os.altsep) if mark and mark != "/")


def _refuse_contradiction(notice: Notice, origin: Origin, stored: StoredObject) -> None:
    """The ledger believes the object; a message that says otherwise could mark another drop as delivered.

    Who does not know our attributes speaks of the object as it was then, and may be late.
    """
    speaks_of_this = notice.drop_id is not None or notice.etag == stored.etag
    said_of = (
        ("drop_id", notice.drop_id, origin.drop_id if origin.is_ours else None),
        ("crc64nvme", notice.crc64nvme, origin.crc64nvme),
        ("path", notice.path, origin.path if origin.is_ours else None),
        ("size", notice.size if speaks_of_this else None, stored.size),
    )
    for name, said, known in said_of:
        if said is not None and said != known:
            raise NeverError(f"the message about {printable(notice.key[:200])!r} and the object differ in {name}")
