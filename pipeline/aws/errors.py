"""botocore's and awscrt's errors → the few kinds the workers know; their text says what happened, where, what to do."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from awscrt.exceptions import AwsCrtError  # type: ignore[import-untyped]  # it ships no types
from awscrt.s3 import S3ResponseError  # type: ignore[import-untyped]  # the same
from botocore import exceptions as boto
from botocore.awsrequest import HeadersDict
from botocore.parsers import RestXMLParser
from urllib3.exceptions import HTTPError

from pipeline.names import printable
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
_PERMISSIONS = "give this identity the permissions listed in README under 'Use with AWS'"
_ACCESS_KEY = "correct aws_access_key_id, or leave both keys empty for the default credential chain"
_SECRET_KEY = "correct aws_secret_key"  # noqa: S105  # advice, not a password
_RENEW = "renew the session's credentials"
_CLOCK = "set this machine's clock (for instance with NTP)"
_REGION = "set aws_region to the bucket's region"
_QUEUE = "create the queue, or correct aws_sqs and aws_region"
_BUCKET = "create the bucket, or correct aws_s3_bucket; the program never creates one"
_KMS_KEY = "check that the KMS key exists, is enabled, and may be used by this identity"
_ENDPOINT = "check that the endpoint is up, aws_endpoint_url, aws_region and the network"
_CERTIFICATE = "check the endpoint's certificate, or give its authority in AWS_CA_BUNDLE"
_NO_TEXT = "if a header of the answer is not UTF-8, set aws_transfer_client=classic"
_CHAIN = "set aws_access_key_id and aws_secret_key, or any source of the default credential chain"

NO_RANGE = "InvalidRange"
NOT_OFFERED = {"NotImplemented", "MethodNotAllowed"}
"""The store does not know the call, or a header of it."""
DENIED = {"AccessDenied", "AccessDeniedException", "403", "401"}
"""The identity is known and may not."""
_PAUSED = dict.fromkeys(DENIED, _PERMISSIONS) | {
    "NoSuchBucket": _BUCKET,
    "InvalidAccessKeyId": _ACCESS_KEY,
    "InvalidClientTokenId": _ACCESS_KEY,
    "UnrecognizedClientException": _ACCESS_KEY,
    "SignatureDoesNotMatch": _SECRET_KEY,
    "InvalidSignatureException": _SECRET_KEY,
    "ExpiredToken": _RENEW,
    "ExpiredTokenException": _RENEW,
    "InvalidToken": _RENEW,
    "TokenRefreshRequired": _RENEW,
    "RequestExpired": _CLOCK,
    "RequestTimeTooSkewed": _CLOCK,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "AWS.SimpleQueueService.NonExistentQueue": _QUEUE,
    "QueueDoesNotExist": _QUEUE,
}
"""What a person has to mend, and how: it is true for every file."""
_CODES: dict[str, type[RelayError]] = {
    **dict.fromkeys(("PreconditionFailed", "412"), TakenError),
    **dict.fromkeys(("NoSuchKey", "404", "NotFound", "NoSuchVersion"), MissingError),
    **dict.fromkeys(("ReceiptHandleIsInvalid", "MessageNotInflight"), ReceiptError),
    **dict.fromkeys(("EntityTooLarge", "KeyTooLongError", "MetadataTooLarge", "InvalidMessageContents"), NeverError),
    "BatchRequestTooLong": NeverError,
    NO_RANGE: NeverError,  # a message says that it has a size, and it has none
    # SQS and S3 say these with HTTP 403, which otherwise means everything.
    **dict.fromkeys(("RequestThrottled", "OverLimit", "InvalidObjectState"), LaterError),
    **dict.fromkeys(_PAUSED, PausedError),
}
_PAUSING_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.MetadataRetrievalError,
    boto.ProfileNotFound,
    boto.NoRegionError,
    boto.InvalidRegionError,
    boto.EndpointConnectionError,
    boto.ConnectTimeoutError,
    boto.ProxyConnectionError,
    boto.SSLError,
)
_UNREACHABLE = (
    boto.EndpointConnectionError,
    boto.ConnectTimeoutError,
    boto.ConnectionClosedError,
    boto.ReadTimeoutError,
)
_ADVICE: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError), _CHAIN),
    ((boto.TokenRetrievalError, boto.SSOError), _RENEW),
    ((boto.NoRegionError, boto.InvalidRegionError), "correct aws_region"),
    ((boto.SSLError,), _CERTIFICATE),
    ((boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ConnectionClosedError), _ENDPOINT),
)
# The runtime's errors that did not come from the service, by the beginning of their names.
_CRT: tuple[tuple[tuple[str, ...], type[RelayError], str], ...] = (
    (("AWS_ERROR_S3_CANCELED",), CancelledError, ""),
    (("AWS_ERROR_CRT_CALLBACK_EXCEPTION",), LaterError, _NO_TEXT),
    (("AWS_AUTH_CREDENTIALS", "AWS_AUTH_SIGNING_NO_CREDENTIALS"), PausedError, _CHAIN),
    (("AWS_IO_TLS_",), PausedError, _CERTIFICATE),
    (
        (
            "AWS_IO_DNS_",
            "AWS_IO_SOCKET_CONNECTION_REFUSED",
            "AWS_IO_SOCKET_TIMEOUT",
            "AWS_IO_SOCKET_NO_ROUTE_TO_HOST",
            "AWS_IO_SOCKET_NETWORK_DOWN",
            "AWS_IO_SOCKET_CONNECT_ABORTED",
        ),
        PausedError,
        _ENDPOINT,
    ),
    (("AWS_IO_", "AWS_ERROR_HTTP_"), LaterError, _ENDPOINT),
)
_TEXT_LIMIT = 300
_SECRETS = (
    (re.compile(r"//[^/@\s]*@"), "//***@"),  # credentials in an endpoint's URL
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), "***"),
    (re.compile(r"(Credential|Signature|X-Amz-Security-Token)=[^\s,&'\"]+", re.IGNORECASE), r"\1=***"),
)


def code_of(error: BaseException | None) -> str:
    """The service's error code; "" if the error did not come from the service."""
    if isinstance(error, S3ResponseError):
        error = client_error(error)
    return _answer(error)[0] if isinstance(error, boto.ClientError) else ""


