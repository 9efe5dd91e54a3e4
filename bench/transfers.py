"""W1 to W4: ingest and consume, beside the peers and the ceiling."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contest import Arena, Ground, Seed
from bench.corpus import Corpus
from bench.failure import BenchError
from bench.peers import Setting
from bench.samples import CEILING, OURS, Sample
from bench.scale import SEAWEEDFS, SINK
from bench.servers import BUCKET, Endpoints
from bench.turns import Run, compete, sweep

_SLOW = "aws"
_SLOW_SWEEP = 200
_STORE_TITLE = "SeaweedFS"


def small_ingest(ground: Ground) -> None:
    """W1, on the sink and on the real store."""
    scale = ground.options.scale
    corpus = Corpus(ground.folder("small"), max(scale.small, scale.store), scale.small_size)
    if SINK in ground.options.stores:
        with ground.servers.more() as servers:
            arena = Arena(ground, "W1", Endpoints(servers.sink(), servers.sqs()), forgets=True)
            _ingest(arena, corpus, scale.small, scale.small_runs, [CEILING])
    if SEAWEEDFS in ground.options.stores:
        with ground.servers.more() as servers:
            arena = Arena(ground, f"W1 {_STORE_TITLE}", Endpoints(servers.seaweedfs(), servers.sqs()), forgets=False)
            _ingest(arena, corpus, scale.store, scale.store_runs, [])
    shutil.rmtree(corpus.folder)


def large_ingest(ground: Ground) -> None:
    """W2."""
    scale = ground.options.scale
    corpus = _large(ground)
    with ground.servers.more() as servers:
        arena = Arena(ground, "W2", Endpoints(servers.sink(), servers.sqs()), forgets=True)
        _ingest(arena, corpus, scale.large, scale.large_runs, [CEILING])


def small_consume(ground: Ground) -> None:
    """W3, on the sink and on the real store."""
    scale = ground.options.scale
    corpus = Corpus(ground.folder("small"), max(scale.small, scale.store), scale.small_size)
    if SINK in ground.options.stores:
        with ground.servers.more() as servers:
            arena = Arena(ground, "W3", Endpoints(servers.sink(keep=True), servers.sqs()), forgets=False)
            _consume(arena, corpus, scale.small, scale.small_runs, [CEILING], arena.seed)
    if SEAWEEDFS in ground.options.stores:
        with ground.servers.more() as servers:
            arena = Arena(ground, f"W3 {_STORE_TITLE}", Endpoints(servers.seaweedfs(), servers.sqs()), forgets=False)
            _consume(arena, corpus, scale.store, scale.store_runs, [], arena.seed)
    shutil.rmtree(corpus.folder)


def large_consume(ground: Ground) -> None:
    """W4. The program uploads to a null sink; the objects are then served from the files themselves."""
    scale = ground.options.scale
    corpus, count_in = _large(ground), min(scale.large, scale.large_in)
    with ground.servers.more() as servers:
        sqs, manifest = servers.sqs(), ground.folder("manifest")
        with servers.more() as null:
            arena = Arena(ground, "W4", Endpoints(null.sink(), sqs), forgets=False)
            seed = arena.seed(corpus, count_in, "seed")
            objects = _manifest(arena.s3, corpus)
        few = corpus.names()[: scale.sweep_large]
        objects |= {f"few/{name}": objects[f"{seed.prefix}/{name}"] for name in few}
        manifest.write_text(json.dumps(objects))
        arena = Arena(ground, "W4", Endpoints(servers.sink(manifest=manifest), sqs), forgets=False)

        def part(_corpus: Corpus, count: int, _name: str) -> Seed:
            """All of it, or the few of the peers' sweep, which need no messages."""
            return seed if count == count_in else Seed("few", seed.queue, [])

        _consume(arena, corpus, count_in, scale.large_runs, [CEILING], part)


def far_ingest(ground: Ground, endpoints: Endpoints, near: Endpoints) -> None:
    """The files of W6; `endpoints` are far away, `near` are the same servers without delay where that can be."""
    scale = ground.options.scale
    corpus = Corpus(ground.folder("far"), scale.far, scale.small_size)
    arena = Arena(ground, "W6", endpoints, forgets=True, near=near)
    _ingest(arena, corpus, scale.far, scale.far_runs, [], far=True)
    shutil.rmtree(corpus.folder)


def _ingest(arena: Arena, corpus: Corpus, count: int, runs: int, more: list[str], *, far: bool = False) -> None:
    def uploads(counts: Callable[[str], int]) -> Run:
        return lambda who, setting: arena.upload(who, setting, corpus, counts(who))

    few, many = _counts(arena.ground, corpus, count)
    chosen = sweep(arena.ground, arena.workload, corpus.size, uploads(few), far=far)
    contestants = [OURS, *arena.ground.options.peers, *more]
    compete(arena.ground, arena.workload, runs, contestants, chosen, uploads(many))


def _consume(
    arena: Arena, corpus: Corpus, count: int, runs: int, more: list[str], make: Callable[[Corpus, int, str], Seed]
) -> None:
    few, many = _counts(arena.ground, corpus, count)
    seeds: dict[int, Seed] = {}

    def downloads(counts: Callable[[str], int]) -> Run:
        def one(who: str, setting: Setting) -> Sample:
            number = counts(who)
            if number not in seeds:
                seeds[number] = make(corpus, number, f"seed-{number}")
            return arena.download(who, setting, corpus, number, seeds[number])

        return one

    chosen = sweep(arena.ground, arena.workload, corpus.size, downloads(few))
    contestants = [OURS, *arena.ground.options.peers, *more]
    compete(arena.ground, arena.workload, runs, contestants, chosen, downloads(many))


def _counts(ground: Ground, corpus: Corpus, count: int) -> tuple[Callable[[str], int], Callable[[str], int]]:
    """How many files each contestant gets: in the sweep, and in the runs that count."""
    scale = ground.options.scale
    large = corpus.size > scale.small_size
    tries = scale.sweep_large if large else scale.sweep_small

    def few(who: str) -> int:
        return min(count, tries, _SLOW_SWEEP if who == _SLOW else tries)

    def many(who: str) -> int:
        return min(count, scale.slow_small) if who == _SLOW and not large else count

    return few, many


def _large(ground: Ground) -> Corpus:
    """The large files, made once; BenchError where there is no room for them, and for what is downloaded."""
    scale = ground.options.scale
    folder = ground.work / "large"
    if folder.exists():
        return Corpus(folder, scale.large, scale.large_size, made=True)
    needed, free = 2.2 * scale.large * scale.large_size, shutil.disk_usage(ground.work).free
    if needed > free:
        raise BenchError(
            f"{ground.work} has {free / 1e9:.1f} GB free, the large files of W2 and W4 need {needed / 1e9:.1f}: "
            "name another folder with --work, or leave these out with --only"
        )
    return Corpus(folder, scale.large, scale.large_size)


def _manifest(s3: Any, corpus: Corpus) -> dict[str, dict[str, object]]:
    """Every object as the program uploaded it, with the file that it was."""
    found: dict[str, dict[str, object]] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page["Contents"]:
            key = entry["Key"]
            path = corpus.folder / Path(key).name
            if path.exists():  # all but the program's probe
                found[key] = {"path": str(path), "etag": entry["ETag"].strip('"'), "headers": _headers(s3, key)}
    return found


def _headers(s3: Any, key: str) -> dict[str, str]:
    given = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")["ResponseMetadata"]["HTTPHeaders"]
    return {name: value for name, value in given.items() if name.startswith(("x-amz-meta-", "x-amz-checksum-"))}
