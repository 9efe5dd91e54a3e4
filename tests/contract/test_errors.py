"""Every error a person may meet: the kind the workers see, and the text, which says what to do next."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as boto
from urllib3 import exceptions as urllib3

from aws_util import Aws
from pipeline.aws import errors
from pipeline.ports import (
    EXIT_CONFIG,
    EXIT_UNAVAILABLE,
    LaterError,
    MissingError,
    NeverError,
    PausedError,
    ReceiptError,
    RelayError,
    StartupError,
    TakenError,
)
from tests.conftest import Start
from tests.contract import reach
from tests.proxy import BROKEN, one_answer, proxy
from tests.servers import Credentials, MotoServer, free_ports, make_bucket, moto

WHAT = "PUT s3://bucket/in/a"


def refused(code: str, status: int, message: str = "what AWS says") -> boto.ClientError:
    meta: Any = {"HTTPStatusCode": status, "RequestId": "REQ1"}
    return boto.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}, "PutObject")


@pytest.mark.parametrize(
    ("code", "status", "kind", "advice"),
    [
        ("NoSuchBucket", 404, PausedError, "create the bucket"),
        ("AccessDenied", 403, PausedError, "permissions"),
        ("AccessDeniedException", 400, PausedError, "permissions"),
        ("403", 403, PausedError, "permissions"),
        ("SomethingNew", 403, PausedError, ""),
        ("InvalidAccessKeyId", 403, PausedError, "aws_access_key_id"),
        ("InvalidClientTokenId", 403, PausedError, "aws_access_key_id"),
        ("UnrecognizedClientException", 400, PausedError, "aws_access_key_id"),
        ("SignatureDoesNotMatch", 403, PausedError, "aws_secret_key"),
        ("InvalidSignatureException", 400, PausedError, "aws_secret_key"),
        ("ExpiredToken", 400, PausedError, "renew"),
        ("ExpiredTokenException", 403, PausedError, "renew"),
        ("RequestTimeTooSkewed", 403, PausedError, "clock"),
        ("PermanentRedirect", 301, PausedError, "aws_region"),
        ("301", 301, PausedError, "aws_region"),
        ("AuthorizationHeaderMalformed", 400, PausedError, "aws_region"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, PausedError, "aws_sqs"),
        ("QueueDoesNotExist", 400, PausedError, "aws_sqs"),
        ("KMS.DisabledException", 400, PausedError, "KMS key"),
        ("KmsDisabled", 400, PausedError, "KMS key"),
        ("KmsAccessDenied", 400, PausedError, "KMS key"),
        ("KmsThrottled", 400, LaterError, ""),
        ("SlowDown", 503, LaterError, ""),
        ("InternalError", 500, LaterError, ""),
        ("ServiceUnavailable", 503, LaterError, ""),
        ("ThrottlingException", 400, LaterError, ""),
        ("RequestThrottled", 403, LaterError, ""),
        ("OverLimit", 403, LaterError, ""),
        ("AWS.SimpleQueueService.OverLimit", 403, LaterError, ""),
        ("InvalidObjectState", 403, LaterError, "archive"),
        ("ConditionalRequestConflict", 409, LaterError, ""),
        ("OperationAborted", 409, LaterError, ""),
        ("BadDigest", 400, LaterError, ""),
        ("RequestTimeout", 400, LaterError, ""),
        ("NoSuchUpload", 404, LaterError, ""),
        ("WhatNobodyHasMet", 400, LaterError, ""),
        ("NoSuchKey", 404, MissingError, ""),
        ("404", 404, MissingError, ""),
        ("NoSuchVersion", 404, MissingError, ""),
        ("PreconditionFailed", 412, TakenError, ""),
        ("412", 412, TakenError, ""),
        ("EntityTooLarge", 400, NeverError, ""),
        ("KeyTooLongError", 400, NeverError, ""),
        ("InvalidMessageContents", 400, NeverError, ""),
        ("InvalidParameterValue", 400, NeverError, ""),
        ("AWS.SimpleQueueService.BatchRequestTooLong", 400, NeverError, ""),
        ("ReceiptHandleIsInvalid", 400, ReceiptError, ""),
        ("MessageNotInflight", 400, ReceiptError, ""),
        ("AWS.SimpleQueueService.MessageNotInflight", 400, ReceiptError, ""),
    ],
)
def test_an_answer(code: str, status: int, kind: type[RelayError], advice: str) -> None:
    """B1, B10, B11, B12, B13, B14, C12, C13. Code and status decide the kind.

    The text has what was tried, what came of it and the next step.
    """
    error = errors.translate(refused(code, status), WHAT)
    assert type(error) is kind
    for part in (WHAT, "what AWS says", f"({code}, HTTP {status}, request REQ1)", advice):
        assert part in str(error)
    assert bool(advice) == ("; " in str(error))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.", ReceiptError),
        ("Total VisibilityTimeout for the message is beyond the limit [43200 seconds].", ReceiptError),
        ("One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.", NeverError),
    ],
)
def test_one_code_for_three_things(message: str, kind: type[RelayError]) -> None:
    """InvalidParameterValue of SQS is a lost receipt or a bad message; of a whole call or of one entry of a batch."""
    assert type(errors.translate(refused("InvalidParameterValue", 400, message), WHAT)) is kind
    entry = {"Id": "0", "Code": "InvalidParameterValue", "Message": message, "SenderFault": True}
    assert type(errors.describe_entry(entry, WHAT)) is kind


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (boto.EndpointConnectionError(endpoint_url="http://x", error="refused"), PausedError, "endpoint is up"),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), PausedError, "endpoint is up"),
        (boto.ConnectionClosedError(endpoint_url="http://x"), LaterError, "endpoint is up"),
        (boto.ReadTimeoutError(endpoint_url="http://x"), LaterError, ""),
        (boto.ResponseStreamingError(error="broken"), LaterError, ""),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), LaterError, ""),
        (boto.HTTPClientError(error="anything"), LaterError, ""),
        (urllib3.SSLError(OSError("record")), LaterError, ""),
        (urllib3.ProtocolError("broken"), LaterError, ""),
        (boto.SSLError(endpoint_url="https://x", error=OSError("self-signed")), PausedError, "AWS_CA_BUNDLE"),
        (boto.ProxyConnectionError(proxy_url="http://p"), PausedError, ""),
        (boto.NoCredentialsError(), PausedError, "aws_access_key_id"),
        (boto.CredentialRetrievalError(provider="sso", error_msg="no"), PausedError, "aws_access_key_id"),
        (boto.TokenRetrievalError(provider="sso", error_msg="no"), PausedError, "renew"),
        (boto.UnauthorizedSSOTokenError(), PausedError, "renew"),
        (boto.InvalidRegionError(region_name="a b"), PausedError, "aws_region"),
        (boto.ParamValidationError(report="bad"), NeverError, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_no_answer(error: Exception, kind: type[RelayError], advice: str) -> None:
    """Whatever botocore or urllib3 raises comes out of `translated` as one of ours, with the next step."""
    with pytest.raises(kind) as caught, errors.translated(WHAT):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value).startswith(WHAT)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        "differs.\n\nThe Canonical String should have been\nx-amz-security-token:TOKEN",
        "Invalid header value b'AWS4-HMAC-SHA256 Credential=TOKEN/2024, Signature=TOKEN'",
        "http://user:TOKEN@host/ refused",
        "no such key AKIATOKENTOKENTOKEN",
    ],
)
def test_no_secret_in_a_text(message: str) -> None:
    """Neither a signed string nor a header nor a URL brings a key or token into the log."""
    for error in (refused("SignatureDoesNotMatch", 403, message), boto.HTTPClientError(error=message)):
        assert "TOKEN" not in str(errors.translate(error, WHAT))


def test_a_text_is_one_line() -> None:
    """Whatever a server answers, the log gets one printable line of bounded length."""
    text = str(errors.translate(refused("X", 500, "\x1b[31mred " + "x" * 5000 + "\nsecond"), WHAT))
    assert text.isprintable()
    assert len(text) < 500


def test_sqs_says_clock_by_the_code_of_a_secret() -> None:
    """B13. A signature that expired is a matter of the clock, not of the secret."""
    error = refused("InvalidSignatureException", 403, "Signature expired: 2024 is now earlier than 2025")
    assert "clock" in str(errors.translate(error, WHAT))
    assert "aws_secret_key" not in str(errors.translate(error, WHAT))


# Real refusals

DENY_LIST = {"Effect": "Allow", "Action": ["sqs:*", "s3:PutObject"], "Resource": "*"}
ONLY_S3 = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
NO_CREATE = {"Effect": "Allow", "Action": ["s3:*", "sqs:GetQueueUrl"], "Resource": "*"}
LIST_ONLY = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": "*"}


@pytest.fixture
def guarded(start: Start) -> MotoServer:
    """A moto of the test's own, to be told to check requests, with a bucket."""
    server = start(moto)
    make_bucket(server, "drops")
    return server


