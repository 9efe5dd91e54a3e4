"""Problems in a folder that is looked at again and again: each is told once, until a look no longer finds it."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)


class Told:
    """What was told of one folder."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._before: set[str] = set()
        self._now: set[str] = set()

    def warn(self, path: str, problem: str) -> None:
        """Tell of a file or folder below, unless it was told."""
        if path not in self._before and path not in self._now:
            log.warning("%s %s", self._top / path, problem)
        self._now.add(path)

    def complain(self, path: str, error: OSError) -> None:
        """Tell of a folder that cannot be listed, or a file of which nothing can be known."""
        self.warn(path, f"cannot be looked at, what is there waits: {error.strerror}")

    def end_look(self) -> None:
        """Forget what this look did not find."""
        self._before, self._now = self._now, set()
