"""The harness of the benchmark, as far as it needs no process: figures, tables, goals, options, pictures, pages."""

from __future__ import annotations

import dataclasses
import re
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bench import goals, notify, plot, relay, result, scale, verify
from bench.contest import Record, flow_of
from bench.corpus import Corpus
from bench.failure import BenchError, RunError
from bench.peers import DOWNLOAD, PEERS, UPLOAD, Setting
from bench.progress import Progress
from bench.samples import CEILING, OURS, Range, Sample, contestants, counted, percentile, rate, spread
from bench.servers import Endpoints
from bench.tables import Table, all_tables, size_of
from bench.turns import attempt, told

ROOT = Path(__file__).resolve().parents[2]


def sample(workload: str, who: str, seconds: float, **changes: Any) -> Sample:
    made = Sample(workload, who, "s", 1000, 10_240, seconds, 0.4, 90_000_000, 120_000_000, 2000.0)
    return dataclasses.replace(made, **changes)


SAMPLES = [
    *(sample("W1", OURS, seconds) for seconds in (2.0, 1.0, 4.0)),
    *(sample("W1", "s5cmd", seconds) for seconds in (1.0, 1.0, 2.0)),
    sample("W1", "aws", 1.0, files=100),
    sample("W1", CEILING, 0.1),
    sample("W2", OURS, 2.0, files=2, size=256 * 2**20),
    sample("W2", "s5cmd", 3.0, files=2, size=256 * 2**20),
    sample("W2", "rclone", 1.5, files=2, size=256 * 2**20),
    sample("W7 100 files", OURS, 1.0, files=100, flow=1000.0),
    sample("W7 9,000 files", OURS, 9.0, files=9_000, flow=900.0, rss=500_000_000),
]


def test_a_range_is_median_least_and_most() -> None:
    """Of an even number the median lies between the middle two; of nothing there is none."""
    assert spread([3.0, 1.0, 2.0]) == Range(2.0, 1.0, 3.0)
    assert spread([4.0, 1.0]).median == 2.5
    with pytest.raises(ValueError, match="no values"):
        spread([])


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (90, 90), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    """Nearest rank, whatever their order."""
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_a_p99_of_few_drops_is_the_worst() -> None:
    """Less than a hundred values have no 99th percentile below their greatest."""
    assert percentile([1.0, 2.0, 30.0], 99) == 30.0


def test_failed_runs_do_not_count() -> None:
    """Nor in the figures, nor in the goals."""
    broken = sample("W1", OURS, 0.001, error="lost")
    assert counted([broken, *SAMPLES], "W1", OURS) == SAMPLES[:3]
    assert goals.ratio([broken, *SAMPLES], "W1", "s5cmd") == goals.ratio(SAMPLES, "W1", "s5cmd") == 0.5
    assert goals.ratio([broken], "W1", "s5cmd") is None


def test_rates() -> None:
    """Small files count by number, large ones by bytes."""
    assert rate(SAMPLES[0]) == 500.0
    assert rate(SAMPLES[8]) == pytest.approx(2 * 256 * 2**20 / 1e6 / 2)
    assert (SAMPLES[0].cpu_per_file, SAMPLES[8].cpu_per_gb) == pytest.approx((0.4, 0.4 / (2 * 256 * 2**20 / 1e9)))


def test_goals_are_judged_in_the_same_run() -> None:
    """Median beside median; the fastest peer is the one that counts; what was not measured is not held."""
    found = {goal.text: goal for goal in goals.goals(SAMPLES, {"W5": [10.0, 60.0, 70.0]}, {"cpu_percent": 0.5})}
    assert (found["W1: files/s of s5cmd"].found, found["W1: files/s of s5cmd"].holds) == (0.5, False)
    assert found["W1: files/s of the aws CLI"].found == 5.0
    assert found["W2: MB/s of the fastest peer"].found == 0.75
    assert found["W3: files/s of s5cmd"].holds is None
    assert (found["W5: median latency"].found, found["W5: median latency"].holds) == (60.0, False)
    assert found["W5: 99th percentile of latency"].holds
    assert found["W7: flow with most files beside fewest"].found == 0.9
    assert not found["W7: RSS of all processes, most files"].holds
    assert found["W8: CPU at idle, of one core"].holds


