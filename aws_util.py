"""The façade to S3 and SQS: clients made from Settings, checked before anything moves.

Whatever AWS answers comes out of here as one of the errors of `pipeline.ports`, which say whether to try again.
"""

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
from botocore.utils import get_environ_proxies

from app_properties import Settings
from pipeline.aws import sqs
from pipeline.aws.answers import leave_out_keys
from pipeline.aws.checksum import crc64nvme, crc64nvme_of
from pipeline.aws.classic import ClassicEngine
from pipeline.aws.credentials import guard
from pipeline.aws.crt import CrtEngine
from pipeline.aws.engine import OWNER, Engine
from pipeline.aws.errors import NOT_OFFERED, code_of, describe, is_passing, translate, translated
from pipeline.aws.store import S3Store
from pipeline.aws.template import template_of
from pipeline.names import STORE_PROBE
from pipeline.ports import EXIT_CONFIG, RelayError, StartupError, TakenError
from pipeline.values import AUTO, CLASSIC, CRT, EMBEDDED, OVERWRITE

__all__ = ["Aws", "crc64nvme", "crc64nvme_of"]

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5
_READ_SECONDS = 60  # longer than a long poll of 20 s
_SEND_SECONDS = 30
"""The classic engine's: to connect, and for each 16 KiB that a slow line takes, which urllib3 does not tell apart."""
_CLASSIC_THREADS = 32
"""Connections, and threads, that the classic engine uses at most: beyond, threads cost more than they bring."""
_EMBEDDED_CREDENTIALS = ("embedded", "embedded")
_USER_AGENT = f"folder-relay Boto3/{boto3.__version__} Botocore/{botocore.__version__}"
_CONNECTIONS = 64
"""Kept open for one process and service at most."""
_BY_PATH: dict[str, Any] = {"s3": {"addressing_style": "path"}}
"""Elsewhere than at AWS the bucket stands in the path: nobody knows whether its name would lead there in the host."""


