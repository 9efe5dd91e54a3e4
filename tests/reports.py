"""Reports of soak tests that never ran: what a run of ten minutes, of five seconds, or of none at all would have left.

They are made by arithmetic, not by chance: the same in every run of the tests.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from pipeline.soak.facts import KINDS, STAGES, Fault, Latency, ProcessUse, Report, Series, Violation
from pipeline.soak.series import Latencies, Recorder

ROLES = (
    "main", "resource-tracker", "embedded", "watcher", "uploader-1", "uploader-2", "poller", "judge", "feeder",
)  # fmt: skip
VICTIMS = ("uploader-1", "watcher", "poller", "embedded", "uploader-2")
EVERY = 30
"""Seconds from one kill to the next."""

EMPTY = Report(
    run="20260102-030405-abcd",
    seed=7,
    command="python main.py -Mode 4 --seed 7",
    began="2026-01-02T03:04:05+00:00",
    ended="2026-01-02T03:04:05+00:00",
    ended_by="an impatient Ctrl-C",
    seconds=0.0,
    passed=True,
    chaos=False,
    totals={},
    bytes_sent=0,
    bytes_received=0,
    violations=[],
    unsettled=[],
    latency=Latency(),
    series=Series(),
    processes=[],
    kills={},
    faults=[],
    faults_left_out=0,
    versions={},
    configuration={},
)
"""A run that was stopped before anything was measured."""


def calm(seconds: int = 600, **changes: Any) -> Report:
    """A run that passed, with nothing out of the ordinary."""
    latencies, recorder = Latencies(), Recorder()
    for second in range(1, seconds + 1):
        recorder.add(second, _row(second, latencies, killed_for=EVERY))
    return replace(
        EMPTY,
        ended_by="duration",
        seconds=seconds + 0.3,
        totals=dict.fromkeys(STAGES, 20 * seconds),
        bytes_sent=21_000_000 * seconds,
        bytes_received=21_000_000 * seconds,
        latency=latencies.all(),
        series=recorder.series(),
        processes=[ProcessUse(role, 1, 27_300_000, 93_000_000, 91_300_000, 0.02 * seconds) for role in ROLES],
        command=f"python main.py -Mode 4 --config relay.properties --seed 7 --files 20 --duration {seconds}s",
        versions={"Python": "3.11.2", "system": "Linux-6.1.0-x86_64-with-glibc2.36", "boto3": "1.43.106"},
        configuration={
            "folder_to_store_temp_files": "/srv/relay/TEMP/soak/20260102-030405-abcd",
            "ignore_patterns": ".* *.tmp *.part *.partial *.crdownload *.filepart ~$* *~ *.swp",
            "aws_s3_folder": "inbox/.relay-soak/20260102-030405-abcd",
            "aws_profile": "",
        },
        remains="left behind: TEMP/soak/20260102-030405-abcd\nto remove it: python main.py -Mode 4 --cleanup 20260102",
        **changes,
    )


def chaos(seconds: int = 600, **changes: Any) -> Report:
    """A run that passed although a process was killed every EVERY seconds; each kill left its warning in the log."""
    latencies, recorder = Latencies(), Recorder()
    faults, kills = [], dict.fromkeys(VICTIMS, 0)
    for second in range(1, seconds + 1):
        recorder.add(second, _row(second, latencies, killed_for=second % EVERY))
        if second % EVERY == 0:
            role = VICTIMS[second // EVERY % len(VICTIMS)]
            kills[role] += 1
            text = f"main: {role} ended (signal SIGKILL), started again in 0.{second // EVERY % 10} s"
            faults += [Fault(second, "warning", text), Fault(second, "killed", role)]
        if second % 130 == 0:
            text = f"{role}: could not reach http://127.0.0.1:9324 (ConnectionRefusedError); tried again"
            faults.append(Fault(second, "error", text))
    return replace(
        calm(seconds),
        **{
            "chaos": True,
            "latency": latencies.all(),
            "series": recorder.series(),
            "kills": kills,
            "faults": faults,
            "faults_left_out": 1234,
            **changes,
        },
    )


def failed(seconds: int = 600) -> Report:
    """A run in which each kind of violation came up."""
    found = [
        Violation(kind, f"drop-{number:06}-Version-{place + 1}.bin", f"what was found, {kind} {number}", 61.5 + number)
        for place, kind in enumerate(KINDS)
        for number in range(place + 1)
    ]
    return chaos(seconds, passed=False, violations=found, unsettled=["drop-000019-Version-58.bin"])


def _row(second: int, latencies: Latencies, killed_for: int) -> dict[str, float | None]:
    """What would be measured at one second; `killed_for`: seconds since a process was killed."""
    dip, wave = math.exp(-killed_for / 3), math.sin(second / 7)
    lowest = 0.18 + 0.05 * math.sin(second / 11)
    for number in range(20):
        latencies.add(lowest * math.exp(1.4 * (number / 20) ** 4) * (1 + 20 * dip * (number / 20) ** 6))
    new = latencies.take_new()
    stands = killed_for < 3  # nothing arrives, and the queue does not answer
    row: dict[str, float | None] = {
        "files/s": 0.0 if stands else 20 + 2 * wave - 10 * dip,
        "MB/s": 0.0 if stands else 21 + 4 * math.sin(second / 3) - 10 * dip,
        "p50": None if stands else new.p50,
        "p99": None if stands else new.p99,
        "watch": float(round(4 + 3 * wave + 14 * dip)),
        "queued": float(round(9 + 5 * math.cos(second / 9) + 6 * dip)),
        "visible": None if stands else float(round(3 + 2 * wave + 30 * dip)),
        "in flight": None if stands else float(round(6 - 5 * dip)),
    }
    for place, role in enumerate(ROLES):
        row[f"rss {role}"] = 1e6 * (27 + 9 * place + 25 * (1 - math.exp(-second / 40)) + place * wave / 4)
        row[f"cpu {role}"] = 9.0 * place + 6 + 4 * math.sin(second / (5 + place))
    return row