@pytest.mark.parametrize(
    ("statement", "parts"),
    [
        (DENY_LIST, ["reach the bucket 'drops'", "AccessDenied, HTTP 403", "permissions"]),
        (ONLY_S3, ["find the queue 'inbox'", "AccessDenied, HTTP 403", "the permission sqs:GetQueueUrl"]),
        (NO_CREATE, ["create the queue 'inbox-dlq'", "AccessDenied, HTTP 403", "the permission sqs:CreateQueue"]),
    ],
)
def test_what_a_policy_denies(guarded: MotoServer, tmp_path: Path, statement: dict[str, Any], parts: list[str]) -> None:
    """B11. check() ends with exit code 69, the AWS code, and the permission that is missing; no raw XML."""
    credentials = guarded.require_auth(statement)
    text = _startup_error(reach.aws(tmp_path, guarded.endpoint, credentials, "drops", "inbox"), EXIT_UNAVAILABLE)
    for part in parts:
        assert part in text
    assert "<" not in text
    _assert_no_secret(text, credentials)


@pytest.mark.parametrize("service", ["s3", "sqs"])
@pytest.mark.parametrize("wrong", ["secret", "key"])
def test_wrong_credentials(guarded: MotoServer, tmp_path: Path, wrong: str, service: str) -> None:
    """B11. A wrong secret or an unknown key is named as such by both services, and no permission is asked for."""
    right = guarded.require_auth()
    bad = (
        right._replace(aws_secret_access_key="wr0ng") if wrong == "secret" else Credentials("AKIAUNKNOWN12345", "x1x2")
    )
    aws = reach.aws(tmp_path, guarded.endpoint, bad, "drops", "inbox")
    if service == "s3":
        text = _startup_error(aws, EXIT_UNAVAILABLE)
    else:
        with pytest.raises(StartupError) as caught:
            aws.queue()
        text = str(caught.value)
    assert ("aws_secret_key" if wrong == "secret" else "aws_access_key_id") in text
    assert "this needs the permission" not in text
    assert "<" not in text
    _assert_no_secret(text, bad)


