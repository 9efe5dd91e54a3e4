"""The server's own clock: it goes on at the pace of the machine's, and can be set forward or wrong."""

import time


class Clock:
    """Seconds since the epoch; no jump of the machine's clock reaches it."""

    def __init__(self) -> None:
        self._base = time.time() - time.monotonic()
        self._ahead = 0.0
        self.skew = 0.0
        """By how much it disagrees with the clients' clocks."""

    def now(self) -> float:
        """The time that messages age by."""
        return self._base + time.monotonic() + self._ahead

    def wall(self) -> float:
        """The time that signatures are compared with: it does not go ahead, as those who sign do not either."""
        return self._base + time.monotonic() + self.skew

    def date(self) -> float:
        """What an answer says it is."""
        return self.now() + self.skew

    def advance(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead += seconds
