"""What a client is told: refusals, in the words of the service that was asked."""

import json
from collections.abc import Iterable
from xml.sax.saxutils import escape

_LEGACY = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    **{
        name: f"AWS.SimpleQueueService.{name}"
        for name in (
            *("QueueDeletedRecently", "MessageNotInflight", "PurgeQueueInProgress"),
            *("EmptyBatchRequest", "TooManyEntriesInBatchRequest", "BatchEntryIdsNotDistinct"),
            *("BatchRequestTooLong", "InvalidBatchEntryId", "UnsupportedOperation"),
        )
    },
}
"""SQS's codes in the protocol of old, which botocore still shows (header x-amzn-query-error)."""
Headers = list[tuple[str, str]]
JSON: Headers = [("Content-Type", "application/x-amz-json-1.0")]
XML: Headers = [("Content-Type", "application/xml")]


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, code: str, text: str, headers: Iterable[tuple[str, str]] = (), more: str = ""
    ) -> None:
        """`more`: further elements of S3's document."""
        super().__init__(f"{code}: {text}")
        self.status, self.code, self.text, self.headers, self.more = status, code, text, list(headers), more


def s3_error(error: RefusedError) -> bytes:
    """S3's document."""
    content = f"<Code>{error.code}</Code><Message>{escape(error.text)}</Message>{error.more}"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{content}</Error>'.encode()


def sqs_error(error: RefusedError) -> tuple[Headers, bytes]:
    """SQS's document, and the headers beside it."""
    who = "Sender" if error.status < 500 else "Receiver"
    headers = [*JSON, ("x-amzn-query-error", f"{legacy(error.code)};{who}")]
    return headers, json.dumps({"__type": f"com.amazonaws.sqs#{error.code}", "message": error.text}).encode()


def legacy(code: str) -> str:
    """SQS's code as entries of a batch and botocore have it."""
    return _LEGACY.get(code, code)
