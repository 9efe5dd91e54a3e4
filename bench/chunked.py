"""Chunked bodies: HTTP's own (RFC 9112, 7.1) and AWS's `aws-chunked`, which look alike, trailers included."""

from collections.abc import Callable


class Dechunker:
    """Passes on what lies in the chunks."""

    def __init__(self, take: Callable[[memoryview], None]) -> None:
        self._take = take
        self._line = bytearray()
        self._left = 0  # bytes of the chunk that are still to come
        self._trailers = False
        self.trailers: list[bytes] = []
        self.done = False

    def feed(self, data: memoryview) -> memoryview:
        """Read on; what lies behind the end of the body."""
        while data and not self.done:
            data = self._chunk(data) if self._left else self._read_line(data)
        return data

    def feed_all(self, data: memoryview) -> None:
        """Read on, where nothing can lie behind."""
        self.feed(data)

    def _chunk(self, data: memoryview) -> memoryview:
        mine = data[: self._left]
        self._left -= len(mine)
        self._take(mine)
        return data[len(mine) :]

    def _read_line(self, data: memoryview) -> memoryview:
        self._line += data[:256]
        end = self._line.find(b"\n")
        if end < 0:
            return data[256:]
        taken = end + 1 - (len(self._line) - len(data[:256]))
        line = bytes(self._line[:end]).strip()
        self._line.clear()
        self._end_of(line)
        return data[taken:]

    def _end_of(self, line: bytes) -> None:
        if self._trailers:
            self.done = not line
            self.trailers += [line] if line else []
        elif line:  # an empty one ends the chunk before
            self._left = int(line.partition(b";")[0], 16)
            self._trailers = not self._left