def advice_for(code: str, message: str = "") -> str:
    """What a person can do about an error code; "" if nothing special."""
    if "Signature expired" in message or "Signature not yet current" in message:
        return _CLOCK  # what SQS says, under the code of a wrong secret
    if code == "InvalidObjectState":
        return "restore the object from its archive"
    return _PAUSED.get(code, "") or (_KMS_KEY if _is_kms(code) else "")


def kind_of(code: str, status: int, message: str = "") -> type[RelayError]:
    """The kind of a service's answer."""
    known = _CODES.get(code) or _CODES.get(code.removeprefix("AWS.SimpleQueueService."))
    if known is not None:
        return known
    if code == "InvalidParameterValue":  # SQS: a receipt that expired, 12 hours in flight, or a message it refuses
        return ReceiptError if re.search("receipt|visibility", message, re.IGNORECASE) else NeverError
    if _is_kms(code) or status in (401, 403):
        return PausedError
    return LaterError  # throttling, 409, 5xx, checksum damaged on the way, and whatever we have not met yet


def is_denied(error: PausedError) -> bool:
    """Whether the service refused this, and it may be true for one object alone."""
    code = code_of(error.__cause__)
    return code in DENIED or (code != "" and code not in _PAUSED)


def describe(error: Exception, what: str, advice: str = "") -> str:
    """One sentence for a person: the operation, the code, the status, the request id, and what to do next.

    `advice`: where more is known than the code says.
    """
    if not isinstance(error, boto.ClientError):
        advice = advice or next((text for kinds, text in _ADVICE if isinstance(error, kinds)), "")
        return f"{what}: {_clean(str(error))}" + (f"; {advice}" if advice else "")
    code, message = _answer(error)
    meta = error.response.get("ResponseMetadata", {})
    details = f"{code}, HTTP {meta.get('HTTPStatusCode', '?')}, request {meta.get('RequestId') or 'unknown'}"
    advice = advice or advice_for(code, message)
    return f"{what}: {_clean(message)} ({details})" + (f"; {advice}" if advice else "")