def test_we_come_first_and_the_ceiling_last() -> None:
    """In between as they ran."""
    assert contestants(reversed(SAMPLES), "W1") == [OURS, "aws", "s5cmd", CEILING]


def test_a_table_for_a_page_and_for_a_terminal() -> None:
    """The same cells."""
    table = Table("T", ["", "files/s"], [["a", "1"], ["long name", "10,000"]])
    assert table.markdown() == "**T**\n\n|  | files/s |\n| --- | ---: |\n| a | 1 |\n| long name | 10,000 |\n"
    assert table.text() == "T\n             files/s\n  a                1\n  long name   10,000\n"


def test_the_tables_tell_everything() -> None:
    """Spread, fewer files for some, ratios, failures, latency, growth, idle."""
    failed = sample("W1", "rclone", 0.0, files=0, size=0, error="exit code 1")
    idle = {"cpu_percent": 0.2, "pss": 1e8, "rss": 2e8, "files": 100, "seconds": 60}
    found = all_tables([*SAMPLES, failed], {"W5": [10.0, 20.0]}, idle, [])
    text = " ".join("\n".join(table.text() for table in found).split())
    for part in (
        "W1: 1,000 files of 10 KiB (aws CLI: 100)",
        "500 (250–1,000)",
        "0.50 ×",
        "rclone 0/1 failed",
        "W2: 2 files of 256 MiB",
        "W5 2 10.0 10.0 20.0 20.0 20.0",
        "9,000 × 10 KiB",
        "0.20 %",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("size", "text"), [(5, "5 B"), (1024, "1 KiB"), (10_240, "10 KiB"), (2**28, "256 MiB"), (5 * 2**30, "5 GiB")]
)
def test_sizes(size: int, text: str) -> None:
    """In the largest unit that fits."""
    assert size_of(size) == text


def read(*words: str) -> scale.Options:
    return scale.read(words, Path("/r"), "doc")


def test_without_options_everything_is_measured() -> None:
    """Eight workloads, three peers, both stores, at the scale of the goals."""
    options = read()
    assert options.only == tuple(f"W{number}" for number in range(1, 9))
    assert (options.peers, options.stores) == (("s5cmd", "rclone", "aws"), ("sink", "seaweedfs"))
    found = options.scale
    assert (found.small, found.small_size, found.large, found.large_size) == (10_000, 10_240, 16, 256 * 2**20)
    assert (found.drops, found.growth, found.idle, found.idle_seconds) == (300, (1_000, 10_000, 100_000), 100_000, 60)


def test_options_make_it_smaller() -> None:
    """--files is a limit for all small files, --peers none leaves only us."""
    options = read("--only", "W3", "W1", "--files", "50", "--peers", "none", "--runs", "2", "--stores", "sink")
    assert (options.only, options.peers, options.stores) == (("W1", "W3"), (), ("sink",))
    assert (options.scale.small, options.scale.slow_small, options.scale.small_runs) == (50, 50, 2)
    assert read("--files", "20000").scale.small == 20_000
    assert read("--large-files", "2").scale.large == 2


def test_less_is_expected_to_take_less() -> None:
    """In proportion to what is measured, but never nothing."""
    assert scale.expected("W2", read()) == 2 * scale.expected("W2", read("--large-files", "8"))
    assert scale.expected("W1", read()) == 2 * scale.expected("W1", read("--files", "5000"))
    assert 0 < scale.expected("W7", read("--quick")) < scale.expected("W7", read()) / 5


