"""The server: whose a request is, what goes wrong with it, and who answers it."""

import json
import time
import traceback
from pathlib import Path

from bench.wire import Body, Exchange, Memory, Request
from tests.strict import multipart, objects
from tests.strict.answers import JSON, XML, RefusedError, s3_error, sqs_error
from tests.strict.bodies import Content
from tests.strict.clock import Clock
from tests.strict.control import Control
from tests.strict.faults import SERVICES, STATUSES, Faults
from tests.strict.judge import Judge
from tests.strict.log import Log
from tests.strict.s3 import S3, Answer, Store, settle
from tests.strict.shelf import Object
from tests.strict.signatures import Key, Signatures
from tests.strict.sqs import Sender, Sqs
from tests.strict.wire import CONTROL, Call, Connection

EVENTS = "events.jsonl"
KEY_ID, SECRET = "strict", "strict-secret"
"""The program's."""
INTRUDER_ID, INTRUDER_SECRET = "intruder", "intruder-secret"
"""Those of somebody else, whose messages may say anything."""
_CODES = {
    ("s3", "503"): "SlowDown",
    ("s3", "500"): "InternalError",
    ("s3", "429"): "TooManyRequests",
    ("sqs", "503"): "ServiceUnavailable",
    ("sqs", "500"): "InternalError",
    ("sqs", "429"): "ThrottlingException",
}


class Server:
    """S3, SQS and the control address, behind one port."""

    def __init__(self, folder: Path, seed: int, region: str) -> None:
        self.clock, self.faults = Clock(), Faults(seed)
        self.log = Log(folder / EVENTS, self.clock)
        self.judge = Judge(self.log, self._find)
        bodies = folder / "bodies"
        bodies.mkdir()
        self.store = Store(self.clock, self.log, self.judge, lambda call: Content(call, bodies), region)
        self._s3 = S3(self.store, {**objects.OPERATIONS, **multipart.OPERATIONS})
        self.sqs = Sqs(self.clock, self.faults, self.log, self.judge, region)
        self.signatures = Signatures(self.clock, region)
        self.signatures.keys[KEY_ID] = Key(SECRET)
        self.signatures.keys[INTRUDER_ID] = Key(INTRUDER_SECRET, judged=False)
        self.connections: set[Connection] = set()
        self._control = Control(self)
        self._up_again = 0.0

    def go_down(self, seconds: float) -> None:
        """Close every connection, and each that is made, for so long."""
        self._up_again = time.monotonic() + seconds
        for connection in list(self.connections):
            connection.interrupt()

    def is_down(self) -> bool:
        """See wire.Application."""
        return time.monotonic() < self._up_again

    def body_for(self, request: Request) -> Body:
        """See wire.Application."""
        assert isinstance(request, Call)
        return self._s3.body_for(request) if SERVICES.get(request.operation) == "s3" else Memory()

    def answer(self, request: Request, exchange: Exchange) -> None:
        """See wire.Application."""
        assert isinstance(request, Call)
        try:
            self._answer(request, exchange)
        except Exception:
            self.log.violation(
                f"the server itself fails at {request.method} {request.target}: {traceback.format_exc()}"
            )
            raise
        finally:
            settle(request)

    def gone(self, exchange: Exchange) -> None:
        """See wire.Application."""
        self.sqs.polls.gone(exchange)

    def forget(self, call: Call) -> None:
        """See wire.Application."""
        settle(call)

    def _answer(self, call: Call, exchange: Exchange) -> None:
        service = SERVICES.get(call.operation, CONTROL)
        try:
            if service == CONTROL:
                exchange.reply(200, JSON, self._control.answer(call))
                return
            key, region = self.signatures.check(call, call.target, service)
            self._refuse(call, service)
            if service == "s3":
                _reply_s3(exchange, self._s3.answer(call, region), self.log)
                return
            told = self.sqs.answer(call, exchange, Sender(_name(call), key.judged))
            if told is not None:
                exchange.reply(200, [*JSON, _request_id(self.log)], json.dumps(told).encode())
        except RefusedError as error:
            self._reply_error(exchange, call, service, error)

    def _refuse(self, call: Call, service: str) -> None:
        for status in STATUSES:
            if status in call.faults:
                self.log.fault(call.operation, status, target=call.target)
                raise RefusedError(int(status), _CODES[service, status], "Please reduce your request rate.")

    def _reply_error(self, exchange: Exchange, call: Call, service: str, error: RefusedError) -> None:
        if service == "s3":
            body = b"" if call.method == "HEAD" else s3_error(error)
            exchange.reply(error.status, [*XML, *error.headers, _request_id(self.log)], body)
        else:
            headers, body = sqs_error(error)
            exchange.reply(error.status, [*headers, _request_id(self.log)], body)

    def _find(self, bucket: str, key: str, version_id: str) -> Object | None:
        there = self.store.buckets.get(bucket)
        return there.find(key, version_id) if there is not None else None


def _reply_s3(exchange: Exchange, answer: Answer, log: Log) -> None:
    exchange.reply(answer.status, [*answer.headers, _request_id(log)], answer.body, head=answer.only_head)


def _request_id(log: Log) -> tuple[str, str]:
    return "x-amz-request-id", f"{log.number:016X}"


def _name(call: Call) -> str:
    return call.headers.get(b"authorization", b"").decode("latin-1").partition("Credential=")[2].partition("/")[0]
