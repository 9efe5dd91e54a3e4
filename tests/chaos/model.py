"""Every order of steps, kills, power cuts, lost answers, expiries and a user's deeds over the state model.

What `python -m tests.chaos model` explores: the protocol, which must hold in every scenario, and broken ones, each of
which must be caught in one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos import consume_model, ingest_model
from tests.chaos.protocol import Left, Rules, State, begin, is_at_rest, violation

PROTOCOL = Rules()
SCENARIOS = {
    "one drop": begin(Left(kills=2, cuts=1, lost_answers=1, expiries=1)),
    "power fails twice": begin(Left(kills=1, cuts=2)),
    "two of one name": begin(Left(kills=1, lost_answers=1), files=2),
    "two of one name, power fails": begin(Left(cuts=1), files=2),
    "changed while it is sent": begin(Left(kills=1, lost_answers=1, changes=2)),
    "two pollers": begin(Left(kills=1, lost_answers=1), pollers=2),
    "two pollers, power fails": begin(Left(cuts=1, expiries=1), pollers=2),
    "messages that do not die": begin(Left(kills=1, cuts=1, repeats=2)),
    "a user takes and sends again": begin(Left(kills=1, lost_answers=1, returns=1, takes=2)),
}
LONG = {
    "two pollers, and much goes wrong": begin(Left(kills=2, lost_answers=1, expiries=1), pollers=2),
    "two pollers, killed, and power fails": begin(Left(kills=1, cuts=1, expiries=1), pollers=2),
    "two of one name change": begin(Left(kills=1, changes=1), files=2),
    "two of one name, two pollers": begin(Left(), files=2, pollers=2),
}
"""What takes too long for every run of the tests."""


class Variant(NamedTuple):
    """A protocol with something taken out, and where that shows."""

    rules: Rules
    scenario: str
    left: Left | None = None
    """Instead of what the scenario lets happen."""


_KILLS = Left(kills=2, lost_answers=1, expiries=1)
BROKEN = {
    "no fsync of the source": Variant(Rules(source_fsync=False), "one drop"),
    "send before put": Variant(Rules(order=("send", "put", "check", "move")), "one drop"),
    "move before send": Variant(Rules(order=("put", "check", "move", "send")), "one drop"),
    "move before put": Variant(Rules(order=("move", "put", "send")), "one drop"),
    "no fsync of the download": Variant(Rules(temp_fsync=False), "one drop"),
    "no fsync of its folder": Variant(Rules(folder_fsync=False), "one drop"),
    "delete before download": Variant(Rules(delete_last=False), "one drop"),
    "download to the final name": Variant(Rules(hidden=False), "one drop"),
    "no fsync of the claim": Variant(Rules(claim_fsync=False), "one drop", Left(cuts=1)),
    "no fsync at a start": Variant(Rules(start_fsync=False), "one drop", Left(kills=1, cuts=1)),
    "no condition on a put": Variant(Rules(conditional_put=False), "a user takes and sends again"),
    "no look after a put": Variant(Rules(order=("put", "send", "move")), "changed while it is sent"),
    "what may be announced is replaced": Variant(Rules(replace_found=True), "changed while it is sent"),
    "no ctime in the id": Variant(Rules(ctime_in_id=False), "a user takes and sends again"),
    "moves that replace": Variant(Rules(no_replace=False), "two of one name"),
    "no ledger": Variant(Rules(ledger=False), "a user takes and sends again"),
    "no ledger before the name": Variant(Rules(publishing_first=False), "a user takes and sends again"),
    "a ledger that power cuts forget": Variant(Rules(durable_ledger=False), "messages that do not die"),
    "no lock on a download": Variant(Rules(temp_lock=False), "two pollers"),
}
HARMLESS = {
    "no fsync of its folder, no power cut": Variant(Rules(folder_fsync=False), "one drop", _KILLS),
    "no fsync at all, no power cut": Variant(
        Rules(
            source_fsync=False,
            claim_fsync=False,
            start_fsync=False,
            temp_fsync=False,
            folder_fsync=False,
            durable_ledger=False,
        ),
        "one drop",
        _KILLS,
    ),
}
"""What fsync is for: without power cuts nothing shows. The invariant that speaks of them is not asked then."""


@dataclass
class Found:
    """What was explored, up to the first violation."""

    states: int = 0
    violation: str = ""
    way: int = 0
    """Steps to it."""


def explore(start: State, rules: Rules) -> Found:
    """Breadth first; every state, and that everything drains from it once nothing more goes wrong."""
    powered = start.left.cuts > 0
    parents: dict[State, State | None] = {start: None}
    origins: dict[State, list[State]] = {}
    todo = deque([start])
    while todo:
        state = todo.popleft()
        if problem := _violation(state, powered):
            return Found(len(parents), problem, _length(parents, state))
        steps = list(_steps(state, rules))
        for following in steps:
            origins.setdefault(following, []).append(state)
        for following in (*steps, *_events(state, rules)):
            if following not in parents:
                parents[following] = state
                todo.append(following)
    stuck = parents.keys() - _draining(parents, origins)
    if stuck:
        way = min(_length(parents, state) for state in stuck)
        return Found(len(parents), "I9: from here it never drains", way)
    return Found(len(parents))


def _violation(state: State, powered: bool) -> str:
    problem = violation(state)
    return "" if not powered and "power cut" in problem else problem


def _steps(state: State, rules: Rules) -> Iterator[State]:
    yield from ingest_model.steps(state, rules)
    yield from consume_model.steps(state, rules)


def _events(state: State, rules: Rules) -> Iterator[State]:
    yield from ingest_model.events(state, rules)
    yield from consume_model.events(state, rules)


def _draining(states: dict[State, State | None], origins: dict[State, list[State]]) -> set[State]:
    """Those from which the steps alone can lead to rest."""
    todo = [state for state in states if is_at_rest(state)]
    found = {*todo}
    while todo:
        for origin in origins.get(todo.pop(), ()):
            if origin not in found:
                found.add(origin)
                todo.append(origin)
    return found


def _length(parents: dict[State, State | None], state: State) -> int:
    count, at = 0, parents[state]
    while at is not None:
        count, at = count + 1, parents[at]
    return count


def explore_variant(variant: Variant) -> Found:
    """In the scenario where it is to show."""
    start = SCENARIOS[variant.scenario]
    return explore(start._replace(left=variant.left) if variant.left else start, variant.rules)


@dataclass
class Outcome:
    """What all of it came to; `violations` must be empty."""

    rows: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, name: str, found: Found, *, caught: bool) -> None:
        """One exploration; `caught`: whether a violation was to be found."""
        what = f"{found.violation} (after {found.way} steps)" if found.violation else "holds"
        self.rows.append(f"| {name} | {found.states} | {what} |")
        if bool(found.violation) != caught:
            self.violations.append(f"{name}: {what}")

    def table(self) -> str:
        """For a person and for the log."""
        end = f"{self.seconds:.0f} s, {len(self.violations)} violations"
        return "\n".join(["| model | states | |", "|---|---|---|", *self.rows, end, *self.violations])


def run() -> Outcome:
    """The protocol in every scenario, and every variant."""
    outcome, started = Outcome(), time.monotonic()
    for name, start in (SCENARIOS | LONG).items():
        outcome.note(f"the protocol: {name}", explore(start, PROTOCOL), caught=False)
    for name, variant in BROKEN.items():
        outcome.note(name, explore_variant(variant), caught=True)
    for name, variant in HARMLESS.items():
        outcome.note(name, explore_variant(variant), caught=False)
    outcome.seconds = time.monotonic() - started
    return outcome
