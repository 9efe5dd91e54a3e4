"""What the supervisor is given to run: roles, and the sides they belong to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Role:
    """One kind of process. `target(link, *args)` runs in it. A role that `leads` ends its side by ending well."""

    name: str
    target: Callable[..., None]
    args: tuple[Any, ...] = ()
    count: int = 1
    leads: bool = False


@dataclass(frozen=True)
class Side:
    """Processes that start and stop together; any of them holds `lock_fds`, and `share` makes their queue."""

    name: str
    roles: tuple[Role, ...]
    lock_fds: tuple[int, ...] = ()
    share: Callable[[Any], Any] | None = None
    lasts: bool = False
    """A phase does not wait for it, and it is stopped only after the sides that the phase waits for."""
    restarts: bool = True
    """Otherwise a process that fails makes the program fail: its exit code becomes the program's."""
    stop_seconds: float | None = None
    """What its processes get to stop, where that is not the program's. They are told by SIGUSR2 to be quick,
    and one that does not listen to it ends."""
