"""The parent side: start processes, watch them, start them again, stop them. It knows nothing of what they do.

Processes belong to *sides*. Where a side shares a queue, the death of one process spoils it for the others (a process
killed inside `get` or `put` keeps its lock): the side gets a new queue and new processes, while the old ones finish
what they have in hand.
"""

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Sequence
from multiprocessing import connection
from types import FrameType
from typing import Any

from pipeline import pacing
from pipeline.children import Child, Running, cause, read_reports
from pipeline.link import InheritedFd, Link
from pipeline.sides import Role, Side

log = logging.getLogger(__name__)

_GRACE_SECONDS = 3.0
"""Beyond the time that children are given to stop, before they are killed."""
_STABLE_SECONDS = 10.0
"""A process that lived so long starts again without delay."""
_SECOND_SIGNAL_SECONDS = 0.5
_RESTART_BASE, _RESTART_CAP = 0.4, 30.0


class Supervisor:
    """Runs services (all the time) and phases of sides (one phase after the other)."""

    def __init__(self, stop_seconds: float, start_failures: frozenset[int] = frozenset()) -> None:
        """`stop_seconds`: what children get to stop. `start_failures`: exit codes that end the whole program."""
        self._context = multiprocessing.get_context("spawn")
        self._stop_seconds, self._start_failures = stop_seconds, start_failures
        self._running: list[Running] = []
        self._draining: list[tuple[Child, float]] = []
        self._signals, self._signalled = 0, -_SECOND_SIGNAL_SECONDS
        self._services: list[Running] = []
        self._finished: set[str] = set()
        """Names of sides that came to their end."""
        self._code = 0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._wake_reader.setblocking(False)

    def run(self, services: Sequence[Side], phases: Sequence[Sequence[Side]]) -> int:
        """Run until the last phase is done, a child cannot start, or a signal comes; the exit code."""
        self._listen()
        self._services = [self._start(side) for side in services]
        try:
            for phase in phases:
                current = [self._start(side) for side in phase]
                while not self._over() and not all(running.ended for running in current if not running.side.lasts):
                    self._turn()
                if self._over():
                    break
                self._stop_phase(current)
        finally:
            try:
                self._end(phases)
            except BaseException:
                self._kill_all()  # else the interpreter, on its way out, waits for them for ever
                raise
            finally:
                signal.set_wakeup_fd(-1)
                self._wake_reader.close()
                self._wake_writer.close()
        return self._code

    def _end(self, phases: Sequence[Sequence[Side]]) -> None:
        """Stop whatever still runs."""
        if self._signals:
            patience = max(self._patience(running) for running in self._running)
            log.info("stopping: up to %g s for what is under way; once more to stop now", patience)
        self._stop_phase([running for running in self._running if running not in self._services])
        self._stop(self._services)
        self._fail_unfinished(phases)

    def _kill_all(self) -> None:
        children = [child for running in self._running for child in running.children]
        for child in [*children, *(child for child, _ in self._draining)]:
            child.process.kill()

    def _fail_unfinished(self, phases: Sequence[Sequence[Side]]) -> None:
        """Where a failure is the program's, so is an end before the end."""
        for side in (side for phase in phases for side in phase if not side.restarts):
            if not self._code and side.name not in self._finished:
                log.critical("%s was stopped before it could come to its end", side.name)
                self._code = 1

    def _listen(self) -> None:
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
                signal.signal(number, self._on_signal)

    def _stop_phase(self, current: Sequence[Running]) -> None:
        """First what the phase waits for, which may need the others until it has ended."""
        self._stop([running for running in current if not running.side.lasts])
        self._stop([running for running in current if running.side.lasts])

    def _patience(self, running: Running) -> float:
        own = running.side.stop_seconds
        return self._stop_seconds if own is None else own

    def _over(self) -> bool:
        return self._signals > 0 or self._code != 0

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Some senders deliver one stop twice, to the process and to its group: that is no impatience.
        now = time.monotonic()
        if now - self._signalled >= _SECOND_SIGNAL_SECONDS:
            self._signalled = now
            self._signals += 1

    def _turn(self) -> None:
        """Wait for something to happen, and deal with it."""
        self._wait(self._next_timeout())
        self._collect()
        now = time.monotonic()
        for running in self._running:
            if running.restart_at is not None and running.restart_at <= now:
                running.restart_at = None
                self._spawn_missing(running)

    def _next_timeout(self) -> float | None:
        due = [running.restart_at for running in self._running if running.restart_at is not None]
        due += [deadline for _, deadline in self._draining]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _wait(self, timeout: float | None) -> None:
        children = [child for running in self._running for child in running.children]
        children += [child for child, _ in self._draining]
        ready = connection.wait(
            [*(child.process.sentinel for child in children), *(child.pipe for child in children), self._wake_reader],
            timeout,
        )
        if self._wake_reader in ready:
            self._wake_reader.recv(4096)
        for child in children:
            if child.pipe in ready:
                read_reports(child)

    def _collect(self) -> None:
        """Deal with every child that ended and every one that should have."""
        for running in self._running:
            ended = [child for child in running.children if child.process.exitcode is not None]
            for child in ended:  # all of them first: the end of one may ask those that are left to stop
                running.children.remove(child)
            for child in sorted(ended, key=_is_done):  # what is to be started again keeps its side from being done
                self._ended(running, child)
        for child, deadline in list(self._draining):
            if child.process.exitcode is None and (time.monotonic() >= deadline or self._impatient(child)):
                if self._hurry(child):
                    self._draining.append((child, time.monotonic() + _GRACE_SECONDS))
                    self._draining.remove((child, deadline))
                    continue
                log.warning("%s has not stopped and is killed", child.name)
                child.process.kill()
                child.process.join()
            if child.process.exitcode is not None:
                self._draining.remove((child, deadline))
                if child.process.exitcode == 0 and child.role.leads:
                    self._finished.add(child.side.side.name)
                self._fail_with(child)
                self._close(child, asked=True)

    def _impatient(self, child: Child) -> bool:
        """Whether a child that was asked to stop is to be killed; one with its own time is told to be quick first."""
        if child.side in self._services:  # they have nothing to give back
            return False
        if child.side.side.stop_seconds is None:
            return self._signals > 1
        if self._signals > 1 or self._code:
            self._hurry(child)
        return self._signals > 2

    def _hurry(self, child: Child) -> bool:
        """Tell a child with its own time to be quick, once; whether it was told now. One that does not listen ends."""
        if child.hurried or child.side.side.stop_seconds is None or not child.process.pid:
            return False
        child.hurried = True
        os.kill(child.process.pid, signal.SIGUSR2)  # not reaped before its exit code is read here
        return True

    def _fail_with(self, child: Child) -> None:
        """The exit code of a process that is not started again is the program's; a signal counts as 1."""
        code = child.process.exitcode or 0
        if code and not child.side.side.restarts:
            if code < 0:
                log.critical("%s ended (%s), and with it the program", child.name, cause(code))
            self._code = self._code or max(code, 1)
            for other, _ in self._draining:  # nothing else might wake us before its time is over
                self._hurry(other)

    def _ended(self, running: Running, child: Child) -> None:
        code = child.process.exitcode or 0
        self._fail_with(child)
        self._close(child, asked=False)
        if code in self._start_failures:
            self._code = code
        elif code == 0 and child.role.leads:
            others = any(other.role is child.role for other in running.children)
            running.ended = not others and running.restart_at is None
            self._finished.add(running.side.name)
        elif running.side.restarts and not running.ended:
            self._crashed(running, child, code)

    def _close(self, child: Child, *, asked: bool) -> None:
        read_reports(child)
        child.pipe.close()
        blame, pid = child.side.blame, child.process.pid or 0
        if asked:
            blame.left(pid)
        else:
            blame.died(pid)
        child.process.close()

    def _crashed(self, running: Running, child: Child, code: int) -> None:
        lived = time.monotonic() - child.started
        running.failures = 0 if lived >= _STABLE_SECONDS else running.failures + 1
        wait = 0.0 if running.failures <= 1 else pacing.delay(running.failures - 2, _RESTART_BASE, _RESTART_CAP)
        log.warning("%s ended (%s), started again in %.1f s", child.name, cause(code), wait)
        running.restart_at = time.monotonic() + wait
        if running.side.share is not None:
            self._drain(running)

    def _drain(self, running: Running) -> None:
        """Ask the processes of a side to finish what they have in hand; their successors may begin meanwhile."""
        deadline = time.monotonic() + self._patience(running) + _GRACE_SECONDS
        for child in running.children:
            child.process.terminate()
            self._draining.append((child, deadline))
            if self._code:
                self._hurry(child)
        running.children.clear()

    def _stop(self, sides: Sequence[Running]) -> None:
        """Stop sides for good, and wait for that."""
        for running in sides:
            running.restart_at = None
            self._drain(running)
            if running in self._running:
                self._running.remove(running)
        while any(child.side in sides for child, _ in self._draining):
            self._turn()

    def _start(self, side: Side) -> Running:
        running = Running(side)
        self._running.append(running)
        self._spawn_missing(running)
        return running

    def _spawn_missing(self, running: Running) -> None:
        side = running.side
        alive = {child.name for child in running.children}
        shared = side.share(self._context) if side.share is not None else None
        for role in side.roles:
            for number in range(1, role.count + 1):
                name = f"{role.name}-{number}" if role.count > 1 else role.name
                if name not in alive:
                    running.children.append(self._spawn(running, role, name, shared))

    def _spawn(self, running: Running, role: Role, name: str, shared: Any) -> Child:
        reader, writer = self._context.Pipe(duplex=False)
        locks = tuple(InheritedFd(fd) for fd in running.side.lock_fds)
        blame = running.blame
        link = Link(name, writer, shared, locks, blame.suspects(), blame.condemned())
        process = self._context.Process(target=role.target, name=name, args=(link, *role.args))
        _stand_somewhere()
        # A child must not meet Ctrl-C before it can ignore it: blocked here, and the mask is inherited.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        writer.close()
        return Child(running, role, name, process, reader, shared, time.monotonic())


def _is_done(child: Child) -> bool:
    return child.process.exitcode == 0


def _stand_somewhere() -> None:
    """Leave a current folder that somebody removed: no process could be started in it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir("/")
