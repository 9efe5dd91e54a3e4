"""Which request goes wrong, and how: by rates, from one seed, or by a script that the next requests follow."""

import random
from collections.abc import Mapping, Sequence

_S3 = ("put", "get", "head", "list", "remove", "create", "part", "parts", "complete", "abort", "bucket")
_SQS = ("send", "receive", "delete", "extend", "queue")
SERVICES = {**dict.fromkeys(_S3, "s3"), **dict.fromkeys(_SQS, "sqs")}
"""Every operation, and whose it is."""
STATUSES = ("429", "500", "503")
_ANY = (*STATUSES, "reset", "reset_body", "lost_answer", "latency")
"""Before the effect: an error, or a connection that breaks, at once or amid the body. After it: the answer is lost.

Latency is that of the answer: the effect has taken place.
"""
_SPECIAL = {
    "get": ("truncate", "flip"),
    "put": ("409",),
    "complete": ("409", "200_error"),
    "send": ("partial",),
    "delete": ("partial", "redeliver"),
    "extend": ("partial",),
    "receive": ("duplicate", "shuffle", "empty"),
}
NONE: frozenset[str] = frozenset()


class UnknownFaultError(Exception):
    """Nothing is called that, or it is no rate: a typing error must not read as a run without faults."""


class Faults:
    """Draws the faults of each request."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.latency_seconds = 0.5
        """The longest."""
        self._rates: dict[str, float] = {}
        self._by_operation: dict[str, list[tuple[str, float]]] = {}
        self._script: list[str] = []

    @property
    def rates(self) -> Mapping[str, float]:
        """As they are now."""
        return self._rates

    @property
    def script(self) -> Sequence[str]:
        """What is still to come."""
        return self._script

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Replace all rates ("send.partial": 0.02; operation, service or "all"); UnknownFaultError changes nothing."""
        for name, rate in rates.items():
            _check(name)
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise UnknownFaultError(f"{name}: a rate lies between 0 and 1, not {rate!r}")
        self._rates = dict(rates)
        self._by_operation = {operation: self._of(operation) for operation in SERVICES}

    def follow(self, script: Sequence[str]) -> None:
        """Append to the script: each entry is for the first request that it fits; UnknownFaultError changes nothing."""
        for name in script:
            _check(name)
        self._script += script

    def draw(self, operation: str) -> frozenset[str]:
        """What goes wrong with a request that has just come."""
        rates = self._by_operation.get(operation)
        if not rates and not self._script:
            return NONE
        drawn = {kind for kind, rate in rates or () if self.random.random() < rate}
        return frozenset(drawn | self._scripted(operation))

    def happens(self, rate_name: str) -> bool:
        """Whether something happens now that is drawn for each message, not for each request."""
        rate = self._rates.get(rate_name, 0.0)
        return bool(rate) and self.random.random() < rate

    def _of(self, operation: str) -> list[tuple[str, float]]:
        found = [name.partition(".") for name in self._rates]
        return [
            (kind, self._rates[f"{who}.{kind}"])
            for who, _, kind in found
            if _fits(who, operation) and f"{who}.{kind}" not in PER_MESSAGE
        ]

    def _scripted(self, operation: str) -> set[str]:
        for index, name in enumerate(self._script):
            who, _, kind = name.partition(".")
            if _fits(who, operation):
                del self._script[index]
                return {kind}
        return set()


PER_MESSAGE = frozenset({"receive.duplicate", "delete.redeliver", "send.partial", "delete.partial", "extend.partial"})


def _fits(who: str, operation: str) -> bool:
    return who in ("all", operation, SERVICES[operation])


def _check(name: str) -> None:
    who, _, kind = name.partition(".")
    known = who in ("all", "s3", "sqs", *SERVICES) and kind in (*_ANY, *_SPECIAL.get(who, ()))
    if not known:
        raise UnknownFaultError(f"{name!r}: no operation has such a fault")
