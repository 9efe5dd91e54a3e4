"""What the supervisor knows of the processes it started."""

import logging
import signal
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.blame import Blame
from pipeline.link import reports
from pipeline.sides import Role, Side

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Child:
    """One process."""

    side: "Running"
    role: Role
    name: str
    process: BaseProcess
    pipe: Any
    shared: Any
    """Kept as long as the child: the parent's copy going away removes its semaphores while the child is starting."""
    started: float
    hurried: bool = False


@dataclass(eq=False)
class Running:
    """A side and its processes."""

    side: Side
    children: list[Child] = field(default_factory=list)
    blame: Blame = field(default_factory=Blame)
    failures: int = 0
    restart_at: float | None = None
    ended: bool = False


def read_reports(child: Child) -> None:
    """Take note of what a child has said so far."""
    blame = child.side.blame
    try:
        for what, works in reports(child.pipe):
            note = blame.begin if what == "begin" else blame.end
            for work in works:
                note(child.process.pid or 0, work)
    except Exception as error:  # noqa: BLE001  # whatever unpickling raises: this child is not to be understood any more
        log.error("%s is not understood (%s) and is ended", child.name, error)
        child.process.kill()


def cause(code: int) -> str:
    """Of an end, from its exit code."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