def describe_entry(failed: Mapping[str, Any], what: str) -> RelayError:
    """The error of one entry of an SQS batch."""
    code, message = str(failed.get("Code", "")), str(failed.get("Message") or "")
    advice = advice_for(code, message)
    text = f"{what}: {_clean(message)} ({code})" + (f"; {advice}" if advice else "")
    return kind_of(code, 400 if failed.get("SenderFault") else 500, message)(text)


def translate(error: Exception, what: str) -> RelayError:
    """The RelayError for any error of botocore, awscrt or urllib3, its text naming `what` was tried."""
    if isinstance(error, S3ResponseError):
        error = client_error(error)
    elif isinstance(error, AwsCrtError):
        return _translate_crt(error, what)
    text = describe(error, what)
    if isinstance(error, boto.ClientError):
        code, message = _answer(error)
        return kind_of(code, status_of(error), message)(text)
    if isinstance(error, _PAUSING_ERRORS):
        return PausedError(text)
    return NeverError(text) if isinstance(error, boto.ParamValidationError) else LaterError(text)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise whatever botocore or awscrt raise inside as its RelayError."""
    try:
        yield
    # botocore lets some of urllib3's errors pass while a body is read: one of TLS, for instance.
    except (boto.ClientError, boto.BotoCoreError, HTTPError, AwsCrtError) as error:
        raise translate(error, what) from error


def client_error(error: S3ResponseError) -> boto.ClientError:
    """An answer of the service that the runtime received, as botocore would have raised it."""
    no_shape: Any = None  # it is asked for where an error has members of its own, which none of S3's has
    response: dict[str, Any] = {
        "status_code": error.status_code,
        "headers": HeadersDict(error.headers or ()),
        "body": error.body or b"",
    }
    return boto.ClientError(RestXMLParser().parse(response, no_shape), error.operation_name or "S3")


def status_of(error: boto.ClientError) -> int:
    """The HTTP status of an answer; 0 if it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def client_status(error: RelayError) -> int:
    """The HTTP status of the answer that a translated error came of; 0 if there was none."""
    cause = error.__cause__
    if isinstance(cause, S3ResponseError):
        cause = client_error(cause)
    return status_of(cause) if isinstance(cause, boto.ClientError) else 0


def is_passing(error: RelayError) -> bool:
    """Whether nobody answered, or the service has trouble of its own: it goes by without a person doing anything."""
    return isinstance(error.__cause__, _UNREACHABLE) or client_status(error) >= 500


def stop_if(cancelled: bool, what: str) -> None:
    """CancelledError if the program is stopping."""
    if cancelled:
        raise CancelledError(f"{what}: stopped, to be taken up again")


def _translate_crt(error: AwsCrtError, what: str) -> RelayError:
    kind, advice = next(
        ((kind, advice) for names, kind, advice in _CRT if error.name.startswith(names)), (LaterError, "")
    )
    return kind(f"{what}: {_clean(error.message)} ({error.name})" + (f"; {advice}" if advice else ""))


def _answer(error: boto.ClientError) -> tuple[str, str]:
    """Code and message. Where a store answers in a format not its own, both are dug out of the raw text."""
    said = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message") or "")
    if "<Code>" in message:
        code = _element("Code", message) or code
        message = _element("Message", message)
    return code, message


def _element(name: str, xml: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return found.group(1).strip() if found else ""


def _clean(message: str) -> str:
    """The first line: SQS appends the string it signed, a session's token in it."""
    line = (message.strip().splitlines() or [""])[0]
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line)
    return printable(line[:_TEXT_LIMIT]) or "no text"


def _is_kms(code: str) -> bool:
    """S3 and SQS have two spellings each, KMS.DisabledException and KmsDisabled."""
    return code.lower().startswith("kms") and "throttl" not in code.lower()
