"""Who sends a request, and whether it is his: Signature Version 4 (AWS IAM User Guide, "Create a signed request")."""

import calendar
import functools
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from bench.wire import Memory, Request
from tests.strict.answers import RefusedError
from tests.strict.clock import Clock

SKEW_SECONDS = 15 * 60
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([^/,]+)/(\d{8})/([^/,]*)/([^/,]*)/aws4_request, *"
    r"SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})"
)
_NEEDED = {"s3": ("host", "x-amz-date", "x-amz-content-sha256"), "sqs": ("host", "x-amz-date", "x-amz-target")}


@dataclass(frozen=True)
class Key:
    """An access key."""

    secret: str
    token: str = ""
    """That of a session; "": none is to be given."""
    expires: float = float("inf")
    """On the clock of Clock.now."""
    judged: bool = True
    """Whether it is the program's: what others announce is not measured by what the program promises."""


class Signatures:
    """The keys, and what is signed with them."""

    def __init__(self, clock: Clock, region: str) -> None:
        self.keys: dict[str, Key] = {}
        self._clock, self._region = clock, region

    def check(self, request: Request, target: str, service: str) -> tuple[Key, str]:
        """The key and the region of a request; RefusedError. `target`: path and query as they were sent."""
        given = request.headers.get(b"authorization", b"").decode("latin-1")
        if not given:
            raise RefusedError(403, "AccessDenied" if service == "s3" else "MissingAuthenticationToken", "no signature")
        found = _AUTHORIZATION.fullmatch(given)
        if found is None:
            raise _unreadable(service, "the Authorization header is not one of Signature Version 4")
        name, day, region, scope, signed, signature = found.groups()
        key = self._key(name, service)
        moment = request.headers.get(b"x-amz-date", b"").decode("latin-1")
        self._check_scope(service, scope, region)
        self._check_time(moment, day, service)
        self._check_token(request.headers.get(b"x-amz-security-token", b"").decode("latin-1"), key, service)
        if set(_NEEDED[service]) - set(signed.split(";")):
            raise RefusedError(403, "AccessDenied", f"not signed: one of {_NEEDED[service]}")
        text = _canonical(request, target, signed, service)
        if not hmac.compare_digest(_sign(key.secret, day, region, scope, moment, text), signature):
            code = "SignatureDoesNotMatch" if service == "s3" else "InvalidSignatureException"
            raise RefusedError(403, code, "the signature is not that of this request")
        return key, region

    def _key(self, name: str, service: str) -> Key:
        key = self.keys.get(name)
        if key is None:
            code = "InvalidAccessKeyId" if service == "s3" else "InvalidClientTokenId"
            raise RefusedError(403, code, "the access key is not known")
        return key

    def _check_scope(self, service: str, scope: str, region: str) -> None:
        if scope != service or not region:
            raise _unreadable(service, f"the credential is for {scope!r} in {region!r}, not for {service!r}")
        if service == "sqs" and region != self._region:
            raise _unreadable(service, f"Credential should be scoped to a valid region, not {region!r}")

    def _check_time(self, moment: str, day: str, service: str) -> None:
        try:
            said = calendar.timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise RefusedError(403, "AccessDenied", "x-amz-date is no date") from None
        if not moment.startswith(day):
            raise _unreadable(service, "the credential is for another day")
        if abs(said - self._clock.wall()) <= SKEW_SECONDS:
            return
        if service == "s3":
            text = "The difference between the request time and the current time is too large."
            raise RefusedError(403, "RequestTimeTooSkewed", text)
        raise RefusedError(403, "InvalidSignatureException", f"Signature expired: {moment} is too far from now")

    def _check_token(self, token: str, key: Key, service: str) -> None:
        if token != key.token:
            code = "InvalidToken" if service == "s3" else "InvalidClientTokenId"
            raise RefusedError(400 if service == "s3" else 403, code, "the security token is not valid")
        if self._clock.now() >= key.expires:
            raise RefusedError(400 if service == "s3" else 403, "ExpiredToken", "the token has expired")


def _unreadable(service: str, text: str) -> RefusedError:
    if service == "s3":
        return RefusedError(400, "AuthorizationHeaderMalformed", text)
    return RefusedError(403, "InvalidSignatureException", text)


def _canonical(request: Request, target: str, signed: str, service: str) -> str:
    path, _, query = target.partition("?")
    payload = _payload(request) if service == "sqs" else _header(request.headers, "x-amz-content-sha256")
    lines = [f"{name}:{_header(request.headers, name)}\n" for name in signed.split(";")]
    path = path if service == "s3" else quote(path)  # all but S3 encode once more
    return "\n".join([request.method, path, _query(query), "".join(lines), signed, payload])


def _query(query: str) -> str:
    if not query:
        return ""
    pairs = (part.partition("=") for part in query.split("&"))
    return "&".join(sorted(f"{_again(name)}={_again(value)}" for name, _, value in pairs))


def _again(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _header(headers: Mapping[bytes, bytes], name: str) -> str:
    return " ".join(headers.get(name.encode(), b"").decode("latin-1").split())


def _payload(request: Request) -> str:
    return hashlib.sha256(request.body.bytes() if isinstance(request.body, Memory) else b"").hexdigest()


def _sign(secret: str, day: str, region: str, scope: str, moment: str, text: str) -> str:
    digest = hashlib.sha256(text.encode("latin-1")).hexdigest()
    what = f"AWS4-HMAC-SHA256\n{moment}\n{day}/{region}/{scope}/aws4_request\n{digest}"
    return _hmac(_signing_key(secret, day, region, scope), what).hex()


@functools.lru_cache(64)
def _signing_key(secret: str, day: str, region: str, scope: str) -> bytes:
    return functools.reduce(_hmac, (day, region, scope, "aws4_request"), f"AWS4{secret}".encode())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
