"""Warnings and errors of the relay's log, as they come."""

import os
import re
from pathlib import Path

_BYTES_AT_ONCE = 4 << 20
"""What one call reads at most; the next goes on from there."""

# formatter_full of logging.conf. Lines of a traceback are indented and do not match.
_LINE = re.compile(
    rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} (WARNING|ERROR|CRITICAL) (\S+)\[\d+\] \S+: (.*)$", re.MULTILINE
)


class LogTail:
    """Follows a log file from where it ends now; what it held before belongs to others.

    A file that took its place (logrotate) or was made shorter is read from its start; what was written to the old one
    after the last read is not seen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._offset = 0, 0  # inode; 0: there is none yet
        if path.exists():
            state = path.stat()
            self._file, self._offset = state.st_ino, state.st_size

    def read(self) -> list[tuple[str, str]]:
        """The lines since the last call that tell of trouble, as kind (warning or error) and "role: message".

        None while there is no such file. OSError if it cannot be read.
        """
        return [
            ("warning" if level == b"WARNING" else "error", f"{_text(role)}: {_text(message)}")
            for level, role, message in _LINE.findall(self._whole_lines())
        ]

    def rotate(self, limit: int) -> None:
        """Set the file aside, in the place of the one set aside before, once it has more bytes than `limit`.

        Who writes to it has to notice, as logging's WatchedFileHandler does.
        """
        if self._offset > limit:
            os.replace(self._path, self._path.with_name(f"{self._path.name}.1"))
            self._file, self._offset = 0, 0  # there is none until somebody writes again

    def _whole_lines(self) -> bytes:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            self._find_place(os.fstat(fd))
            chunk = os.pread(fd, _BYTES_AT_ONCE, self._offset)
        finally:
            os.close(fd)
        end = chunk.rfind(b"\n") + 1
        # A line that exceeds all bounds is passed over, or nothing behind it would ever be read.
        self._offset += end or (len(chunk) if len(chunk) == _BYTES_AT_ONCE else 0)
        return chunk[:end]

    def _find_place(self, state: os.stat_result) -> None:
        if state.st_ino != self._file or state.st_size < self._offset:
            self._offset = 0
        self._file = state.st_ino


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
