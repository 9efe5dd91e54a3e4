"""How long to wait before the next try, and a gate that a whole side waits at."""

import logging
import random
import threading
import time

log = logging.getLogger(__name__)

_LOG_SECONDS = 60.0


def delay(attempt: int, base: float = 0.5, cap: float = 60.0) -> float:
    """Seconds before try number `attempt` (0 is the first retry): exponential with full jitter.

    Full jitter spreads the retries of many workers best (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    return random.uniform(0, min(cap, base * 2.0 ** min(attempt, 20)))  # noqa: S311  # no secret


class Summary:
    """Troubles of single files for a person: the first at once, then one line a minute with their number."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._count = 0
        self._said = -_LOG_SECONDS

    def note(self, error: Exception) -> None:
        """Count one, and say so if it is time."""
        with self._lock:
            self._count += 1
            now = time.monotonic()
            if now - self._said < _LOG_SECONDS:
                return
            count, self._count, self._said = self._count, 0, now
        times = f"{count} times, the last: " if count > 1 else ""
        self._logger.warning("tried again later, nothing is lost: %s%s", times, error)


class Gate:
    """Open while the world outside answers. One failure of the kind "everything, later" closes it for all threads."""

    def __init__(self, base: float = 1.0, cap: float = 30.0) -> None:
        self._base, self._cap = base, cap
        self._lock = threading.Lock()
        self._until = 0.0
        self._attempt = 0
        self._logged = -_LOG_SECONDS
        self._stopped = threading.Event()

    def shut(self, error: Exception) -> None:
        """Close for a growing while; one log line a minute says why."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self._until = now + self._base / 2 + delay(self._attempt, self._base, self._cap)
                self._attempt += 1
            speak = now - self._logged >= _LOG_SECONDS
            if speak:
                self._logged = now
        if speak:
            log.error("waiting, nothing is lost: %s", error)

    def passed(self) -> None:
        """Something worked: the next failure starts with a short wait again."""
        if not self._attempt:
            return
        with self._lock:
            was_shut, self._attempt, self._logged = self._attempt > 0, 0, -_LOG_SECONDS
        if was_shut:
            log.info("working again")

    def stop(self) -> None:
        """Wake everybody who waits, for good."""
        self._stopped.set()

    def remaining(self) -> float:
        """Seconds until it opens; 0 if it is open."""
        return max(0.0, self._until - time.monotonic())

    def wait(self) -> bool:
        """Wait until it is open; False if the program stops."""
        while (left := self.remaining()) > 0:
            if self._stopped.wait(left):
                return False
        return not self._stopped.is_set()
