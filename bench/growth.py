"""W7 and W8: what grows with the number of files, the memory of one huge file, and what an idle program costs."""

import os
import shutil
import time

from bench import verify
from bench.contest import SHIPPED, Arena, Ground, flow_of, keys, sample_of, times
from bench.corpus import Corpus, sparse
from bench.failure import RunError
from bench.meter import memory, wait_until
from bench.relay import Relay
from bench.samples import OURS, Sample
from bench.servers import BUCKET, Endpoints, client
from bench.turns import Run, attempt, told

_LIMIT_SECONDS = 1800.0
_SETTLE_SECONDS = 5.0


def growth(ground: Ground) -> None:
    """W7: more and more files, then one that is huge."""
    scale = ground.options.scale
    for count in scale.growth:
        _record(ground, many(count), lambda *_, count=count: _many(ground, count))
    if scale.huge:
        _record(ground, HUGE, lambda *_: _huge(ground, scale.huge))


HUGE = "W7 one huge file"


def many(count: int) -> str:
    """What the record calls so many files."""
    return f"W7 {count:,} files"


def idle(ground: Ground) -> None:
    """W8: Mode 3 with nothing to do, beside a full UploadedToS3."""
    scale = ground.options.scale
    with ground.servers.more() as servers:
        endpoints = Endpoints(servers.sink(), servers.sqs())
        client("s3", endpoints.s3).create_bucket(Bucket=BUCKET)
        relay = Relay(ground.main, ground.folder("idle"), endpoints, "idle", "idle")
        relay.uploaded.mkdir()
        for number in range(scale.idle):
            (relay.uploaded / f"file-{number:06}.bin").touch()
        try:
            found = _watched(relay, scale.idle_seconds)
        except RunError as error:
            ground.record.failures.append(f"W8 failed: {error}")
            ground.progress.line(ground.record.failures[-1])
            return
        finally:
            shutil.rmtree(relay.folder)
    ground.record.idle.update(found, files=scale.idle, seconds=scale.idle_seconds)
    ground.progress.line(f"W8  {found['cpu_percent']:.2f} % of one core, memory {found['pss'] / 1e6:.0f} MB")


def _watched(relay: Relay, seconds: float) -> dict[str, float]:
    """CPU and memory while nothing happens."""
    running = relay.start(3)
    try:
        wait_until(lambda: relay.ready("poller") and relay.ready("uploader"), 60, "Mode 3 does not run")
        time.sleep(_SETTLE_SECONDS)
        before, started = running.cpu(), time.monotonic()
        time.sleep(seconds)
        used, spent = running.cpu() - before, time.monotonic() - started
        now = memory(running.processes())
        running.stop()
        running.wait(60)
    finally:
        running.close()
    return {"cpu_percent": 100 * used / spent, "pss": now.pss, "rss": now.rss}


def _record(ground: Ground, workload: str, run: Run) -> None:
    sample = attempt(workload, OURS, SHIPPED, run)
    ground.record.samples.append(sample)
    ground.progress.line(f"{workload}  {told(sample)}")


def _many(ground: Ground, count: int) -> Sample:
    with ground.servers.more() as servers:
        arena = Arena(ground, many(count), Endpoints(servers.sink(), servers.sqs()), forgets=True)
        relay = Relay(ground.main, ground.folder("growth"), arena.endpoints, "growth", "growth")
        try:
            corpus = Corpus(ground.folder("masters"), count, ground.options.scale.growth_size)
            corpus.move_to(relay.watch)
            cost = relay.start(1, "--once").wait(_LIMIT_SECONDS)
            corpus.folder = relay.uploaded
            verify.moved(relay.watch, relay.queued, relay.uploaded, corpus.names())
            verify.objects(arena.s3, BUCKET, "growth", corpus, count)
            verify.messages(arena.endpoints.sqs, "growth", keys("growth", corpus, count))
            arrivals = times(relay.uploaded.iterdir())
            return sample_of(
                many(count), OURS, SHIPPED.label, count, corpus.size, cost, arrivals[-1], flow_of(arrivals)
            )
        finally:
            shutil.rmtree(relay.folder)


def _huge(ground: Ground, size: int) -> Sample:
    with ground.servers.more() as servers:
        arena = Arena(ground, HUGE, Endpoints(servers.sink(), servers.sqs()), forgets=True)
        relay = Relay(ground.main, ground.folder("huge"), arena.endpoints, "huge", "huge")
        try:
            sparse(relay.watch / "huge.bin", size)
            os.sync()
            cost = relay.start(1, "--once").wait(_LIMIT_SECONDS)
            stored = arena.s3.head_object(Bucket=BUCKET, Key="huge/huge.bin")["ContentLength"]
            if stored != size:
                raise RunError(f"the object has {stored} bytes, the file {size}")
            verify.messages(arena.endpoints.sqs, "huge", ["huge/huge.bin"])
            verify.moved(relay.watch, relay.queued, relay.uploaded, ["huge.bin"])
            (arrival,) = times(relay.uploaded.iterdir())
            return sample_of(HUGE, OURS, SHIPPED.label, 1, size, cost, arrival)
        finally:
            shutil.rmtree(relay.folder)
