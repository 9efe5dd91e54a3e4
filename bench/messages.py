"""Messages as SQS's JSON protocol has them: what is sent, taken, extended and acknowledged, entry by entry."""

import hashlib
from collections.abc import Mapping
from typing import Any

from bench.queues import Message, Queue

SIZE = 1024 * 1024
"""Bytes of a message, and of a call (Amazon SQS Developer Guide, "Message quotas")."""
ACCOUNT = "000000000000"

Call = Mapping[str, Any]
Answer = dict[str, Any]


class RefusedError(Exception):
    """What the client is told: code and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def send(queue: Queue, call: Call) -> Answer:
    """Add a message; RefusedError where SQS refuses it."""
    body, attributes = call["MessageBody"], call.get("MessageAttributes") or {}
    if len(body) > SIZE or not body:
        raise RefusedError("InvalidParameterValue", "a message has 1 byte to 1 MiB")
    if not body.isprintable() and any(ord(each) < 32 and each not in "\t\n\r" for each in body):
        raise RefusedError("InvalidMessageContents", "the message holds a control character")
    md5 = _md5(body.encode())
    message = Message(body, md5, attributes, digest(attributes) if attributes else "")
    queue.send(message, call.get("DelaySeconds") or queue.number("DelaySeconds", 0))
    answer = {"MessageId": message.id, "MD5OfMessageBody": md5}
    return {**answer, "MD5OfMessageAttributes": message.digest} if attributes else answer


def delete(queue: Queue, call: Call) -> Answer:
    """Acknowledge a message."""
    if not queue.delete(call["ReceiptHandle"]):
        raise RefusedError("ReceiptHandleIsInvalid", "the receipt is not valid, or no longer")
    return {}


def extend(queue: Queue, call: Call) -> Answer:
    """Change how long a message stays hidden."""
    if not queue.extend(call["ReceiptHandle"], call["VisibilityTimeout"]):
        raise RefusedError("ReceiptHandleIsInvalid", "the receipt is not valid, or no longer")
    return {}


def received(messages: list[Message], call: Call) -> Answer:
    """The answer that holds them."""
    if not messages:
        return {}
    system = call.get("MessageSystemAttributeNames") or call.get("AttributeNames") or []
    return {"Messages": [_shown(message, system, bool(call.get("MessageAttributeNames"))) for message in messages]}


def _shown(message: Message, system: list[str], attributes: bool) -> Answer:
    shown: Answer = {"MessageId": message.id, "ReceiptHandle": message.receipt}
    shown |= {"MD5OfBody": message.md5, "Body": message.body}
    if system:
        every = {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(int(message.sent * 1000)),
            "ApproximateFirstReceiveTimestamp": str(int(message.first * 1000)),
            "SenderId": ACCOUNT,
        }
        shown["Attributes"] = {key: value for key, value in every.items() if "All" in system or key in system}
    if attributes and message.attributes:
        shown |= {"MessageAttributes": message.attributes, "MD5OfMessageAttributes": message.digest}
    return shown


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def digest(attributes: Mapping[str, Mapping[str, Any]]) -> str:
    """As the SQS Developer Guide says, "Calculating the MD5 message digest for message attributes"; text only."""
    parts: list[bytes] = []
    for name in sorted(attributes):
        item = attributes[name]
        for text in (name, item["DataType"]):
            data = text.encode()
            parts += (len(data).to_bytes(4, "big"), data)
        data = item.get("StringValue", "").encode()
        parts += (b"\1", len(data).to_bytes(4, "big"), data)
    return _md5(b"".join(parts))
