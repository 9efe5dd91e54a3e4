"""Runs: one contestant over one corpus, timed, verified, and cleaned up after; several contestants in turn."""

import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import verify
from bench.corpus import Corpus
from bench.machine import touch_memory
from bench.meter import Cost, Running, measure, wait_until
from bench.peers import DOWNLOAD, PEERS, UPLOAD, Setting
from bench.progress import Progress
from bench.relay import Relay
from bench.samples import CEILING, OURS, Sample
from bench.scale import Options
from bench.servers import BUCKET, Endpoints, Servers, base_env, client
from bench.toolbox import ROOT, Toolbox

SHIPPED = Setting("shipped settings")
_SPARE = 512 * 1024 * 1024
"""Bytes beside the files' own for which a contestant finds memory that is ready."""
_LIMIT_SECONDS = 900.0
_numbers = itertools.count(1)


@dataclass
class Record:
    """All that was found out."""

    samples: list[Sample] = field(default_factory=list)
    sweeps: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """Workload → peer → setting → seconds."""
    latencies: dict[str, list[float]] = field(default_factory=dict)
    """Workload → milliseconds of each drop."""
    idle: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ground:
    """What all runs share."""

    options: Options
    work: Path
    toolbox: Toolbox
    main: Path
    servers: Servers
    progress: Progress
    record: Record

    def folder(self, name: str) -> Path:
        """A path that is not there yet."""
        return self.work / f"{name}-{next(_numbers)}"


@dataclass(frozen=True)
class Seed:
    """Objects and their messages, as the program itself wrote them."""

    prefix: str
    queue: str
    messages: list[dict[str, Any]]


