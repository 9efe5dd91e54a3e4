"""Compare every arrival with what it has to be, and keep the accounts. It reads folders, store and queue alone."""

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from app_properties import Settings
from pipeline.folders import is_regular
from pipeline.names import RESERVED, key_for, printable, reason_name, with_name
from pipeline.ports import ObjectStore, StoredObject
from pipeline.soak.accounts import ANNOUNCED, CLAIMED, DELIVERED, GENERATED, UPLOADED, Accounts
from pipeline.soak.content import File, file_of
from pipeline.soak.examiner import Examiner, Finding, again
from pipeline.soak.facts import STAGES
from pipeline.soak.leftovers import leftovers
from pipeline.soak.lookup import Lookup
from pipeline.soak.run import METADATA, Run
from pipeline.soak.series import Latencies
from pipeline.spool import REASONS

log = logging.getLogger(__name__)


class State(NamedTuple):
    """What tells a file from another at its place, and from itself before it was changed."""

    inode: int
    size: int
    mtime_ns: int


_LAST_WORD_SECONDS = 1.0


class Judge:
    """One run's accounts. `step` is to be called again and again."""

    def __init__(self, run: Run, settings: Settings, store: ObjectStore, feeder: "Connection[Any, Any]") -> None:
        """`feeder`: says what it did, and is told what is settled or lost."""
        self._run, self._settings, self._store, self._feeder = run, settings, store, feeder
        self._recipe = run.recipe
        self.accounts = Accounts(run.options.deadline)
        self._examiner = Examiner(run.recipe, self.accounts)
        self._strays: dict[File, list[Path]] = {}
        """Where the content of a file lies under another name, while it has not arrived itself."""
        self.latencies = Latencies()
        self.finished = ""
        """Why the feeder drops no more."""
        self.failed = ""
        """The error that ended the feeder."""
        self.kills: dict[str, int] = {}
        self.sent = self.received = 0
        self.waiting: dict[int, int] = {}
        """Stage → files that lie in its folder now."""
        self._seen: dict[Path, State] = {}
        """What was judged, as it was then."""
        self._sweeping: set[File] = set()
        self._owed = 0
        """Files that the feeder is to drop in the place of lost ones."""
        self._arrived_at = 0.0
        self._stored: dict[File, StoredObject] = {}
        self._lookup = Lookup(store, self._key)
        self._words: deque[tuple[Any, ...]] = deque()
        """What the feeder is still to be told."""
        self._room = select.poll()
        self._room.register(feeder.fileno(), select.POLLOUT)

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._run.began

    def step(self) -> None:
        """Look at everything once."""
        # Listed before the feeder's words are taken: whatever is listed has been announced by then.
        listed = [(stage, folder, list(self._list(folder))) for stage, folder in self._places()]
        self.waiting = {stage: len(files) for stage, _, files in listed}
        self._hear()
        for stage, folder, files in listed:
            for path, state in files:
                self._judge(stage, folder, path, state)
        if len(self._seen) > self.waiting[ANNOUNCED] + self.waiting[DELIVERED]:  # some are gone that nobody swept
            there = {path for _, _, files in listed for path, _ in files}
            self._seen = {path: state for path, state in self._seen.items() if path in there}
        self._ask_store()
        for file in self.accounts.expire(self.now, self._refusal):
            self._owed += 1
            log.error("not settled in time: %s", file.name)
        if self.now - self._arrived_at < self._run.options.deadline:  # while nothing arrives, more would only pile up
            self._words.extend([("lost",)] * self._owed)
            self._owed = 0
        for file in self.accounts.settled():
            if file not in self._sweeping:
                self._sweeping.add(file)
                self._words.append(("settled", file, self._stored.pop(file), self._is_replaced(file)))
        self._tell(0.0)

    def _is_replaced(self, file: File) -> bool:
        """Whether the feeder dropped another in its place: it was taken for lost."""
        account = self.accounts.account(file)
        return account is not None and account.overdue

    @property
    def accounted(self) -> bool:
        """Whether nothing is expected any more."""
        return bool(self.finished) and not self.accounts.unsettled()

    @property
    def passes(self) -> bool:
        """Whether something was tested to its end, and every file is accounted for."""
        wrong = self.accounts.violations or self.accounts.left_out or self.failed
        return self.accounted and not wrong and self.accounts.totals[STAGES[GENERATED]] > 0

    @property
    def unswept(self) -> list[str]:
        """Names of settled files that are still to be removed."""
        return [file.name for file in self._sweeping]

    def close_accounts(self) -> None:
        """A last look, when all is at rest: nothing may be left anywhere."""
        for name in self.unswept:
            self.accounts.violate("left", name, "it was settled and could not be removed", self.now)
        for where in list(leftovers(self._settings, self._run, self._store, self.accounts)):  # before any has a story
            self.accounts.violate("left", where, "it should be gone by now", self.now)

    def close(self) -> None:
        """Let the feeder end."""
        self._words = deque([("done",)])
        self._tell(_LAST_WORD_SECONDS)
        self._lookup.close()

    def _key(self, file: File) -> str:
        return key_for(self._settings.aws_s3_folder, self._run.path(file.name)).text

    def _places(self) -> list[tuple[int, Path]]:
        settings = self._settings
        return [
            (GENERATED, settings.watch),
            (CLAIMED, settings.queued),
            (ANNOUNCED, settings.uploaded),
            (DELIVERED, settings.downloaded),
        ]

    def _list(self, folder: Path) -> Iterator[tuple[Path, State]]:
        """Every regular file, with its state; the relay's own folder is not looked into."""
        for place, folders, files in os.walk(folder / self._run.subfolder):
            folders[:] = [name for name in folders if name != RESERVED]
            for name in files:
                path = Path(place, name)
                with contextlib.suppress(FileNotFoundError):  # it went on its way
                    status = path.lstat()
                    if is_regular(status):
                        yield path, State(status.st_ino, status.st_size, status.st_mtime_ns)

    def _tell(self, seconds: float) -> None:
        """Send what the pipe takes, waiting so long: a feeder that waits for the judge to listen reads nothing."""
        while self._words and self._room.poll(seconds * 1000):
            self._feeder.send(self._words.popleft())

    def _hear(self) -> None:
        while self._feeder.poll(0):
            what, *rest = self._feeder.recv()
            if what == "generated":
                self.accounts.generated(rest[0], self.now)
            elif what == "dropped":
                self.sent += self._recipe.size(rest[0])
                self.accounts.dropped(rest[0], rest[1] - self._run.began)
            elif what == "swept":
                self._forget(rest[0])
            elif what == "vanished":
                self._vanished(*rest)
            elif what == "stuck":
                self._stuck(*rest)
            elif what == "killed":
                self.kills[rest[0]] = self.kills.get(rest[0], 0) + 1
            elif what == "failed":
                self.failed = rest[0]
            else:
                self.finished = rest[0]

    def _vanished(self, file: File, folder: str) -> None:
        """It was settled, and gone when it was to be removed."""
        text = f"it vanished from {folder}, or was changed there, after it had arrived"
        self.accounts.violate("lost", file.name, text, self.now)

    def _stuck(self, file: File, error: str) -> None:
        """It was settled, and is still there when a file's time has passed."""
        self.accounts.violate("left", file.name, f"it was settled and cannot be removed so far: {error}", self.now)

    def _refusal(self, file: File) -> str:
        """Why the relay gave a file up; empty if it did not."""
        path = self._run.path(file.name)
        if not self._settings.failed.joinpath(path).exists():
            return ""
        reason = self._settings.failed / REASONS / with_name(path, reason_name(file.name))
        try:
            return f"it lies in Failed: {reason.read_text(encoding='utf-8', errors='replace')}"
        except OSError:
            return "it lies in Failed"

    def _forget(self, file: File) -> None:
        self.accounts.fed_back(file)
        self._sweeping.discard(file)
        self._lookup.forget(file)
        for _, folder in self._places():
            self._seen.pop(folder / self._run.path(file.name), None)

    def _judge(self, stage: int, folder: Path, path: Path, state: State) -> None:
        """A file that is new at its place, or was changed there."""
        file = file_of(path.name)
        if stage <= CLAIMED:  # still the relay's, or about to be
            if file is not None:
                self.accounts.reached(file, stage)
            return
        before = self._seen.get(path)
        if before == state:
            return
        if file is not None and path != folder / self._run.path(file.name):
            file = None  # in a folder further down it is none of ours, whatever its name
        try:
            found = self._examiner.examine(path, file)
        except FileNotFoundError:  # swept meanwhile, or moved on
            return
        except OSError as error:
            found = Finding("corrupt", f"{printable(str(path))}: cannot be read: {error.strerror}", file)
        self._seen[path] = state
        if found is None and file is not None:
            if before is None or before.inode != state.inode:  # else it is the one that was judged, touched
                self._right(stage, file, path)
        elif found is not None:
            self._wrong(file, path, found)

    def _right(self, stage: int, file: File, path: Path) -> None:
        account = self.accounts.account(file)
        if stage != DELIVERED:
            self.accounts.reached(file, stage)
        elif account is not None and account.delivered is not None:  # what was there was replaced
            self._wrong(file, path, again(path, file))
        else:
            self._arrived(file)

    def _arrived(self, file: File) -> None:
        self.received += self._recipe.size(file)
        self._arrived_at = self.now
        latency = self.accounts.delivered(file, self.now)
        if latency is not None:
            self.latencies.add(latency)
        for stray in self._strays.pop(file, ()):
            self.accounts.retract("misnamed", _name_of(None, stray))
            self._wrong(None, stray, again(stray, file))

    def _wrong(self, file: File | None, path: Path, found: Finding) -> None:
        log.error("%s: %s", found.kind, found.text)
        if found.kind == "corrupt" and file is not None:
            self.accounts.spoil(file, found.kind, path.name, found.text, self.now)
            return
        self.accounts.violate(found.kind, _name_of(file, path), found.text, self.now)
        if found.kind == "misnamed" and found.whose is not None:
            self._strays.setdefault(found.whose, []).append(path)

    def _ask_store(self) -> None:
        """Look for the object of every file that has arrived somewhere."""
        for file, stored in self._lookup.ask(self.accounts.to_look_for(), self.now):
            if not self.accounts.knows(file):
                continue
            if stored.size != self._recipe.size(file) or stored.metadata.get(METADATA) != self._run.id:
                text = f"its object has {stored.size} bytes and the metadata {dict(stored.metadata)}"
                self.accounts.spoil(file, "corrupt", file.name, text, self.now)
                continue
            self._stored[file] = stored
            self.accounts.reached(file, UPLOADED)


def _name_of(file: File | None, path: Path) -> str:
    """What is shown of a path: with its folder where the name is not that of a file of the run."""
    return str(path.relative_to(path.parent.parent)) if file is None else path.name


def wait(wake: threading.Event, seconds: float) -> None:
    """Until something changed in a folder, or `seconds` have passed."""
    wake.wait(seconds)
    wake.clear()
