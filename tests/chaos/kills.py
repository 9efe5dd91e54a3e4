"""Files flow while processes are killed at random; then every content is looked for, on every side.

One seed decides the workload and the order of the kills. Every content is unique (it begins with the number of its
drop), so that a content seen twice is a second copy and one not seen is a loss; names are few, so that drops of one
name meet in every folder. A user takes files away from UploadedToS3 meanwhile, so that names are free there which the
store still holds.
"""

import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import boto3

from tests.chaos.relay import Relay, wait_for

_NAMES = 0.3
"""Of the drops, the share that uses one of a few names."""
_SETTLE_SECONDS = 180.0
_INTO_THE_BURST = (0.05, 0.35)
"""Seconds after the start of a burst in which a kill falls: files are being taken, sent and announced."""


@dataclass
class Outcome:
    """What a run found; all of `violations` must be empty."""

    files: int = 0
    bytes: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        kills = ", ".join(f"{role} {count}" for role, count in sorted(self.kills.items()))
        lines = [
            f"files {self.files}, {self.bytes / 1e6:.0f} MB, {self.seconds:.0f} s",
            f"kills {self.kills.total()} ({kills})",
            f"violations {len(self.violations)}",
            *self.violations[:20],
        ]
        return "\n".join(lines)


class Dropper(threading.Thread):
    """Drops files into Watch, never over one that is still there, and takes archived ones away."""

    def __init__(self, relay: Relay, files: int, rng: random.Random, staging: Path, names: float = _NAMES) -> None:
        """`names`: the share of drops that use one of a few names, and wait for each other."""
        super().__init__(name="dropper", daemon=True)
        self._relay, self._files, self._rng, self._staging, self._names = relay, files, rng, staging, names
        self.taken = staging / "taken-by-the-user"
        self.taken.mkdir(parents=True)
        self.dropped: dict[str, tuple[int, str]] = {}
        self.failure: BaseException | None = None
        self.pace = threading.Semaphore(0)

    def run(self) -> None:
        try:
            for number in range(self._files):
                self.pace.acquire()
                self._drop(number)
        except BaseException as error:
            self.failure = error
            raise

    def _drop(self, number: int) -> None:
        shared = self._rng.random() < self._names
        name = f"same-{self._rng.randrange(8)}.csv" if shared else f"d{number % 7}/file {number}.bin"
        content = _content(number, self._rng)
        self.dropped[hashlib.sha256(content).hexdigest()] = (number, name)
        source, target = self._staging / str(number), self._relay.watch / name
        source.write_bytes(content)
        target.parent.mkdir(parents=True, exist_ok=True)
        wait_for(lambda: _link(source, target), 120, f"{name} leaves Watch")
        source.unlink()
        if self._rng.random() < 0.2:
            self._take_one()

    def _take_one(self) -> None:
        for path in sorted(self._relay.uploaded.glob("same-*.csv")):
            os.rename(path, self.taken / f"{len(list(self.taken.iterdir()))}-{path.name}")
            return


class Observer(threading.Thread):
    """Looks at DownloadedFromS3 without pause: whatever is seen must be whole at first sight, and stay as it is.

    It takes a share of the files away, as a user does who works on what arrived: a duplicate must not bring them again.
    """

    def __init__(
        self,
        relay: Relay,
        expected: dict[str, tuple[int, str]],
        rng: random.Random,
        taken: Path,
        share: float = 1 / 3,
    ) -> None:
        super().__init__(name="observer", daemon=True)
        self._relay, self._expected, self._rng, self.taken, self._share = relay, expected, rng, taken, share
        self.taken.mkdir(parents=True)
        self.seen: dict[str, str | None] = {}
        self._where: dict[str, Path] = {}
        self.violations: list[str] = []
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.is_set():
            for path in files_in(self._relay.downloaded):
                name = str(path.relative_to(self._relay.downloaded))
                if name not in self.seen:
                    self._first_sight(path, name)
            self._done.wait(0.01)

    def _first_sight(self, path: Path, name: str) -> None:
        self.seen[name] = digest_or_none(path)
        if self.seen[name] not in self._expected:
            self.violations.append(f"PARTIAL or invented: {name} at first sight")
        if self._rng.random() < self._share:
            self._where[name] = self.taken / str(len(self._where))
            os.rename(path, self._where[name])

    def finish(self) -> list[str]:
        self._done.set()
        self.join()
        for name, first in self.seen.items():
            now = digest_or_none(self._where.get(name, self._relay.downloaded / name))
            if now != first:
                self.violations.append(f"OVERWRITTEN or gone again: {name}")
        return self.violations


