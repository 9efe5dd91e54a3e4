"""The control address: what the server is told, and asked, while it runs.

POST /_strict/faults  {"send.lost_answer": 0.02, "all.503": 0.02, …}  all rates from now on; {}: none
POST /_strict/script  ["put.503", …]                each for the first request that it fits, one after the other
POST /_strict/latency {"seconds": 0.2}              the longest that a fault of latency takes
POST /_strict/down    {"seconds": 3}                every connection is closed, old or new, for so long
POST /_strict/clock   {"advance": 3600, "skew": 0}  both in seconds; skew: what signatures are compared with
POST /_strict/keys    {"id": "…", "secret": "…", "token": "", "expires_in": 60, "judged": true}
POST /_strict/judge   {"consumers": [{"folder": "…/DownloadedFromS3", "taken": ["…"]}]}
POST /_strict/limits  {"queue": "…", "in_flight": 5}
GET  /_strict/counts, /_strict/violations, /_strict/faults, /_strict/objects?bucket=…
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.wire import Memory
from tests.strict.answers import RefusedError
from tests.strict.consumers import Consumer
from tests.strict.faults import UnknownFaultError
from tests.strict.signatures import Key
from tests.strict.wire import Call

if TYPE_CHECKING:
    from tests.strict.server import Server

Said = Any
"""JSON."""


class Control:
    """Answers at the control address."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._posts: Mapping[str, Callable[[Said], None]] = {
            "faults": server.faults.set_rates,
            "script": server.faults.follow,
            "latency": self._latency,
            "down": lambda said: server.go_down(_number(said, "seconds", 0)),
            "clock": self._clock,
            "keys": self._keys,
            "judge": self._judge,
            "limits": self._limits,
        }
        self._gets: Mapping[str, Callable[[Call], Said]] = {
            "counts": lambda _: self._counts(),
            "violations": lambda _: server.log.violations,
            "faults": lambda _: {"rates": dict(server.faults.rates), "script": list(server.faults.script)},
            "objects": self._objects,
        }

    def answer(self, call: Call) -> bytes:
        """JSON; RefusedError where it is not understood: nothing is changed then."""
        name = call.path.removeprefix("/_strict/")
        if call.method == "GET" and name in self._gets:
            self._server.log.flush()
            return json.dumps(self._gets[name](call)).encode()
        if call.method != "POST" or name not in self._posts:
            raise RefusedError(404, "NotFound", f"there is no {call.method} {call.path}; see tests/strict/control.py")
        try:
            self._posts[name](json.loads(call.body.bytes() if isinstance(call.body, Memory) else b""))
        except (ValueError, LookupError, TypeError, AttributeError, UnknownFaultError) as error:
            raise RefusedError(400, "NotUnderstood", f"{name}: {error!r}") from error
        self._server.log.event("CONTROL", what=name)
        return b"{}"

    def _latency(self, said: Said) -> None:
        self._server.faults.latency_seconds = _number(said, "seconds", 0)

    def _clock(self, said: Said) -> None:
        clock = self._server.clock
        clock.advance(_number(said, "advance", 0))
        clock.skew = _number(said, "skew", clock.skew)
        for queue in self._server.sqs.queues.values():
            self._server.sqs.polls.serve(queue)

    def _keys(self, said: Said) -> None:
        expires = self._server.clock.now() + _number(said, "expires_in", float("inf"))
        key = Key(str(said["secret"]), str(said.get("token", "")), expires, judged=bool(said.get("judged", True)))
        self._server.signatures.keys[str(said["id"])] = key

    def _judge(self, said: Said) -> None:
        consumers = [Consumer(Path(one["folder"]), list(map(Path, one.get("taken", ())))) for one in said["consumers"]]
        self._server.judge.consumers = consumers

    def _limits(self, said: Said) -> None:
        self._server.sqs.queues[said["queue"]].in_flight_limit = int(said["in_flight"])

    def _counts(self) -> Said:
        server, now = self._server, self._server.clock.now()
        return {
            "requests": server.log.requests,
            "faults": server.log.faults,
            "effects": server.log.effects,
            "violations": server.log.violation_count,
            "judged": server.judge.judged,
            "queues": {name: queue.counts(now) for name, queue in server.sqs.queues.items()},
            "waiting": {name: len(queue.waiters) for name, queue in server.sqs.queues.items()},
            "objects": {name: len(bucket.objects) for name, bucket in server.store.buckets.items()},
            "uploads": {name: len(bucket.uploads) for name, bucket in server.store.buckets.items()},
            "connections": len(server.connections),
        }

    def _objects(self, call: Call) -> Said:
        bucket = self._server.store.buckets[call.query["bucket"]]
        return [
            [key, one.size, one.crc64nvme, one.metadata("drop-id"), one.announced]
            for key, one in bucket.objects.items()
        ]


def _number(said: Said, name: str, default: float) -> float:
    value = said.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: {value!r} is no number")
    return float(value)