def test_the_document_lists_every_option() -> None:
    """Each that the command line knows, and none else."""
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`--.*?) \|", text, re.MULTILINE)
    found = set(re.findall(r"--[a-z-]+", " ".join(rows)))
    known = {action.option_strings[-1] for action in scale._parser(ROOT, "")._actions}
    assert found == known - {"--help"}


@pytest.mark.parametrize("words", [("--only", "W9"), ("--peers", "curl"), ("--files", "0"), ("--quick", "--full")])
def test_wrong_options_end_it(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything runs, with exit code 2 and what is wrong."""
    with pytest.raises(SystemExit) as ended:
        read(*words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("direction", [UPLOAD, DOWNLOAD])
def test_a_peer_gets_its_setting_and_its_places(name: str, direction: str) -> None:
    """Every option of a setting is on the command line, source before target."""
    peer = PEERS[name]
    for settings in (peer.settings(10_240), peer.settings(2**28), peer.settings(10_240, far=True)):
        for setting in settings:
            words = peer.command(direction, setting, Path("/f"), "p", "http://h:1")
            assert set(setting.options) <= set(words)
            here = next(at for at, word in enumerate(words) if word.startswith("/f"))
            there = next(at for at, word in enumerate(words) if "bench/p" in word)
            assert (here < there) == (direction == UPLOAD)


def test_a_peer_reads_its_setting_from_a_file() -> None:
    """aws has no options for it."""
    peer = PEERS["aws"]
    assert peer.env("http://h:1", Path("/c"))["AWS_CONFIG_FILE"] == "/c"
    assert all("max_concurrent_requests" in each.config for each in (*peer.small, *peer.large))


def test_progress_says_how_long_it_may_take() -> None:
    """By the pace of what is done already."""
    now, lines = [0.0], list[str]()
    progress = Progress({"W1": 60.0, "W2": 120.0}, lines.append, lambda: now[0])
    progress.begin("W1", "many")
    now[0] = 120.0
    progress.begin("W2", "large")
    now[0] = 180.0
    progress.line("half")
    assert [line.split()[0] for line in lines] == ["0:00", "2:00", "3:00"]
    assert [line.partition("about ")[2] for line in lines] == ["3 min left", "4 min left", "3 min left"]


def test_a_run_that_fails_is_told_and_not_counted() -> None:
    """Its error stands where its figures would."""

    def run(who: str, setting: Setting) -> Sample:
        raise RunError(f"{who} {setting.label}")

    failed = attempt("W1", "s5cmd", Setting("x"), run)
    assert failed.error == "s5cmd x"
    assert told(failed) == "s5cmd: FAILED, not counted: s5cmd x"


def test_flow_leaves_start_and_end_out() -> None:
    """Intervals between arrivals, not from the start; of too few nothing is said."""
    assert flow_of([5.0 + number / 10 for number in range(11)]) == pytest.approx(10.0)
    assert flow_of([1.0, 2.0]) == flow_of([1.0] * 20) == 0.0


def test_files_that_arrive_are_compared(tmp_path: Path) -> None:
    """Missing, surplus and changed ones are named; all of a large file is read."""
    for size in (100, 9 * 2**20):
        corpus = Corpus(tmp_path / f"c{size}", 3, size)
        target = tmp_path / f"t{size}"
        assert corpus.copy_to(target, 2) == 2
        (target / ".relay").mkdir()
        verify.files(target, corpus, 2)
        with pytest.raises(RunError, match=r"1 \(file-000002.bin\) missing"):
            verify.files(target, corpus, 3)
        data = (target / "file-000001.bin").read_bytes()
        (target / "file-000001.bin").unlink()
        (target / "file-000001.bin").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(RunError, match=r"1 \(file-000001.bin\) with other content"):
            verify.files(target, corpus, 2)


def test_no_two_files_are_alike(tmp_path: Path) -> None:
    """Small or large; each has its size."""
    for size in (64, 9 * 2**20):
        contents = {path.read_bytes() for path in Corpus(tmp_path / str(size), 4, size).paths()}
        assert (len(contents), {len(each) for each in contents}) == (4, {size})


def test_names_in_what_inotify_writes() -> None:
    """Padded with NUL; several at once."""
    event = struct.Struct("iIII")
    written = event.pack(1, 0x80, 0, 16) + b"a.bin".ljust(16, b"\0") + event.pack(1, 0x100, 0, 0)
    assert notify.names_of(written) == [b"a.bin", b""]


def test_a_name_that_appears_is_seen(tmp_path: Path) -> None:
    """Made or moved there; one that does not come is an error."""
    found = notify.Appearances(tmp_path)
    (tmp_path / "other").touch()
    (tmp_path / "name").touch()
    assert found.wait_for("name", 5) > 0
    with pytest.raises(RunError, match="never did not appear"):
        found.wait_for("never", 0.05)
    found.close()


def test_only_places_are_configured(tmp_path: Path) -> None:
    """Everything else has the shipped default."""
    text = relay.properties(tmp_path, Endpoints("http://s3", "http://sqs"), "in", "q")
    keys = {line.partition("=")[0] for line in text.splitlines() if "=" in line}
    assert keys <= {
        *("folderToStoreTempFiles", "folderToWatch", "folderForDownloadedFiles"),
        *("aws_s3_bucket", "aws_s3_folder", "aws_region", "aws_sqs", "aws_access_key_id", "aws_secret_key"),
        *("aws_endpoint_url_s3", "aws_endpoint_url_sqs"),
    }


def test_a_picture_of_the_races() -> None:
    """Well-formed, a bar for each racer in each panel, all within it; the ceiling is no racer."""
    tree = ElementTree.fromstring(plot.draw(SAMPLES))
    space = "{http://www.w3.org/2000/svg}"
    height, width = float(tree.attrib["height"]), float(tree.attrib["width"])
    bars = [bar for group in tree.iter(f"{space}g") for bar in group.iter(f"{space}rect")]
    assert [bar.attrib["class"] for bar in bars] == [OURS, "s5cmd", "aws", OURS, "s5cmd", "rclone"] * 2
    for bar in bars:
        x, y, depth = (float(bar.attrib[name]) for name in ("x", "y", "height"))
        assert 0 <= x <= width - plot.BAR
        assert y >= plot.TOP - 1
        assert y + depth <= height
    titles = ["".join(title.itertext()) for title in tree.iter(f"{space}title")]
    assert "Folder relay, W1: 500 files/s" in titles


def test_a_picture_without_races() -> None:
    """Nothing to compare is no error."""
    assert "Folder relay" in plot.draw([])


@pytest.mark.parametrize(("most", "found"), [(1.0, [0, 0.25, 0.5, 0.75, 1.0]), (7.0, [0, 2, 4, 6])])
def test_ticks(most: float, found: list[float]) -> None:
    """Round steps, seven at most."""
    assert plot.ticks(most) == found


def whole() -> dict[str, Any]:
    record = Record(list(SAMPLES), {"W1": {"s5cmd": {"s": 1.0, "t": 2.0}}}, {"W5": [1.0]}, {}, ["a note"])
    about = {"date": "today", "commit": "c", "machine": {"cores": "2"}, "versions": {"boto3": "1"}}
    return result.as_json(record, about | {"options": {"peers": ["s5cmd"]}})


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    """What is read is what was written, and makes the same page."""
    result.write(whole(), tmp_path)
    assert result.read(tmp_path) == whole()
    page = (tmp_path / result.TABLES).read_text()
    assert page == result.page(whole())
    for part in ("cores 2", "boto3 1", "W1, s5cmd: `s`; tried: s 1.00 s, t 2.00 s", "- a note", "s5cmd --log error"):
        assert part in page


def test_the_page_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    """Twice is as once; what a person wrote around it stays; without marks nothing is written."""
    result.write(whole(), tmp_path)
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{result.BEGIN}\nsomething old\n{result.END}\nafter\n")
    result.update(document, tmp_path)
    first = document.read_text()
    result.update(document, tmp_path)
    assert document.read_text() == first
    assert first.startswith(f"before\n{result.BEGIN}\n")
    assert first.endswith(f"{result.END}\nafter\n")
    assert "something old" not in first
    assert document.with_suffix(".svg").exists()
    document.write_text("no marks")
    with pytest.raises(BenchError, match="lacks the lines"):
        result.update(document, tmp_path)
    with pytest.raises(BenchError, match="run `python -m bench` first"):
        result.read(tmp_path / "none")


def test_the_document_has_its_marks() -> None:
    """docs/performance.md can be updated, and explains every workload."""
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.index(result.BEGIN) < text.index(result.END)
    head = text.partition(result.BEGIN)[0] + text.partition(result.END)[2]
    assert [name for name in scale.WORKLOADS if name not in head] == []