class Arena:
    """One store and one queue."""

    def __init__(
        self, ground: Ground, workload: str, endpoints: Endpoints, *, forgets: bool, near: Endpoints | None = None
    ) -> None:
        """`forgets`: the store is ours, and drops a bucket with all that is in it; `near`: a shorter way, to verify."""
        self.ground, self.workload, self.endpoints, self._forgets = ground, workload, endpoints, forgets
        self.near = near or endpoints
        self.s3 = client("s3", self.near.s3)
        self.s3.create_bucket(Bucket=BUCKET)

    def upload(self, who: str, setting: Setting, corpus: Corpus, count: int) -> Sample:
        """One run; RunError if it fails or does not verify."""
        folder, prefix = self.ground.folder(who), f"run-{next(_numbers)}"
        try:
            if who == OURS:
                return self._ingest(corpus, count, folder, prefix)
            source = folder / "source"
            corpus.copy_to(source, count)
            cost = self._peer(who, setting, UPLOAD, source, prefix)
            verify.objects(self.s3, BUCKET, prefix, corpus, count)
            return self._sample(who, setting.label, corpus, count, cost, cost.ended)
        finally:
            self._clear(folder)

    def download(self, who: str, setting: Setting, corpus: Corpus, count: int, seed: Seed) -> Sample:
        """One run; RunError if it fails or does not verify."""
        folder = self.ground.folder(who)
        os.sync()  # what the run before wrote must not be written out while the clock runs
        touch_memory(count * corpus.size + _SPARE)
        try:
            if who == OURS:
                return self._consume(corpus, count, folder, seed)
            target = folder / "target"
            target.mkdir(parents=True)
            cost = self._peer(who, setting, DOWNLOAD, target, seed.prefix)
            verify.files(target, corpus, count)
            return self._sample(who, setting.label, corpus, count, cost, cost.ended)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def seed(self, corpus: Corpus, count: int, name: str) -> Seed:
        """Let the program upload files, and take the messages."""
        folder = self.ground.folder("seed")
        relay = Relay(self.ground.main, folder, self.endpoints, name, name)
        corpus.copy_to(relay.watch, count)
        try:
            relay.start(1, "--once").wait(_LIMIT_SECONDS)
            taken = verify.messages(self.near.sqs, name, keys(name, corpus, count))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Seed(name, name, taken)

    def _ingest(self, corpus: Corpus, count: int, folder: Path, prefix: str) -> Sample:
        relay = Relay(self.ground.main, folder, self.endpoints, prefix, prefix)
        corpus.copy_to(relay.watch, count)
        cost = relay.start(1, "--once").wait(_LIMIT_SECONDS)
        verify.moved(relay.watch, relay.queued, relay.uploaded, corpus.names()[:count])
        verify.objects(self.s3, BUCKET, prefix, corpus, count)
        verify.messages(self.near.sqs, prefix, keys(prefix, corpus, count))
        arrivals = times(relay.uploaded.iterdir())
        return self._sample(OURS, SHIPPED.label, corpus, count, cost, arrivals[-1], flow_of(arrivals))

    def _consume(self, corpus: Corpus, count: int, folder: Path, seed: Seed) -> Sample:
        relay = Relay(self.ground.main, folder, self.endpoints, seed.prefix, seed.queue)
        verify.fill(self.near.sqs, seed.queue, seed.messages)
        try:
            cost = self._until_empty(relay.start(2), seed.queue)
            verify.files(relay.downloaded, corpus, count)
        finally:
            verify.drain(self.near.sqs, seed.queue)  # of a run that failed
        arrivals = times(path for path in relay.downloaded.iterdir() if path.name != ".relay")
        return self._sample(OURS, SHIPPED.label, corpus, count, cost, arrivals[-1], flow_of(arrivals))

    def _until_empty(self, running: Running, queue: str) -> Cost:
        """Stop the program once every message was acknowledged: `--once` would wait for more of them first."""
        try:
            with verify.connection(self.near.sqs) as wire:
                wait_until(
                    lambda: not running.alive() or not verify.left(wire, queue),
                    _LIMIT_SECONDS,
                    "messages are left in the queue",
                    every=0.1,
                )
            running.stop()
            return running.wait(_LIMIT_SECONDS)
        finally:
            running.close()

    def _peer(self, who: str, setting: Setting, direction: str, folder: Path, prefix: str) -> Cost:
        env = base_env(self.ground.work)
        log = folder.parent / "console.log"
        if who == CEILING:
            command = [
                sys.executable,
                "-m",
                "bench.bare",
                direction,
                str(folder),
                f"{BUCKET}/{prefix}",
                self.endpoints.s3,
            ]
            return measure(command, {**env, "PYTHONPATH": str(ROOT)}, log, _LIMIT_SECONDS)
        peer, config = PEERS[who], folder.parent / "aws-config"
        config.write_text(setting.config)
        command = [self.ground.toolbox.path(who), *peer.command(direction, setting, folder, prefix, self.endpoints.s3)]
        return measure(command, {**env, **peer.env(self.endpoints.s3, config)}, log, _LIMIT_SECONDS)

    def _sample(
        self, who: str, label: str, corpus: Corpus, count: int, cost: Cost, finished: float, flow: float = 0.0
    ) -> Sample:
        return sample_of(self.workload, who, label, count, corpus.size, cost, finished, flow)

    def _clear(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if self._forgets:
            self.s3.delete_bucket(Bucket=BUCKET)
            self.s3.create_bucket(Bucket=BUCKET)


def sample_of(
    workload: str, who: str, label: str, count: int, size: int, cost: Cost, finished: float, flow: float = 0.0
) -> Sample:
    """A run's figures; `finished`: when everything was where it has to be, seconds since the epoch."""
    return Sample(
        workload,
        who,
        label,
        count,
        size,
        seconds=finished - cost.started,
        cpu=cost.cpu,
        pss=cost.pss,
        rss=cost.rss,
        flow=flow,
        exit_seconds=cost.ended - cost.started,
    )


def keys(prefix: str, corpus: Corpus, count: int) -> list[str]:
    """What the messages have to say."""
    return [f"{prefix}/{name}" for name in corpus.names()[:count]]


def times(paths: Iterable[Path]) -> list[float]:
    """When each file got its name (its ctime: a rename sets it), in order; seconds since the epoch."""
    return sorted(path.stat().st_ctime for path in paths)


def flow_of(arrivals: Sequence[float]) -> float:
    """Files per second between the first and the last arrival; 0 where these are too few to tell."""
    if len(arrivals) < 10 or arrivals[-1] <= arrivals[0]:
        return 0.0
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
