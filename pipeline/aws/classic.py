"""The classic engine: botocore's own requests, one connection for each thread of its pool."""

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from pipeline.aws.answers import Answer
from pipeline.aws.engine import OWNER, Get, Put
from pipeline.threads import Pool

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_CHUNK = 1024 * 1024


class ClassicEngine:
    """One botocore client. Safe to use from several threads."""

    name = "classic"

    def __init__(
        self, client: "S3Client", bucket: str, *, threads: int, extra: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """`extra`: what every PutObject carries beside the program's own, in botocore's names."""
        self._client, self._bucket, self._extra = client, bucket, dict(extra)
        self._owner: Any = {name: value for name, value in extra.items() if name == OWNER}
        self._pool = Pool(threads, "transfer")

    def put(self, put: Put) -> Future[Answer]:
        """See engine.Engine."""
        return self._pool.submit(self._send_part if put.part else self._send, put)

    def get(self, get: Get, write: Callable[[bytes, int], None]) -> Future[Answer]:
        """See engine.Engine."""
        return self._pool.submit(self._fetch, get, write)

    def cancel(self) -> None:
        """See engine.Engine: what has begun ends with its request, or with its timeout."""

    def close(self) -> None:
        """See engine.Engine."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, put: Put) -> Answer:
        condition = {"IfNoneMatch": put.if_none_match} if put.if_none_match else {}
        if put.if_match:
            condition["IfMatch"] = f'"{put.if_match}"'
        answer = self._client.put_object(
            Bucket=self._bucket,
            Key=put.key,
            Body=put.body,
            ContentType=put.content_type,
            Metadata=dict(put.metadata),
            ChecksumCRC64NVME=put.crc64nvme,
            **self._extra,
            **cast(Any, condition),
        )
        return Answer.of_botocore(cast(Any, answer))

    def _send_part(self, put: Put) -> Answer:
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=put.key,
            UploadId=put.upload_id,
            PartNumber=put.part,
            Body=put.body,
            ChecksumCRC64NVME=put.crc64nvme,
            **self._owner,
        )
        return Answer.of_botocore(cast(Any, answer))

    def _fetch(self, get: Get, write: Callable[[bytes, int], None]) -> Answer:
        more: Any = {"VersionId": get.version_id} if get.version_id else {}
        if get.if_match:
            more["IfMatch"] = f'"{get.if_match}"'
        answer = self._client.get_object(
            Bucket=self._bucket, Key=get.key, Range=f"bytes={get.start}-{get.end}", **self._owner, **more
        )
        offset = get.start
        with contextlib.closing(answer["Body"]) as body:
            for chunk in body.iter_chunks(_CHUNK):
                write(chunk, offset)
                offset += len(chunk)
        return Answer.of_botocore(cast(Any, answer))
