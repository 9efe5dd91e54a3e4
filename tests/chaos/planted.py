"""Links planted in DownloadedFromS3 while files get their names there: nothing outside is read, written or taken."""

import contextlib
import itertools
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.aws.checksum import crc64nvme, crc64nvme_of
from pipeline.landing import Arrival, Landing
from tests.unit.places import make, tree

KINDS = ("kernel", "portable")
_PAIRS = 50
"""Names, each in a folder of its own, that files are delivered to and that are links now and then."""
_BATCH = 16


@dataclass
class Outcome:
    """What a run found; all of `violations` must be empty."""

    kind: str
    deliveries: int
    seconds: float = 0.0
    links: int = 0
    """That were planted while files were delivered."""
    beside: int = 0
    """Files that got another name, or another folder, because theirs was taken."""
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        row = f"{self.kind} | {self.deliveries:,} | {self.links:,} | {self.beside:,} | {self.seconds:.1f}"
        head = "| ways | files | links planted | names taken | seconds | violations |"
        return "\n".join([head, "|" + "---|" * 6, f"| {row} | {len(self.violations)} |", *self.violations[:20]])


class _Attacker(threading.Thread):
    """Swaps names for links and back; all of it may be done by whoever may write into the folder and beside it."""

    def __init__(self, top: Path, outside: Path, seed: int) -> None:
        super().__init__()
        self._top, self._outside, self._random = top, outside, random.Random(seed)
        self._fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        self._numbers = itertools.count()
        self._over = threading.Event()
        self.links = 0
        self.error: Exception | None = None
        os.mkdir("aside", dir_fd=self._fd)

    def run(self) -> None:
        try:
            while not self._over.is_set():
                number = self._random.randrange(_PAIRS)
                self._swap(f"m{number}/n{number}", self._random.choice(["file", "new", f"m{number}/n{number}"]))
                self._swap(f"m{number}", self._random.choice([f"m{number}", "new", "file"]))
                self._swap_back(".relay", ".relay-away", "relay")
                self._swap_top()
        except Exception as error:  # noqa: BLE001  # not hidden: whoever ends it raises it
            self.error = error

    def end(self) -> None:
        self._over.set()
        self.join()
        os.close(self._fd)
        if self.error:
            raise self.error

    def _swap(self, path: str, target: str) -> None:
        """Take away what has the name, plant a link there, take that away; nothing is removed, so all can be found."""
        self._take_away(path)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            self._plant(path, target)
            self._take_away(path)

    def _swap_back(self, path: str, away: str, target: str) -> None:
        os.rename(path, away, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        self._plant(path, target)
        os.unlink(path, dir_fd=self._fd)
        os.rename(away, path, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def _swap_top(self) -> None:
        real = self._top.with_name("real")
        self._top.rename(real)
        self._top.symlink_to(self._outside)
        self._top.unlink()
        real.rename(self._top)

    def _plant(self, path: str, target: str) -> None:
        up = "../" * (path.count("/") + 1) + "outside"
        where = self._random.choice([str(self._outside), up])
        os.symlink(f"{where}/{target}", path, dir_fd=self._fd)
        self.links += 1

    def _take_away(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, f"aside/{next(self._numbers)}", src_dir_fd=self._fd, dst_dir_fd=self._fd)


def run(folder: Path, kind: str, *, deliveries: int, seed: int) -> Outcome:
    """Deliver so many files to names that are swapped meanwhile; `kind`: with the kernel's ways, or without."""
    outcome = Outcome(kind, deliveries)
    outside = _make_outside(folder / "outside")
    before, started = _look(outside), time.monotonic()
    landing = Landing(make(folder, "DownloadedFromS3", kind), crc64nvme)
    attacker = _Attacker(landing.folder.path, outside, seed)
    attacker.start()
    try:
        for first in range(0, deliveries, _BATCH):
            outcome.beside += _deliver(landing, range(first, min(first + _BATCH, deliveries)))
    finally:
        attacker.end()
    landing.recover()
    landing.ledger.close()
    outcome.links, outcome.seconds = attacker.links, time.monotonic() - started
    outcome.violations += [f"OUTSIDE: {path}" for path in _changes(before, _look(outside))]
    outcome.violations += _judge(landing.folder.path, deliveries)
    return outcome


def _make_outside(outside: Path) -> Path:
    """What the links lead to: a file and folders with the very names that are delivered."""
    for number in range(_PAIRS):
        (outside / f"m{number}").mkdir(parents=True)
        (outside / f"m{number}/n{number}").write_text("outside", encoding="utf-8")
    (outside / "relay/incoming").mkdir(parents=True)
    for name in ("file", "relay/ledger.sqlite3", "relay/ledger.sqlite3-wal", "relay/incoming/part-1"):
        (outside / name).write_text("outside", encoding="utf-8")
    return outside


def _deliver(landing: Landing, numbers: Sequence[int]) -> int:
    """Steps 6 to 7b of a batch; how many got another path than they were to have."""
    with _arrivals(landing, numbers) as arrivals:
        paths = landing.publish(arrivals)
        return sum(path != arrival.path for path, arrival in zip(paths, arrivals, strict=True))


@contextlib.contextmanager
def _arrivals(landing: Landing, numbers: Sequence[int]) -> Iterator[list[Arrival]]:
    arrivals = []
    for number in numbers:
        arrival, content = landing.open_arrival(), b"%d" % number
        os.pwrite(arrival.fd, content, 0)
        arrival.drop_id, arrival.checksum = f"drop{number}", crc64nvme_of(content)
        arrival.path = f"m{number % _PAIRS}/n{number % _PAIRS}"
        arrivals.append(arrival)
    yield arrivals
    for arrival in arrivals:
        landing.discard(arrival)


def _look(top: Path) -> dict[str, tuple[int, ...] | bytes]:
    """Everything below a folder: content of files; inode, mode and time of all."""
    found: dict[str, tuple[int, ...] | bytes] = {}
    for item in (top, *top.rglob("*")):
        status = item.lstat()
        found[f"{item}"] = (status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns)
        if item.is_file():
            found[f"{item} content"] = item.read_bytes()
    return found


def _changes(before: dict[str, tuple[int, ...] | bytes], after: dict[str, tuple[int, ...] | bytes]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _judge(top: Path, deliveries: int) -> list[str]:
    contents = [
        content for path, content in tree(top).items() if not path.startswith(".relay/") and isinstance(content, bytes)
    ]
    expected = {b"%d" % number for number in range(deliveries)}
    found = [f"LOST: {content!r}" for content in expected.difference(contents)]
    found += [f"INVENTED: {content!r}" for content in set(contents) - expected]
    return found + [f"{len(contents) - len(set(contents))} twice" for _ in range(len(contents) > len(set(contents)))]
