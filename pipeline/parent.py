"""End with the parent, however it ends."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess

from pipeline import kernel


class _Watch:
    """The fallback of `follow_parent`: one thread, which sends what was asked for last, as the kernel would."""

    number = 0

    def begin(self, number: int, parent: BaseProcess) -> None:
        started, self.number = self.number != 0, number
        if not started:
            threading.Thread(target=self._run, args=(parent,), name="parent", daemon=True).start()

    def _run(self, parent: BaseProcess) -> None:
        parent.join()
        # To the main thread: only there Python acts on a signal, and it may sit in a system call that has to be cut.
        signal.pthread_kill(threading.main_thread().ident or 0, self.number)


_watch = _Watch()


def follow_parent(number: int = signal.SIGKILL) -> str:
    """In a process of multiprocessing: be sent a signal when the parent ends, or now if it has. The last call counts.

    Fallback: a thread waits for the parent's sentinel. Returns which way is in use, for the log.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return "no parent"
    if not kernel.die_with_parent(number):
        _watch.begin(number, parent)
        return "parent's sentinel"
    if os.getppid() != parent.pid:  # it ended before the kernel was asked
        os.kill(os.getpid(), number)
    return "parent-death signal"
