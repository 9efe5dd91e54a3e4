"""What the log of a power cut consists of: each thing that was done to files, ledger, store and queue. Pure values."""

from __future__ import annotations

from typing import Any, NamedTuple

ALL = -1
"""Instead of one node: everything on the file system."""


class Named(NamedTuple):
    """A node got a name: made, linked, or, with `old`, moved; what ctime it has since."""

    node: int
    folder: int
    name: str
    ctime: int
    old: tuple[int, str] | None = None
    is_folder: bool = False
    is_users: bool = False
    """Made by somebody who is none of the program's concern: it is durable."""
    body: bytes | None = None
    mtime: int = 0
    """What such a file came with."""


class Unnamed(NamedTuple):
    """A name is gone."""

    node: int
    folder: int
    name: str
    ctime: int


class Wrote(NamedTuple):
    """A file holds this now."""

    node: int
    body: bytes


class Dated(NamedTuple):
    """A file has this time now."""

    node: int
    mtime: int
    ctime: int


class Synced(NamedTuple):
    """Content and time of a file, or the names in a folder, outlive a power cut from now on; or ALL."""

    node: int
    site: str
    """Which function of the program asked for it, and of what."""


class Committed(NamedTuple):
    """The ledger is this: its file, and what SQLite wrote beside it."""

    base: bytes
    wal: bytes
    durable: bool


class Cloud(NamedTuple):
    """What store and queue hold now, and what the queue ever took: they lose nothing."""

    objects: dict[str, list[Any]]
    messages: tuple[Any, ...]
    accepted: tuple[str, ...]


Entry = Named | Unnamed | Wrote | Dated | Synced | Committed | Cloud
