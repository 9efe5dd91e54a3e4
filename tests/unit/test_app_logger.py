"""The log: a line is a line, whatever is in it, and the file is where the settings say."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import app_logger
from app_logger import LogFile, OneLineFormatter

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (ROOT / "logging.conf").read_text()
FORGED = "a\n12:00:00 poller I all is well"


def lines_of(message: str, *, error: BaseException | None = None) -> list[str]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("n", logging.ERROR, __file__, 1, message, (), info)
    return OneLineFormatter("%(levelname)s %(message)s").format(record).split("\n")


def test_a_message_is_one_line() -> None:
    """E2, F2, G6. A file's name with a newline forges no line."""
    [line] = lines_of(FORGED)
    assert line.startswith("ERROR a")


def test_a_traceback_keeps_its_lines_and_the_message_has_none() -> None:
    """G6. Neither the message above a traceback nor the error's own text begins a line of its own."""
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        first, *trace = lines_of(FORGED, error=error)
    assert first.startswith("ERROR a")
    assert "all is well" in first
    assert trace[0] == "    Traceback (most recent call last):"
    assert any("all is well" in line for line in trace)
    assert all(line.startswith("    ") for line in trace)


@pytest.mark.parametrize("name", ["100%", "%(role)s", "it's", "back\\slash", "a b"])
def test_any_folder_can_hold_the_log(tmp_path: Path, name: str) -> None:
    """fileConfig interpolates and evaluates what stands in logging.conf; in a process, as it changes all of logging."""
    log = tmp_path / name / "relay.log"
    code = (
        "import logging, sys, app_logger; from pathlib import Path\n"
        "app_logger.configure(Path('logging.conf'), Path(sys.argv[1]), 'main')\n"
        "logging.getLogger('relay').info('hello')"
    )
    subprocess.run([sys.executable, "-c", code, str(log)], cwd=ROOT, timeout=30, check=True, capture_output=True)
    assert "main[" in log.read_text()
    assert "hello" in log.read_text()


def says(handler: LogFile, text: str) -> None:
    handler.handle(logging.LogRecord("n", logging.INFO, __file__, 1, text, (), None))


def test_a_log_that_is_moved_or_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G7. It is opened again with the next line; without a place for it lines are lost, and nothing is raised."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log = tmp_path / "logs" / "relay.log"
    handler = LogFile(log, "a", "utf-8", True)
    says(handler, "lost: no folder yet")
    log.parent.mkdir()
    says(handler, "1")
    moved = log.rename(tmp_path / "moved")
    says(handler, "2")
    assert (moved.read_text(), log.read_text()) == ("1\n", "2\n")
    log.rename(tmp_path / "moved again")
    log.parent.rmdir()
    log.parent.touch()
    for _ in range(2):
        says(handler, "lost: no folder")
    log.parent.unlink()
    log.parent.mkdir()
    for text in ("3", "4"):
        says(handler, text)
    assert log.read_text() == "3\n4\n"
    handler.close()


def in_a_process(folder: Path, code: str, config: str = SHIPPED, **env: str) -> tuple[str, str]:
    """Console and log of a process that has configured logging."""
    (folder / "logging.conf").write_text(config)
    begin = (
        "import logging, sys, app_logger; from pathlib import Path\n"
        "app_logger.configure(Path(sys.argv[1]), Path(sys.argv[2]), 'main')\n"
    )
    command = [sys.executable, "-c", begin + code, str(folder / "logging.conf"), str(folder / "relay.log")]
    done = subprocess.run(command, cwd=ROOT, timeout=60, check=True, capture_output=True, env={**os.environ, **env})
    return (done.stdout + done.stderr).decode(), (folder / "relay.log").read_text()


