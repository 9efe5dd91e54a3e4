"""What a soak test found, as plain values: what the judge fills in, and what the live view and the report show.

Seconds without further words are seconds since the run began. Sizes are bytes.
"""

from dataclasses import dataclass, field

STAGES = ("generated", "claimed", "uploaded", "announced", "delivered", "fed back")
"""The way of a file, in order; whatever was seen at a stage has passed those before it."""

KINDS = ("lost", "corrupt", "duplicate", "misnamed", "invented", "late", "left")
"""Of violations: missing after the deadline; other bytes; the same twice; right bytes under another name; nothing that
was ever dropped; there, but only after the deadline; still somewhere when nothing should be."""


@dataclass(frozen=True)
class Violation:
    """One file that breaks the promise."""

    kind: str
    """One of KINDS."""
    name: str
    """Its path, relative to the folders, as it was dropped or as it was found."""
    text: str
    """For a person: where it was seen last, what was expected, what was there."""
    seconds: float


@dataclass(frozen=True)
class Fault:
    """Something that happened to the relay: a process killed on purpose, a warning or an error in its log."""

    seconds: float
    kind: str
    """killed, warning or error."""
    text: str


@dataclass(frozen=True)
class Latency:
    """From the drop of a file until it was seen in DownloadedFromS3, in seconds."""

    p50: float = 0.0
    p99: float = 0.0
    highest: float = 0.0
    buckets: tuple[tuple[float, int], ...] = ()
    """Upper bound in seconds and number of files, ascending; empty ones at both ends are left out."""


@dataclass(frozen=True)
class ProcessUse:
    """What one role of the program used; under one name all the processes that had it, one after the other."""

    role: str
    """uploader-1, poller, embedded, main, …"""
    processes: int
    """How many there were: more than 1 means that it was started again."""
    rss_first: int
    """Resident bytes a few seconds after its first start."""
    rss_peak: int
    rss_last: int
    cpu_seconds: float


@dataclass(frozen=True)
class Series:
    """Measurements over time: row i of every column was taken at `seconds[i]`. None: nothing was measured."""

    seconds: list[float] = field(default_factory=list)
    columns: dict[str, list[float | None]] = field(default_factory=dict)
    """files/s, MB/s (received), p50, p99 (seconds of latency of the files that came since the row before), watch,
    queued (files there), visible, in flight (messages), and for each role `rss ROLE` (bytes) and `cpu ROLE` (percent of
    one core)."""


@dataclass(frozen=True)
class Status:
    """The state of a run at one moment."""

    run: str
    seconds: float
    until: str
    """For a person, what ends it: "10 min", "1 GB", "Ctrl-C"; or "draining: 7 files under way"."""
    totals: dict[str, int]
    """STAGES → files."""
    bytes_sent: int
    bytes_received: int
    files_per_second: float
    """Over the last ten seconds; so the next."""
    bytes_per_second: float
    latency: Latency
    """Of the last 1,000 files; no buckets."""
    under_way: dict[str, int]
    """Stage → files that have come so far and no further."""
    visible: int | None
    """Messages in the queue; None while it cannot be asked."""
    in_flight: int | None
    violations: list[Violation]
    faults: list[Fault]
    """The last ten."""
    kills: int
    processes: dict[str, tuple[int, float]]
    """Role → resident bytes and percent of one core now."""


@dataclass(frozen=True)
class Report:
    """The whole of a run that has ended."""

    run: str
    seed: int
    command: str
    """What repeats it."""
    began: str
    """ISO 8601, UTC; so the next."""
    ended: str
    ended_by: str
    """duration, max-bytes, Ctrl-C, an impatient Ctrl-C."""
    seconds: float
    passed: bool
    chaos: bool
    totals: dict[str, int]
    bytes_sent: int
    bytes_received: int
    violations: list[Violation]
    unsettled: list[str]
    """Names of files that were under way when it was stopped at once."""
    latency: Latency
    series: Series
    processes: list[ProcessUse]
    kills: dict[str, int]
    """Role → times it was killed on purpose."""
    faults: list[Fault]
    """The first and the last five hundred."""
    faults_left_out: int
    versions: dict[str, str]
    configuration: dict[str, str]
    """Keys and values of the properties in force, no secret among them."""
    remains: str = ""
    """For a person: what was left behind and how to remove it."""


def duration(seconds: float) -> str:
    """For a person, in its two largest units: 4.2 s, 10 min 3 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
