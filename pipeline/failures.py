"""What can go wrong outside: errors that answer "may I try again?", and the exit codes.

Whoever uses a port finds them in `pipeline.ports`.

    RelayError
    ├── StartupError   this program cannot begin; carries its exit code
    ├── LaterError     this file, later: throttling, 5xx, a connection that broke
    │   ├── MissingError  the object is not there (yet)
    │   ├── DeniedError   the object may not be read, others may
    │   ├── RoomError     there is no room for it now, for smaller ones there may be
    │   ├── TriedError    its command failed, or runs already; says for how long it is left alone
    │   └── ChangedError  the file, or the object, is not what it was said to be
    ├── PausedError    everything, later: credentials, endpoint, bucket or queue gone, disk full
    │   └── RefusedError  an object may not be read, and nothing says whether any other may
    ├── NeverError     this file, never: goes to Failed, or to the dead letters
    ├── TakenError     the key already holds an object
    ├── ReceiptError   the message is no longer ours
    └── CancelledError the program is stopping
"""

EXIT_DONE, EXIT_LOSS, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_RUNNING, EXIT_CONFIG = 0, 1, 2, 69, 75, 78

_RARELY = 600.0
"""Anybody may announce an object that is not there, or not what it says: each try costs a request, or a download."""


class RelayError(Exception):
    """Says to a person what happened, where, and what to do next."""

    longest = 60.0
    """Seconds to which the pauses between two tries grow."""


class StartupError(RelayError):
    """The program cannot begin; `code` is its exit code."""

    def __init__(self, text: str, code: int = EXIT_UNAVAILABLE) -> None:
        super().__init__(text)
        self.code = code


class LaterError(RelayError):
    """This file, later."""


class MissingError(LaterError):
    """The object is not there (yet)."""

    longest = _RARELY


class DeniedError(LaterError):
    """The object may not be read, and others may."""

    longest = _RARELY


class RoomError(LaterError):
    """There is no room for this file now, for smaller ones there may be."""


class TriedError(LaterError):
    """The command for this file failed, or runs already; the next try comes after `seconds`."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class ChangedError(LaterError):
    """The file changed since its checksum was computed; or the object is not what was said of it."""

    longest = _RARELY


class PausedError(RelayError):
    """Everything, later: the whole side waits."""


class RefusedError(PausedError):
    """An object may not be read, and nothing says whether any other may."""


class NeverError(RelayError):
    """This file, never."""


class TakenError(RelayError):
    """The key already holds an object."""


class ReceiptError(RelayError):
    """The message is no longer ours: its visibility ran out."""


class CancelledError(RelayError):
    """The program is stopping; the work in hand goes back."""
