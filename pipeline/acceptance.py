"""What may be asked for, and what may get a name: messages and objects are anybody's until they are compared here."""

import os
from collections.abc import Callable

from pipeline.drop import Origin, delivery_id, origin_of
from pipeline.landing import Arrival
from pipeline.names import NameRefusedError, checked_path, is_of_other_soak, path_of_key, printable
from pipeline.notice import Notice, UnreadableError, decode
from pipeline.ports import LaterError, NeverError, Received, StoredObject


class Acceptance:
    """What one consumer accepts: objects of one bucket, below one folder of it."""

    def __init__(self, bucket: str, folder: str, checksum: Callable[[int], str]) -> None:
        """`checksum` computes the CRC64NVME of an open file."""
        self._bucket, self._folder, self._checksum = bucket, folder, checksum

    def notices(self, message: Received) -> list[Notice]:
        """What a message announces.

        NeverError for whatever must not even be asked for, LaterError for what somebody else is to have.
        """
        try:
            notices = decode(message.body, message.attributes, self._bucket)
        except UnreadableError as error:
            raise NeverError(f"a message that cannot be read ({error}): {printable(message.body[:200])}") from None
        for notice in notices:
            self._check(notice)
        return notices

    def accept(self, arrival: Arrival, notice: Notice, stored: StoredObject) -> None:
        """The bytes are those that were announced: the arrival is told its path, identity, checksum and time."""
        try:
            origin = origin_of(stored, self._bucket, self._folder)
            arrival.path = checked_path(origin.path, _other_separators())
        except NameRefusedError as error:
            raise NeverError(f"the object {printable(notice.key[:200])!r}: {error}") from None
        arrival.drop_id, arrival.checksum = delivery_id(origin.drop_id, stored.key), self._checksum(arrival.fd)
        _refuse_contradiction(notice, origin, stored)
        size = os.fstat(arrival.fd).st_size
        if size != stored.size or origin.crc64nvme not in (None, arrival.checksum):
            raise LaterError(
                f"{notice.key!r} arrived damaged: {size} of {stored.size} bytes, checksum {arrival.checksum} "
                f"instead of {origin.crc64nvme}"
            )
        if origin.mtime_ns is not None:
            os.utime(arrival.fd, ns=(origin.mtime_ns, origin.mtime_ns))

    def _check(self, notice: Notice) -> None:
        if notice.bucket != self._bucket:
            raise NeverError(f"a message about another bucket, {printable(notice.bucket[:100])!r}")
        if is_of_other_soak(self._folder, notice.key):
            raise LaterError(f"a message of another soak test, which shares this queue: {printable(notice.key[:200])}")
        try:
            path_of_key(self._folder, notice.key)
        except NameRefusedError as error:
            raise NeverError(f"a message about {printable(notice.key[:200])!r}: {error}") from None


def _other_separators() -> str:
    return "".join(mark for mark in (os.sep, os.altsep) if mark and mark != "/")


def _refuse_contradiction(notice: Notice, origin: Origin, stored: StoredObject) -> None:
    """The ledger believes the object; a message that says otherwise could mark another drop as delivered."""
    said_of = (
        ("drop_id", notice.drop_id, origin.drop_id if origin.is_ours else None),
        ("crc64nvme", notice.crc64nvme, origin.crc64nvme),
        ("path", notice.path, origin.path if origin.is_ours else None),
        ("size", notice.size if notice.drop_id is not None else None, stored.size),  # else it was replaced since
    )
    for name, said, known in said_of:
        if said is not None and said != known:
            raise NeverError(f"the message about {printable(notice.key[:200])!r} and the object differ in {name}")
