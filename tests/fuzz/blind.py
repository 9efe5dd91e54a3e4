"""Fuzzing without knowledge of the code: what is understood, changed here and there."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, TOKENS

_CHANGES = 6


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds with a few parts replaced, removed, doubled, or taken from another one."""
    raw = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, _CHANGES))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 64])))
        other = draw(st.sampled_from(seeds))
        part = draw(
            st.sampled_from([*TOKENS, b"", raw[start:end] * 2, raw[start:end] * 200, other[start : start + 64]])
            | st.binary(max_size=8)
        )
        raw = raw[:start] + part + raw[end:]
    return raw


def run(name: str, examples: int) -> int:
    """How many inputs were tried; the first that breaks a promise raises, as short as it can be made."""
    target, tried = TARGETS[name], 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated(target.seeds) | st.binary(max_size=400))
    def check(raw: bytes) -> None:
        nonlocal tried
        tried += 1
        target.check(raw)

    check()
    return tried
