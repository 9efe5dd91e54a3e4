"""What lies under a prefix, page by page: objects, or every version of them."""

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.ports import Listed

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


def objects(client: "S3Client", asked: Mapping[str, Any]) -> Iterator[Listed]:
    """What is there now. `asked`: bucket and prefix, in botocore's names."""
    for page in client.get_paginator("list_objects_v2").paginate(**asked):
        for entry in page.get("Contents", []):
            yield Listed(entry["Key"], entry["Size"], entry["LastModified"].timestamp())


def versions(client: "S3Client", asked: Mapping[str, Any]) -> Iterator[Listed]:
    """Every version of each key that is not deleted, the earliest first. S3 lists the latest first."""
    for _, of_key in itertools.groupby(_latest_first(client, asked), lambda listed: listed.key):
        yield from reversed(list(of_key))


def _latest_first(client: "S3Client", asked: Mapping[str, Any]) -> Iterator[Listed]:
    before = set[str]()
    for page in client.get_paginator("list_object_versions").paginate(**asked):
        deleted = {marker["Key"] for marker in page.get("DeleteMarkers", []) if marker["IsLatest"]}
        for entry in page.get("Versions", []):
            if entry["Key"] not in deleted | before:
                yield Listed(entry["Key"], entry["Size"], entry["LastModified"].timestamp(), entry["VersionId"])
        before = deleted or before  # the versions of a page's last key go on with the next
