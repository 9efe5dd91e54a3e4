"""Everything that takes effect, in one order: JSON lines in a file, and counts."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.strict.clock import Clock

_KEPT = 1000
"""Violations whose texts are kept; beyond that they are only counted, and lie in the file."""


class Log:
    """The events of one server."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1024 * 1024)
        self._clock = clock
        self.number = 0
        self.effects: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        self.violation_count = 0

    def event(self, effect: str, **fields: Any) -> None:
        """Something has taken effect, and nothing else between this line and the one before."""
        self.effects[effect] += 1
        self._write(effect, fields)

    def fault(self, operation: str, kind: str, **fields: Any) -> None:
        """Something was made to go wrong."""
        self.faults[f"{operation}.{kind}"] += 1
        self._write("fault", {"fault": f"{operation}.{kind}", **fields})

    def violation(self, text: str) -> None:
        """A promise is broken."""
        self.violation_count += 1
        if len(self.violations) < _KEPT:
            self.violations.append(f"event {self.number + 1}: {text}")
        self._write("violation", {"text": text})
        self.flush()

    def flush(self) -> None:
        """Bring everything into the file."""
        self._file.flush()

    def close(self) -> None:
        """No more takes effect."""
        self._file.close()

    def _write(self, effect: str, fields: dict[str, Any]) -> None:
        self.number += 1
        line = {"n": self.number, "t": round(self._clock.now(), 4), "effect": effect, **fields}
        self._file.write(json.dumps(line) + "\n")
