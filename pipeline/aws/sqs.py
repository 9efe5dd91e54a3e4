"""One queue and its dead letters through botocore."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from pipeline.aws.errors import DENIED, code_of, describe, describe_entry, translate, translated
from pipeline.names import printable
from pipeline.ports import (
    QUEUE_BATCH,
    Depth,
    LaterError,
    Message,
    NeverError,
    PausedError,
    Received,
    RelayError,
    StartupError,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

log = logging.getLogger(__name__)

ATTRIBUTES = 10
"""Attributes of one message (Amazon SQS Developer Guide, "Message quotas")."""
RETENTION_SECONDS = 10 * 24 * 3600
DEAD_RETENTION_SECONDS = 14 * 24 * 3600
"""The longest SQS keeps a message: dead letters must outlive the queue they came from."""
MAX_RECEIVES = 100
LONG_POLL_SECONDS = 20
_COUNTS: "list[QueueAttributeNameType]" = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
]
_REFUSED = ("InvalidAttributeValue", "InvalidParameterValue", "QueueDeletedRecently", "InvalidAddress")
_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class Queue:
    """Sends, receives and deletes. Safe to use from several threads."""

    def __init__(self, client: "SQSClient", url: str, dead_url: str | None, visibility: int) -> None:
        """`visibility`: seconds a received message stays ours unless it is extended."""
        self._client, self.url, self.dead_url, self._visibility = client, url, dead_url, visibility
        self._fifo = url.endswith(".fifo")

    def send(self, messages: Sequence[Message]) -> list[RelayError | None]:
        """See ports.MessageQueue."""
        entries = [{"Id": str(index), **self._entry(message)} for index, message in enumerate(messages)]
        try:
            with translated(f"send to {self.url}"):
                answer = self._client.send_message_batch(QueueUrl=self.url, Entries=cast(Any, entries))
        except NeverError as error:  # all are refused for one, or for their sum: find out which
            return [error] if len(messages) == 1 else [self.send([message])[0] for message in messages]
        return self._outcomes(len(entries), answer, "send to")

    def receive(self, limit: int, wait: int) -> list[Received]:
        """See ports.MessageQueue."""
        with translated(f"receive from {self.url}"):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, QUEUE_BATCH),
                WaitTimeSeconds=min(wait, LONG_POLL_SECONDS),
                VisibilityTimeout=self._visibility,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId", "SentTimestamp"],
            )
        return [_received(message) for message in answer.get("Messages", [])]

    def delete(self, receipts: Sequence[str]) -> list[RelayError | None]:
        """See ports.MessageQueue. ReceiptError may also mean that the message was deleted before."""
        entries = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)]
        with translated(f"acknowledge at {self.url}"):
            answer = self._client.delete_message_batch(QueueUrl=self.url, Entries=cast(Any, entries))
        return self._outcomes(len(entries), answer, "delete from")

    def extend(self, receipts: Sequence[str], seconds: int) -> list[RelayError | None]:
        """See ports.MessageQueue."""
        entries = [
            {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for index, receipt in enumerate(receipts)
        ]
        with translated(f"change the visibility in {self.url}"):
            answer = self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=cast(Any, entries))
        return self._outcomes(len(entries), answer, "change the visibility in")

    def bury(self, message: Received, reason: str) -> bool:
        """See ports.MessageQueue."""
        if self.dead_url is None:
            return False
        others = [(name, value) for name, value in message.attributes.items() if name != "reason"]
        attributes = {**dict(others[: ATTRIBUTES - 1]), "reason": printable(reason)[:1000]}
        copy = self._entry(Message(message.body, attributes, group=message.group or "dead-letters", unique=message.id))
        try:
            with translated(f"send to the dead letters {self.dead_url}"):
                self._client.send_message(QueueUrl=self.dead_url, **cast(Any, copy))
        except NeverError as error:  # with its reason it is too large, for instance
            log.warning("%s", error)
            return False
        except PausedError as error:
            if code_of(error.__cause__) not in (*DENIED, *_MISSING):
                raise
            log.warning("%s; hopeless messages go to FailedMessages", error)
            return False
        return True

    def now_ms(self) -> int:
        """The end of the second that it is by the clock of SQS, or, where its answer has no date, by ours."""
        with translated(f"ask {self.url} for the time"):
            answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        seconds = parsedate_to_datetime(date).timestamp() if date else time.time()
        return (int(seconds) + 1) * 1000

    def depth(self) -> Depth:
        """See ports.MessageQueue."""
        visible, in_flight, delayed = self._counts(self.url)
        return Depth(visible, in_flight, delayed, self._dead_count())

    def _counts(self, url: str) -> list[int]:
        with translated(f"count the messages of {url}"):
            answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=_COUNTS)
        # A server that delays nothing may not know the last.
        return [int(answer["Attributes"].get(name, 0)) for name in _COUNTS]

    def _dead_count(self) -> int | None:
        try:
            return self._counts(self.dead_url)[0] if self.dead_url else None
        except RelayError as error:  # a queue of its own: the right to use this one says nothing about it
            log.debug("%s", error)
            return None

    def _entry(self, message: Message) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "MessageBody": message.body,
            # SQS refuses an empty value.
            "MessageAttributes": {name: _attribute(value) for name, value in message.attributes.items() if value != ""},
        }
        if self._fifo:
            entry["MessageGroupId"] = message.group
            entry["MessageDeduplicationId"] = message.unique or str(message.attributes["drop_id"])
        return entry

    def _outcomes(self, count: int, answer: Mapping[str, Any], what: str) -> list[RelayError | None]:
        unknown = LaterError(f"{what} {self.url}: the answer does not say what became of it")
        outcomes: list[RelayError | None] = [unknown] * count
        for accepted in answer.get("Successful", []):
            outcomes[int(accepted["Id"])] = None
        for failed in answer.get("Failed", []):
            outcomes[int(failed["Id"])] = describe_entry(failed, f"{what} {self.url}")
        return outcomes


def find_or_create(client: "SQSClient", name: str, visibility: int) -> Queue:
    """The queue of that name, created with long polling, retention and a dead-letter queue if it is missing.

    StartupError (exit code 69) names the permission that is missing, or what else a person has to do.
    """
    url = _find(client, name)
    if url is None:
        url = _create(client, name, visibility)
    return Queue(client, url, _dead_letters(client, url), visibility)


def find_all(client: "SQSClient", name: str, visibility: int) -> list[Queue]:
    """The queue of that name and the one of its dead letters, as far as they are there."""
    url = _find(client, name)
    if url is None:
        return []
    dead = _dead_letters(client, url)
    return [Queue(client, url, dead, visibility), *([Queue(client, dead, None, visibility)] if dead else [])]


def _find(client: "SQSClient", name: str) -> str | None:
    try:
        return client.get_queue_url(QueueName=name)["QueueUrl"]
    except ClientError as error:
        if code_of(error) in _MISSING:
            return None
        raise _startup(error, f"find the queue {name!r}", "sqs:GetQueueUrl") from error


def _create(client: "SQSClient", name: str, visibility: int) -> str:
    stem, fifo = (name.removesuffix(".fifo"), ".fifo" if name.endswith(".fifo") else "")
    dead = _create_one(client, f"{stem}-dlq{fifo}", {"MessageRetentionPeriod": str(DEAD_RETENTION_SECONDS)}, fifo)
    target = _arn(client, dead)
    url = _create_one(
        client,
        name,
        {
            "ReceiveMessageWaitTimeSeconds": str(LONG_POLL_SECONDS),
            "MessageRetentionPeriod": str(RETENTION_SECONDS),
            "VisibilityTimeout": str(visibility),
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": str(MAX_RECEIVES)}),
        },
        fifo,
    )
    log.info("created the queue %s with dead letters in %s", url, dead)
    return url


def _create_one(client: "SQSClient", name: str, attributes: dict[str, str], fifo: str) -> str:
    if fifo:
        attributes = {**attributes, "FifoQueue": "true"}
    try:
        return client.create_queue(QueueName=name, Attributes=cast(Any, attributes))["QueueUrl"]
    except ClientError as error:
        if code_of(error) in ("QueueAlreadyExists", "QueueNameExists"):  # by another instance, just now
            return client.get_queue_url(QueueName=name)["QueueUrl"]
        raise _startup(error, f"create the queue {name!r}", "sqs:CreateQueue") from error


def _arn(client: "SQSClient", url: str) -> str:
    try:
        return client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    except ClientError as error:
        raise _startup(error, f"read the attributes of {url}", "sqs:GetQueueAttributes") from error


def _dead_letters(client: "SQSClient", url: str) -> str | None:
    try:
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
        policy = answer.get("Attributes", {}).get("RedrivePolicy")
        if not policy:
            return None
        return client.get_queue_url(QueueName=json.loads(policy)["deadLetterTargetArn"].rpartition(":")[2])["QueueUrl"]
    except ClientError as error:
        log.warning("%s", describe(error, f"look up the dead letters of {url}; hopeless messages go to FailedMessages"))
        return None


def _startup(error: ClientError, what: str, permission: str) -> RelayError:
    problem = translate(error, what)
    if code_of(error) in DENIED:
        return StartupError(f"{problem}; this needs the permission {permission}")
    if isinstance(problem, PausedError) or code_of(error) in _REFUSED:
        return StartupError(str(problem))
    return problem


def _attribute(value: str | int) -> dict[str, str]:
    return {"DataType": "Number" if isinstance(value, int) else "String", "StringValue": str(value)}


def _received(message: Mapping[str, Any]) -> Received:
    attributes = {name: item.get("StringValue", "") for name, item in message.get("MessageAttributes", {}).items()}
    system = message.get("Attributes", {})
    return Received(
        message["MessageId"],
        message["ReceiptHandle"],
        message["Body"],
        attributes,
        int(system.get("ApproximateReceiveCount", 1)),
        system.get("MessageGroupId", ""),
        int(system.get("SentTimestamp", 0)),
    )
