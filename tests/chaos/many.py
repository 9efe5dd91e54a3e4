"""Many files in many folders: all are sent, what came first goes first, and no process needs more memory for more."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests import bench_servers
from tests.chaos.endpoints import new_folder, on_two
from tests.chaos.kills import files_in
from tests.chaos.relay import Relay

_MOST_RSS = {"watcher": 110e6}
"""Bytes, however many files there are: 50,000 that are remembered of a look, and the listing of one folder."""
_MOST_OF_ANY = 200e6
_QUEUED = 1_000
_LATE_SHARE = 0.1
"""Two processes with 64 files in hand each do not end them in order, but nearly so."""


@dataclass
class Outcome:
    """What a run found; all of `violations` must be empty."""

    files: int
    folders: int
    seconds: float = 0.0
    """From the start of the program until all were sent."""
    most_queued: int = 0
    peaks: dict[str, int] = field(default_factory=dict)
    """Role → the most resident bytes of one of its processes."""
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        head = "| files | folders | seconds | files/s | most queued | violations |"
        row = (
            f"| {self.files:,} | {self.folders:,} | {self.seconds:.1f} | {self.files / self.seconds:.0f} | "
            f"{self.most_queued:,} | {len(self.violations)} |"
        )
        memory = ", ".join(f"{role} {peak / 1e6:.0f} MB" for role, peak in sorted(self.peaks.items()))
        return "\n".join([head, "|" + "---|" * 6, row, f"peak memory: {memory}", *self.violations[:20]])


def run(folder: Path, *, files: int, folders: int) -> Outcome:
    """Send what lies in Watch when the program starts, to an S3 and SQS that keep nothing."""
    outcome = Outcome(files, folders)
    store, queue = (bench_servers.start(name, new_folder(folder / name)) for name in ("sink", "sqs"))
    with on_two(store, queue) as keys:
        relay = Relay(folder / "relay", mode=1, keys={**keys, "maxQueuedFiles": _QUEUED}, options=["--once"])
        _make_files(relay.watch, files, folders)
        try:
            started = time.monotonic()
            relay.start()
            while relay.is_running():
                _look(relay, outcome)
                time.sleep(0.05)  # a sample of what is true all the time
            outcome.seconds = time.monotonic() - started
            code = relay.wait(1)
        finally:
            relay.end()
    outcome.violations += _judge(relay, outcome) + ([] if code == 0 else [f"exit code {code}"])
    return outcome


def _make_files(watch: Path, files: int, folders: int) -> None:
    """One after the other through all the folders, so that those of one folder are of any age."""
    for number in range(folders):
        (watch / f"{number // 100}" / f"{number % 100}").mkdir(parents=True)
    for number in range(files):
        where = watch / f"{number % folders // 100}" / f"{number % folders % 100}"
        (where / f"{number}").write_bytes(b"%d" % number)


def _look(relay: Relay, outcome: Outcome) -> None:
    for pid in relay.children():
        role = relay.role_of(pid)
        outcome.peaks[role] = max(outcome.peaks.get(role, 0), _peak(pid))
    # Files come and go while a tree is listed: those that two listings show lay there together between the two.
    queued = set(files_in(relay.queued)) & set(files_in(relay.queued))
    outcome.most_queued = max(outcome.most_queued, len(queued))


def _peak(pid: int) -> int:
    """Bytes; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _judge(relay: Relay, outcome: Outcome) -> list[str]:
    there = {path.name: path.read_bytes() for path in files_in(relay.uploaded)}
    expected = {f"{number}": b"%d" % number for number in range(outcome.files)}
    found = [f"LOST or CHANGED: {name}" for name, body in expected.items() if there.get(name) != body]
    found += [f"INVENTED: {name}" for name in there.keys() - expected.keys()]
    found += [f"{outcome.most_queued} queued" for _ in range(outcome.most_queued > _QUEUED)]
    for role, peak in outcome.peaks.items():
        if peak > _MOST_RSS.get(role, _MOST_OF_ANY):
            found.append(f"MEMORY: {role} {peak / 1e6:.0f} MB")
    sent = [int(line.split()[4].rpartition("/")[2]) for line in _sent_lines(relay)]
    behind = max((abs(place - number) for place, number in enumerate(sent)), default=0)
    if behind > max(_QUEUED, _LATE_SHARE * outcome.files):
        found.append(f"ORDER: a file was sent {behind} places from its own")
    return found


def _sent_lines(relay: Relay) -> list[str]:
    text = relay.console.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if " sent  " in line]
