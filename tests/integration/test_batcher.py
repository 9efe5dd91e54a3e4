"""Batches under contention: what shows only when threads compete for the interpreter."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pipeline.batcher import Batcher


def test_no_item_is_forgotten_while_threads_compete() -> None:
    """Bursts for two flushing threads while others hold the interpreter: every future gets its outcome.

    With `queue.SimpleQueue` the last item of a burst waited for ever in three of four runs of eight seconds.
    """
    batcher: Batcher[int, int] = Batcher(lambda items: [item + 1 for item in items], 10, 0.004, 2)
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            sum(range(200))

    spinners = [threading.Thread(target=spin, daemon=True) for _ in range(2)]
    for thread in spinners:
        thread.start()
    try:
        end = time.monotonic() + 6
        while time.monotonic() < end:
            with ThreadPoolExecutor(6) as pool:
                futures = list(pool.map(batcher.submit, range(6)))
            assert [future.result(20) for future in futures] == list(range(1, 7))
    finally:
        over.set()
    batcher.close()
