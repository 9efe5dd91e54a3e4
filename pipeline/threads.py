"""Threads that work is given to, where there may be no room for more of them."""

from concurrent.futures import ThreadPoolExecutor


class Pool(ThreadPoolExecutor):
    """Where no more threads can be started, those that are there do the work; the first starts with the pool.

    An executor puts the work down before it starts a thread for it. Were it an error that there is no memory for that
    one, or that this user may have no more, work would be taken for refused, its file closed, and done all the same.
    """

    def __init__(self, most: int, name: str) -> None:
        """RuntimeError: not even one thread can be started."""
        super().__init__(most, name)
        self.submit(int).result()

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise
