"""Distance: a network namespace whose loopback delays every packet, for the thread that asks and what it starts."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000  # sched.h
_PACKETS = 1_000_000
"""On their way at once: none is dropped."""


@contextlib.contextmanager
def far_away(milliseconds: float) -> Iterator[bool]:
    """Within the block 127.0.0.1 is so many milliseconds away, each way. False: this machine cannot do that.

    It takes root, the programs `ip` and `tc`, and netem in the kernel.
    """
    with contextlib.ExitStack() as stack:
        left = stack.enter_context(_own_network())
        if left and not _delay(milliseconds):
            stack.close()  # back to where 127.0.0.1 is near
            left = False
        yield left


@contextlib.contextmanager
def _own_network() -> Iterator[bool]:
    """A network of this thread's own; False where that is not allowed."""
    libc = ctypes.CDLL(None)
    try:
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        entered = libc.unshare(_CLONE_NEWNET) == 0
        try:
            yield entered
        finally:
            if entered:
                libc.setns(home, _CLONE_NEWNET)
    finally:
        os.close(home)


def _delay(milliseconds: float) -> bool:
    """Whether loopback is as far away as asked for, now."""
    netem = f"tc qdisc add dev lo root netem delay {milliseconds}ms limit {_PACKETS}"
    try:
        for command in ("ip link set lo up", netem):
            subprocess.run(command.split(), check=True, capture_output=True)
        return _round_trip() >= 1.9 * milliseconds
    except (OSError, subprocess.CalledProcessError):
        return False


def _round_trip() -> float:
    """Milliseconds that a TCP handshake takes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.perf_counter()
        socket.create_connection(server.getsockname()).close()
        return (time.perf_counter() - started) * 1000