def run(folder: Path, relay: Relay, *, files: int, kills: int, seed: int) -> Outcome:
    """Drop `files` files while `kills` processes are killed, wait until everything rests, judge."""
    rng = random.Random(seed)
    outcome, started = Outcome(files=files), time.monotonic()
    relay.watch.mkdir(parents=True)
    relay.downloaded.mkdir(parents=True)
    dropper = Dropper(relay, files, random.Random(rng.random()), folder / "staging")
    observer = Observer(relay, dropper.dropped, random.Random(rng.random()), folder / "staging" / "taken-arrivals")
    relay.start()
    dropper.start()
    observer.start()
    victims: list[int] = []
    try:
        victims = _kill_while_flowing(relay, dropper, rng, files, kills)
        dropper.join()
        assert dropper.failure is None, dropper.failure
        wait_for(
            lambda: _rests(relay, observer, len(dropper.dropped)),
            _SETTLE_SECONDS,
            f"everything arrives: {_where(relay)}",
        )
        wait_for(lambda: _queue_is_empty(relay), 60, "the queue is empty")
    except AssertionError as error:
        outcome.violations.append(f"NOT DRAINED: {error}; {_where(relay)}")
        relay.show_threads()
    code = relay.stop()
    outcome.violations += observer.finish()
    outcome.kills = Counter("parent" if role == "main" else role for role in map(relay.role_of, victims))
    outcome.violations += judge(relay, dropper.dropped, dropper.taken, observer.taken)
    if code != 0:
        outcome.violations.append(f"exit code {code} after Ctrl-C")
    if outcome.kills.total() < kills or not kills or not dropper.dropped:
        outcome.violations.append(f"TOO LITTLE: {len(victims)} of {kills} kills, {len(dropper.dropped)} files")
    outcome.bytes = sum(path.stat().st_size for path in [*files_in(relay.downloaded), *files_in(observer.taken)])
    outcome.seconds = time.monotonic() - started
    return outcome


def judge(relay: Relay, dropped: dict[str, tuple[int, str]], taken: Path, taken_arrivals: Path) -> list[str]:
    """Every content exactly once in DownloadedFromS3 and on the sending side; nothing left anywhere else."""
    found = []
    arrived = Counter(digest(path) for path in [*files_in(relay.downloaded), *files_in(taken_arrivals)])
    archived = Counter(digest(path) for path in [*files_in(relay.uploaded), *files_in(taken)])
    for content, (number, name) in dropped.items():
        for side, counts in (("DownloadedFromS3", arrived), ("the sending side", archived)):
            if counts[content] == 0:
                found.append(f"LOST: drop {number} ({name}) is not in {side}")
            elif counts[content] > 1:
                found.append(f"SECOND COPY: drop {number} ({name}) is {counts[content]} times in {side}")
    found += [f"INVENTED: {item}" for item in (arrived.keys() | archived.keys()) - dropped.keys()]
    for folder in (relay.watch, relay.queued, relay.failed):
        found += [f"LEFT BEHIND: {path}" for path in files_in(folder)]
    found += [f"UPLOAD UNDER WAY: {path}" for path in (relay.state / ".relay" / "multipart").glob("*.json")]
    return found + remains(relay)


