"""DownloadedFromS3: from bytes nobody sees to a name nobody else has (steps 6 to 7b).

The program's own things lie in the hidden `.relay` inside it: the ledger, and `incoming`, where a file waits that is
whole but has no name yet. They share its file system, so giving the name is one rename.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline import kernel
from pipeline.command import Command
from pipeline.durability import Durability
from pipeline.folders import Folder, is_regular
from pipeline.kernel import try_lock
from pipeline.ledger import DUE, NONE, Ledger, Row
from pipeline.names import RESERVED, decode_path, encode_path, next_version, with_name
from pipeline.parents import sync_below
from pipeline.ports import LaterError
from pipeline.strays import Strays

log = logging.getLogger(__name__)

INCOMING = f"{RESERVED}/incoming"
LEDGER = f"{RESERVED}/ledger.sqlite3"
_FILE_MODE = 0o640


@dataclass
class Arrival:
    """A download: an open file without a public name, locked so that nobody tidies it away."""

    fd: int
    temp: str
    """Its name in the incoming folder; "" once it has another."""
    drop_id: str = ""
    """What the ledger is to know it by."""
    path: str = ""
    """The relative path it is to get."""
    checksum: str = ""
    in_ledger: bool = False
    """Whether the ledger may speak of `temp`: then removing it would read as "published"."""
    may_be_here: bool = False
    """Whether the name it is to get holds this very content already."""
    in_doubt: bool = False
    """Whether the transaction failed that tells the ledger: after a restart it may turn out to have been written."""


class Landing:
    """Gives downloads their names in DownloadedFromS3."""

    def __init__(self, folder: Folder, checksum: Callable[[int], str], command: Command | None = None) -> None:
        """`checksum` computes the CRC64NVME of an open file; `.relay` is made if missing.

        `command` is due for each file from step 7a on: whoever has it published has it run, too.
        """
        self.folder = folder
        self.incoming = folder.own(INCOMING)
        try:
            self.ledger = Ledger(folder.path / LEDGER, durable=folder.durable)
        except BaseException:
            self.incoming.close()
            raise
        self._checksum, self.command = checksum, command
        self._durability = Durability(together=folder.facilities.together)
        self._strays = Strays(self.incoming, self.ledger)

    def close(self) -> None:
        """Give ledger and descriptors back, but for that of the folder."""
        self.ledger.close()
        self.incoming.close()

    def open_arrival(self) -> Arrival:
        """A new file to download to; sqlite3.Error while the ledger cannot be written."""
        self._strays.settle()
        while True:
            fd, temp = kernel.create_hidden(self.incoming.fd, _FILE_MODE)  # nobody else can look into this folder
            try:
                if self._is_ours(fd):
                    return Arrival(fd, temp)
            except OSError:
                self._put_away(fd, temp)
                raise
            self._put_away(fd, temp)  # another process that just started took it for a stray

    @staticmethod
    def _is_ours(fd: int) -> bool:
        """Whether nobody else has a new file, which has its mode then."""
        if not try_lock(fd) or not (status := os.fstat(fd)).st_nlink:
            return False
        if stat.S_IMODE(status.st_mode) != _FILE_MODE:
            os.fchmod(fd, _FILE_MODE)
        return True

    def _put_away(self, fd: int, temp: str) -> None:
        os.close(fd)
        self._unlink(temp)

    def discard(self, arrival: Arrival) -> None:
        """Give the descriptor back and remove what has no name, unless the ledger promises to publish it."""
        try:
            if arrival.in_doubt:
                self._strays.doubt(arrival.temp)
            elif arrival.temp and not (arrival.in_ledger and self._is_promised(arrival)):
                self._unlink(arrival.temp)
        finally:
            os.close(arrival.fd)

    def publish(self, arrivals: Sequence[Arrival]) -> list[str | OSError | None]:
        """End of step 6, 7a and 7b for a batch: the path each got; None for a drop the ledger knew (see `resume`).

        One call makes all contents durable, one fsync each target folder, and two transactions serve the whole batch.
        An OSError is the outcome of one file, which is tried again when its message comes again.
        """
        outcomes = self.keep(arrivals)
        kept = [arrival for arrival, error in zip(arrivals, outcomes, strict=True) if error is None]
        paths = iter(self._publish(kept) if kept else ())
        return [next(paths) if error is None else error for error in outcomes]

    def keep(self, arrivals: Sequence[Arrival]) -> list[OSError | None]:
        """End of step 6: contents durable, and with them the hidden names that the ledger is going to speak of."""
        if not self.folder.durable:
            return [None] * len(arrivals)
        *outcomes, folder = self._durability.sync([*(arrival.fd for arrival in arrivals), self.incoming.fd])
        if folder is not None:
            raise folder
        return outcomes

    def _publish(self, arrivals: Sequence[Arrival]) -> list[str | OSError | None]:
        rows = [self._row(arrival) for arrival in arrivals]
        for arrival in arrivals:
            arrival.in_ledger = arrival.in_doubt = True
        new = self.ledger.begin(rows)
        for arrival in arrivals:
            arrival.in_doubt = False
        got = [
            self._place(arrival, row) if is_new else None
            for arrival, row, is_new in zip(arrivals, rows, new, strict=True)
        ]
        self._note_delivered(
            [(row.drop_id, path) for row, path in zip(rows, got, strict=True) if isinstance(path, str)]
        )
        for arrival, path in zip(arrivals, got, strict=True):
            if isinstance(path, str):
                arrival.temp = ""
        return got

    def resume(self, drop_id: str) -> bool:
        """Whether the drop is here: finishes what a kill left between 7a and 7b. False if it is unknown.

        LaterError while another process is about to publish it.
        """
        row = self.ledger.find(drop_id)
        if row is None:
            return False
        if row.state == "publishing":
            with self._locked(row.temp):
                self._note_delivered([(drop_id, self._settle(row))])
        return True

    def recover(self) -> int:
        """At start: finish every drop that a kill left half published, remove what a kill left behind; how many."""
        unfinished = self.ledger.unfinished()
        for row in unfinished:
            try:
                self.resume(row.drop_id)
            except (LaterError, OSError) as error:
                log.warning("%s is not published yet, its message will bring it: %s", decode_path(row.name), error)
        self._strays.remove_all()
        return len(unfinished)

    def _row(self, arrival: Arrival) -> Row:
        path = arrival.path
        # A name that cannot even be looked at fails when it is to be given: alone, not with its batch.
        with contextlib.suppress(OSError):
            if self.folder.status(path) is not None:
                arrival.may_be_here = self._is_equal(arrival)
                if not arrival.may_be_here:
                    path = self._free(path, self.folder.beside(path))
            elif self._is_awaited(path):
                path = self._free(path, [])
        return Row(arrival.drop_id, arrival.temp, encode_path(path), "publishing", DUE if self.command else NONE)

    def _free(self, path: str, taken: Sequence[str]) -> str:
        """The next version of a path that is neither among the names there nor awaited by a command."""
        names = list(taken)
        while True:
            names.append(next_version(path.rpartition("/")[2], names))
            if not self._is_awaited(free := with_name(path, names[-1])):
                return free

    def _is_awaited(self, path: str) -> bool:
        """Whether a command is still due for an earlier file of that name, which was taken away: it would take this."""
        return self.command is not None and self.ledger.is_awaited(encode_path(path))

    def _place(self, arrival: Arrival, row: Row) -> str | OSError:
        try:
            if arrival.may_be_here and self._is_equal(arrival):
                self._unlink(arrival.temp)  # a row without its file reads as published, which it is
                return arrival.path
            return self._settle(row)
        except OSError as error:
            return error

    def _is_equal(self, arrival: Arrival) -> bool:
        """Whether the wanted name holds this content for no other drop: a consumer that lost its ledger has it."""
        if self.ledger.held_by_another(encode_path(arrival.path), arrival.drop_id):
            return False
        try:
            fd = self.folder.open(arrival.path)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            same_size = is_regular(status) and status.st_size == os.fstat(arrival.fd).st_size
            equal = same_size and self._checksum(fd) == arrival.checksum
            if equal and self.folder.durable:
                os.fsync(fd)  # somebody else put it there, perhaps just now
            return equal
        finally:
            os.close(fd)

    def _settle(self, row: Row) -> str:
        """Step 7b for one row, by the process that holds the lock of its temporary file."""
        wanted = decode_path(row.name)
        if self._is_linked(row.temp):
            self.folder.sync({wanted})
            self._unlink(row.temp)
            return wanted
        while True:
            # A rename that is forgotten with its folder leaves the file here; a link is all that is left of it.
            with self.folder.made_parent(wanted, sync=not self.folder.facilities.noreplace) as place:
                if place.path != wanted:
                    wanted = place.path
                    self.ledger.rename(row.drop_id, encode_path(wanted))
                try:
                    kernel.rename_noreplace(self.incoming.fd, row.temp, place.fd, place.name, self.folder.facilities)
                    return wanted
                except FileNotFoundError:
                    if self._is_gone(row.temp):
                        return wanted  # a kill came between the rename and its note
                    self.folder.refuse_removed()
                except FileExistsError:
                    if self._finish_link(row.temp, place.fd, place.name):
                        return wanted
                    wanted = self._free(wanted, os.listdir(place.fd))
                    self.ledger.rename(row.drop_id, encode_path(wanted))

    def _finish_link(self, temp: str, folder_fd: int, name: str) -> bool:
        """Where moves are link and unlink: whether the name already is this very file, which then loses its old one."""
        try:
            one = os.stat(temp, dir_fd=self.incoming.fd, follow_symlinks=False)
            other = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return self._is_gone(temp)
        if one.st_ino != other.st_ino:
            return False
        self._unlink(temp)
        return True

    def _is_linked(self, temp: str) -> bool:
        """Where moves are link and unlink: whether the file was given its name, whatever a person called it then."""
        status = None if self.folder.facilities.noreplace else self.incoming.status(temp)
        return status is not None and status.st_nlink > 1

    def _is_gone(self, temp: str) -> bool:
        return self.incoming.status(temp) is None

    @contextlib.contextmanager
    def _locked(self, temp: str) -> Iterator[None]:
        """The lock of a temporary file, which may be gone already; LaterError if a living process holds it."""
        try:
            fd = self.incoming.open(temp)
        except FileNotFoundError:
            yield
            return
        try:
            if not try_lock(fd):
                raise LaterError("another process is giving this file its name just now")
            yield
        finally:
            os.close(fd)

    def _is_promised(self, arrival: Arrival) -> bool:
        row = self.ledger.find(arrival.drop_id)
        return row is not None and row.temp == arrival.temp

    def _unlink(self, temp: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temp, dir_fd=self.incoming.fd)

    def _note_delivered(self, drops: Sequence[tuple[str, str]]) -> None:
        if drops:
            sync_below(self.folder, {path.rpartition("/")[0] for _, path in drops}, self._durability)
            self.ledger.deliver([drop_id for drop_id, _ in drops])