def test_head_says_why(guarded: MotoServer, tmp_path: Path) -> None:
    """HEAD's refusal has no body; look() names the reason all the same: here a wrong secret."""
    bad = guarded.require_auth()._replace(aws_secret_access_key="wr0ng")
    store = reach.aws(tmp_path, guarded.endpoint, bad, "drops").store(tmp_path / "journal", 2, writes=False)
    with pytest.raises(PausedError, match=r"HEAD s3://drops/in/a: .*SignatureDoesNotMatch.*correct aws_secret_key"):
        store.look("in/a")


def test_head_denied_where_list_is_not(guarded: MotoServer, tmp_path: Path) -> None:
    """B18. Where LIST is allowed and the object is not, look() says that permissions are missing."""
    credentials = guarded.require_auth(LIST_ONLY)
    store = reach.aws(tmp_path, guarded.endpoint, credentials, "drops").store(tmp_path / "journal", 2, writes=False)
    with pytest.raises(PausedError, match=r"HEAD s3://drops/in/a: .*403.*permissions"):
        store.look("in/a")


def test_a_missing_bucket(moto_server: MotoServer, tmp_path: Path) -> None:
    """B11. It is named, with what to do, by check() and by the store."""
    aws = reach.aws(tmp_path, moto_server.endpoint, moto_server.credentials, "not-there")
    text = _startup_error(aws, EXIT_UNAVAILABLE)
    assert "'not-there'" in text
    assert "create the bucket, or correct aws_s3_bucket" in text
    with pytest.raises(PausedError, match="NoSuchBucket"):
        aws.store(tmp_path / "journal", 2, writes=True)


