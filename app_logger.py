"""logging.conf, applied once in every process.

Each process opens the log file itself, in append mode: no lock, no pipe, nothing that a killed process could leave
behind. A line is one write, so lines of different processes do not mix.
"""

import contextlib
import copy
import io
import logging
import logging.config
import logging.handlers
import sys
import threading
from pathlib import Path

from pipeline.names import printable

# botocore's debug lines show the session token, so these stay at INFO whatever logging.conf says of the root.
_TALKATIVE = ("boto3", "botocore", "urllib3", "s3transfer")


class OneLineFormatter(logging.Formatter):
    """Escapes control characters: a file's name must not forge a log line or steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, one line; a traceback keeps its lines, indented: an error's text may have lines of its own."""
        if not (record.exc_info or record.exc_text or record.stack_info):
            return printable(super().format(record))
        bare = copy.copy(record)
        bare.exc_info = bare.exc_text = bare.stack_info = None
        lines = [super().format(bare)]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        return "\n    ".join(printable(line) for line in lines)


class LogFile(logging.handlers.WatchedFileHandler):
    """The log file, opened with the first line and, by each process, again after somebody moved it away.

    Where that cannot be done, for want of room, a folder or permission, lines are lost and each next one tries again;
    Python's own handler would raise the error out of whatever had something to say.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, if there is a file to write it to."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


def configure(config: Path, log_file: Path, role: str) -> None:
    """Apply logging.conf for this process; `role` is its name in every line."""
    # A closed terminal or a full disk under the log never stops a transfer.
    logging.raiseExceptions = False
    with contextlib.suppress(OSError):
        log_file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a console of another encoding loses no line
    # It becomes a part of a Python expression, after configparser has interpolated it.
    defaults = {"logfile": str(log_file).replace("\\", "\\\\").replace("'", "\\'").replace("%", "%%")}
    logging.config.fileConfig(config, defaults=defaults, disable_existing_loggers=False, encoding="utf-8")
    _quieten()
    # It reports an error whenever its own thread ends while an event comes in; what it finds is only a wake-up.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    factory = logging.LogRecord

    def with_role(*args: object, **kwargs: object) -> logging.LogRecord:
        record = factory(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they came
        record.role = role
        return record

    logging.setLogRecordFactory(with_role)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda ended: _log_uncaught(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _quieten() -> None:
    """Let nothing that may show a secret speak, nor any part of it that logging.conf names by itself."""
    parts = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _TALKATIVE]
    for name in {*_TALKATIVE, *parts}:
        logger = logging.getLogger(name)
        logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))


def show_on_console(level: int) -> None:
    """Let nothing below `level` reach a terminal or pipe from this process; the log file keeps every detail."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # not those below it, which write to files
            handler.setLevel(max(level, handler.level))


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: object) -> None:
    if not issubclass(kind, Exception):
        # A stop while C code called back into Python, which cannot pass it on: the flag is seen next.
        logging.getLogger("relay").debug("asked to stop inside a callback")
        return
    logging.getLogger("relay").critical("ended by an error", exc_info=(kind, error, trace))  # type: ignore[arg-type]  # what Python gives a hook
