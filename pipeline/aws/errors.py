"""botocore's errors → the few kinds the workers know, with a text that says what happened, where, and what to do."""

import contextlib
from collections.abc import Container, Iterator

from botocore import exceptions as boto

from pipeline.ports import (
    CancelledError,
    LaterError,
    MissingError,
    NeverError,
    PausedError,
    ReceiptError,
    RelayError,
    TakenError,
)

# Error codes of S3 and SQS (Amazon S3 API Reference, "Error responses"; Amazon SQS API Reference, "Common errors").
_TAKEN = {"PreconditionFailed", "412"}
_MISSING = {"NoSuchKey", "404", "NotFound", "NoSuchVersion"}
_NEVER = {
    "EntityTooLarge",
    "KeyTooLongError",
    "MetadataTooLarge",
    "InvalidMessageContents",
    "AWS.SimpleQueueService.BatchRequestTooLong",
}
_RECEIPT = {
    "ReceiptHandleIsInvalid",
    "AWS.SimpleQueueService.MessageNotInflight",
    "MessageNotInflight",
    "InvalidParameterValue",
}
_ADVICE = {
    "NoSuchBucket": "create the bucket, or correct aws_s3_bucket; the program never creates one",
    "AccessDenied": "give this identity the permissions listed in README under 'Use with AWS'",
    "AccessDeniedException": "give this identity the permissions listed in README under 'Use with AWS'",
    "403": "give this identity the permissions listed in README under 'Use with AWS'",
    "InvalidAccessKeyId": "correct aws_access_key_id, or leave both keys empty for the default credential chain",
    "InvalidClientTokenId": "correct aws_access_key_id, or leave both keys empty for the default credential chain",
    "SignatureDoesNotMatch": "correct aws_secret_key",
    "ExpiredToken": "renew the session's credentials",
    "ExpiredTokenException": "renew the session's credentials",
    "RequestTimeTooSkewed": "set this machine's clock (for instance with NTP)",
    "PermanentRedirect": "set aws_region to the bucket's region",
    "301": "set aws_region to the bucket's region",
    "AuthorizationHeaderMalformed": "set aws_region to the bucket's region",
    "IllegalLocationConstraintException": "set aws_region to the bucket's region",
    "AWS.SimpleQueueService.NonExistentQueue": "create the queue, or correct aws_sqs and aws_region",
    "QueueDoesNotExist": "create the queue, or correct aws_sqs and aws_region",
    "KMS.DisabledException": "enable the KMS key",
    "KMSDisabledException": "enable the KMS key",
}
_KINDS: tuple[tuple[Container[str], type[RelayError]], ...] = (
    (_TAKEN, TakenError),
    (_ADVICE, PausedError),  # whatever a person has to mend is true for every file
    (_MISSING, MissingError),
    (_NEVER, NeverError),
)


def code_of(error: Exception) -> str:
    """The service's error code; "" if the error did not come from the service."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def advice_for(code: str) -> str:
    """What a person can do about an error code; "" if nothing special."""
    return _ADVICE.get(code, "")


def kind_of(code: str, status: int, message: str = "") -> type[RelayError]:
    """The kind of a service's answer."""
    for codes, kind in _KINDS:
        if code in codes:
            return kind
    if code in _RECEIPT and ("receipt" in message.lower() or "visibility" in message.lower() or "Receipt" in code):
        return ReceiptError
    if "InvalidParameterValue" in code or status in (401, 403):
        return NeverError if status == 400 else PausedError
    return LaterError  # throttling, 409, 5xx, checksum damaged on the way, and whatever we have not met yet


def describe(error: Exception, what: str) -> str:
    """One sentence for a person: the operation, the code, the status, the request id, and what to do next."""
    if not isinstance(error, boto.ClientError):
        return f"{what}: {error}{_connection_advice(error)}"
    meta = error.response.get("ResponseMetadata", {})
    code = code_of(error)
    text = str(error.response.get("Error", {}).get("Message", "")).strip() or "no text"
    advice = advice_for(code)
    details = f"{code}, HTTP {meta.get('HTTPStatusCode', '?')}, request {meta.get('RequestId') or 'unknown'}"
    return f"{what}: {text} ({details})" + (f"; {advice}" if advice else "")


def translate(error: Exception, what: str) -> RelayError:
    """The RelayError for any error of botocore or urllib3, its text naming `what` was tried."""
    text = describe(error, what)
    if isinstance(error, boto.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        message = str(error.response.get("Error", {}).get("Message", ""))
        return kind_of(code_of(error), status, message)(text)
    if isinstance(
        error,
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.CredentialRetrievalError,
            boto.TokenRetrievalError,
        ),
    ):
        return PausedError(text)
    if isinstance(
        error, (boto.ConnectTimeoutError, boto.EndpointConnectionError, boto.SSLError, boto.ProxyConnectionError)
    ):
        return PausedError(text)
    if isinstance(error, boto.ParamValidationError):
        return NeverError(text)
    return LaterError(text)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise whatever botocore raises inside as its RelayError."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, boto.HTTPClientError) as error:
        raise translate(error, what) from error


def stop_if(cancelled: bool, what: str) -> None:
    """CancelledError if the program is stopping."""
    if cancelled:
        raise CancelledError(f"{what}: stopped, to be taken up again")


def _connection_advice(error: Exception) -> str:
    if isinstance(error, boto.NoCredentialsError):
        return "; set aws_access_key_id and aws_secret_key, or any source of the default credential chain"
    if isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ConnectionClosedError)):
        return "; check that the endpoint is up, aws_endpoint_url, aws_region and the network"
    if isinstance(error, boto.SSLError):
        return "; check the endpoint's certificate, or give its authority in AWS_CA_BUNDLE"
    return ""
