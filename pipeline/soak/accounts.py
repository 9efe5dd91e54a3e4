"""The accounts of a soak test: what became of each file. Values in, values out; seconds since the run began."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.soak.content import File
from pipeline.soak.facts import STAGES, Violation

GENERATED, CLAIMED, UPLOADED, ANNOUNCED, DELIVERED, FED_BACK = range(len(STAGES))
_SEEN_AT = (
    "it never left Watch",
    "last seen in QueuedForUpload",
    "last seen in the bucket",
    "last seen in UploadedToS3: it was announced",
    "delivered",
)
_BROKEN_LIMIT = 1_000
"""Violations that are kept one by one; thousands more say nothing new, and a long run must not grow by them."""


@dataclass(slots=True)
class Account:
    """One file that is under way."""

    file: File
    generated: float
    stage: int = GENERATED
    dropped: float | None = None
    delivered: float | None = None
    archived: bool = False
    stored: bool = False
    overdue: bool = False
    """It was reported lost."""
    broken: bool = False
    """It arrived, and not as it has to be: its story ends there."""

    @property
    def settled(self) -> bool:
        """Nothing more is to come of it: delivered, archived, and its object was seen."""
        return None not in (self.dropped, self.delivered) and self.archived and self.stored


class Accounts:
    """Of every file from the moment it is generated until it is fed back or given up."""

    def __init__(self, deadline: float) -> None:
        """`deadline`: seconds after its drop by which a file has to be settled."""
        self._deadline = deadline
        self._open: dict[File, Account] = {}
        self._versions: dict[int, int] = {}
        """Drop → the last version that was generated."""
        self._violations: dict[tuple[str, str], Violation] = {}
        self.totals = dict.fromkeys(STAGES, 0)
        self.left_out = 0
        """Violations beyond the first thousand."""

    def generated(self, file: File, now: float) -> None:
        """It is about to be written; whatever is seen of it from now on is no invention."""
        self._open[file] = Account(file, now)
        self._versions[file.drop] = file.version
        self.totals[STAGES[GENERATED]] += 1

    def dropped(self, file: File, now: float) -> None:
        """It is complete in Watch."""
        self._open[file].dropped = now

    def reached(self, file: File, stage: int) -> None:
        """It was seen at a stage, and has passed those before it."""
        account = self._open.get(file)
        if account is None:
            return
        account.archived |= stage == ANNOUNCED
        account.stored |= stage == UPLOADED
        for passed in range(account.stage + 1, stage + 1):
            self.totals[STAGES[passed]] += 1
        account.stage = max(account.stage, stage)

    def delivered(self, file: File, now: float) -> float | None:
        """It arrived whole. Its latency in seconds, once; None where it is not known (yet)."""
        account = self._open[file]
        self.reached(file, DELIVERED)
        account.delivered = now
        if account.overdue:
            self._violations.pop(("lost", file.name), None)
            self.violate("late", file.name, f"delivered {now - (account.dropped or 0):.1f} s after its drop", now)
        return None if account.dropped is None else max(0.0, now - account.dropped)

    def fed_back(self, file: File) -> None:
        """Its next version was dropped, or what was left of it was swept: the end of its story."""
        self.reached(file, FED_BACK)
        self._open.pop(file, None)

    def spoil(self, file: File, kind: str, name: str, text: str, now: float) -> None:
        """It was found, and breaks the promise; it is not lost as well."""
        self.violate(kind, name, text, now)
        if file in self._open:
            self._open[file].broken = True

    def violate(self, kind: str, name: str, text: str, now: float) -> None:
        """Something breaks the promise; said once of one name."""
        if len(self._violations) >= _BROKEN_LIMIT:
            self.left_out += 1
            return
        self._violations.setdefault((kind, name), Violation(kind, name, text, now))

    def has_story(self, name: str) -> bool:
        """Whether something was said of a file of this name."""
        return any(name == said.rpartition("/")[2] for _, said in self._violations)

    def retract(self, kind: str, name: str) -> None:
        """Something was said that turns out to be something else."""
        self._violations.pop((kind, name), None)

    def expire(self, now: float, refusal: Callable[[File], str] = lambda _file: "") -> list[File]:
        """Report what is overdue; those that are so for the first time. A file that is only half known is lost too.

        `refusal`: why the relay gave it up, if it says so.
        """
        late = []
        for account in self._open.values():
            begun = account.generated if account.dropped is None else account.dropped
            if account.overdue or account.settled or now - begun < self._deadline:
                continue
            account.overdue = True
            late.append(account.file)
            if not account.broken:
                where = refusal(account.file) or _where(account)
                self.violate("lost", account.file.name, f"not settled {now - begun:.1f} s after its drop; {where}", now)
        return late

    def existed(self, file: File) -> bool:
        """Whether it was ever generated."""
        return 0 < file.version <= self._versions.get(file.drop, 0)

    def knows(self, file: File) -> bool:
        """Whether it was generated and has not ended."""
        return file in self._open

    def account(self, file: File) -> Account | None:
        """Of a file that is under way."""
        return self._open.get(file)

    def settled(self) -> Iterator[File]:
        """Files of which nothing more is to come."""
        return (account.file for account in list(self._open.values()) if account.settled)

    def to_look_for(self) -> list[File]:
        """Files whose object has to be there by now, and was not seen yet."""
        return [
            account.file
            for account in self._open.values()
            if not account.stored and (account.archived or account.delivered is not None)
        ]

    def unsettled(self) -> list[File]:
        """Files that are still expected."""
        return [
            account.file
            for account in self._open.values()
            if not (account.settled or account.overdue or account.broken)
        ]

    def under_way(self) -> dict[str, int]:
        """Stage → files that have come so far and no further."""
        counts = dict.fromkeys(STAGES[:FED_BACK], 0)
        for account in self._open.values():
            counts[STAGES[account.stage]] += 1
        return counts

    @property
    def violations(self) -> list[Violation]:
        """In the order in which they were found."""
        return list(self._violations.values())


def _where(account: Account) -> str:
    if account.delivered is not None:
        return "delivered, but " + ("not archived" if not account.archived else "its object is missing")
    return _SEEN_AT[account.stage]
