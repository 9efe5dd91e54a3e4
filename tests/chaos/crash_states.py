"""What a power cut may leave of a recorded log: pure, and legal for two kinds of file system.

Both keep what was fsynced, move a file and set its ctime in one piece, never forget a name that a durable move gave,
write no name before that of its folder unless they are told to, remove a folder after what was in it has left, and give
a name again after it was free. `ordered`, as ext4 and xfs: names change in the order of one journal, which any fsync
writes out. `subset`: what happened in a folder since its last fsync may be there or not, each thing by itself. Content
that was not fsynced may in both be missing, cut short, or zeros.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.entries import ALL, Cloud, Committed, Dated, Entry, Named, Synced, Unnamed, Wrote

KINDS = ("ordered", "subset")


class Kept(NamedTuple):
    """A file as it comes back."""

    body: bytes
    mtime: int
    ctime: int


@dataclass
class Crash:
    """All that comes back. Paths are of nodes: names from the first folder down."""

    at: int
    """How much of the log had happened."""
    folders: list[str]
    names: dict[str, int]
    files: dict[int, Kept]
    ledger: tuple[bytes, bytes] | None
    cloud: Cloud
    key: tuple[object, ...] = field(repr=False, default=())
    """Equal for states that do not differ."""


def draw(log: Sequence[Entry], first: int, kind: str, rng: random.Random) -> Crash:
    """One of the states that a power cut may leave after `first` entries or more."""
    at = rng.randint(first, len(log))
    happened = log[:at]
    kept = (_journal if kind == "ordered" else _subset)(happened, rng)
    paths, folders = _tree(kept)
    in_watch = {node for path, node in paths.items() if path.startswith("Watch/")}
    files = {node: _file(node, happened, kept, rng, safe=node in in_watch) for node in {*paths.values()}}
    ledger = _ledger(log, at, rng) if "DownloadedFromS3/.relay" in folders else None
    clouds = [number for number, entry in enumerate(happened) if isinstance(entry, Cloud)]
    cloud = log[clouds[-1]]
    assert isinstance(cloud, Cloud)
    key = (tuple(sorted(folders)), tuple(sorted(paths.items())), tuple(sorted(files.items())), ledger, clouds[-1])
    return Crash(at, folders, paths, files, ledger, cloud, key)


def _journal(happened: Sequence[Entry], rng: random.Random) -> list[Entry]:
    """All up to an instant after the last fsync of anything, and nothing later but what is a user's.

    Where he gave a name that was free by a move of the program, that move came before.
    """
    left: set[tuple[int, str]] = set()
    barriers = []
    for number, entry in enumerate(happened, 1):
        if _writes_out(entry) or (isinstance(entry, Named) and entry.is_users and (entry.folder, entry.name) in left):
            barriers.append(number)
        left.add(_left_by(entry))
    end = rng.randint(barriers[-1] if barriers else 0, len(happened))
    return [entry for number, entry in enumerate(happened) if number < end or _is_users(entry)]


def _writes_out(entry: Entry) -> bool:
    return isinstance(entry, Synced) or (isinstance(entry, Committed) and entry.durable)


def _subset(happened: Sequence[Entry], rng: random.Random) -> list[Entry]:
    """What was fsynced, and any of the rest."""
    last: dict[int, int] = {}
    for number, entry in enumerate(happened):
        if isinstance(entry, Synced):
            last[entry.node] = number
    safe = [
        _is_users(entry) or number < max(last.get(_whose(entry), ALL), last.get(ALL, ALL))
        for number, entry in enumerate(happened)
    ]
    share = rng.choice((0.0, 0.5, 0.5, 1.0))
    chosen: list[tuple[Entry, bool]] = []
    gone: set[int] = set()
    given: set[tuple[int, str]] = set()
    for entry, is_safe in reversed([*zip(happened, safe, strict=True)]):
        left = _left_by(entry)
        if is_safe or left[0] in gone or left in given or rng.random() < share:
            chosen.append((entry, is_safe))
            gone |= {entry.node} if isinstance(entry, Unnamed) else set()
            given |= {(entry.folder, entry.name)} if isinstance(entry, Named) else set()
    return _in_folders(chosen[::-1])


def _in_folders(chosen: Sequence[tuple[Entry, bool]]) -> list[Entry]:
    """Without names, in folders that are not there, that nothing made durable."""
    kept: list[Entry] = []
    there = {0}
    for entry, is_safe in chosen:
        if isinstance(entry, Named) and not is_safe and entry.folder not in there:
            continue
        if isinstance(entry, Named) and entry.is_folder:
            there.add(entry.node)
        kept.append(entry)
    return kept


def _whose(entry: Entry) -> int:
    """The folder or file whose fsync makes it durable."""
    return entry.folder if isinstance(entry, Named | Unnamed) else getattr(entry, "node", ALL)


def _left_by(entry: Entry) -> tuple[int, str]:
    """The folder, and the name in it, that is free by it."""
    if isinstance(entry, Named):
        return entry.old or (ALL, "")
    return (entry.folder, entry.name) if isinstance(entry, Unnamed) else (ALL, "")


def _is_users(entry: Entry) -> bool:
    return getattr(entry, "is_users", False)


def _tree(kept: Sequence[Entry]) -> tuple[dict[str, int], list[str]]:
    """The files by their paths, and the folders; what lies in a folder that is not there is not there."""
    entries: dict[tuple[int, str], int] = {}
    folders: dict[int, bool] = {}
    for entry in kept:
        if isinstance(entry, Named):
            if entry.old:  # it moved, whichever earlier moves of it are forgotten by themselves
                entries = {place: node for place, node in entries.items() if node != entry.node}
            entries[entry.folder, entry.name] = entry.node
            folders[entry.node] = folders.get(entry.node, False) or entry.is_folder
        elif isinstance(entry, Unnamed) and entries.get((entry.folder, entry.name)) == entry.node:
            del entries[entry.folder, entry.name]
    return _walk(entries, folders)


def _walk(entries: dict[tuple[int, str], int], folders: dict[int, bool]) -> tuple[dict[str, int], list[str]]:
    root = next(node for (folder, _), node in entries.items() if folder == 0)
    paths: dict[str, int] = {}
    found: list[str] = []
    todo = [(root, "")]
    while todo:
        above, head = todo.pop()
        for (folder, name), node in entries.items():
            if folder == above and folders[node]:
                found.append(f"{head}{name}")
                todo.append((node, f"{head}{name}/"))
            elif folder == above:
                paths[f"{head}{name}"] = node
    return paths, found


def _file(node: int, happened: Sequence[Entry], kept: Sequence[Entry], rng: random.Random, *, safe: bool) -> Kept:
    """`safe`: it lies in Watch, and its writer saw to it."""
    synced = max((number for number, entry in enumerate(happened) if _is_sync_of(entry, node)), default=-1)
    written = [(number, _body_of(entry)) for number, entry in enumerate(happened) if getattr(entry, "node", 0) == node]
    bodies = [(number, body) for number, body in written if body is not None]
    last = bodies[-1][1] if bodies else b""
    if bodies and bodies[-1][0] > synced and not safe:
        durable = [body for number, body in bodies if number < synced]
        last = rng.choice((durable[-1] if durable else b"", bytes(len(last)), last[: len(last) // 2], last))
    dates = [entry.mtime for entry in kept if isinstance(entry, Named | Dated) and entry.node == node and entry.mtime]
    times = [entry.ctime for entry in kept if isinstance(entry, Named | Unnamed | Dated) and entry.node == node]
    return Kept(last, dates[-1] if dates else 0, max(times, default=0))


def _body_of(entry: Entry) -> bytes | None:
    return entry.body if isinstance(entry, Named | Wrote) else None


def _is_sync_of(entry: Entry, node: int) -> bool:
    return isinstance(entry, Synced) and entry.node in (node, ALL)


def _ledger(log: Sequence[Entry], at: int, rng: random.Random) -> tuple[bytes, bytes] | None:
    """As of the last commit that is durable, of a later one, or torn in the middle of the next."""
    states = [entry for entry in log[:at] if isinstance(entry, Committed)]
    if not states:
        return None
    durable = max((number for number, entry in enumerate(states) if entry.durable), default=0)
    last = states[rng.randint(durable, len(states) - 1)]
    following = log[at] if at < len(log) else None
    if last is states[-1] and isinstance(following, Committed) and following.wal.startswith(last.wal):
        return last.base, following.wal[: rng.randint(len(last.wal), len(following.wal))]
    return last.base, last.wal