@dataclass(frozen=True)
class Aws:
    """Where S3 and SQS are and who asks. Cheap, until it is asked for something: then it makes its clients, once."""

    settings: Settings
    embedded_url: str = ""
    """The endpoint of the embedded S3 and SQS where the settings select it."""

    def store(self, journal: Path, concurrency: int, *, writes: bool) -> S3Store:
        """The bucket. With `writes` it is found out whether the store honours If-None-Match."""
        settings = self.settings
        client = self._s3
        conditional = not writes or not _is_foreign(client.meta.endpoint_url) or self._honours_if_none_match(client)
        with translated(f"prepare requests to the bucket {settings.aws_s3_bucket!r}"):
            engine = self._engine(client, concurrency)
        return S3Store(client, engine, settings.aws_s3_bucket, journal, conditional=conditional, extra=self._extra())

    def queue(self) -> sqs.Queue:
        """The queue, created if it is missing."""
        client = self._sqs
        with translated(f"find the queue {self.settings.aws_sqs!r}"):
            return sqs.find_or_create(client, self.settings.aws_sqs, self.settings.visibility_seconds)

    def existing_queues(self) -> list[sqs.Queue]:
        """The queue and that of its dead letters, as far as they are there: nothing is created."""
        client = self._sqs
        with translated(f"find the queue {self.settings.aws_sqs!r}"):
            return sqs.find_all(client, self.settings.aws_sqs, self.settings.visibility_seconds)

    def check(self, *, sends: bool, patient: bool = False) -> str:
        """See, before anything moves, that bucket and queue answer; the queue's URL. StartupError (69 or 78) if not.

        `sends`: whether this program uploads, too, and the bucket has to be fit for that. `patient`: a queue that
        cannot be reached now is told of, and its URL is "".
        """
        self._check_bucket()
        if sends and self.settings.on_name_conflict == OVERWRITE:
            self._check_versioning()
        try:
            return self.queue().url
        except StartupError:
            raise
        except RelayError as error:
            if not (patient and is_passing(error)):
                raise StartupError(str(error)) from error
            log.warning("it begins without the queue, and goes on once that can be reached: %s", error)
            return ""

    def describe_credentials(self) -> str:
        """Where the credentials come from; never what they are."""
        if self.settings.aws_access_key_id:
            return "aws_access_key_id and aws_secret_key of the properties file"
        if self._uses_embedded():
            return "none needed"
        try:
            credentials = self._session.get_credentials()
        except BotoCoreError as error:
            raise StartupError(describe(error, "find credentials")) from error
        if credentials is None:
            raise StartupError(
                "no credentials: set aws_access_key_id and aws_secret_key, or aws_profile, or any source of the "
                "default chain (environment, shared credentials file, role of the machine)"
            )
        return f"default credential chain: {credentials.method}"

    def describe_endpoint(self, service: str) -> str:
        """The URL that requests of a service go to, without the user and password that AWS_ENDPOINT_URL may hold."""
        client = self._s3 if service == "s3" else self._sqs
        parts = urlsplit(str(client.meta.endpoint_url))
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def describe_engine(self) -> str:
        """How objects travel, and why, if that is not the engine that is wished for."""
        if not self._is_classic():
            return CRT
        wished = self.settings.aws_transfer_client == CLASSIC
        return CLASSIC if wished else f"{CLASSIC}: the environment names a proxy, through which crt cannot go"

    def _engine(self, client: Any, connections: int) -> Engine:
        bucket, extra = self.settings.aws_s3_bucket, self._extra()
        if self._is_classic():
            patient = self._s3_client(connect_timeout=_SEND_SECONDS)
            return ClassicEngine(patient, bucket, threads=min(connections, _CLASSIC_THREADS), extra=extra)
        owner = self._owner()
        self._find_region()
        templates = {
            "put_object": template_of(client, "put_object", Bucket=bucket, Body=b"", **extra),
            "upload_part": template_of(
                client, "upload_part", Bucket=bucket, Body=b"", UploadId="-", PartNumber=1, **owner
            ),
            "get_object": template_of(client, "get_object", Bucket=bucket, **owner),
        }
        return CrtEngine(
            templates,
            templates["get_object"].region or client.meta.region_name,
            self._session.get_credentials(),
            connections=connections,
            # As botocore itself looks for it.
            authorities=self._core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE"),
        )

    def _find_region(self) -> None:
        """Let botocore ask the bucket something: one in another region sends it there, and it remembers."""
        try:
            self._ask_bucket()
        except (ClientError, BotoCoreError) as error:
            log.warning("the bucket is taken to lie in aws_region: %s", describe(error, "ask the bucket"))

    def _is_classic(self) -> bool:
        """Whether objects travel by botocore's own requests; a person who says crt gets it, past any proxy."""
        wished = self.settings.aws_transfer_client
        proxied = not self._uses_embedded() and bool(get_environ_proxies(self.describe_endpoint("s3")))
        return wished == CLASSIC or (wished == AUTO and proxied)

    def _owner(self) -> dict[str, Any]:
        """The argument that every request carries where the bucket's owner is given."""
        owner = self.settings.aws_s3_expected_bucket_owner
        return {OWNER: owner} if owner else {}

    def _extra(self) -> dict[str, Any]:
        """What objects are stored with beside the program's own, in botocore's names."""
        settings = self.settings
        wished = {
            "StorageClass": settings.aws_s3_extra_storage_class,
            "ServerSideEncryption": settings.aws_s3_extra_server_side_encryption,
            "SSEKMSKeyId": settings.aws_s3_extra_sse_kms_key_id,
            "Tagging": settings.aws_s3_extra_tagging,
            "CacheControl": settings.aws_s3_extra_cache_control,
            "ACL": settings.aws_s3_extra_acl,
        }
        return {name: value for name, value in wished.items() if value} | self._owner()

    def _check_bucket(self) -> None:
        try:
            self._ask_bucket()
        except (ClientError, BotoCoreError) as error:
            raise StartupError(describe(error, f"reach the bucket {self.settings.aws_s3_bucket!r}")) from error

    def _check_versioning(self) -> None:
        """What is overwritten has to stay as a version: it may not have been delivered yet."""
        bucket, needs = self.settings.aws_s3_bucket, "[General] onNameConflict: overwrite needs"
        if self._uses_embedded():
            problem = f"{needs} an S3 that keeps versions, and the embedded one forgets them when it is killed"
            raise StartupError(f"{problem}; use version", EXIT_CONFIG)
        try:
            status = self._s3.get_bucket_versioning(Bucket=bucket, **self._owner()).get("Status", "never enabled")
        except (ClientError, BotoCoreError) as error:
            raise StartupError(describe(error, f"see whether the bucket {bucket!r} keeps versions")) from error
        if status != "Enabled":
            raise StartupError(
                f"{needs} a bucket that keeps versions, and the versioning of {bucket} is {status.lower()}; enable it "
                f"(aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled), "
                "or use version",
                EXIT_CONFIG,
            )

    def _ask_bucket(self) -> None:
        """LIST under the prefix: unlike HEAD it has a body that names the error, and the least policy allows it."""
        folder, owner = self.settings.aws_s3_folder, self._owner()
        prefix = f"{folder}/" if folder else ""
        self._s3.list_objects_v2(Bucket=self.settings.aws_s3_bucket, Prefix=prefix, MaxKeys=1, **owner)

    def _honours_if_none_match(self, client: Any) -> bool:
        """PUT one empty object twice: a store that takes it twice ignores the header and is asked before each PUT."""
        folder = self.settings.aws_s3_folder
        key = f"{folder}/{STORE_PROBE}" if folder else STORE_PROBE
        for _ in range(2):
            try:
                client.put_object(
                    Bucket=self.settings.aws_s3_bucket, Key=key, Body=b"", IfNoneMatch="*", **self._extra()
                )
            except (ClientError, BotoCoreError) as error:
                if code_of(error) in NOT_OFFERED:
                    break
                problem = translate(error, f"probe s3://{self.settings.aws_s3_bucket}/{key}")
                if isinstance(problem, TakenError):
                    return True
                raise problem from error
        log.warning("this store ignores If-None-Match: every PUT asks first, and two writers of one key can collide")
        return False

    @cached_property
    def _s3(self) -> Any:
        return self._s3_client()

    def _s3_client(self, **special: Any) -> Any:
        client = self._client("s3", **special, **(_BY_PATH if _is_foreign(self._endpoint("s3")) else {}))
        # The environment, or the shared configuration, may have named another store.
        by_path = client.meta.config.s3 == _BY_PATH["s3"] or not _is_foreign(client.meta.endpoint_url)
        client = client if by_path else self._client("s3", **special, **_BY_PATH)
        leave_out_keys(client)
        return client

    @cached_property
    def _sqs(self) -> Any:
        # What is sent was built here, and SQS checks it again: looking at each value costs a third of a call.
        return self._client("sqs", parameter_validation=False)

    def _client(self, service: str, **special: Any) -> Any:
        special = {"connect_timeout": _CONNECT_SECONDS, **special}
        config = Config(
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 3},
            tcp_keepalive=True,
            user_agent=_USER_AGENT,  # botocore's own is put together anew for every call, for a tenth of its price
            max_pool_connections=_CONNECTIONS,
            # Checksums travel as headers that we set: trailers (aws-chunked) break several S3-compatible stores.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # The embedded server is on this machine, whatever proxy the environment names for the world outside.
            proxies={} if self._uses_embedded() else None,
            **special,
        )
        with translated("find credentials"):
            self._session.get_credentials()
        # The stubs know every service by an overload of its own; a name at run time fits none.
        make: Any = self._session.client
        try:
            return make(service, endpoint_url=self._endpoint(service), config=config)
        except (BotoCoreError, ValueError) as error:
            text = describe(error, f"make a client for {service}")
            raise StartupError(f"{text}; check aws_region and the endpoint keys", EXIT_CONFIG) from error

    @cached_property
    def _core(self) -> botocore.session.Session:
        session = botocore.session.get_session()
        guard(session)
        return session

    @cached_property
    def _session(self) -> boto3.session.Session:
        settings = self.settings
        key, secret = settings.aws_access_key_id or None, settings.aws_secret_key or None
        if self._uses_embedded() and key is None:
            key, secret = _EMBEDDED_CREDENTIALS
        try:
            return boto3.session.Session(
                key,
                secret,
                region_name=settings.aws_region,
                botocore_session=self._core,
                profile_name=settings.aws_profile or None,
            )
        except ProfileNotFound as error:
            raise StartupError(f"{error}; correct aws_profile, or leave it empty", EXIT_CONFIG) from error
        except BotoCoreError as error:
            raise StartupError(describe(error, "read the AWS configuration files"), EXIT_CONFIG) from error

    def _endpoint(self, service: str) -> str | None:
        special = self.settings.aws_endpoint_url_s3 if service == "s3" else self.settings.aws_endpoint_url_sqs
        general = self.embedded_url if self._uses_embedded() else self.settings.aws_endpoint_url
        return special or general or None

    def _uses_embedded(self) -> bool:
        return self.settings.aws_endpoint_url == EMBEDDED


def _is_foreign(endpoint: str | None) -> bool:
    """Whether this is somebody else's service than AWS's."""
    host = urlsplit(endpoint).hostname if endpoint else None
    return host is not None and not host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
