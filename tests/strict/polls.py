"""Receives, at once or by long polls, and what may happen to them: copies, another order, nothing at all."""

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bench.wire import Exchange
from tests.strict import attributes, messages
from tests.strict.answers import JSON, RefusedError
from tests.strict.clock import Clock
from tests.strict.faults import Faults
from tests.strict.judge import Judge
from tests.strict.log import Log
from tests.strict.messages import Call, Fields
from tests.strict.queues import HOURS_12, Message, Queue
from tests.strict.wire import Call as Request

RECEIVE_LIMIT = 10
WAIT_LIMIT = 20
"""Seconds of a long poll."""
_SHUFFLED = 100


class _Waiter(NamedTuple):
    queue: Queue
    timeout: asyncio.TimerHandle


class Polls:
    """Those who wait, and the timers that serve them."""

    def __init__(self, clock: Clock, faults: Faults, log: Log, judge: Judge) -> None:
        self._clock, self._faults, self._log, self._judge = clock, faults, log, judge
        self._waiting: dict[Exchange, _Waiter] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by queue: when a hidden message may show

    def gone(self, exchange: Exchange) -> None:
        """A connection has ended; it may have been waiting."""
        if waiter := self._waiting.pop(exchange, None):
            waiter.timeout.cancel()
            waiter.queue.waiters.pop(exchange, None)

    def receive(self, queue: Queue, call: Call, request: Request, exchange: Exchange) -> Fields | None:
        """The answer; None: it comes later, through the exchange; RefusedError."""
        limit = attributes.within(call, "MaxNumberOfMessages", 1, range(1, RECEIVE_LIMIT + 1))
        default = queue.number("VisibilityTimeout", 30)
        visibility = attributes.within(call, "VisibilityTimeout", default, range(HOURS_12 + 1))
        default = queue.number("ReceiveMessageWaitTimeSeconds", 0)
        wait = attributes.within(call, "WaitTimeSeconds", default, range(WAIT_LIMIT + 1))
        if "empty" in request.faults:
            self._log.fault("receive", "empty")
            return {}
        if "shuffle" in request.faults and not queue.fifo:
            self._log.fault("receive", "shuffle")
            queue.settle(self._clock.now())
            queue.shuffle(self._faults.random.randrange(_SHUFFLED))
        take = functools.partial(self._take, queue, limit, visibility)
        if not wait:
            return _received(take(), call)
        self._wait(queue, call, exchange, take, wait)
        return None

    def _wait(
        self, queue: Queue, call: Call, exchange: Exchange, take: Callable[[], list[Message]], seconds: int
    ) -> None:
        def wake() -> bool:
            with contextlib.suppress(RefusedError):  # too many in flight: a long poll says nothing of it
                if found := take():
                    answer(found)
                    return True
            return False

        def answer(found: list[Message]) -> None:
            self.gone(exchange)
            exchange.reply(200, JSON, json.dumps(_received(found, call)).encode())

        def end() -> None:
            if not wake():
                answer([])

        queue.waiters[exchange] = wake
        self._waiting[exchange] = _Waiter(queue, asyncio.get_running_loop().call_later(seconds, end))
        self.serve(queue)

    def serve(self, queue: Queue) -> None:
        """Wake those who wait, as long as there is something for them; come back when the next message may show."""
        queue.settle(self._clock.now())
        for wake in list(queue.waiters.values()):
            if not wake():
                break
        if timer := self._timers.pop(queue.name, None):
            timer.cancel()
        if queue.waiters and (moment := queue.next_change()) is not None:
            delay = max(0.001, moment - self._clock.now())
            self._timers[queue.name] = asyncio.get_running_loop().call_later(delay, self.serve, queue)

    def repeat(self, queue: Queue, message: Message, fault: str, delay: float = 0) -> None:
        """Put a copy of a message that was received into the queue, as a fault."""
        if queue.fifo:  # they promise that it is delivered once
            return
        twin = message.twin()
        self._log.fault(*fault.split("."), id=message.id)
        self._judge.returned(message.said, dead=queue.of_dead)
        queue.add(twin, self._clock.now(), delay)

    def _take(self, queue: Queue, limit: int, visibility: int) -> list[Message]:
        found = queue.receive(limit, visibility, self._clock.now())
        for message in found:
            drop = message.said.drop_id if message.said else ""
            self._log.event("RECEIVE", queue=queue.name, id=message.id, count=message.receives, drop=drop)
            if self._faults.happens("receive.duplicate"):
                self.repeat(queue, message, "receive.duplicate")
        return found


def _received(found: Iterable[Message], call: Call) -> Fields:
    shown = [messages.shown(message, call) for message in found]
    return {"Messages": shown} if shown else {}
