"""The acceptance run: one folder of mixed files is copied into Watch, arrives whole, and Ctrl-C leaves nothing behind.

The programs, the copy and the Ctrl-C are the user's own: `python main.py`, `cp -r`, a signal to the process group.
"""

import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.endpoints import Servers, on_moto, on_seaweed
from tests.chaos.kills import digest, files_in, remains
from tests.chaos.relay import Relay, wait_for

MIB = 1 << 20
_LARGE = (0, 64 * MIB, 34 * MIB, 12 * MIB, 9 * MIB, 5 * MIB)
"""The sizes of the first files; 34 and 64 MiB go up in parts."""
_FOLDERS = ("", "plain", "with space/and  two", "grün/日本", "a/b/c/d/e")
_NAMES = ("file {}.bin", "f-{}.csv", "ünï 🎈 {}.txt", "{}")
_START_SECONDS = 60.0
_ARRIVE_SECONDS = 900.0

Sides = tuple[Relay, Relay]
"""The program that sends and the one that receives; Mode 3 is both."""
Programs = Callable[[Path], contextlib.AbstractContextManager[Sides]]


@dataclass
class Outcome:
    """What a run found; all of `violations` must be empty."""

    endpoint: str
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """From the start of the copy until everything has arrived and the sending side rests."""
    stop_seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For a person and for the log."""
        head = "| endpoint | files | MB | seconds | files/s | MB/s | Ctrl-C, seconds | violations |"
        speed = f"{self.files / self.seconds:.1f} | {self.bytes / 1e6 / self.seconds:.1f}"
        row = (
            f"| {self.endpoint} | {self.files} | {self.bytes / 1e6:.1f} | {self.seconds:.1f} | {speed} | "
            f"{self.stop_seconds:.1f} | {len(self.violations)} |"
        )
        return "\n".join([head, "|" + "---|" * 8, row, *self.violations[:20]])


def run(folder: Path, endpoint: str, *, files: int, seed: int) -> Outcome:
    """Copy `files` mixed files into Watch of programs that run on `endpoint`, wait, stop, judge."""
    source = folder / "staging" / "drop"
    make_files(source, files, random.Random(seed))
    expected = content_of(source.parent)
    outcome = Outcome(endpoint, len(expected), sum(path.stat().st_size for path in files_in(source)))
    with ENDPOINTS[endpoint](folder) as (sender, receiver):
        programs = list(dict.fromkeys([receiver, sender]))  # the receiver first: moto is slow with a deep queue
        for program in programs:
            program.start()
            wait_for(program.works, _START_SECONDS, f"Mode {program.mode} works: {program.console}")
        started = time.monotonic()
        subprocess.run(["cp", "-r", source, sender.watch], check=True)
        try:
            wait_for(lambda: _has_arrived(sender, receiver, len(expected)), _ARRIVE_SECONDS, "everything arrives")
        except AssertionError as error:
            outcome.violations.append(f"NOT DRAINED: {error}")
        outcome.seconds = time.monotonic() - started
        started = time.monotonic()
        for program in reversed(programs):
            code = program.stop()
            if code != 0:
                outcome.violations.append(f"exit code {code} of Mode {program.mode} after Ctrl-C")
        outcome.stop_seconds = time.monotonic() - started
        outcome.violations += judge(sender, receiver, expected)
    return outcome


def judge(sender: Relay, receiver: Relay, expected: dict[str, str]) -> list[str]:
    """Everything under its name with its bytes on both sides; nothing anywhere else, no process."""
    found = []
    for where in (receiver.downloaded, sender.uploaded):
        content = content_of(where)
        found += [f"LOST: {name} is not in {where.name}" for name in expected.keys() - content.keys()]
        found += [f"INVENTED: {name} in {where.name}" for name in content.keys() - expected.keys()]
        both = expected.keys() & content.keys()
        found += [f"DAMAGED: {name} in {where.name}" for name in both if content[name] != expected[name]]
    for folder in (sender.watch, sender.queued, sender.failed, receiver.state / "FailedMessages"):
        found += [f"LEFT BEHIND: {path}" for path in files_in(folder)]
    found += remains(receiver)
    return found + [f"ORPHAN: process {pid}" for program in {sender} - {receiver} for pid in program.survivors()]


def make_files(folder: Path, count: int, rng: random.Random) -> None:
    """An empty file, some large ones, the rest log-uniform up to 1 MiB; one in ten has a base name that others have."""
    for number in range(count):
        size = _LARGE[number] if number < len(_LARGE) else int(2 ** rng.uniform(0, 20))
        if number % 10 == 9:
            path = folder / f"dept {number}" / "report.csv"
        else:
            path = folder / rng.choice(_FOLDERS) / rng.choice(_NAMES).format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))


def content_of(folder: Path) -> dict[str, str]:
    """Relative name → digest."""
    return {str(path.relative_to(folder)): digest(path) for path in files_in(folder)}


def _has_arrived(sender: Relay, receiver: Relay, count: int) -> bool:
    if any(not program.is_running() for program in (sender, receiver)):
        raise AssertionError(f"a program has ended: {sender.console.parent}")
    arrived = len(files_in(receiver.downloaded)) >= count
    return arrived and not files_in(sender.watch) and not files_in(sender.queued)


@contextlib.contextmanager
def _embedded(folder: Path) -> Iterator[Sides]:
    """The README's first command."""
    relay = Relay(folder, keys={})
    try:
        yield relay, relay
    finally:
        relay.end()


def _two(servers: Servers) -> Programs:
    """One program on each side of S3 and SQS servers."""

    @contextlib.contextmanager
    def run(folder: Path) -> Iterator[Sides]:
        with servers(folder) as keys:
            sender = Relay(folder / "sender", mode=1, keys=keys)
            receiver = Relay(folder / "receiver", mode=2, keys=keys)
            try:
                yield sender, receiver
            finally:
                sender.end()
                receiver.end()

    return run


ENDPOINTS: dict[str, Programs] = {
    "embedded": _embedded,
    "moto": _two(on_moto),
    "seaweed": _two(on_seaweed),
}