def remains(receiver: Relay) -> list[str]:
    """What a program leaves of its work on the receiving side, and must not."""
    found = [f"TEMPORARY FILE: {path}" for path in (receiver.downloaded / ".relay" / "incoming").iterdir()]
    return found + [f"ORPHAN: process {pid}" for pid in receiver.survivors()]


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, the program's own hidden ones left out."""
    found = []
    for head, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(head, name) for name in names]
    return found


def digest_or_none(path: Path) -> str | None:
    """The same; None for a file that is gone."""
    try:
        return digest(path)
    except FileNotFoundError:
        return None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _kill_while_flowing(relay: Relay, dropper: Dropper, rng: random.Random, files: int, kills: int) -> list[int]:
    """Spread the kills over the drops; the pids that were killed.

    The sleeps are the fault schedule, not waits for a condition. Half of the kills wait until everything has started
    again and idles, then a burst of files comes and the kill falls into it; the others come without a burst, and one in
    two of them follows its forerunner at once. The server is killed in the first half alone: whatever is undelivered
    is announced again after that, and heals what a broken program has lost.
    """
    victims: list[int] = []
    bursts = sorted(rng.sample(range(kills), (kills + 1) // 2))
    for number in range(kills):
        turn = bursts.index(number) if number in bursts else None
        if turn is not None:
            time.sleep(rng.uniform(1.0, 3.0))
            dropper.pace.release(files * (turn + 1) // len(bursts) - files * turn // len(bursts))
            time.sleep(rng.uniform(*_INTO_THE_BURST))
        else:
            time.sleep(rng.choice([rng.uniform(0.0, 0.3), rng.uniform(0.8, 3.0)]))
        victim = _choose(relay, rng, burst=turn is not None, server=number < kills // 2)
        relay.kill(victim)
        victims.append(victim)
        if not relay.is_running():
            relay.start()
    return victims


def _choose(relay: Relay, rng: random.Random, *, burst: bool, server: bool) -> int:
    """With a burst an uploader one time in two; else the parent or the server one time in ten each, or any worker."""
    roles = {pid: relay.role_of(pid) for pid in relay.children()}
    uploaders = [pid for pid, role in roles.items() if role == "uploader"]
    if burst and uploaders and rng.random() < 0.5:
        return rng.choice(uploaders)
    servers = [pid for pid, role in roles.items() if role == "embedded"]
    workers = [pid for pid in roles if pid not in servers] or [relay.pid]
    dice = rng.random()
    if dice < 0.1:
        return relay.pid
    return rng.choice(servers) if dice < 0.2 and servers and server else rng.choice(workers)


def _rests(relay: Relay, observer: Observer, expected: int) -> bool:
    waiting = files_in(relay.watch) or files_in(relay.queued)
    return not waiting and len(observer.seen) >= expected


def _where(relay: Relay) -> str:
    folders = (relay.watch, relay.queued, relay.uploaded, relay.failed, relay.downloaded)
    return ", ".join(f"{folder.name} {len(files_in(folder))}" for folder in folders)


def _queue_is_empty(relay: Relay) -> bool:
    port = json.loads((relay.state / ".relay" / "embedded" / "address.json").read_text())["port"]
    client = boto3.client(
        "sqs",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",
    )
    url = client.get_queue_url(QueueName="relay")["QueueUrl"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]  # type: ignore[arg-type]  # the stub wants literals
    return all(int(count) == 0 for count in counts.values())


def _content(number: int, rng: random.Random) -> bytes:
    """Log-uniform from a few bytes to 256 KiB; one in 400 is large enough to go up in parts."""
    size = 34 * 1024 * 1024 if rng.random() < 1 / 400 else int(2 ** rng.uniform(0, 18))
    return f"{number}\n".encode() + rng.randbytes(size)


def _link(source: Path, target: Path) -> bool:
    """As `mv -n`: the drop appears whole, and never over another."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True
