"""W5 and W6: one file at idle, from its drop to its name in DownloadedFromS3; and the same far from the store."""

import contextlib
import os
import random
import shutil
import time
from collections.abc import Iterator

from bench import transfers
from bench.contest import Ground
from bench.failure import RunError
from bench.meter import wait_until
from bench.network import far_away
from bench.notify import Appearances
from bench.relay import Relay
from bench.servers import BUCKET, Endpoints, client

_SIZE = 10 * 1024
_WARM_UP = 5
_START_SECONDS, _ARRIVE_SECONDS, _STOP_SECONDS = 60.0, 30.0, 60.0
ONE_WAY = 10.0
"""Milliseconds to the servers of W6, and as many back."""


def near(ground: Ground) -> None:
    """W5."""
    with ground.servers.more() as servers:
        endpoints = Endpoints(servers.sink(keep=True), servers.sqs())
        _drops(ground, "W5", endpoints, ground.options.scale.drops)


def far(ground: Ground) -> None:
    """W6: latency, then files per second."""
    with far_away(ONE_WAY) as by_kernel, ground.servers.more() as servers:
        how = "netem in a network namespace" if by_kernel else "a delaying proxy (python -m bench.delay)"
        ground.record.notes.append(f"W6: {2 * ONE_WAY:g} ms of round trip by {how}.")
        ground.progress.line(f"W6 by {how}")
        near_by = endpoints = Endpoints(servers.sink(keep=True), servers.sqs())
        if not by_kernel:
            endpoints = Endpoints(*(servers.delayed(url, ONE_WAY) for url in near_by))
        _drops(ground, "W6", endpoints, ground.options.scale.far_drops)
        transfers.far_ingest(ground, endpoints, near_by)


def _drops(ground: Ground, workload: str, endpoints: Endpoints, count: int) -> None:
    """Drop one file after the other; what is found goes into the record."""
    s3 = client("s3", endpoints.s3)
    s3.create_bucket(Bucket=BUCKET)
    relay = Relay(ground.main, ground.folder(workload), endpoints, "idle", f"idle-{workload}")
    try:
        with _running(relay), contextlib.closing(Appearances(relay.downloaded)) as appearances:
            found = [_drop(relay, number, appearances) for number in range(_WARM_UP + count)][_WARM_UP:]
    except RunError as error:
        ground.record.failures.append(f"{workload} failed: {error}")
        ground.progress.line(ground.record.failures[-1])
        return
    finally:
        shutil.rmtree(relay.folder, ignore_errors=True)
    ground.record.latencies[workload] = found
    ground.progress.line(f"{workload}  {count} drops: p50 {sorted(found)[count // 2]:.1f} ms, most {max(found):.1f} ms")


@contextlib.contextmanager
def _running(relay: Relay) -> Iterator[None]:
    running = relay.start(3)
    try:
        wait_until(
            lambda: relay.downloaded.exists() and relay.ready("poller") and relay.ready("uploader"),
            _START_SECONDS,
            "Mode 3 does not run",
        )
        yield
        running.stop()
        running.wait(_STOP_SECONDS)
    finally:
        running.close()


def _drop(relay: Relay, number: int, appearances: Appearances) -> float:
    """Milliseconds from the rename into Watch to the name in DownloadedFromS3."""
    time.sleep(random.uniform(0.03, 0.09))  # noqa: S311  # no secret
    name = f"drop-{number:04}.bin"
    made = relay.folder / name
    made.write_bytes(os.urandom(_SIZE))
    started = time.perf_counter()
    made.rename(relay.watch / name)
    arrived = appearances.wait_for(name, _ARRIVE_SECONDS)
    if (relay.downloaded / name).stat().st_size != _SIZE:
        raise RunError(f"{name} arrived with another size")
    return (arrived - started) * 1000
