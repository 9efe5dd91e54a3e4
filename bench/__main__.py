"""Measure the program beside s5cmd, rclone and the aws CLI, all in one run on this machine."""

import datetime
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import growth, latency, machine, relay, result, scale, toolbox, transfers
from bench.contest import Ground, Record
from bench.failure import BenchError
from bench.progress import Progress
from bench.scale import SEAWEEDFS, WORKLOADS, Options
from bench.servers import Servers
from bench.toolbox import ROOT, Toolbox

_RUN: dict[str, Callable[[Ground], None]] = {
    "W1": transfers.small_ingest,
    "W2": transfers.large_ingest,
    "W3": transfers.small_consume,
    "W4": transfers.large_consume,
    "W5": latency.near,
    "W6": latency.far,
    "W7": growth.growth,
    "W8": growth.idle,
}


def main(words: list[str]) -> int:
    """Options → tools → runs → result; the exit code."""
    options = scale.read(words, ROOT, __doc__ or "")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as Ctrl-C does: with all that was started
    try:
        if options.update_docs:
            result.update(ROOT / "docs" / "performance.md", options.out)
            return 0
        return _measure(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: interrupted; all that it started has ended, nothing was written", file=sys.stderr)
        return 130


def _measure(options: Options) -> int:
    needs_tools = options.peers or SEAWEEDFS in options.stores
    tools = toolbox.ready(options.tools) if needs_tools else toolbox.without_peers(options.tools)
    record = Record()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="relay-bench-", dir=options.work))
    try:
        about = _about(options, tools, work)
        _run(options, tools, work, record)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    found = result.as_json(record, about)
    result.write(found, options.out)
    print("\n" + "\n".join(each.text() for each in result.tables_of(found)))
    print(f"{options.out}: {result.JSON}, {result.TABLES}, {result.PLOT}")
    return 1 if record.failures or any(each.error for each in record.samples) else 0


def _run(options: Options, tools: Toolbox, work: Path, record: Record) -> None:
    main_file = relay.export(ROOT, work / "program")
    progress = Progress({name: scale.expected(name, options) for name in options.only}, _say)
    with Servers(tools.python, tools.folder, work) as servers:
        ground = Ground(options, work, tools, main_file, servers, progress, record)
        for name in options.only:
            progress.begin(name, WORKLOADS[name])
            try:
                _RUN[name](ground)
            except BenchError as error:  # the others are not lost for that
                record.failures.append(f"{name} was not measured: {error}")
                progress.line(record.failures[-1])


def _about(options: Options, tools: Toolbox, work: Path) -> dict[str, Any]:
    tree = relay.tree(ROOT)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": tree.commit + (", with changes" if tree.dirty else ""),
        "machine": machine.describe(work),
        "versions": {**machine.versions(), **tools.versions()},
        "options": result.options_json(options),
    }


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
