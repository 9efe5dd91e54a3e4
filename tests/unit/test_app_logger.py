"""The log: a line is a line, whatever is in it, and the file is where the settings say."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import app_logger
from app_logger import OneLineFormatter

ROOT = Path(__file__).resolve().parents[2]
FORGED = "a\n12:00:00 poller I all is well"


def lines_of(message: str, *, error: BaseException | None = None) -> list[str]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("n", logging.ERROR, __file__, 1, message, (), info)
    return OneLineFormatter("%(levelname)s %(message)s").format(record).split("\n")


def test_a_message_is_one_line() -> None:
    """E2, F2. A file's name with a newline forges no line."""
    [line] = lines_of(FORGED)
    assert line.startswith("ERROR a")


def test_a_traceback_keeps_its_lines_and_the_message_has_none() -> None:
    """Neither the message above a traceback nor the error's own text begins a line of its own."""
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