def test_a_vanished_queue(moto_server: MotoServer, tmp_path: Path) -> None:
    """C13. A queue deleted under the program is everything's trouble, and the text says which queue."""
    queue = reach.aws(tmp_path, moto_server.endpoint, moto_server.credentials, queue="vanishing").queue()
    moto_server.client("sqs").delete_queue(QueueUrl=queue.url)
    calls: list[Callable[[], object]] = [lambda: queue.receive(1, 0), lambda: queue.delete(["r"])]
    for call in calls:
        with pytest.raises(PausedError, match=r"vanishing.*aws_sqs"):
            call()


def test_nobody_listens(tmp_path: Path) -> None:
    """B2. A refused connection names the endpoint and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    text = _startup_error(reach.aws(tmp_path, f"http://127.0.0.1:{port}", Credentials("k3y", "s3cret")), 69)
    assert f"127.0.0.1:{port}" in text
    assert "check that the endpoint is up" in text
    _assert_no_secret(text, Credentials("k3y", "s3cret"))


@pytest.mark.parametrize("how", ["refused", "trouble"])
def test_a_queue_that_cannot_be_reached_at_the_start(
    moto_server: MotoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """C16. Who is patient is told, and begins; others get 69."""
    make_bucket(moto_server, name := f"patient-{how}")
    with one_answer(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "close") as endpoint:
        place = endpoint if how == "trouble" else f"http://127.0.0.1:{free_ports(1)[0]}"
        keys = {"aws_endpoint_url_sqs": place}
        aws = reach.aws(tmp_path, moto_server.endpoint, moto_server.credentials, name, **keys)
        _startup_error(aws, EXIT_UNAVAILABLE)
        assert aws.check(sends=True, patient=True) == ""
    assert "it begins without the queue" in caplog.text


def test_patience_has_its_limits(guarded: MotoServer, tmp_path: Path) -> None:
    """C16. A queue that answers and refuses is a matter for a person, and so is a store that nobody reaches."""
    aws = reach.aws(tmp_path, guarded.endpoint, guarded.require_auth(ONLY_S3), "drops", "inbox")
    with pytest.raises(StartupError, match="sqs:GetQueueUrl"):
        aws.check(sends=True, patient=True)
    away = reach.aws(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}", guarded.credentials)
    with pytest.raises(StartupError, match="endpoint is up"):
        away.check(sends=True, patient=True)


def test_an_answer_that_nobody_understands_is_not_waited_for(moto_server: MotoServer, tmp_path: Path) -> None:
    """It is neither silence nor trouble of the service's own: it would be the same tomorrow."""
    make_bucket(moto_server, name := "impatient")
    with one_answer(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n", "close") as endpoint:
        keys = {"aws_endpoint_url_sqs": endpoint}
        aws = reach.aws(tmp_path, moto_server.endpoint, moto_server.credentials, name, **keys)
        with pytest.raises(StartupError):
            aws.check(sends=True, patient=True)


def test_no_such_host(tmp_path: Path) -> None:
    """B2. A name that does not resolve reads as the endpoint's trouble."""
    text = _startup_error(reach.aws(tmp_path, "http://nowhere.invalid", Credentials("k3y", "s3cret")), 69)
    assert "nowhere.invalid" in text
    assert "aws_endpoint_url" in text


def test_no_credentials(moto_server: MotoServer, tmp_path: Path) -> None:
    """Without any credentials the program says where to put some, before and at the first request."""
    aws = reach.aws(tmp_path, moto_server.endpoint, None, "drops")
    with pytest.raises(StartupError, match="aws_access_key_id"):
        aws.describe_credentials()
    assert "set aws_access_key_id" in _startup_error(aws, EXIT_UNAVAILABLE)


WRITTEN = {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "s", "SessionToken": "t"}


@pytest.mark.parametrize(
    "written", [b"nonsense", b"\xff", b"[]", json.dumps({**WRITTEN, "Expiration": "soon"}).encode()], ids=ascii
)
def test_credentials_that_cannot_be_read(
    written: bytes, moto_server: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B12. A program that is to give credentials writes something else: at the start, and when they are renewed."""
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {tmp_path / 'written'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    expiration = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    (tmp_path / "written").write_text(json.dumps({**WRITTEN, "Expiration": expiration}))
    begun = reach.aws(tmp_path, moto_server.endpoint, None, "drops")
    assert "custom-process" in begun.describe_credentials()
    (tmp_path / "written").write_bytes(written)
    with pytest.raises(PausedError, match=r"cannot be read.*aws_access_key_id"):
        list(iter(begun.queue, None))
    new = reach.aws(tmp_path, moto_server.endpoint, None, "drops")
    with pytest.raises(StartupError, match=r"custom-process.*cannot be read"):
        new.describe_credentials()
    with pytest.raises(PausedError, match=r"find credentials.*cannot be read"):
        new.queue()


def test_an_unknown_profile(moto_server: MotoServer, tmp_path: Path) -> None:
    """A profile that does not exist is a matter of configuration: 78."""
    aws = reach.aws(tmp_path, moto_server.endpoint, None, aws_profile="nobody")
    text = _startup_error(aws, EXIT_CONFIG)
    assert "nobody" in text
    assert "correct aws_profile" in text


def test_a_malformed_region(moto_server: MotoServer, tmp_path: Path) -> None:
    """A region that is no host name is named, with the key to correct."""
    aws = reach.aws(tmp_path, "", moto_server.credentials, aws_region="eu west")
    with pytest.raises(StartupError, match=r"eu west.*aws_region"):
        aws.check(sends=True)


@pytest.mark.parametrize(("status", "kind"), [(500, LaterError), (503, LaterError), (403, PausedError)])
def test_a_server_that_answers_nonsense(
    moto_server: MotoServer, tmp_path: Path, status: int, kind: type[RelayError]
) -> None:
    """An answer that is no S3 error document (a proxy's page) is classified by its status."""
    page = b"<html><body>Bad gateway</body></html>"
    answer = b"HTTP/1.1 %d Oops\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (status, len(page), page)

    with one_answer(answer, "close") as endpoint:
        store = reach.aws(tmp_path, endpoint, moto_server.credentials).store(tmp_path / "journal", 2, writes=False)
        with pytest.raises(kind):
            list(store.keys(""))


def test_a_missing_bucket_is_not_a_store_without_conditions(moto_server: MotoServer, tmp_path: Path) -> None:
    """The trial of If-None-Match concludes nothing from an answer that is about something else."""
    with proxy(moto_server.port) as network:
        network.fault = lambda _request: BROKEN
        with pytest.raises(LaterError):
            reach.aws(tmp_path, network.endpoint, moto_server.credentials).store(tmp_path / "j", 2, writes=True)


def _startup_error(aws: Aws, code: int) -> str:
    with pytest.raises(StartupError) as caught:
        aws.check(sends=True)
    assert caught.value.code == code
    return str(caught.value)


def _assert_no_secret(text: str, credentials: Credentials) -> None:
    for secret in credentials:
        assert secret not in text


def test_an_endpoint_is_shown_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL may hold one; it is the first thing a person sees at start, and stands in the log."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:s3cret@127.0.0.1:9/path")
    assert reach.aws(tmp_path, "", None).describe_endpoint("s3") == "http://127.0.0.1:9/path"
