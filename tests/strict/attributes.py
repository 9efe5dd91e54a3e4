"""Attributes of a queue (SQS API Reference, CreateQueue and SetQueueAttributes), and arguments that have a range."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.strict.answers import RefusedError
from tests.strict.messages import SIZE_LIMIT
from tests.strict.queues import HOURS_12, Queue
from tests.strict.s3 import ACCOUNT

DEFAULTS = {
    "VisibilityTimeout": "30",
    "MaximumMessageSize": str(SIZE_LIMIT),
    "MessageRetentionPeriod": "345600",
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
}
DELETED_SECONDS = 60
_RANGES = {
    "VisibilityTimeout": range(HOURS_12 + 1),
    "MaximumMessageSize": range(1024, SIZE_LIMIT + 1),
    "MessageRetentionPeriod": range(60, 1_209_600 + 1),
    "DelaySeconds": range(901),
    "ReceiveMessageWaitTimeSeconds": range(21),
}
_SWITCHES = ("FifoQueue", "ContentBasedDeduplication")
_COUNTS = ("", "NotVisible", "Delayed")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|(?=.{1,80}$)[A-Za-z0-9_-]+\.fifo")


def checked(name: str, wanted: Mapping[str, Any], *, changes: bool = False) -> dict[str, str]:
    """The attributes that a queue of that name is to have; RefusedError. `changes`: it is there already."""
    if not _NAME.fullmatch(name):
        text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        raise RefusedError(400, "InvalidParameterValue", text)
    found = {key: str(value) for key, value in wanted.items()}
    for key, value in found.items():
        _check(key, value, changes=changes)
    if not changes and (found.get("FifoQueue") == "true") != name.endswith(".fifo"):
        text = "The name of a FIFO queue ends with .fifo, and no other does."
        raise RefusedError(400, "InvalidParameterValue", text)
    return found


def link(queue: Queue, queues: Mapping[str, Queue]) -> None:
    """Find the dead-letter queue that its attributes name; RefusedError."""
    name, count = _dead_letters_of(queue.attributes)
    if not name:
        queue.dead, queue.max_receives = None, 0
        return
    dead = queues.get(name)
    if dead is None or dead.fifo != queue.fifo or dead is queue:
        text = "Value for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist."
        raise RefusedError(400, "InvalidParameterValue", text)
    queue.dead, queue.max_receives, dead.of_dead = dead, count, True


def shown(queue: Queue, call: Mapping[str, Any], now: float, region: str) -> dict[str, Any]:
    """The answer of GetQueueAttributes; RefusedError."""
    counts = zip(_COUNTS, queue.counts(now), strict=True)
    own = {
        "QueueArn": f"arn:aws:sqs:{region}:{ACCOUNT}:{queue.name}",
        "CreatedTimestamp": str(int(queue.created)),
        "LastModifiedTimestamp": str(int(queue.changed)),
        **{f"ApproximateNumberOfMessages{kind}": str(count) for kind, count in counts},
        **queue.attributes,
    }
    wanted = call.get("AttributeNames") or []
    known = {*own, *_RANGES, *_SWITCHES, "All", "RedrivePolicy", "Policy", "RedriveAllowPolicy", "KmsMasterKeyId"}
    if unknown := set(wanted) - known:
        raise RefusedError(400, "InvalidAttributeName", f"Unknown Attribute {sorted(unknown)[0]}.")
    found = {name: value for name, value in own.items() if "All" in wanted or name in wanted}
    return {"Attributes": found} if found else {}


def within(call: Mapping[str, Any], name: str, default: int, allowed: range) -> int:
    """An argument that is a number; RefusedError."""
    value = call.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or value not in allowed:
        text = f"Value {value} for parameter {name} is invalid. Reason: Must be between {allowed[0]} and {allowed[-1]}."
        raise RefusedError(400, "InvalidParameterValue", text)
    return value


def _check(key: str, value: str, *, changes: bool) -> None:
    if key in _RANGES:
        if not value.isdecimal() or int(value) not in _RANGES[key]:
            raise RefusedError(400, "InvalidAttributeValue", f"Invalid value for the parameter {key}.")
    elif key in _SWITCHES:
        if value not in ("true", "false") or (changes and key == "FifoQueue"):
            raise RefusedError(400, "InvalidAttributeValue", f"Invalid value for the parameter {key}.")
    elif key not in ("RedrivePolicy", "Policy", "RedriveAllowPolicy"):
        raise RefusedError(400, "InvalidAttributeName", f"Unknown Attribute {key}.")


def _dead_letters_of(attributes: dict[str, str]) -> tuple[str, int]:
    """Name and count of the redrive policy; "" without one; RefusedError."""
    text = attributes.get("RedrivePolicy")
    if not text:
        return "", 0
    try:
        policy = json.loads(text)
        name, count = str(policy["deadLetterTargetArn"]).rpartition(":")[2], int(policy["maxReceiveCount"])
    except (ValueError, KeyError, TypeError):
        raise RefusedError(
            400, "InvalidAttributeValue", f"Value {text} for parameter RedrivePolicy is invalid."
        ) from None
    if not 1 <= count <= 1000:
        raise RefusedError(400, "InvalidAttributeValue", "maxReceiveCount lies between 1 and 1000")
    return name, count
