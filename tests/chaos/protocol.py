"""The way of a file as a state model: what there is, and the invariants. The steps are in `ingest` and `consume`.

A few files of one name are dropped, and travel to one folder. Everything is a value: a step makes a new state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

WATCH, QUEUED, UPLOADED, TO_COME = "Watch", "QueuedForUpload", "UploadedToS3", "to come"
WHOLE, PART, TORN = "whole", "part", "torn"
PUBLISHING, DELIVERED = "publishing", "delivered"


class Rules(NamedTuple):
    """The protocol; with one of them changed it is a broken one."""

    order: tuple[str, ...] = ("put", "check", "send", "move")
    source_fsync: bool = True
    claim_fsync: bool = True
    start_fsync: bool = True
    """A start makes durable what was moved to QueuedForUpload by a process that was killed before it did."""
    conditional_put: bool = True
    replace_found: bool = False
    """An object of an earlier try, of which somebody may have been told, is replaced once the file has changed."""
    ctime_in_id: bool = True
    by_number: bool = True
    """Versions of a name go one after another."""
    hidden: bool = True
    """A download has no visible name until it is whole."""
    temp_fsync: bool = True
    temp_lock: bool = True
    ledger: bool = True
    durable_ledger: bool = True
    publishing_first: bool = True
    """The ledger speaks of a drop before its file has its name."""
    no_replace: bool = True
    folder_fsync: bool = True
    delete_last: bool = True


class Drop(NamedTuple):
    """One file dropped once: its object, messages and row say so."""

    file: int
    edition: int
    """What its content is; -1 once a power cut tore it."""
    ctime: int


class Place(NamedTuple):
    """Where a file lies, under which number of its name, and since when."""

    folder: str
    number: int
    ctime: int


class File(NamedTuple):
    """One on the ingest side, and the work on it."""

    place: Place
    edition: int
    due: tuple[int, ...]
    """How often each edition may arrive; the last one has to."""
    safe: bool = False
    """Whether its content would outlive a power cut."""
    before: tuple[Place, ...] = ()
    """Where a power cut may put it back."""
    now: int = 0
    """The last ctime that anything gave it: no time comes twice."""
    at: str = "watch"
    drop: Drop | None = None
    fresh: bool = False
    """Whether its object was stored by this try, and nobody can have been told of it."""
    stale: Drop | None = None
    """Whose object may be replaced."""


class Message(NamedTuple):
    """In the queue; `holder` is the poller that has it in hand, -1 if none."""

    drop: Drop
    number: int
    holder: int


class Temp(NamedTuple):
    """A download without a public name; `holder` has its lock, -1 if nobody."""

    number: int
    drop: Drop
    content: str
    safe: bool
    holder: int


class Row(NamedTuple):
    """Of the ledger."""

    drop: Drop
    temp: int
    number: int
    state: str
    safe: bool


class Arrival(NamedTuple):
    """A name in DownloadedFromS3."""

    number: int
    drop: Drop
    content: str
    safe: bool
    """Whether its content would outlive a power cut."""
    named: bool
    """Whether its name would."""
    temp: int


class Poller(NamedTuple):
    """One of those that share the folder, and the drop it works on."""

    at: str = "start"
    drop: Drop | None = None
    number: int = 0
    temp: int = -1
    starting: bool = False
    """Whether it ends what another left, before it receives anything."""


class Left(NamedTuple):
    """How often what is no step of the program may still happen."""

    kills: int = 0
    cuts: int = 0
    lost_answers: int = 0
    expiries: int = 0
    repeats: int = 0
    """A message comes again after it was deleted."""
    changes: int = 0
    """A writer changes a file that was claimed."""
    returns: int = 0
    """The user moves a file from UploadedToS3 back into Watch."""
    takes: int = 0
    """The user takes a file out of DownloadedFromS3."""


class State(NamedTuple):
    """All of it."""

    files: tuple[File, ...]
    pollers: tuple[Poller, ...]
    left: Left
    objects: frozenset[tuple[int, Drop]] = frozenset()
    queue: tuple[Message, ...] = ()
    told: frozenset[Drop] = frozenset()
    rows: frozenset[Row] = frozenset()
    temps: frozenset[Temp] = frozenset()
    here: frozenset[Arrival] = frozenset()
    taken: tuple[Drop, ...] = ()

    def object_of(self, number: int) -> Drop | None:
        """What the key of this number holds."""
        return dict(self.objects).get(number)

    def spend(self, what: str) -> State:
        """One of what is left, gone."""
        return self._replace(left=self.left._replace(**{what: getattr(self.left, what) - 1}))


Step = Iterator[State]


def begin(left: Left, *, files: int = 1, pollers: int = 1) -> State:
    """Empty folders, and a user who is about to drop so many files of one name."""
    waiting = File(Place(TO_COME, 1, 0), 0, (1,), at="to come")
    return State((waiting,) * files, (Poller(),) * pollers, left)


def is_at_rest(state: State) -> bool:
    """Whether everything has drained: I7."""
    pollers = all(poller.at == "idle" for poller in state.pollers)
    return pollers and not state.queue and not state.temps and all(file.at == "done" for file in state.files)


def violation(state: State) -> str:
    """What must not be; "" if nothing is."""
    return _of_ingest(state) or _of_consume(state) or (_at_rest(state) if is_at_rest(state) else "")


def _of_ingest(state: State) -> str:
    stored = {(drop.file, drop.edition) for _, drop in state.objects}
    told = {(drop.file, drop.edition) for drop in state.told}
    places = Counter(file.place[:2] for file in state.files if file.place.folder != TO_COME)
    if any(count > 1 for count in places.values()):
        return "I14: one file lies over another"
    for index, file in enumerate(state.files):
        if file.place.folder == UPLOADED and (index, file.edition) not in stored:
            return "I2: in UploadedToS3, and not in the store"
        if file.place.folder == UPLOADED and (index, file.edition) not in told:
            return "I2: in UploadedToS3, and nobody was told"
    if any((message.number, message.drop) not in state.objects for message in state.queue):
        return "I3: a message without its object"
    return ""


def _of_consume(state: State) -> str:
    if any(arrival.content == PART for arrival in state.here):
        return "I4: a part of a file is visible"
    if any(arrival.content == TORN or arrival.drop.edition < 0 for arrival in state.here):
        return "I4: torn content is visible"
    waiting = {message.drop for message in state.queue}
    arrived = {arrival.drop for arrival in state.here} | {*state.taken}
    if state.told - waiting - arrived:
        return "I5: lost: the message is deleted, the file is not there"
    if state.told - waiting - {arrival.drop for arrival in state.here if arrival.named} - {*state.taken}:
        return "I5: the message is deleted, and a power cut may take the file"
    for (file, edition), count in _arrivals(state).items():
        if count > state.files[file].due[edition]:
            return "I8: a file arrived twice"
    return ""


def _at_rest(state: State) -> str:
    for index, file in enumerate(state.files):
        if _arrivals(state)[index, file.edition] != file.due[file.edition]:
            return "I9: at rest, and a file has not arrived"
    if any(row.state != DELIVERED for row in state.rows):
        return "I7: at rest, and the ledger has something open"
    return ""


def _arrivals(state: State) -> Counter[tuple[int, int]]:
    drops = [*(arrival.drop for arrival in state.here), *state.taken]
    return Counter((drop.file, drop.edition) for drop in drops)
