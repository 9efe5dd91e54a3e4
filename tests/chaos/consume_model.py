"""Steps 6 to 8 of the model, and what may happen to them: pollers on one folder, each of which is killed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from tests.chaos.protocol import (
    DELIVERED,
    PART,
    PUBLISHING,
    TORN,
    WHOLE,
    Arrival,
    Drop,
    Message,
    Poller,
    Row,
    Rules,
    State,
    Temp,
)


def steps(state: State, rules: Rules) -> Iterator[State]:
    """What the pollers can do now."""
    for index, poller in enumerate(state.pollers):
        yield from _STEPS[poller.at](state, index, rules)


def events(state: State, rules: Rules) -> Iterator[State]:
    """What else may happen."""
    for index in range(len(state.pollers)) if state.left.kills else ():
        yield _killed(state.spend("kills"), index)
    if state.left.cuts:
        yield from _cut(state.spend("cuts"), rules)
    for message in state.queue if state.left.expiries else ():
        if message.holder >= 0:
            yield _hand(state.spend("expiries"), message, -1)
    for drop in state.told if state.left.repeats else ():
        numbers = [number for number, held in state.objects if held == drop]
        if numbers and not any(message.drop == drop for message in state.queue):
            yield _queued(state.spend("repeats"), [*state.queue, Message(drop, numbers[0], -1)])
    for arrival in state.here if state.left.takes else ():
        gone = state._replace(here=state.here - {arrival}, taken=(*state.taken, arrival.drop))
        yield gone.spend("takes")


def _start(state: State, index: int, rules: Rules) -> Iterator[State]:
    """End what was cut off, then remove what nobody speaks of."""
    open_rows = [row for row in sorted(state.rows) if row.state == PUBLISHING]
    free = [row for row in open_rows if not _is_locked(state, row.temp, index, rules)]
    spoken_of = {row.temp for row in open_rows}
    strays = [
        temp
        for temp in sorted(state.temps)
        if temp.number not in spoken_of and not _is_locked(state, temp.number, index, rules)
    ]
    if free:
        resumed = _resume(state, index, free[0])
        yield _set(resumed, index, resumed.pollers[index]._replace(starting=True))
    elif strays:
        yield state._replace(temps=state.temps - {strays[0]})
    else:
        yield _set(state, index, Poller("idle"))


def _receive(state: State, index: int, rules: Rules) -> Iterator[State]:
    for message in {*state.queue}:
        if message.holder < 0:
            taken = _set(state, index, Poller("ask", message.drop, message.number))
            if rules.delete_last:
                yield _hand(taken, message, index)
            else:
                yield _without(taken, message)


def _ask(state: State, index: int, rules: Rules) -> Iterator[State]:
    poller = state.pollers[index]
    row = _row(state, poller.drop)
    if not rules.ledger and any(arrival.drop == poller.drop for arrival in state.here):
        yield _set(state, index, poller._replace(at="sync"))
    elif row is None:
        yield _set(state, index, poller._replace(at="get"))
    elif row.state == DELIVERED:
        yield _set(state, index, poller._replace(at="delete"))
    elif not _is_locked(state, row.temp, index, rules):
        yield _resume(state, index, row)
    else:  # another is about to publish it
        yield from _give_back(state, index)


def _get(state: State, index: int, rules: Rules) -> Iterator[State]:
    poller = state.pollers[index]
    held = state.object_of(poller.number)
    if held is None:
        yield from _give_back(state, index)
    elif rules.hidden:
        number = 1 + max([-1, *(temp.number for temp in state.temps), *(row.temp for row in state.rows)])
        begun = state._replace(temps=state.temps | {Temp(number, held, PART, False, index)})
        yield _set(begun, index, Poller("fill", held, poller.number, number))
    else:
        yield state._replace(here=state.here | {Arrival(poller.number, held, PART, False, False, -1)})


def _fill(state: State, index: int, rules: Rules) -> Iterator[State]:
    temp = _temp(state, state.pollers[index].temp)
    following = "keep" if rules.temp_fsync else "begin"
    yield from _with_temp(state, index, temp, temp and temp._replace(content=WHOLE), following)


def _keep(state: State, index: int, _rules: Rules) -> Iterator[State]:
    temp = _temp(state, state.pollers[index].temp)
    yield from _with_temp(state, index, temp, temp and temp._replace(safe=True), "begin")


def _begin(state: State, index: int, rules: Rules) -> Iterator[State]:
    """Step 7a."""
    poller = state.pollers[index]
    temp = _temp(state, poller.temp)
    if poller.drop is None:
        return
    if _row(state, poller.drop):  # another poller was quicker
        gone = state._replace(temps=state.temps - {temp}) if temp else state
        yield _set(gone, index, poller._replace(at="ask", temp=-1))
        return
    row = Row(poller.drop, poller.temp, poller.number, PUBLISHING, rules.durable_ledger)
    told = rules.ledger and rules.publishing_first
    yield _set(state._replace(rows=state.rows | {row}) if told else state, index, poller._replace(at="name"))


def _name(state: State, index: int, rules: Rules) -> Iterator[State]:
    """Step 7b. A temporary file that is gone has its name already."""
    poller, temp = state.pollers[index], _temp(state, state.pollers[index].temp)
    following = "sync" if rules.folder_fsync else "note"
    if temp is None:
        yield _set(state, index, poller._replace(at=following))
        return
    taken = {arrival.number: arrival for arrival in state.here}
    if poller.number in taken and rules.no_replace:
        number, row = max(taken) + 1, _row(state, poller.drop)
        rows = state.rows - {row} | {row._replace(number=number)} if row else state.rows
        yield _set(state._replace(rows=frozenset(rows)), index, poller._replace(number=number))
        return
    arrival = Arrival(poller.number, temp.drop, temp.content, temp.safe, False, temp.number)
    here = state.here - {taken.get(poller.number)} | {arrival}
    named = state._replace(here=frozenset(each for each in here if each), temps=state.temps - {temp})
    yield _set(named, index, poller._replace(at=following))


def _sync(state: State, index: int, _rules: Rules) -> Iterator[State]:
    here = frozenset(arrival._replace(named=True) for arrival in state.here)
    yield _set(state._replace(here=here), index, state.pollers[index]._replace(at="note"))


def _note(state: State, index: int, rules: Rules) -> Iterator[State]:
    poller = state.pollers[index]
    row = _row(state, poller.drop)
    done = state
    if row:
        rows = state.rows - {row} | {row._replace(state=DELIVERED)}
        done = state._replace(rows=rows)
    elif rules.ledger and poller.drop:
        row = Row(poller.drop, poller.temp, poller.number, DELIVERED, rules.durable_ledger)
        done = state._replace(rows=state.rows | {row})
    yield _set(done, index, poller._replace(at="delete"))


def _delete(state: State, index: int, _rules: Rules) -> Iterator[State]:
    """Step 8; with a receipt that is another's by now nothing is deleted, and who just starts has none."""
    poller = state.pollers[index]
    ours = [message for message in state.queue if message.holder == index]
    done = _without(state, ours[0]) if ours else state
    yield _set(done, index, Poller("start" if poller.starting else "idle"))


