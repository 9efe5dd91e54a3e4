"""What the program does to files, ledger, store and queue, in the order in which it does it: the log of a power cut.

Names and contents are seen where Python calls the system. What SQLite writes is not: of the ledger there is its state
after each commit, and whether `synchronous` makes a commit outlive a power cut (a test sees by strace that it does).
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest

from pipeline import durability, kernel
from pipeline.landing import LEDGER
from tests.chaos.entries import ALL, Cloud, Committed, Dated, Entry, Named, Synced, Unnamed, Wrote
from tests.fakes import FakeQueue, FakeStore

LEDGER_SITE = "ledger"
"""Where SQLite does it."""
_PASSED = (
    "durability.sync",
    "durability._sync_each",
    "durability._sync_one",
    "durability._sync_apart",
    "durability._sync_together",
    "durability.sync_together",
    "durability.<listcomp>",
    "folders.sync",
    "parents.sync",
    "parents.sync_below",
)
"""Those that do it for whoever calls them."""


class Killed(BaseException):
    """The process ended here."""


class Recorder:
    """The log of all that is done below one folder; after a chosen number of entries the process is killed."""

    def __init__(self, root: Path, store: FakeStore, queue: FakeQueue) -> None:
        self.root, self._store, self._queue = root, store, queue
        self.log: list[Entry] = []
        self.kill_at = -1
        self._dead = False
        self._nodes: dict[int, int] = {}
        """Inode → node: an inode is used again, a node is not."""
        self.inodes: dict[int, int] = {}
        """Node → inode."""
        self._count = 0
        self._note_users([root, *sorted(root.rglob("*"))])
        self.see_cloud()

    def revive(self) -> None:
        """The next process."""
        self._dead, self.kill_at = False, -1

    def users(self, work: Callable[[], None]) -> None:
        """Somebody drops something into Watch."""
        before = {*(self.root / "Watch").rglob("*")}
        work()
        self._note_users(sorted({*(self.root / "Watch").rglob("*")} - before))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """See every call that changes something, or makes it durable, and let that cost no time."""
        for name in ("mkdir", "link", "unlink", "rmdir", "pwrite", "utime"):
            patch.setattr(os, name, self._seen(getattr(self, f"_{name}"), getattr(os, name)))
        patch.setattr(os, "fsync", self._sync)
        patch.setattr(durability, "_syncfs", self._sync_all)
        patch.setattr(durability, "_sync_file_range", lambda *_range: 0)
        patch.setattr(kernel, "_renameat2", self._seen(self._move, kernel._renameat2))
        patch.setattr(kernel, "create_hidden", self._seen(self._create, kernel.create_hidden))
        connect = sqlite3.connect
        factory = _connection(self)
        patch.setattr(sqlite3, "connect", lambda *words, **named: connect(*words, **{"factory": factory, **named}))
        for operation in ("upload", "look", "download", "keys"):
            self._store.before[operation] = lambda _key: self._refuse_dead()
        self._store.after["upload"] = lambda _key: self.see_cloud()
        for operation in ("send", "receive", "delete", "extend"):
            patch.setattr(self._queue, operation, self._of_cloud(getattr(self._queue, operation)))

    def see_cloud(self) -> None:
        """Note what store and queue hold."""
        objects = {key: list(versions) for key, versions in self._store._versions.items()}
        messages = tuple(replace(message) for message in self._queue._messages)
        self._add(Cloud(objects, messages, tuple(self._queue.journal.of("accepted"))))

    def see_ledger(self, *, durable: bool) -> None:
        """Note what the ledger is."""
        file = self.root / "DownloadedFromS3" / LEDGER
        wal = file.with_name(f"{file.name}-wal")
        ledgers = [entry for entry in self.log if isinstance(entry, Committed)]
        if durable and not (ledgers and ledgers[-1].wal):
            # SQLite does, when it makes a file there.
            self._add(Synced(self._nodes[file.parent.stat().st_ino], LEDGER_SITE))
        self._add(Committed(file.read_bytes(), wal.read_bytes() if wal.exists() else b"", durable))

    def _add(self, entry: Entry) -> None:
        self.log.append(entry)
        if len(self.log) == self.kill_at:
            self._dead = True
            raise Killed

    def _refuse_dead(self) -> None:
        if self._dead:
            raise Killed

    def _seen(self, note: Callable[..., None], function: Callable[..., Any]) -> Callable[..., Any]:
        def seen(*values: Any, **named: Any) -> Any:
            if not _is_of_program(values, named):
                return function(*values, **named)
            self._refuse_dead()
            node = self._node_at(values[0], named.get("dir_fd")) if function.__name__ in ("unlink", "rmdir") else -1
            result = function(*values, **named)
            note(*values, **named, **({"node": node} if node >= 0 else {}), **({"result": result} if result else {}))
            return result

        return seen

    def _of_cloud(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def seen(*values: Any, **named: Any) -> Any:
            self._refuse_dead()
            result = function(*values, **named)
            self.see_cloud()
            return result

        return seen

    # What each call changed.

    def _mkdir(self, name: str, _mode: int = 0o777, *, dir_fd: int) -> None:
        self._add(self._new(os.stat(name, dir_fd=dir_fd), self._node(dir_fd), name, is_folder=True))

    def _create(self, folder_fd: int, _mode: int, *, result: tuple[int, str]) -> None:
        self._add(self._new(os.fstat(result[0]), self._node(folder_fd), result[1]))

    def _link(self, source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        status = os.stat(target, dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        self._add(Named(self._nodes[status.st_ino], self._node(dst_dir_fd), target, status.st_ctime_ns))

    def _move(self, source_fd: int, source: str, target_fd: int, target: str) -> None:
        status = os.stat(target, dir_fd=target_fd, follow_symlinks=False)
        old = (self._node(source_fd), source)
        self._add(Named(self._nodes[status.st_ino], self._node(target_fd), target, status.st_ctime_ns, old))

    def _unlink(self, name: str, *, dir_fd: int, node: int) -> None:
        self._add(Unnamed(node, self._node(dir_fd), name, self._ctime_of(node)))

    _rmdir = _unlink

    def _pwrite(self, fd: int, *_what: Any, result: int = 0) -> None:
        self._add(Wrote(self._node(fd), os.pread(fd, os.fstat(fd).st_size, 0)))

    def _utime(self, fd: int, *, ns: tuple[int, int]) -> None:
        self._add(Dated(self._node(fd), ns[1], os.fstat(fd).st_ctime_ns))

    def _sync(self, fd: int) -> None:
        self._refuse_dead()
        self._add(Synced(self._node(fd), self._site(fd)))

    def _sync_all(self, fd: int) -> int:
        self._refuse_dead()
        self._add(Synced(ALL, self._site(fd)))
        return 0

    def _site(self, fd: int) -> str:
        frame = sys._getframe(1)
        while _name_of(frame) in _PASSED or not frame.f_globals["__name__"].startswith("pipeline."):
            frame = cast(FrameType, frame.f_back)
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        what = path.relative_to(self.root).parts[0] if path.is_dir() else "content"
        return f"{_name_of(frame)} {what}"

    def _ctime_of(self, node: int) -> int:
        """Of a file that may have another name still."""
        for path in self.root.rglob("*"):
            status = os.lstat(path)
            if self._nodes.get(status.st_ino) == node:
                return status.st_ctime_ns
        return 0

    def _new(self, status: os.stat_result, folder: int, name: str, *, is_folder: bool = False) -> Named:
        self._count += 1
        self._nodes[status.st_ino] = self._count
        self.inodes[self._count] = status.st_ino
        return Named(self._count, folder, name, status.st_ctime_ns, is_folder=is_folder)

    def _node(self, fd: int) -> int:
        return self._nodes[os.fstat(fd).st_ino]

    def _node_at(self, name: str, dir_fd: int | None) -> int:
        return self._nodes[os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino]

    def _note_users(self, paths: Sequence[Path]) -> None:
        """They are there now: name, content and time are durable, as whoever writes them is told to see to."""
        for path in paths:
            status = path.stat()
            folder = 0 if path == self.root else self._nodes[path.parent.stat().st_ino]
            named = self._new(status, folder, path.name, is_folder=path.is_dir())._replace(is_users=True)
            if not named.is_folder:
                named = named._replace(body=path.read_bytes(), mtime=status.st_mtime_ns)
            self._add(named)


def _name_of(frame: FrameType) -> str:
    return f"{frame.f_globals['__name__'].removeprefix('pipeline.')}.{frame.f_code.co_name}"


def _is_of_program(values: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """It always names an open folder, or an open file; the tests, paths."""
    return isinstance(values[0], int) or any(name in named for name in ("dir_fd", "src_dir_fd"))


def _connection(recorder: Recorder) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, *words: Any) -> sqlite3.Cursor:
            if words[0] != "COMMIT":
                return super().execute(*words)
            recorder._refuse_dead()
            durable = super().execute("PRAGMA synchronous").fetchone()[0] >= 2
            found = super().execute(*words)
            recorder.see_ledger(durable=durable)
            return found

    return Connection
