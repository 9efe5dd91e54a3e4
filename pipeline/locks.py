"""One program per folder: each side locks its folders as long as any of its processes lives.

The lock is on the folder itself, by inode: two ways of writing one path meet. The kernel releases it at the end of the
last process, however that comes, so nothing is ever left to clean up.
"""

import contextlib
import glob
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.kernel import try_lock
from pipeline.ports import EXIT_RUNNING, StartupError

_ORPHAN_SECONDS = 5.0
"""How long the processes of a killed program may take to end."""


def lock_side(side: str, folders: Sequence[Path], state: Path) -> tuple[int, ...]:
    """Lock the folders of a side; the descriptors that hold the locks. StartupError (75) names who has them.

    `state`: a folder for the note that says who holds them; it is information only.
    """
    note = state / f"{side}.json"
    fds = tuple(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for folder in folders)
    deadline = time.monotonic() + _ORPHAN_SECONDS
    for fd, folder in zip(fds, folders, strict=True):
        while not try_lock(fd):
            holder = _read(note)
            if _is_alive(holder) or time.monotonic() >= deadline:
                raise StartupError(_refusal(side, folder, _describe(holder, fd)), EXIT_RUNNING)
            time.sleep(0.05)
    holder = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):  # the lock holds without it, on a full disk too
        note.write_text(json.dumps(holder), encoding="utf-8")
    return fds


def _read(note: Path) -> dict[str, object]:
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_alive(holder: dict[str, object]) -> bool:
    try:
        os.kill(int(str(holder.get("pid", ""))), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _describe(holder: dict[str, object], fd: int) -> str:
    """Who has the lock: the program of the note, or, if that has ended, the processes that it left."""
    if _is_alive(holder):
        return f"process {holder['pid']}, since {holder.get('since', '?')}"
    pids = _holders(fd)
    if not pids:
        return "another process"
    return f"process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"


def _holders(fd: int) -> list[int]:
    """The processes that have the lock on this folder, as far as the kernel shows them to this user."""
    ours, found = os.fstat(fd), set()
    for info in glob.iglob("/proc/[0-9]*/fdinfo/*"):
        _, _, pid, _, number = info.split("/")
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
            with open(info, encoding="utf-8") as text:
                is_lock = "FLOCK" in text.read()
            if is_lock and os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), ours):
                found.add(int(pid))
    return sorted(found)


def _refusal(side: str, folder: Path, who: str) -> str:
    verb, pronoun = ("are", "them") if who.startswith("processes") else ("is", "it")
    return (
        f"already running: {who}, {verb} the {side} side of {folder}; stop {pronoun} first, or use other folders. "
        "For more consumers on one folder raise pollProcesses."
    )
