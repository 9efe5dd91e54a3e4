"""What a process keeps of large blocks that it has used."""

import subprocess
import sys

import pytest

from pipeline import kernel
from tests.integration.program import MAIN

MIB = 1 << 20
_USE = """
import sys, threading, psutil
from pipeline import kernel
if sys.argv[1] == "True":
    assert kernel.share_memory()
together = threading.Barrier(8)
def use():
    together.wait()  # else one may be done before the next begins, and all use one heap
    for _ in range(20):
        body = bytes(8 << 20)
        body += b"1"
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(psutil.Process().memory_info().rss)
"""


def kept(*, shared: bool) -> int:
    """Resident bytes after eight threads used, and freed, bodies of 8 MiB."""
    command = [sys.executable, "-c", _USE, str(shared)]
    return int(subprocess.run(command, cwd=MAIN.parent, capture_output=True, text=True, timeout=60, check=True).stdout)


@pytest.mark.skipif(not kernel.share_memory(), reason="this system's allocator is not glibc's")
def test_large_blocks_do_not_stay() -> None:
    """Without it the heaps of the threads keep some of them; then the program needs it no more."""
    with_it, without = kept(shared=True), kept(shared=False)
    assert with_it < 80 * MIB
    assert without > with_it + 8 * MIB
