"""What a person sees of a soak test: the state while it runs, and the report of it."""

import platform
import shlex
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from importlib import metadata

from app_properties import Settings, key_of
from pipeline.local_aws import PACKAGE
from pipeline.names import human_size
from pipeline.ports import MessageQueue
from pipeline.soak import options
from pipeline.soak.accounts import CLAIMED, GENERATED
from pipeline.soak.facts import STAGES, Fault, Report, Status, duration
from pipeline.soak.gauge import Gauge
from pipeline.soak.judge import Judge
from pipeline.soak.logtail import LogTail
from pipeline.soak.run import Run
from pipeline.soak.series import Recorder
from pipeline.soak.usage import Usage

_RATE_SECONDS = 10
_FAULTS = 500
_LOG_BYTES = 64 << 20
_DELIVERED = STAGES[4]
_PACKAGES = ("boto3", "botocore", "awscrt", PACKAGE, "watchdog")


class Observer:
    """Samples once a second what cannot be read off the accounts."""

    def __init__(self, run: Run, settings: Settings, judge: Judge, queue: MessageQueue) -> None:
        """`settings`: those that the relay runs with."""
        self._run, self._settings, self._judge = run, settings, judge
        self.gauge = Gauge(queue.depth)
        self._usage, self._log = Usage(run.parent), LogTail(settings.log_file)
        self._recorder = Recorder()
        self._recent: deque[tuple[float, int, int]] = deque([(judge.now, 0, 0)], maxlen=_RATE_SECONDS + 1)
        self._first: list[Fault] = []
        self._last: deque[Fault] = deque(maxlen=_FAULTS)
        self._faults = 0
        self._kills: dict[str, int] = {}
        self._processes: dict[str, tuple[int, float]] = {}

    def sample(self) -> Status:
        """Measure, remember, and say how it stands."""
        self._processes = self._usage.sample()
        self.gauge.read()
        for kind, text in self._log.read():
            self._fault(kind, text)
        if not self._run.options.in_place:  # otherwise the log is somebody else's
            self._log.rotate(_LOG_BYTES)
        for role, count in self._judge.kills.items():
            for _ in range(count - self._kills.get(role, 0)):
                self._fault("killed", role)
        self._kills = dict(self._judge.kills)
        self._recent.append((self._judge.now, self._judge.accounts.totals[_DELIVERED], self._judge.received))
        status = self._status()
        self._record(status)
        return status

    def report(self, ended_by: str) -> Report:
        """Of the whole run."""
        judge, run = self._judge, self._run
        unsettled = [file.name for file in judge.accounts.unsettled()]
        return Report(
            run=run.id,
            seed=run.seed,
            command=options.command(run.options, run.seed, str(run.config)),
            began=run.began_at.astimezone(UTC).isoformat(timespec="seconds"),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            ended_by=ended_by,
            seconds=judge.now,
            passed=judge.passes,
            chaos=run.options.chaos,
            totals=dict(judge.accounts.totals),
            bytes_sent=judge.sent,
            bytes_received=judge.received,
            violations=judge.accounts.violations,
            unsettled=unsettled,
            latency=judge.latencies.all(),
            series=self._recorder.series(),
            processes=self._usage.processes(),
            kills=dict(judge.kills),
            faults=[*self._first, *self._last],
            faults_left_out=self._faults - len(self._first) - len(self._last),
            versions=_versions(),
            configuration=_configuration(self._settings),
            remains=self._remains(),
        )

    def _remains(self) -> str:
        """What is still there of a run that settled everything: its log and ledger, and a queue that is empty."""
        run = self._run
        where = f"{run.subfolder} in each of the folders" if run.subfolder else str(run.root)
        again = shlex.join(["python", "main.py", "-Mode", "4", "--config", str(run.config), "--cleanup", run.id])
        return f"left behind: {where}\nto remove it: {again}"

    def close_accounts(self) -> None:
        """When all is accounted for, look at what is left, of messages as well; a queue of others may hold theirs."""
        self._judge.close_accounts()
        depth, accounts, now = self.gauge.depth, self._judge.accounts, self._judge.now
        if depth is None:
            self._fault("warning", "the queue could not be asked at the end whether messages are left in it")
        elif self._run.options.in_place:
            return
        elif not self.gauge.empty:
            text = f"{depth.visible} messages wait in it, {depth.in_flight} are in flight"
            accounts.violate("left", "the queue", text, now)
        if self.gauge.buried:
            accounts.violate("left", "the dead letters", f"{self.gauge.buried} messages went there", now)

    def _fault(self, kind: str, text: str) -> None:
        fault = Fault(self._judge.now, kind, text)
        self._faults += 1
        if len(self._first) < _FAULTS:
            self._first.append(fault)
        else:
            self._last.append(fault)

    def _rates(self) -> tuple[float, float]:
        (began, files, size), (ended, more_files, more_size) = self._recent[0], self._recent[-1]
        seconds = max(ended - began, 1e-3)
        return (more_files - files) / seconds, (more_size - size) / seconds

    def _status(self) -> Status:
        judge, depth = self._judge, self.gauge.depth
        files, size = self._rates()
        return Status(
            run=self._run.id,
            seconds=judge.now,
            until=self._until(),
            totals=dict(judge.accounts.totals),
            bytes_sent=judge.sent,
            bytes_received=judge.received,
            files_per_second=files,
            bytes_per_second=size,
            latency=judge.latencies.recent(),
            under_way=judge.accounts.under_way(),
            visible=depth.visible if depth else None,
            in_flight=depth.in_flight if depth else None,
            violations=judge.accounts.violations,
            faults=[*self._first, *self._last][-10:],
            kills=sum(judge.kills.values()),
            processes=self._processes,
        )

    def _until(self) -> str:
        if self._judge.finished:
            return f"draining: {len(self._judge.accounts.unsettled())} files under way"
        asked = self._run.options
        limits = [] if asked.duration is None else [duration(asked.duration)]
        limits += [] if asked.max_bytes is None else [human_size(asked.max_bytes)]
        return " or ".join([*limits, "Ctrl-C"])

    def _record(self, status: Status) -> None:
        now, then = self._recent[-1], self._recent[-2]
        seconds, latency = max(now[0] - then[0], 1e-3), self._judge.latencies.take_new()
        row: dict[str, float | None] = {
            "files/s": (now[1] - then[1]) / seconds,
            "MB/s": (now[2] - then[2]) / seconds / 1e6,
            "p50": latency.p50 or None,
            "p99": latency.p99 or None,
            "watch": self._judge.waiting.get(GENERATED),
            "queued": self._judge.waiting.get(CLAIMED),
            "visible": status.visible,
            "in flight": status.in_flight,
        }
        for role, (memory, percent) in status.processes.items():
            row |= {f"rss {role}": memory, f"cpu {role}": percent}
        self._recorder.add(status.seconds, row)


def _versions() -> dict[str, str]:
    known: dict[str, str] = {"Python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # the embedded server's may have been left out
            continue
    return known


def _configuration(settings: Settings) -> dict[str, str]:
    """Every key in force; `repr=False` marks the secrets, as everywhere."""
    shown = [item for item in fields(settings) if item.repr]
    return {key_of(item.name, item.metadata["section"]): _text(getattr(settings, item.name)) for item in shown}


def _text(value: object) -> str:
    return (
        " ".join(str(part) for part in value)
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
