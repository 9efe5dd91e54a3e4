"""Stop a process at each of its system calls, and decide there: seccomp's user notification.

As `strace` with `inject` does, a process is killed, or answered with an error, at the entry of a call, which is not
done then. Other than strace it counts the calls of all threads together, so that those of every thread are reached, and
costs a tenth. A thread puts the filter on itself, and on whatever threads and processes it starts from then on.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple

from tests.chaos.syscalls import CREATE, NAMES, NUMBERS

_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 317, 1, 1 << 3, 1 << 5
_NO_NEW_PRIVILEGES = 38
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_LOAD, _EQUAL, _RETURN, _ALLOW, _NOTIFY = 0x20, 0x15, 0x06, 0x7FFF0000, 0x7FC00000


class Call(NamedTuple):
    """A call that waits for an answer."""

    id: int
    thread: int
    name: str


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def give_up(channel: socket.socket) -> None:
    """Have all further calls of this thread, and of what it starts, decided by whoever reads from `channel`."""
    listener: list[int] = []
    installed = threading.Event()

    def send() -> None:  # another thread has to: this one's sendmsg would wait for the one that it is sent to
        installed.wait()
        socket.send_fds(channel, [str(os.getpid()).encode()], listener)
        os.close(listener[0])
        channel.close()

    sender = threading.Thread(target=send)
    sender.start()
    listener.append(_install())
    installed.set()
    sender.join()


def _install() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = sorted(NUMBERS.values())
    tests = [_Instruction(_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    ends = [_Instruction(_RETURN, 0, 0, _ALLOW), _Instruction(_RETURN, 0, 0, _NOTIFY)]
    steps = [_Instruction(_LOAD, 0, 0, 0), *tests, *ends]
    program = _Program(len(steps), (_Instruction * len(steps))(*steps))
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    flags = _NEW_LISTENER | _WAIT_KILLABLE
    fd: int = libc.syscall(_SECCOMP, _SET_MODE_FILTER, flags, ctypes.byref(program))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


class Listener:
    """The other end: the calls of one process."""

    def __init__(self, channel: socket.socket) -> None:
        """Wait until a process has given itself up."""
        data, fds, _, _ = socket.recv_fds(channel, 32, 1)
        assert data, "whoever was to give itself up has ended before"
        self.pid = int(data)
        self._fd = fds[0]
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def calls(self, seconds: float) -> Iterator[Call]:
        """Those that come within some time; ends early where none can come any more."""
        for _, event in self._poll.poll(seconds * 1000):
            if event & select.POLLIN:
                yield from self._next()
            else:  # everybody who was listened to has ended
                raise EOFError

    def _next(self) -> Iterator[Call]:
        request = bytearray(80)
        with contextlib.suppress(FileNotFoundError):  # it was killed meanwhile
            fcntl.ioctl(self._fd, _RECEIVE, request)
            number, thread, _, call, _, _, *values = struct.unpack_from("QIIiIQ6Q", request)
            creates = NAMES[call] == "openat" and values[2] & os.O_CREAT
            yield Call(number, thread, CREATE if creates else NAMES[call])

    def answer(self, call: Call, error: int = 0) -> None:
        """Let it be done, as it would be without us, or fail."""
        reply = struct.pack("QqiI", call.id, 0, -error, 0 if error else _CONTINUE)
        try:
            fcntl.ioctl(self._fd, _SEND, bytearray(reply))
        except OSError as gone:
            if gone.errno not in (errno.ENOENT, errno.EINPROGRESS):  # it was killed meanwhile
                raise

    def close(self) -> None:
        """Let whatever still waits fail with ENOSYS."""
        os.close(self._fd)


def missing() -> str:
    """Why this cannot be had here; empty if it can."""
    if not NUMBERS:
        return "the numbers of the system calls of this machine are not known here"
    pid = os.fork()
    if not pid:
        try:
            _install()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return f"the kernel offers no user notification of seccomp: {os.strerror(code)}" if code else ""
