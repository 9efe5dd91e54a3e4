"""Steps 1 to 5 of the model, and what may happen to them: watcher and uploader, which are killed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from tests.chaos.protocol import (
    QUEUED,
    TO_COME,
    UPLOADED,
    WATCH,
    Drop,
    File,
    Message,
    Place,
    Rules,
    State,
)


def steps(state: State, rules: Rules) -> Iterator[State]:
    """What the program, or the user who drops the next file, can do now."""
    for index, file in enumerate(state.files):
        if step := _STEPS.get(file.at):
            yield from step(state, index, rules)


def events(state: State, rules: Rules) -> Iterator[State]:
    """What else may happen."""
    if state.left.kills:
        files = tuple(_restarted(file, rules) for file in state.files)
        yield state.spend("kills")._replace(files=files)
    if state.left.cuts:
        yield from _cut(state.spend("cuts"), rules)
    for index, file in enumerate(state.files):
        if state.left.changes and file.place.folder == QUEUED:
            edition = file.edition + 1
            place = file.place._replace(ctime=file.now + 1)
            changed = file._replace(edition=edition, due=(*file.due, 1), place=place, now=file.now + 1)
            yield _with(state.spend("changes"), index, changed)
        if state.left.returns and file.place.folder == UPLOADED and not _is_in_watch(state):
            due = (*file.due[: file.edition], file.due[file.edition] + 1)
            back = Place(WATCH, 1, file.place.ctime)
            yield _with(state.spend("returns"), index, file._replace(place=back, due=due, before=(), at="watch"))


def _drop(state: State, index: int, _rules: Rules) -> Iterator[State]:
    earlier = state.files[:index]
    if not _is_in_watch(state) and all(file.place.folder != TO_COME for file in earlier):
        file = state.files[index]
        yield _with(state, index, file._replace(place=Place(WATCH, 1, 0), at="watch"))


def _make_safe(state: State, index: int, rules: Rules) -> Iterator[State]:
    file = state.files[index]
    yield _with(state, index, file._replace(safe=file.safe or rules.source_fsync, at="claim"))


def _claim(state: State, index: int, rules: Rules) -> Iterator[State]:
    file, taken = state.files[index], _numbers(state)
    number = max(taken) + 1 if 1 in taken and rules.no_replace else 1
    moved = _moved(file, QUEUED, number)
    yield _with(state, index, moved._replace(at="folders" if rules.claim_fsync else "look"))


def _make_durable(state: State, index: int, _rules: Rules) -> Iterator[State]:
    yield _with(state, index, state.files[index]._replace(before=(), at="look"))


def _look(state: State, index: int, rules: Rules) -> Iterator[State]:
    file = state.files[index]
    queued = [other.place.number for other in state.files if other.place.folder == QUEUED]
    if rules.by_number and min(queued) < file.place.number:
        return
    yield _with(state, index, file._replace(drop=_identity(index, file, rules), at=rules.order[0]))


def _put(state: State, index: int, rules: Rules) -> Iterator[State]:
    file = state.files[index]
    number, held = file.place.number, state.object_of(file.place.number)
    if file.drop is None or file.drop.edition != file.edition:  # the store compares checksums
        yield _with(state, index, file._replace(at="look"))
    elif held == file.drop:
        yield _with(state, index, file._replace(fresh=rules.replace_found, stale=None, at=_after("put", rules)))
    elif held in (None, file.stale) or not rules.conditional_put:
        stored = state._replace(objects=frozenset({(number, file.drop)} | state.objects - {(number, held)}))
        yield _with(stored, index, file._replace(fresh=True, stale=None, at=_after("put", rules)))
        if state.left.lost_answers:
            yield _with(stored.spend("lost_answers"), index, file._replace(at="look"))
    else:
        taken = {*_numbers(state), *dict(state.objects)}
        yield _with(state, index, _moved(file, QUEUED, max(taken) + 1)._replace(fresh=False, stale=None, at="folders"))


def _check(state: State, index: int, rules: Rules) -> Iterator[State]:
    file = state.files[index]
    if file.drop == _identity(index, file, rules):
        yield _with(state, index, file._replace(at=_after("check", rules)))
    else:
        yield _with(state, index, file._replace(stale=file.drop if file.fresh else None, at="look"))


def _send(state: State, index: int, rules: Rules) -> Iterator[State]:
    file = state.files[index]
    if file.drop is None:
        return
    message = Message(file.drop, file.place.number, -1)
    sent = state._replace(queue=tuple(sorted((*state.queue, message))), told=state.told | {file.drop})
    yield _with(sent, index, file._replace(at=_after("send", rules)))
    if state.left.lost_answers:
        yield _with(sent.spend("lost_answers"), index, file._replace(at="look"))


def _move(state: State, index: int, rules: Rules) -> Iterator[State]:
    file = state.files[index]
    if "check" in rules.order and file.drop != _identity(index, file, rules):  # what came later follows
        yield _with(state, index, file._replace(at="look"))
        return
    uploaded = {other.place.number for other in state.files if other.place.folder == UPLOADED}
    number = max(uploaded) + 1 if file.place.number in uploaded else file.place.number
    following = _after("move", rules)
    yield _with(state, index, _moved(file, UPLOADED, number)._replace(drop=file.drop, at=following))


_STEPS: dict[str, Callable[[State, int, Rules], Iterator[State]]] = {
    "to come": _drop,
    "watch": _make_safe,
    "claim": _claim,
    "folders": _make_durable,
    "look": _look,
    "put": _put,
    "check": _check,
    "send": _send,
    "move": _move,
}


def _after(step: str, rules: Rules) -> str:
    following = rules.order[rules.order.index(step) + 1 :]
    return following[0] if following else "done"


def _restarted(file: File, rules: Rules) -> File:
    """The folder it lies in says how far it is."""
    at = {WATCH: "watch", QUEUED: "folders" if rules.start_fsync else "look", UPLOADED: "done", TO_COME: "to come"}
    return file._replace(at=at[file.place.folder], drop=None, fresh=False, stale=None)


def _cut(state: State, rules: Rules) -> Iterator[State]:
    """Each file may be back where it came from, and torn where nothing made its content durable."""
    for files in product(*(list(_survivals(file)) for file in state.files)):
        places = [file.place[:2] for file in files if file.place.folder != TO_COME]
        if len({*places}) == len(places):  # a name that a later file has was free
            yield state._replace(files=tuple(_restarted(file, rules)._replace(before=()) for file in files))


def _survivals(file: File) -> Iterator[File]:
    for place in (file.place, *file.before):
        yield file._replace(place=place)
        if not file.safe and place.folder != WATCH and place.folder != TO_COME:
            yield file._replace(place=place, edition=-1)  # in Watch it would be its writer's affair


def _identity(index: int, file: File, rules: Rules) -> Drop:
    return Drop(index, file.edition, file.place.ctime if rules.ctime_in_id else 0)


def _moved(file: File, folder: str, number: int) -> File:
    place = Place(folder, number, file.now + 1)
    return file._replace(place=place, before=(*file.before, file.place), now=file.now + 1, drop=None)


def _numbers(state: State) -> set[int]:
    return {file.place.number for file in state.files if file.place.folder in (QUEUED, UPLOADED)}


def _is_in_watch(state: State) -> bool:
    return any(file.place.folder == WATCH for file in state.files)


def _with(state: State, index: int, file: File) -> State:
    return state._replace(files=(*state.files[:index], file, *state.files[index + 1 :]))
