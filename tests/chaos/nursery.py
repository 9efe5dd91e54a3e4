"""The processes of the program without the time that the interpreter takes to start: each is a fork of one template.

The template has imported what the program's processes import, and done nothing with it. It forks the parent, which is
made to run main.py. What that then spawns are its children, forked before main.py began, so that none of its state is
in them; each waits until it is told what to run, and with which descriptors, just as a new interpreter would be.
When all of them are in use, others are spawned as usual.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import popen_spawn_posix, util
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import boto3
import botocore.loaders
import botocore.session

from pipeline import kernel
from tests.chaos import seccomp

PARENT = "parent"
_BROOD = 9
"""Children that a program has within one life, and some that are started again."""
_HIGH = 512
"""Above any descriptor that a child is given."""
_A_CHILD = "--multiprocessing-fork"
_PRELOADED = (
    *("main", "boto3", "awscrt.s3", "sqlite3", "watchdog.observers", "pipeline.process", "pipeline.aws.crt"),
    *(f"pipeline.roles.{role}" for role in ("check", "watcher", "uploader", "poller", "embedded")),
)


class Trap(NamedTuple):
    """Which process gives itself up, and to whom: the first one of a role."""

    role: str
    channel: socket.socket


@dataclass
class _Unborn:
    pid: int
    line: socket.socket


def preload() -> None:
    """Make this process the template. What botocore reads of its own descriptions is read here, once for all."""
    for name in _PRELOADED:
        importlib.import_module(name)
    loader = botocore.loaders.create_loader()
    botocore.session.create_loader = lambda search_path_string=None: loader
    for service in ("s3", "sqs"):
        boto3.session.Session().client(service, "us-east-1", aws_access_key_id="-", aws_secret_access_key="-")


def start(code: Path, words: Sequence[str], console: Path, trap: Trap | None) -> int:
    """Fork what runs `python main.py WORDS`; its pid. It leads a session of its own."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        _end(lambda: _run_parent(code, words, console, trap))
    return pid


def _run_parent(code: Path, words: Sequence[str], console: Path, trap: Trap | None) -> None:
    kernel.die_with_parent(signal.SIGKILL)  # should the proof itself be killed
    os.setsid()
    _take_console(console)
    _keep_only([trap.channel.fileno()] if trap else [])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(code)
    sys.argv = ["main.py", *words]
    _spawn_from([_bear(trap) for _ in range(_BROOD)], trap.role if trap else "")
    if trap and trap.role == PARENT:
        seccomp.give_up(trap.channel)
    runpy.run_path("main.py", run_name="__main__")


def _spawn_from(brood: list[_Unborn], role: str) -> None:
    """Have multiprocessing hand what it would spawn to those who wait for it."""
    spawn, names, trapped = util.spawnv_passfds, [""], [role]

    class Named(popen_spawn_posix.Popen):
        def _launch(self, process_obj: BaseProcess) -> None:
            names[0] = process_obj.name
            super()._launch(process_obj)  # type: ignore[misc]  # the stubs leave it out
            names[0] = ""

    def hand_on(path: Any, args: Sequence[str], passfds: Sequence[int]) -> int:
        if not brood:
            return spawn(path, args, passfds)
        child = brood.pop()
        mask = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        fds = sorted({fd for fd in passfds if fd > 2})
        gives_up = _A_CHILD in args and names == trapped  # the resource tracker is spawned on the way
        if gives_up:
            trapped.clear()
        words = [os.fsdecode(word) for word in args]
        work = json.dumps({"gives_up": gives_up, "args": words, "mask": mask, "fds": fds}).encode()
        socket.send_fds(child.line, [work], fds)
        child.line.close()
        return child.pid

    popen_spawn_posix.Popen = Named  # type: ignore[misc]
    util.spawnv_passfds = hand_on  # type: ignore[assignment]


def _bear(trap: Trap | None) -> _Unborn:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        _end(lambda: _wait_for_work(theirs, trap))
    theirs.close()
    return _Unborn(pid, ours)


def _wait_for_work(line: socket.socket, trap: Trap | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep_only([line.fileno(), *([trap.channel.fileno()] if trap else [])])
    text, fds, _, _ = socket.recv_fds(line, 65536, 64)
    if not text:  # the parent has ended and needs nobody any more
        return
    work = json.loads(text)
    channel = trap.channel.detach() if trap else -1
    _arrange(dict(zip(work["fds"], fds, strict=True)), channel if work["gives_up"] else -1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, work["mask"])
    program, *rest = work["args"][work["args"].index("-c") + 1 :]
    sys.argv = ["-c", *rest]
    if work["gives_up"]:
        seccomp.give_up(socket.socket(fileno=_HIGH))
    exec(program, {"__name__": "__main__"})


def _arrange(fds: dict[int, int], channel: int) -> None:
    """Let each descriptor have the number that it has in the parent; the channel, if any, that of _HIGH."""
    kept = {}
    if channel >= 0:
        os.dup2(channel, _HIGH, inheritable=False)
    for index, (number, fd) in enumerate(fds.items(), 1):
        kept[number] = os.dup2(fd, _HIGH + index)
    os.closerange(3, _HIGH)
    for number, fd in kept.items():
        os.dup2(fd, number)
        os.close(fd)


def _take_console(console: Path) -> None:
    null, file = os.open(os.devnull, os.O_RDONLY), os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (file, 1), (file, 2)):
        os.dup2(source, target)


def _keep_only(fds: Sequence[int]) -> None:
    first = 3
    for fd in sorted(fds):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 1 << 16)


def _end(run: Callable[[], None]) -> NoReturn:
    """Run it and end as the interpreter does, but for what it would free."""
    code = 1
    try:
        code = _run(run)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        if not sys.stdout.closed:  # as the resource tracker does
            sys.stdout.flush()
    except BaseException:  # noqa: BLE001  # not hidden
        traceback.print_exc()
    finally:  # whatever it was: nothing of the template is this process's to end
        os._exit(code & 0xFF)


def _run(run: Callable[[], None]) -> int:
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:  # noqa: BLE001  # not hidden: an interpreter shows it, and ends with 1
        traceback.print_exc()
        return 1
    return 0