def test_secrets_cannot_be_asked_for(tmp_path: Path) -> None:
    """G5. Who may show them never speaks below INFO, neither by root's level nor by that of a part of it."""
    config = SHIPPED.replace("keys=root,pipeline", "keys=root,pipeline,all,sign,other").replace("=INFO", "=DEBUG")
    for name, logger in (("all", "botocore"), ("sign", "botocore.auth"), ("other", "other")):
        config += f"[logger_{name}]\nlevel=DEBUG\nhandlers=\nqualname={logger}\n"
    code = (
        "for name in ('botocore', 'botocore.auth', 'botocore.later', 'boto3', 'urllib3.connectionpool', 'other'):\n"
        "    logging.getLogger(name).debug('secret of %s', name)\n"
        "    logging.getLogger(name).info('news of %s', name)\n"
    )
    for text in in_a_process(tmp_path, code, config):
        assert [line.rpartition(" of ")[2] for line in text.splitlines() if "secret of" in line] == ["other"]
        assert text.count("news of") == 6


def test_a_console_of_another_encoding_loses_no_line(tmp_path: Path) -> None:
    """G10. What it cannot show is escaped."""
    shown, log = in_a_process(tmp_path, "logging.getLogger('relay').info('é → done')", PYTHONIOENCODING="ascii")
    assert "\\xe9 \\u2192 done" in shown
    assert "é → done" in log


def test_an_error_of_a_thread_is_in_the_log(tmp_path: Path) -> None:
    """G6. It ends the thread alone, and its text neither steers a terminal nor forges a line."""
    (tmp_path / "odd.py").write_text(f"def run():\n    raise ValueError({FORGED + chr(27)!r})\n")
    code = (
        f"import threading; sys.path.append({str(tmp_path)!r}); import code\n"
        "thread = threading.Thread(target=code.run); thread.start(); thread.join()"
    )
    for text in in_a_process(tmp_path, code.replace("code", "odd"), SHIPPED):
        assert "ended by an error" in text
        assert "\x1b" not in text
        assert not any(line.startswith("12:00:00 ") for line in text.splitlines())


@pytest.mark.parametrize(
    ("level", "shown"),
    [("NOTSET", "info warning error"), ("WARNING", "warning error"), ("ERROR", "error"), ("CRITICAL", "")],
)
def test_the_console_can_be_quieter(tmp_path: Path, level: str, shown: str) -> None:
    """Never more talkative than logging.conf; the file has everything, as a soak test reads it."""
    log = tmp_path / "relay.log"
    code = (
        "import logging, sys, app_logger; from pathlib import Path\n"
        "app_logger.configure(Path('logging.conf'), Path(sys.argv[1]), 'main')\n"
        f"app_logger.show_on_console(logging.{level})\n"
        "logging.getLogger('relay').setLevel(logging.DEBUG)\n"
        "for name in ('debug', 'info', 'warning', 'error'): getattr(logging.getLogger('relay'), name)('it is: ' + name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], cwd=ROOT, timeout=30, check=True, capture_output=True, text=True
    )
    said = [[line.rpartition("it is: ")[2] for line in text.splitlines()] for text in (done.stdout, log.read_text())]
    assert said == [shown.split(), ["debug", "info", "warning", "error"]]


def test_a_stop_inside_a_callback_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """C code hands an exception that it cannot pass on to the hook; one that asks to stop ends nothing."""

    class Stop(BaseException):
        pass

    with caplog.at_level(logging.DEBUG):
        app_logger._log_uncaught(Stop, Stop(), None)
        app_logger._log_uncaught(KeyError, KeyError("x"), None)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "CRITICAL"]


@pytest.mark.parametrize("name", ["botocore.auth", "boto3.session", "urllib3.connectionpool", "s3transfer.futures"])
def test_the_libraries_that_know_secrets_tell_no_details(tmp_path: Path, name: str) -> None:
    """botocore's include the token of a session; nor where logging.conf asks for every detail there is."""
    config, log = tmp_path / "logging.conf", tmp_path / "relay.log"
    shipped = (ROOT / "logging.conf").read_text()
    config.write_text(shipped.replace("level=INFO", "level=DEBUG"))
    assert config.read_text() != shipped
    code = (
        "import logging, sys, app_logger; from pathlib import Path\n"
        "app_logger.configure(Path(sys.argv[1]), Path(sys.argv[2]), 'main')\n"
        "logging.getLogger(sys.argv[3]).debug('the secret')\n"
        "logging.getLogger('another').debug('hello')"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(config), str(log), name], cwd=ROOT, timeout=30, check=True, capture_output=True
    )
    assert "hello" in log.read_text()
    assert "the secret" not in log.read_text()
