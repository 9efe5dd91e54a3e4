"""Following the relay's log: only trouble, only what is new, through rotations."""

from __future__ import annotations

import configparser
import logging
from logging.handlers import WatchedFileHandler
from pathlib import Path

import pytest

from app_logger import OneLineFormatter
from pipeline.soak import logtail
from pipeline.soak.logtail import LogTail

ROOT = Path(__file__).resolve().parents[2]


def line(level: str, text: str, role: str = "uploader-1") -> str:
    return f"2025-01-31T12:00:00.123 {level} {role}[4711] pipeline.uploader: {text}\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "relay.log"


def append(log: Path, *lines: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def test_trouble_alone_is_told_and_once(log: Path) -> None:
    append(log, line("ERROR", "of the run before"))
    tail = LogTail(log)
    assert tail.read() == []
    append(log, line("WARNING", "slow: é"), line("INFO", "ERROR is only said"), line("DEBUG", "x"), line("ERROR", "a"))
    append(log, line("CRITICAL", "ended by an error", "poller"))
    assert tail.read() == [
        ("warning", "uploader-1: slow: é"),
        ("error", "uploader-1: a"),
        ("error", "poller: ended by an error"),
    ]
    assert tail.read() == []


def test_tracebacks_are_skipped(log: Path) -> None:
    """Their lines are indented, whatever they say."""
    tail = LogTail(log)
    append(log, line("ERROR", "failed"), "    Traceback\n", f"    {line('ERROR', 'quoted')}", line("ERROR", "next"))
    assert tail.read() == [("error", "uploader-1: failed"), ("error", "uploader-1: next")]


def test_half_a_line_waits_for_its_end(log: Path) -> None:
    tail = LogTail(log)
    whole = line("ERROR", "in two writes")
    append(log, line("ERROR", "first"), whole[:60])
    assert tail.read() == [("error", "uploader-1: first")]
    append(log, whole[60:])
    assert tail.read() == [("error", "uploader-1: in two writes")]


@pytest.mark.parametrize("way", ["moved", "cut"])
def test_rotation(log: Path, way: str) -> None:
    """A new file under the name, or the same one emptied: read from the start."""
    append(log, line("ERROR", "a long line of the run before, so that what follows is shorter than this"))
    tail = LogTail(log)
    if way == "moved":
        log.rename(log.with_suffix(".1"))
        assert tail.read() == []
    else:
        log.write_text("")
    append(log, line("ERROR", "new"))
    assert tail.read() == [("error", "uploader-1: new")]


def test_a_log_that_grows_is_set_aside(log: Path) -> None:
    """Once what was read of it exceeds the limit; one file is kept, and nobody has to write again before the next."""
    aside = log.with_name("relay.log.1")
    aside.write_text("of the rotation before")
    tail = LogTail(log)
    append(log, line("ERROR", "1"))
    size = log.stat().st_size
    assert len(tail.read()) == 1
    tail.rotate(size)
    assert log.exists()
    tail.rotate(size - 1)
    assert not log.exists()
    assert aside.read_text() == line("ERROR", "1")
    assert tail.read() == []
    tail.rotate(size - 1)
    append(log, line("ERROR", "2"))
    assert tail.read() == [("error", "uploader-1: 2")]
    tail.rotate(size - 1)
    assert aside.read_text() == line("ERROR", "2")


def test_writers_notice_that_the_log_was_set_aside(log: Path) -> None:
    """The program's own handler begins a new file, which is read from its start."""
    tail = LogTail(log)
    handler = WatchedFileHandler(log, encoding="utf-8")
    for number in (1, 2):
        handler.emit(logging.makeLogRecord({"msg": line("ERROR", f"{number}").rstrip()}))
        assert tail.read() == [("error", f"uploader-1: {number}")]
        tail.rotate(0)
    handler.close()


def test_a_larger_file_in_its_place_is_another_one(log: Path) -> None:
    append(log, line("ERROR", "old"))
    tail = LogTail(log)
    log.rename(log.with_suffix(".1"))
    append(log, line("ERROR", "new 1"), line("ERROR", "new 2"))
    assert [text for _, text in tail.read()] == ["uploader-1: new 1", "uploader-1: new 2"]


def test_a_log_that_comes_later(log: Path) -> None:
    tail = LogTail(log)
    assert tail.read() == []
    append(log, line("ERROR", "first"))
    assert tail.read() == [("error", "uploader-1: first")]


def test_much_is_read_bit_by_bit(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call reads more than its share, no line is lost between two, and an endless one stops nothing."""
    monkeypatch.setattr(logtail, "_BYTES_AT_ONCE", 200)
    tail = LogTail(log)
    append(log, *(line("ERROR", f"{number:02}") for number in range(5)), "x" * 450 + "\n", line("ERROR", "05"))
    reads = [tail.read() for _ in range(10)]
    assert max(map(len, reads)) == 2
    assert [text for read in reads for _, text in read] == [f"uploader-1: {number:02}" for number in range(6)]


def test_it_reads_what_the_program_writes(log: Path) -> None:
    """The format is that of logging.conf; a name made to forge a line stays within its own."""
    conf = configparser.RawConfigParser()
    conf.read(ROOT / "logging.conf", encoding="utf-8")
    full = conf["formatter_full"]
    record = logging.LogRecord("pipeline.poller", logging.ERROR, "", 1, "not 'é': a\x1b[2Jb\nc", (), None)
    record.role = "poller"
    tail = LogTail(log)
    append(log, OneLineFormatter(full["format"], full["datefmt"]).format(record) + "\n")
    assert tail.read() == [("error", r"poller: not 'é': a\x1b[2Jb\nc")]
