"""The crt engine: AWS's Common Runtime moves the bytes, in its own threads; Python only describes and hears the end.

Bodies are bytes in memory: what was compared with its checksum is what travels, and no path is opened a second time.
The runtime's own multipart transfers are not used: they read the file by its path, keep no state to resume from, and
ask for at least 1 GiB of buffers. Over plain http it does not sign the content, which the signed CRC64NVME stands for.
It tries again by itself, five times: that a connection is refused is known after ten seconds, that a server says
nothing or has a certificate nobody knows after minutes.
"""

import functools
import io
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote

from awscrt import http, s3  # type: ignore[import-untyped]  # it ships no types
from awscrt import io as crt_io
from awscrt.auth import AwsCredentials, AwsCredentialsProvider  # type: ignore[import-untyped]  # the same
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError
from botocore.httpsession import get_cert_path

from pipeline.aws.answers import Answer
from pipeline.aws.engine import Get, Put
from pipeline.aws.template import Template

_EVENT_LOOPS = 1
"""Threads that do the network's work; two gained nothing where they share the interpreter's lock."""
_TARGET_GBPS = 10.0
"""The runtime's own default; the number of connections, which it would derive from this, is given."""
_TRIAL_SECONDS = 15.0
"""What a thread that runs needs a hundredth of a second for."""
_CLOSE_SECONDS = 5.0
"""For which closing waits for the runtime's threads."""


class CrtEngine:
    """One S3 client of the runtime. Safe to use from several threads."""

    name = "crt"

    def __init__(
        self,
        templates: dict[str, Template],
        region: str,
        credentials: Any,
        *,
        connections: int,
        authorities: str | None = None,
    ) -> None:
        """`templates`: of put_object, upload_part, get_object; `credentials`: botocore's; `authorities`: see _tls."""
        self._put, self._part, self._get = (templates[name] for name in ("put_object", "upload_part", "get_object"))
        self._lock = threading.Lock()
        self._requests: dict[object, s3.S3Request | None] = {}
        self._cancelled = False
        loops = crt_io.EventLoopGroup(_EVENT_LOOPS)
        secure = self._put.scheme == "https"
        make = functools.partial(
            s3.S3Client,
            bootstrap=crt_io.ClientBootstrap(loops, crt_io.DefaultHostResolver(loops)),
            region=region,
            tls_mode=s3.S3RequestTlsMode.ENABLED if secure else s3.S3RequestTlsMode.DISABLED,
            tls_connection_options=_tls(authorities) if secure else None,
            signing_config=s3.create_default_s3_signing_config(
                region=region, credential_provider=_provider(credentials)
            ),
            throughput_target_gbps=_TARGET_GBPS,
            max_active_connections_override=connections,
        )
        _refuse_dead(make)
        self._client = make()

    def put(self, put: Put) -> Future[Answer]:
        """See engine.Engine."""
        headers = [("Content-Length", str(len(put.body))), ("x-amz-checksum-crc64nvme", put.crc64nvme)]
        if put.part:
            target = self._part.target(put.key, f"partNumber={put.part}&uploadId={quote(put.upload_id, safe='')}")
            return self._send("UploadPart", self._part, "PUT", target, headers, put.body)
        headers.append(("Content-Type", put.content_type))
        headers += [(f"x-amz-meta-{name}", value) for name, value in put.metadata.items()]
        if put.if_none_match:
            headers.append(("If-None-Match", put.if_none_match))
        if put.if_match:
            headers.append(("If-Match", f'"{put.if_match}"'))
        return self._send("PutObject", self._put, "PUT", self._put.target(put.key), headers, put.body)

    def get(self, get: Get, write: Callable[[bytes, int], None]) -> Future[Answer]:
        """See engine.Engine."""
        headers = [("Range", f"bytes={get.start}-{get.end}")]
        if get.if_match:
            headers.append(("If-Match", f'"{get.if_match}"'))
        query = f"versionId={quote(get.version_id, safe='')}" if get.version_id else ""

        def on_body(chunk: bytes, offset: int, **_: Any) -> None:
            write(chunk, get.start + offset)

        target = self._get.target(get.key, query)
        return self._send("GetObject", self._get, "GET", target, headers, on_body=on_body)

    def cancel(self) -> None:
        """See engine.Engine."""
        with self._lock:
            self._cancelled = True
            requests = list(self._requests.values())
        for request in requests:
            if request is not None:
                request.cancel()

    def close(self) -> None:
        """See engine.Engine."""
        self.cancel()
        ended = self._client.shutdown_event
        del self._client
        ended.wait(_CLOSE_SECONDS)

    def _send(
        self,
        operation: str,
        template: Template,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | None = None,
        on_body: Callable[..., None] | None = None,
    ) -> Future[Answer]:
        future: Future[Answer] = Future()
        heard: list[tuple[str, str]] = []
        token = object()

        def on_headers(headers: list[tuple[str, str]], **_: Any) -> None:
            heard[:] = headers

        def on_done(error: Exception | None = None, **_: Any) -> None:
            with self._lock:
                self._requests.pop(token, None)
            _settle(future, heard, error)

        request = http.HttpRequest(method, target, http.HttpHeaders([*template.headers, *headers]))
        if body is not None:
            request.body_stream = io.BytesIO(body)
        with self._lock:
            self._requests[token] = None
        try:
            made = self._client.make_request(
                type=s3.S3RequestType.DEFAULT,
                operation_name=operation,
                request=request,
                on_headers=on_headers,
                on_body=on_body,
                on_done=on_done,
            )
        except Exception as error:  # noqa: BLE001  # not hidden: whoever waits for the future raises it
            on_done(error)
            return future
        with self._lock:
            if token in self._requests:  # it may have ended already
                self._requests[token] = made
            cancelled = self._cancelled
        if cancelled:
            made.cancel()
        return future


def _refuse_dead(make: Callable[[], Any]) -> None:
    """OSError if the runtime's thread could not begin to work, of which it says nothing: requests would never end."""
    ended = make().shutdown_event  # what nobody holds is shut down by that thread
    if not ended.wait(_TRIAL_SECONDS):
        raise OSError("the runtime's event loop does not run; this process has to begin anew")


def _settle(future: Future[Answer], headers: list[tuple[str, str]], error: Exception | None) -> None:
    if error is not None:
        future.set_exception(error)
        return
    try:
        future.set_result(Answer.of_headers(headers))
    except ValueError as problem:  # headers that are none
        future.set_exception(problem)


def _provider(credentials: Any) -> AwsCredentialsProvider:
    """botocore's credentials, asked for at every signature: they renew themselves, unless they are plain ones."""
    if type(credentials) is Credentials:
        return AwsCredentialsProvider.new_static(credentials.access_key, credentials.secret_key, credentials.token)

    def current() -> AwsCredentials:
        if credentials is None:
            raise NoCredentialsError
        frozen = credentials.get_frozen_credentials()
        return AwsCredentials(frozen.access_key, frozen.secret_key, frozen.token)

    return AwsCredentialsProvider.new_delegate(current)


def _tls(authorities: str | None) -> crt_io.TlsConnectionOptions:
    """Trust the certificates in a file, or else those that botocore trusts; there is no way to trust any."""
    options = crt_io.TlsContextOptions()
    options.override_default_trust_store_from_path(None, authorities or get_cert_path(True))
    return crt_io.ClientTlsContext(options).new_connection_options()
