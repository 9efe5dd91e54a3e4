"""Runs one command and says what it and all its descendants cost: `python wrapper.py FD COMMAND …`.

It adopts orphans (PR_SET_CHILD_SUBREAPER) and waits for every descendant, so that what a killed or abandoned one used
is counted as well. One line of JSON goes to descriptor FD: the clock before the start and at the command's end, its
status, and the CPU seconds of all.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time

_PDEATHSIG, _SUBREAPER = 1, 36  # prctl(2)
_LINGER_SECONDS = 10


def main(fd: int, command: list[str]) -> None:
    """Run it and report."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_SUBREAPER, 1)
    os.set_inheritable(fd, False)  # its reader waits for the last who holds it
    started = time.time()
    pid = os.fork()
    if not pid:
        libc.prctl(_PDEATHSIG, signal.SIGKILL)  # should the benchmark be killed, and so this
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    _, status = os.waitpid(pid, 0)
    ended = time.time()
    signal.alarm(_LINGER_SECONDS)  # ends this, and the report's reader sees that none came
    _wait_for_orphans()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = os.waitstatus_to_exitcode(status)
    report = {"started": started, "ended": ended, "code": code, "user": used.ru_utime, "system": used.ru_stime}
    os.write(fd, json.dumps(report).encode())


def die_with_parent(command: list[str]) -> list[str]:
    """The command, changed so that the kernel kills it when the thread that started it ends (PR_SET_PDEATHSIG)."""
    script = f"import ctypes, os, sys; ctypes.CDLL(None).prctl({_PDEATHSIG}, 9); os.execvp(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-S", "-E", "-c", script, *command]


def _wait_for_orphans() -> None:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
