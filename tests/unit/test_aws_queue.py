"""A queue that comes into being while it is looked for: what no server under test does at that instant."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.aws.sqs import find_or_create
from pipeline.ports import RelayError


def refusal(code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, "CreateQueue")


class Account:
    """Another instance makes each queue right before this one would."""

    def __init__(self, says: str) -> None:
        self.says, self.made = says, set[str]()

    def get_queue_url(self, **asked: Any) -> dict[str, str]:
        if asked["QueueName"] not in self.made:
            raise refusal("AWS.SimpleQueueService.NonExistentQueue")
        return {"QueueUrl": f"http://sqs/{asked['QueueName']}"}

    def create_queue(self, **asked: Any) -> dict[str, str]:
        self.made.add(asked["QueueName"])
        raise refusal(self.says)

    def get_queue_attributes(self, **asked: Any) -> dict[str, Any]:
        return {"Attributes": {"QueueArn": f"arn:{asked['QueueUrl']}"}}


@pytest.mark.parametrize("says", ["QueueAlreadyExists", "QueueNameExists"])
def test_a_queue_that_another_instance_just_made_is_used(says: str) -> None:
    """It may have made it with other attributes, which SQS says in either of two ways."""
    client: Any = Account(says)
    assert find_or_create(client, "q", 60).url == "http://sqs/q"
    assert client.made == {"q", "q-dlq"}


def test_a_queue_that_may_not_be_made_is_said() -> None:
    """Any other refusal is one."""
    client: Any = Account("AccessDenied")
    with pytest.raises(RelayError, match="sqs:CreateQueue"):
        find_or_create(client, "q", 60)
