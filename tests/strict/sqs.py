"""SQS (AWS JSON protocol): queues by name, and what is asked of them."""

import functools
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.wire import Exchange, Memory
from tests.strict import attributes, messages
from tests.strict.answers import RefusedError, legacy
from tests.strict.clock import Clock
from tests.strict.faults import Faults
from tests.strict.fifo import FifoQueue
from tests.strict.judge import Judge
from tests.strict.log import Log
from tests.strict.messages import Call, Fields
from tests.strict.polls import Polls
from tests.strict.queues import HOURS_12, Message, Queue
from tests.strict.s3 import ACCOUNT
from tests.strict.wire import Call as Request

BATCH_LIMIT = 10
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_REDELIVERY_SECONDS = 5.0


class Sender(NamedTuple):
    """Whose request it is."""

    name: str
    judged: bool


class Sqs:
    """The queues."""

    def __init__(self, clock: Clock, faults: Faults, log: Log, judge: Judge, region: str) -> None:
        self._clock, self._faults, self._log, self._judge, self._region = clock, faults, log, judge, region
        self.queues: dict[str, Queue] = {}
        self._deleted: dict[str, float] = {}
        self.polls = Polls(clock, faults, log, judge)
        self._actions: dict[str, Callable[[Call, Request, Sender], Fields]] = {
            "CreateQueue": self._create,
            "GetQueueUrl": lambda call, request, _: _url(request, self._named(str(call.get("QueueName"))).name),
            "ListQueues": self._list,
            "DeleteQueue": self._delete_queue,
            "PurgeQueue": self._purge,
            "GetQueueAttributes": lambda call, _, __: attributes.shown(
                self._queue(call), call, self._clock.now(), region
            ),
            "SetQueueAttributes": self._set,
            "SendMessage": lambda call, _, sender: self._served(call, functools.partial(self._send, sender)),
            "SendMessageBatch": self._send_batch,
            "DeleteMessage": lambda call, _, __: self._served(call, self._delete),
            "DeleteMessageBatch": lambda call, request, _: self._batch(call, request, self._delete),
            "ChangeMessageVisibility": lambda call, _, __: self._served(call, self._extend),
            "ChangeMessageVisibilityBatch": lambda call, request, _: self._batch(call, request, self._extend),
        }

    def answer(self, request: Request, exchange: Exchange, sender: Sender) -> Fields | None:
        """Do it; None: the answer comes later, through the exchange; RefusedError."""
        name = request.headers[b"x-amz-target"].decode("latin-1").removeprefix("AmazonSQS.")
        call = json.loads(request.body.bytes()) if isinstance(request.body, Memory) else {}
        if name == "ReceiveMessage":
            return self.polls.receive(self._queue(call), call, request, exchange)
        action = self._actions.get(name)
        if action is None:
            raise RefusedError(400, "UnsupportedOperation", f"this server does no {name}")
        return action(call, request, sender)

    def _named(self, name: str) -> Queue:
        queue = self.queues.get(name)
        if queue is None:
            raise RefusedError(400, "QueueDoesNotExist", "The specified queue does not exist.")
        return queue

    def _queue(self, call: Call) -> Queue:
        return self._named(str(call.get("QueueUrl", "")).rpartition("/")[2])

    def _create(self, call: Call, request: Request, _: Sender) -> Fields:
        name, now = str(call.get("QueueName", "")), self._clock.now()
        wanted = attributes.checked(name, call.get("Attributes") or {})
        queue = self.queues.get(name)
        if queue is not None:
            if any(queue.attributes.get(key) != value for key, value in wanted.items()):
                raise RefusedError(
                    400, "QueueNameExists", "A queue already exists with the same name and another value"
                )
            return _url(request, name)
        if now - self._deleted.get(name, float("-inf")) < attributes.DELETED_SECONDS:
            text = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
            raise RefusedError(400, "QueueDeletedRecently", text)
        kind = FifoQueue if wanted.get("FifoQueue") == "true" else Queue
        queue = kind(name, {**attributes.DEFAULTS, **wanted}, now)
        attributes.link(queue, self.queues)
        queue.on_expired, queue.on_buried = self._expired, self._buried
        self.queues[name] = queue
        return _url(request, name)

    def _list(self, call: Call, request: Request, _: Sender) -> Fields:
        found = sorted(name for name in self.queues if name.startswith(call.get("QueueNamePrefix") or ""))
        return {"QueueUrls": [_url(request, name)["QueueUrl"] for name in found]} if found else {}

    def _delete_queue(self, call: Call, _: Request, __: Sender) -> Fields:
        queue = self._queue(call)
        self._forget(queue, "QUEUE-DELETED")
        self._deleted[queue.name] = self._clock.now()
        del self.queues[queue.name]
        return {}

    def _purge(self, call: Call, _: Request, __: Sender) -> Fields:
        self._forget(self._queue(call), "PURGED")
        return {}

    def _forget(self, queue: Queue, effect: str) -> None:
        for message in queue.purge():
            self._judge.dropped(message.said, dead=queue.of_dead)
        self._log.event(effect, queue=queue.name)

    def _set(self, call: Call, _: Request, __: Sender) -> Fields:
        queue = self._queue(call)
        wanted = attributes.checked(queue.name, call.get("Attributes") or {}, changes=True)
        queue.attributes, before = {**queue.attributes, **wanted}, queue.attributes
        try:
            attributes.link(queue, self.queues)
        except RefusedError:
            queue.attributes = before
            raise
        queue.changed = self._clock.now()
        return {}

    def _send(self, sender: Sender, queue: Queue, call: Call) -> Fields:
        now, delay = self._clock.now(), messages.delay_of(queue, call)
        message, is_new = messages.take(queue, call, sender.name, now)
        if is_new:
            message.said = messages.announced(message) if sender.judged else None
            queue.add(message, now, delay)
        drop = message.said.drop_id if message.said else ""
        self._log.event("SEND", queue=queue.name, id=message.id, body=message.md5, drop=drop, again=not is_new)
        if is_new:
            if sender.judged and message.said is None and not queue.of_dead:
                self._judge.accepted_mute(message.id)
            self._judge.accepted(message.said, dead=queue.of_dead)
        return messages.accepted(message)

    def _send_batch(self, call: Call, request: Request, sender: Sender) -> Fields:
        if sum(messages.size_of(entry) for entry in call.get("Entries") or ()) > messages.SIZE_LIMIT:
            text = f"Batch requests cannot be longer than {messages.SIZE_LIMIT} bytes."
            raise RefusedError(400, "BatchRequestTooLong", text)
        return self._batch(call, request, functools.partial(self._send, sender))

    def _delete(self, queue: Queue, call: Call) -> Fields:
        message = queue.delete(str(call.get("ReceiptHandle", "")), self._clock.now())
        if message is None:
            self._log.event("DELETE-STALE", queue=queue.name)
            return {}
        drop = message.said.drop_id if message.said else ""
        self._log.event("DELETE-MESSAGE", queue=queue.name, id=message.id, body=message.md5, drop=drop)
        self._judge.deleted(message.said, dead=queue.of_dead)
        if self._faults.happens("delete.redeliver"):
            self.polls.repeat(queue, message, "delete.redeliver", self._faults.random.uniform(0, _REDELIVERY_SECONDS))
        return {}

    def _extend(self, queue: Queue, call: Call) -> Fields:
        seconds = call.get("VisibilityTimeout")
        if not isinstance(seconds, int) or not 0 <= seconds <= HOURS_12:
            text = (
                f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: must be between 0 and {HOURS_12}."
            )
            raise RefusedError(400, "InvalidParameterValue", text)
        queue.extend(str(call.get("ReceiptHandle", "")), seconds, self._clock.now())
        return {}

    def _served(self, call: Call, act: Callable[[Queue, Call], Fields]) -> Fields:
        queue = self._queue(call)
        done = act(queue, call)
        self.polls.serve(queue)
        return done

    def _batch(self, call: Call, request: Request, act: Callable[[Queue, Call], Fields]) -> Fields:
        queue, entries = self._queue(call), call.get("Entries") or []
        _check_ids([str(entry.get("Id", "")) for entry in entries])
        done, failed = [], []
        for entry in entries:
            try:
                if self._faults.happens(f"{request.operation}.partial") or "partial" in request.faults:
                    self._log.fault(request.operation, "partial")
                    raise RefusedError(500, "InternalError", "We encountered an internal error. Please try again.")
                done.append({"Id": entry["Id"], **act(queue, entry)})
            except RefusedError as error:
                failed.append(_failed(entry, error))
        self.polls.serve(queue)
        return {"Successful": done, **({"Failed": failed} if failed else {})}

    def _expired(self, queue: Queue, message: Message) -> None:
        self._log.event("EXPIRED", queue=queue.name, id=message.id)
        self._judge.dropped(message.said, dead=queue.of_dead)

    def _buried(self, queue: Queue, message: Message) -> None:
        self._log.event("BURIED", queue=queue.name, id=message.id)
        self._judge.buried(message.said)
        assert queue.dead is not None
        self.polls.serve(queue.dead)


def _check_ids(ids: list[str]) -> None:
    if not ids:
        raise RefusedError(400, "EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(ids) > BATCH_LIMIT:
        text = f"Maximum number of entries per request are {BATCH_LIMIT}. You have sent {len(ids)}."
        raise RefusedError(400, "TooManyEntriesInBatchRequest", text)
    if not all(map(_ENTRY_ID.fullmatch, ids)):
        raise RefusedError(
            400, "InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, - and _"
        )
    if len(set(ids)) < len(ids):
        raise RefusedError(400, "BatchEntryIdsNotDistinct", "Id repeated.")


def _failed(entry: Call, error: RefusedError) -> dict[str, Any]:
    said = {"Code": legacy(error.code), "Message": error.text, "SenderFault": error.status < 500}
    return {"Id": entry["Id"], **said}


def _url(request: Request, name: str) -> Fields:
    return {"QueueUrl": f"http://{request.headers[b'host'].decode()}/{ACCOUNT}/{name}"}
