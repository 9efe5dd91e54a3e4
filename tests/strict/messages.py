"""Messages as SQS takes them (API Reference, SendMessage; Developer Guide, "Message quotas"), and as it gives them."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from tests.strict.answers import RefusedError
from tests.strict.fifo import FifoQueue
from tests.strict.judge import Announced, said_by
from tests.strict.queues import Message, Queue

SIZE_LIMIT = 1024 * 1024
"""Bytes of a message with its attributes, and of a batch."""
ATTRIBUTE_LIMIT = 10
DELAY_LIMIT = 900
"""Seconds."""
Call = Mapping[str, Any]
Fields = dict[str, Any]

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"(?!(?i:aws|amazon)\.)(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_TYPE = re.compile(r"(String|Number|Binary)(\..{1,249})?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_GROUP = re.compile(r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}")


def size_of(call: Call) -> int:
    """Bytes that count."""
    attributes = call.get("MessageAttributes") or {}
    parts = [call.get("MessageBody") or "", *attributes]
    for item in attributes.values():
        parts += [str(item.get("DataType", "")), str(item.get("StringValue", "")), str(item.get("BinaryValue", ""))]
    return sum(len(part.encode("utf-8", "surrogatepass")) for part in parts)


def take(queue: Queue, call: Call, sender: str, now: float) -> tuple[Message, bool]:
    """The message to be sent, and whether it is new to a FIFO queue; RefusedError."""
    body, attributes = call.get("MessageBody"), dict(call.get("MessageAttributes") or {})
    _check_body(queue, call, body)
    _check_attributes(attributes)
    assert isinstance(body, str)
    digest = digest_of(attributes) if attributes else ""
    message = Message(body, _md5(body.encode()), attributes, digest, now)
    message.sender = sender
    if isinstance(queue, FifoQueue):
        return _take_in_order(queue, message, call, now)
    if call.get("MessageDeduplicationId") is not None:
        raise _invalid("The request include parameter that is not valid for this queue type: MessageDeduplicationId")
    message.group = call.get("MessageGroupId") or ""
    return message, True


def delay_of(queue: Queue, call: Call) -> int:
    """Seconds for which a message is hidden at first; RefusedError."""
    delay = call.get("DelaySeconds")
    if delay is None:
        return queue.number("DelaySeconds", 0)
    if not 0 <= delay <= DELAY_LIMIT:
        raise _invalid(f"Value {delay} for parameter DelaySeconds is invalid. Reason: must be between 0 and 900.")
    if queue.fifo and delay:
        raise _invalid(f"Value {delay} for parameter DelaySeconds is invalid. Reason: this queue type has none.")
    return int(delay)


def accepted(message: Message) -> Fields:
    """What its sender is told."""
    told: Fields = {"MessageId": message.id, "MD5OfMessageBody": message.md5}
    told |= {"MD5OfMessageAttributes": message.digest} if message.digest else {}
    return told | ({"SequenceNumber": message.system["SequenceNumber"]} if message.system else {})


def shown(message: Message, call: Call) -> Fields:
    """What its receiver is told."""
    told: Fields = {"MessageId": message.id, "ReceiptHandle": message.receipt}
    told |= {"MD5OfBody": message.md5, "Body": message.body}
    system = {
        "ApproximateReceiveCount": str(message.receives),
        "SentTimestamp": str(int(message.sent * 1000)),
        "ApproximateFirstReceiveTimestamp": str(int(message.first * 1000)),
        "SenderId": message.sender,
        **({"MessageGroupId": message.group} if message.group else {}),
        **message.system,
    }
    wanted = {*(call.get("MessageSystemAttributeNames") or ()), *(call.get("AttributeNames") or ())}
    found = {name: value for name, value in system.items() if name in wanted or "All" in wanted}
    told |= {"Attributes": found} if found else {}
    asked = call.get("MessageAttributeNames") or ()
    attributes = {name: item for name, item in message.attributes.items() if _is_asked(name, asked)}
    if attributes:
        told |= {"MessageAttributes": attributes, "MD5OfMessageAttributes": digest_of(attributes)}
    return told


def announced(message: Message) -> Announced | None:
    """What it says of an object, as its readers understand it: the body names the key."""
    key: str | None = message.body
    attributes = message.attributes
    if message.body.lstrip().startswith("{"):
        try:
            key = unquote_plus(json.loads(message.body)["Records"][0]["s3"]["object"]["key"])
        except (ValueError, LookupError, TypeError, RecursionError):
            key = None
    return said_by(key, attributes)


def digest_of(attributes: Mapping[str, Mapping[str, Any]]) -> str:
    """As the SQS Developer Guide says, "Calculating the MD5 message digest for message attributes"."""
    parts: list[bytes] = []
    for name in sorted(attributes):
        item = attributes[name]
        is_binary = item["DataType"].startswith("Binary")
        value = item["BinaryValue"].encode() if is_binary else item["StringValue"].encode()
        for data in (name.encode(), item["DataType"].encode()):
            parts += (len(data).to_bytes(4, "big"), data)
        parts += (b"\2" if is_binary else b"\1", len(value).to_bytes(4, "big"), value)
    return _md5(b"".join(parts))


def _take_in_order(queue: FifoQueue, message: Message, call: Call, now: float) -> tuple[Message, bool]:
    group, unique = call.get("MessageGroupId"), call.get("MessageDeduplicationId")
    if not group:
        raise RefusedError(400, "MissingParameter", "The request must contain the parameter MessageGroupId.")
    if unique is None and queue.attributes.get("ContentBasedDeduplication") == "true":
        unique = hashlib.sha256(message.body.encode()).hexdigest()
    if unique is None:
        raise _invalid(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided"
        )
    if not _GROUP.fullmatch(group) or not _GROUP.fullmatch(unique):
        raise _invalid("MessageGroupId and MessageDeduplicationId have 1 to 128 alphanumeric characters or punctuation")
    known = queue.known(unique, now)
    if known is not None:
        return known, False
    message.group = group
    message.system = {"SequenceNumber": f"{message.serial:020d}", "MessageDeduplicationId": unique}
    queue.remember(unique, message, now)
    return message, True


def _check_body(queue: Queue, call: Call, body: object) -> None:
    if not isinstance(body, str) or not body:
        raise RefusedError(400, "MissingParameter", "The request must contain the parameter MessageBody.")
    limit = queue.number("MaximumMessageSize", SIZE_LIMIT)
    if size_of(call) > limit:
        raise _invalid(f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes.")
    if _NOT_XML.search(body):
        raise RefusedError(400, "InvalidMessageContents", "Invalid characters found. Valid unicode characters are …")


def _check_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> None:
    if len(attributes) > ATTRIBUTE_LIMIT:
        raise _invalid(f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [10].")
    for name, item in attributes.items():
        kind = _TYPE.fullmatch(str(item.get("DataType", "")))
        if not _NAME.fullmatch(name) or kind is None:
            raise _invalid(f"The message attribute {name!r} has an invalid name or type {item.get('DataType')!r}.")
        value = item.get("BinaryValue" if kind[1] == "Binary" else "StringValue")
        if not value:
            raise _invalid(f"Message (user) attribute '{name}' must contain a non-empty value of type '{kind[1]}'.")
        if kind[1] == "Number" and not _NUMBER.fullmatch(value):
            raise _invalid(f"Can't cast the value of message (user) attribute '{name}' to a number.")
        if _NOT_XML.search(value):
            raise _invalid(f"Message (user) attribute '{name}' holds invalid characters.")


def _is_asked(name: str, asked: object) -> bool:
    names = list(asked) if isinstance(asked, list | tuple) else []
    return any(each in ("All", ".*", name) or (each.endswith(".*") and name.startswith(each[:-1])) for each in names)


def _invalid(text: str) -> RefusedError:
    return RefusedError(400, "InvalidParameterValue", text)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
