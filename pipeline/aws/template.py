"""What botocore would send, asked once: endpoint, addressing style and headers of every request the engine makes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.awsrequest import AWSPreparedRequest

_KEY = "relay-template"
_EVENT = "before-send.s3"
# Signed anew each time, or true of the one request only.
_NOT_KEPT = re.compile(
    "host|authorization|x-amz-date|x-amz-content-sha256|x-amz-security-token|content-(length|md5|type|encoding)|expect|"
    "amz-sdk-.*|x-amz-(sdk-)?checksum.*|x-amz-trailer|x-amz-decoded-content-length|transfer-encoding|connection",
    re.IGNORECASE,
)


class _CaughtError(Exception):
    """Carries a request out of botocore before it is sent."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__("caught")
        self.request = request


@dataclass(frozen=True)
class Template:
    """One operation on any key of a bucket."""

    scheme: str
    host: str
    """With its port, as in the header."""
    head: str
    """Of the path, before the key."""
    headers: tuple[tuple[str, str], ...]
    region: str
    """That the signature is for: the bucket's, once the client was redirected there."""

    def target(self, key: str, query: str = "") -> str:
        """The request's target for a key, quoted as botocore quotes it."""
        return f"{self.head}{quote(key, safe='/~')}{query and '?' + query}"


def template_of(client: Any, operation: str, **arguments: Any) -> Template:
    """Let botocore resolve and serialise one request of an operation (`put_object`), and keep what all share.

    BotoCoreError or ClientError where botocore itself could not send it (no credentials, no region).
    """
    request = _catch(client, operation, {**arguments, "Key": _KEY})
    parts = urlsplit(request.url)
    host = parts.netloc.rpartition("@")[2]
    headers = {"Host": host} | {
        name: _text(value) for name, value in request.headers.items() if not _NOT_KEPT.fullmatch(name)
    }
    scope = re.search(r"Credential=[^/]+/[^/]+/([^/]+)/", _text(request.headers.get("Authorization", "")))
    head = parts.path.rpartition(_KEY)[0]
    return Template(parts.scheme, host, head, tuple(headers.items()), scope.group(1) if scope else "")


def _catch(client: Any, operation: str, arguments: Mapping[str, Any]) -> AWSPreparedRequest:
    def catch(request: AWSPreparedRequest, **_: Any) -> None:
        raise _CaughtError(request)

    client.meta.events.register_first(_EVENT, catch)
    try:
        getattr(client, operation)(**arguments)
    except _CaughtError as caught:
        return caught.request
    finally:
        client.meta.events.unregister(_EVENT, catch)
    raise AssertionError("botocore sent a request without its before-send event")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
