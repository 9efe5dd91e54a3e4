"""What the figures of a run have to be, for it to have shown anything."""

from collections.abc import Iterator, Sequence

from tests.chaos.soak.logs import SLOW_SECONDS
from tests.chaos.soak.outcome import Outcome
from tests.chaos.soak.plan import ROLES, schedule

_KILLS, _OF_A_ROLE, _MISSED = 0.95, 0.2, 0.02
"""Of the kills that were planned, those that happen at least; of these, each role's; of all faults, those that may not.
"""
_ROLES_FROM = 100
"""Kills."""
_MISSED_FROM = 3
_TIMED = 20
"""Recoveries that say something."""


def slow(recoveries: Sequence[float]) -> list[str]:
    """Whether more than one in a hundred recoveries is; a single one is of no hundred."""
    late = sorted(seconds for seconds in recoveries if seconds > SLOW_SECONDS)
    if len(recoveries) < _TIMED or len(late) <= max(1, len(recoveries) // 100):
        return []
    return [
        f"SLOW: {len(late)} of {len(recoveries)} recoveries took more than {SLOW_SECONDS:g} s, up to {late[-1]:.1f}"
    ]


def lacking(outcome: Outcome) -> Iterator[str]:
    """What happened too rarely: where nothing does, nothing is violated."""
    plan, kills = outcome.plan, outcome.kills.total()
    if kills < _KILLS * plan.kills:
        yield f"TOO LITTLE: {kills} of {plan.kills} kills"
    for role in ROLES if kills >= _ROLES_FROM else ():
        if outcome.kills[role] < _OF_A_ROLE * kills:
            yield f"TOO LITTLE: {outcome.kills[role]} of {kills} kills were of a {role}"
    judged = outcome.cloud.get("judged", 0)
    if judged < outcome.delivered or not judged:
        yield f"TOO LITTLE: {judged} messages were judged, and {outcome.delivered} files arrived"
    if outcome.missed > max(_MISSED_FROM, _MISSED * len(schedule(plan))):
        yield f"TOO LITTLE: {outcome.missed} faults found nobody to happen to"