_STEPS: dict[str, Callable[[State, int, Rules], Iterator[State]]] = {
    "start": _start,
    "idle": _receive,
    "ask": _ask,
    "get": _get,
    "fill": _fill,
    "keep": _keep,
    "begin": _begin,
    "name": _name,
    "sync": _sync,
    "note": _note,
    "delete": _delete,
}


def _resume(state: State, index: int, row: Row) -> State:
    temps = {temp._replace(holder=index) if temp.number == row.temp else temp for temp in state.temps}
    locked = state._replace(temps=frozenset(temps))
    return _set(locked, index, Poller("name", row.drop, row.number, row.temp))


def _give_back(state: State, index: int) -> Iterator[State]:
    ours = [message for message in state.queue if message.holder == index]
    given = _hand(state, ours[0], -1) if ours else state
    yield _set(given, index, Poller("idle"))


def _with_temp(state: State, index: int, old: Temp | None, new: Temp | None, following: str) -> Iterator[State]:
    """None: somebody took it for a stray."""
    changed = state._replace(temps=state.temps - {old} | {new}) if old and new else state
    yield _set(changed, index, state.pollers[index]._replace(at=following))


def _killed(state: State, index: int) -> State:
    """Its locks go, and what it had in hand comes again."""
    temps = frozenset(temp._replace(holder=-1) if temp.holder == index else temp for temp in state.temps)
    queue = [message._replace(holder=-1) if message.holder == index else message for message in state.queue]
    return _set(_queued(state._replace(temps=temps), queue), index, Poller())


def _cut(state: State, rules: Rules) -> Iterator[State]:
    """Names, contents and rows that nothing made durable may or may not be there."""
    for index in range(len(state.pollers)):
        state = _killed(state, index)
    here = product(*(list(_arrival_survivals(arrival)) for arrival in sorted(state.here)))
    for arrivals in here:
        for temps in product(*(list(_temp_survivals(temp)) for temp in sorted(state.temps))):
            for rows in product(*((row,) if row.safe else (row, None) for row in sorted(state.rows))):
                found = [*temps, *(each for each in arrivals if isinstance(each, Temp))]
                yield state._replace(
                    here=frozenset(each for each in arrivals if isinstance(each, Arrival)),
                    temps=frozenset(temp for temp in found if temp),
                    rows=frozenset(row for row in rows if row),
                )


def _arrival_survivals(arrival: Arrival) -> Iterator[Arrival | Temp]:
    """A move is there or not: no file system on which this is used forgets both names of a file."""
    contents = {arrival.content} if arrival.safe else {arrival.content, TORN}
    for content in sorted(contents):
        yield arrival._replace(content=content, named=True, safe=True)
        if not arrival.named and arrival.temp >= 0:
            yield Temp(arrival.temp, arrival.drop, content, True, -1)


def _temp_survivals(temp: Temp) -> Iterator[Temp | None]:
    if temp.safe:
        yield temp
    else:
        yield from (None, temp._replace(content=TORN, safe=True))


def _is_locked(state: State, number: int, index: int, rules: Rules) -> bool:
    temp = _temp(state, number)
    return rules.temp_lock and temp is not None and temp.holder not in (-1, index)


def _temp(state: State, number: int) -> Temp | None:
    return next((temp for temp in state.temps if temp.number == number), None)


def _row(state: State, drop: Drop | None) -> Row | None:
    return next((row for row in state.rows if row.drop == drop), None)


def _hand(state: State, message: Message, holder: int) -> State:
    queue = [*state.queue]
    queue[queue.index(message)] = message._replace(holder=holder)
    return _queued(state, queue)


def _without(state: State, message: Message) -> State:
    queue = [*state.queue]
    queue.remove(message)
    return _queued(state, queue)


def _queued(state: State, queue: list[Message]) -> State:
    return state._replace(queue=tuple(sorted(queue)))


def _set(state: State, index: int, poller: Poller) -> State:
    return state._replace(pollers=(*state.pollers[:index], poller, *state.pollers[index + 1 :]))
