"""An SQS that costs almost nothing (AWS JSON protocol): `python -m bench.sqs`.

Standard queues only. A long poll is answered by the send that it waits for. It checks no signature, and keeps messages
in memory, for ever.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from bench import messages
from bench.messages import ACCOUNT, SIZE, Answer, Call, RefusedError
from bench.queues import Queue
from bench.wire import Body, Exchange, Memory, Request, serve

_TYPE = ("Content-Type", "application/x-amz-json-1.0")
_DEFAULTS = {"VisibilityTimeout": "30", "ReceiveMessageWaitTimeSeconds": "0", "DelaySeconds": "0"}
_DEFAULTS |= {"MessageRetentionPeriod": "345600", "MaximumMessageSize": str(SIZE)}
_LEGACY = {"QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue"}


class _Waiter(NamedTuple):
    queue: Queue
    timeout: asyncio.TimerHandle


class Sqs:
    """The queues, and what is asked of them."""

    def __init__(self, make_queue: Callable[[str, dict[str, str]], Queue] = Queue) -> None:
        self._make_queue = make_queue
        self._queues: dict[str, Queue] = {}
        self._waiting: dict[Exchange, _Waiter] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by queue: when a hidden message may show
        self._actions: dict[bytes, Callable[[Call, Request], Answer]] = {
            f"AmazonSQS.{name.title().replace('_', '')}".encode(): getattr(self, f"_{name}") for name in _ACTIONS
        }

    def body_for(self, request: Request) -> Body:
        """See wire.Application."""
        del request
        return Memory()

    def answer(self, request: Request, exchange: Exchange) -> None:
        """See wire.Application."""
        target = request.headers.get(b"x-amz-target", b"")
        call = json.loads(request.body.bytes()) if isinstance(request.body, Memory) else {}
        try:
            if target == b"AmazonSQS.ReceiveMessage":
                self._receive(call, exchange)
                return
            action = self._actions.get(target)
            if action is None:
                raise RefusedError("UnsupportedOperation", f"this server does not do {target.decode()}")
            _reply(exchange, action(call, request))
        except RefusedError as error:
            body = {"__type": f"com.amazonaws.sqs#{error.code}", "message": error.text}
            legacy = ("x-amzn-query-error", f"{_LEGACY.get(error.code, error.code)};Sender")
            exchange.reply(400, [_TYPE, legacy], json.dumps(body).encode())

    def gone(self, exchange: Exchange) -> None:
        """See wire.Application."""
        if waiter := self._waiting.pop(exchange, None):
            waiter.timeout.cancel()
            waiter.queue.waiters.pop(exchange, None)

    def _queue(self, call: Call) -> Queue:
        queue = self._queues.get(call["QueueUrl"].rpartition("/")[2])
        if queue is None:
            raise RefusedError("QueueDoesNotExist", "The specified queue does not exist.")
        return queue

    def _create_queue(self, call: Call, request: Request) -> Answer:
        name, attributes = call["QueueName"], dict(call.get("Attributes") or {})
        if name.endswith(".fifo"):
            raise RefusedError("InvalidParameterValue", "this server has no FIFO queues")
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = self._make_queue(name, {**_DEFAULTS, **attributes})
            self._link(queue)
        elif any(queue.attributes.get(key) != value for key, value in attributes.items()):
            raise RefusedError("QueueNameExists", "a queue of that name has other attributes")
        return _url(request, name)

    def _link(self, queue: Queue) -> None:
        """Find the dead-letter queue that the attributes name."""
        policy = json.loads(queue.attributes.get("RedrivePolicy") or "{}")
        queue.dead = self._queues.get(policy.get("deadLetterTargetArn", "").rpartition(":")[2])
        queue.max_receives = int(policy.get("maxReceiveCount", 0))

    def _get_queue_url(self, call: Call, request: Request) -> Answer:
        return _url(request, self._queue({"QueueUrl": call["QueueName"]}).name)

    def _list_queues(self, call: Call, request: Request) -> Answer:
        prefix = call.get("QueueNamePrefix") or ""
        return {"QueueUrls": [_url(request, name)["QueueUrl"] for name in self._queues if name.startswith(prefix)]}

    def _delete_queue(self, call: Call, _: Request) -> Answer:
        del self._queues[self._queue(call).name]
        return {}

    def _get_queue_attributes(self, call: Call, _: Request) -> Answer:
        queue, wanted = self._queue(call), call.get("AttributeNames") or []
        counts = dict(zip(_COUNTS, map(str, queue.counts()), strict=True))
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue.name}"
        every = {**queue.attributes, **counts, "QueueArn": arn, "CreatedTimestamp": str(int(queue.created))}
        return {"Attributes": {key: value for key, value in every.items() if "All" in wanted or key in wanted}}

    def _set_queue_attributes(self, call: Call, _: Request) -> Answer:
        queue = self._queue(call)
        queue.attributes.update(call["Attributes"])
        self._link(queue)
        return {}

    def _purge_queue(self, call: Call, _: Request) -> Answer:
        self._queue(call).purge()
        return {}

    def _send_message(self, call: Call, _: Request) -> Answer:
        queue = self._queue(call)
        sent = messages.send(queue, call)
        self._serve(queue)
        return sent

    def _send_message_batch(self, call: Call, _: Request) -> Answer:
        queue, entries = self._queue(call), call["Entries"]
        if sum(len(entry["MessageBody"]) for entry in entries) > SIZE:
            raise RefusedError("BatchRequestTooLong", "the batch is larger than SQS allows")
        answer = _each(entries, lambda entry: messages.send(queue, entry))
        self._serve(queue)
        return answer

    def _delete_message(self, call: Call, _: Request) -> Answer:
        return messages.delete(self._queue(call), call)

    def _delete_message_batch(self, call: Call, _: Request) -> Answer:
        queue = self._queue(call)
        return _each(call["Entries"], lambda entry: messages.delete(queue, entry))

    def _change_message_visibility(self, call: Call, _: Request) -> Answer:
        queue = self._queue(call)
        messages.extend(queue, call)
        self._serve(queue)
        return {}

    def _change_message_visibility_batch(self, call: Call, _: Request) -> Answer:
        queue = self._queue(call)
        answer = _each(call["Entries"], lambda entry: messages.extend(queue, entry))
        self._serve(queue)
        return answer

    def _receive(self, call: Call, exchange: Exchange) -> None:
        queue = self._queue(call)
        limit, wait = call.get("MaxNumberOfMessages") or 1, call.get("WaitTimeSeconds")
        visibility = call.get("VisibilityTimeout")
        visibility = queue.number("VisibilityTimeout", 30) if visibility is None else visibility
        wait = queue.number("ReceiveMessageWaitTimeSeconds", 0) if wait is None else wait
        found = queue.receive(limit, visibility)
        if found or not wait:
            _reply(exchange, messages.received(found, call))
            return

        def wake() -> None:
            self.gone(exchange)
            _reply(exchange, messages.received(queue.receive(limit, visibility), call))

        queue.waiters[exchange] = wake
        self._waiting[exchange] = _Waiter(queue, asyncio.get_running_loop().call_later(wait, wake))
        self._serve(queue)

    def _serve(self, queue: Queue) -> None:
        """Wake those who wait; come back when the next hidden message may show."""
        queue.counts()
        queue.wake()
        if timer := self._timers.pop(queue.name, None):
            timer.cancel()
        if queue.waiters and (moment := queue.next_change()) is not None:
            delay = max(0.001, moment - time.monotonic())
            self._timers[queue.name] = asyncio.get_running_loop().call_later(delay, self._serve, queue)


_COUNTS = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
]
_ACTIONS = [
    *("create_queue", "get_queue_url", "list_queues", "delete_queue", "purge_queue"),
    *("get_queue_attributes", "set_queue_attributes"),
    *("send_message", "send_message_batch", "delete_message", "delete_message_batch"),
    *("change_message_visibility", "change_message_visibility_batch"),
]


def _url(request: Request, name: str) -> Answer:
    return {"QueueUrl": f"http://{request.headers[b'host'].decode()}/{ACCOUNT}/{name}"}


def _reply(exchange: Exchange, answer: Answer) -> None:
    exchange.reply(200, [_TYPE, ("x-amzn-RequestId", "0")], json.dumps(answer).encode())


def _each(entries: list[Call], act: Callable[[Call], Answer]) -> Answer:
    done, failed = [], []
    for entry in entries:
        try:
            done.append({"Id": entry["Id"], **act(entry)})
        except RefusedError as error:
            failed.append({"Id": entry["Id"], "SenderFault": True, "Code": error.code, "Message": error.text})
    return {"Successful": done, "Failed": failed} if failed else {"Successful": done}


def _make(_: argparse.Namespace) -> Sqs:
    return Sqs()


if __name__ == "__main__":
    serve(_make, argparse.ArgumentParser(prog="python -m bench.sqs", description=(__doc__ or "").partition("\n")[0]))
