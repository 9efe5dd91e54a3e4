"""S3's lists in XML, page by page."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote
from xml.sax.saxutils import escape

from bench.listing import document
from tests.strict.answers import RefusedError
from tests.strict.shelf import Bucket, Object, Upload, stamp

_PAGE = 1000
Query = Mapping[str, str]


def versions(name: str, bucket: Bucket, query: Query) -> bytes:
    """ListObjectVersions: each key's latest version first."""
    write = _writer(query)
    start = (query.get("key-marker", ""), query.get("version-id-marker", ""))
    limit = limit_of(query, "max-keys")
    found = list(itertools.islice(_versions(bucket, query.get("prefix", ""), start), limit + 1))
    more, found = len(found) > limit, found[:limit]
    content = [_head(name, query, write), f"<IsTruncated>{str(more).lower()}</IsTruncated>"]
    if more:
        key, version, _ = found[-1]
        content.append(f"<NextKeyMarker>{write(key)}</NextKeyMarker>")
        content.append(f"<NextVersionIdMarker>{version.version_id or 'null'}</NextVersionIdMarker>")
    content += [_version(write(key), version, latest) for key, version, latest in found]
    return document("ListVersionsResult", "".join(content))


def uploads(name: str, bucket: Bucket, query: Query) -> bytes:
    """ListMultipartUploads."""
    write, limit = _writer(query), limit_of(query, "max-uploads")
    prefix, start = query.get("prefix", ""), (query.get("key-marker", ""), query.get("upload-id-marker", "\U0010ffff"))
    matching = (each for each in bucket.uploads.values() if each.key.startswith(prefix))
    found: list[Upload] = sorted(matching, key=lambda each: (each.key, each.id))
    found = [each for each in found if (each.key, each.id) > start] if start[0] else found
    more = len(found) > limit
    content = [f"<Bucket>{name}</Bucket><Prefix>{write(prefix)}</Prefix><MaxUploads>{limit}</MaxUploads>"]
    content.append(f"<IsTruncated>{str(more).lower()}</IsTruncated>")
    if more:
        last = found[limit - 1]
        content.append(
            f"<NextKeyMarker>{write(last.key)}</NextKeyMarker><NextUploadIdMarker>{last.id}</NextUploadIdMarker>"
        )
    content += [
        f"<Upload><Key>{write(each.key)}</Key><UploadId>{each.id}</UploadId>"
        f"<StorageClass>STANDARD</StorageClass><Initiated>{stamp(each.begun)}</Initiated></Upload>"
        for each in found[:limit]
    ]
    return document("ListMultipartUploadsResult", "".join(content))


def parts(name: str, upload: Upload, query: Query) -> bytes:
    """ListParts."""
    limit, start = limit_of(query, "max-parts"), int(query.get("part-number-marker") or 0)
    numbers = [number for number in sorted(upload.parts) if number > start]
    more = len(numbers) > limit
    content = [f"<Bucket>{name}</Bucket><Key>{escape(upload.key)}</Key><UploadId>{upload.id}</UploadId>"]
    if upload.algorithm:
        kind = "FULL_OBJECT" if upload.full_object else "COMPOSITE"
        content.append(
            f"<ChecksumAlgorithm>{upload.algorithm.upper()}</ChecksumAlgorithm><ChecksumType>{kind}</ChecksumType>"
        )
    content.append(f"<MaxParts>{limit}</MaxParts><IsTruncated>{str(more).lower()}</IsTruncated>")
    if more:
        content.append(f"<NextPartNumberMarker>{numbers[limit - 1]}</NextPartNumberMarker>")
    content += [_part(number, upload) for number in numbers[:limit]]
    return document("ListPartsResult", "".join(content))


def limit_of(query: Query, name: str) -> int:
    """How many a page holds; RefusedError."""
    text = query.get(name, str(_PAGE))
    if not text.isdecimal():
        raise RefusedError(400, "InvalidArgument", f"Provided {name} not an integer or within integer range")
    return min(int(text), _PAGE)


def _versions(bucket: Bucket, prefix: str, start: tuple[str, str]) -> Iterator[tuple[str, Object, bool]]:
    keys = sorted({*bucket.objects, *bucket.versions})
    for key in keys:
        if not key.startswith(prefix) or key < start[0] or (key == start[0] and not start[1]):
            continue
        own = bucket.versions.get(key) or [bucket.objects[key]]
        rest = list(reversed(own))
        if key == start[0]:
            ids = [each.version_id or "null" for each in rest]
            rest = rest[ids.index(start[1]) + 1 :] if start[1] in ids else []
        for version in rest:
            yield key, version, version is own[-1]


def _version(key: str, version: Object, latest: bool) -> str:
    name = "DeleteMarker" if version.deleted else "Version"
    content = f"<Key>{key}</Key><VersionId>{version.version_id or 'null'}</VersionId>"
    content += f"<IsLatest>{str(latest).lower()}</IsLatest><LastModified>{stamp(version.modified)}</LastModified>"
    if not version.deleted:
        content += (
            f"<ETag>&quot;{version.etag}&quot;</ETag><Size>{version.size}</Size><StorageClass>STANDARD</StorageClass>"
        )
    return f"<{name}>{content}</{name}>"


def _part(number: int, upload: Upload) -> str:
    part = upload.parts[number]
    content = f"<PartNumber>{number}</PartNumber><LastModified>{stamp(part.modified)}</LastModified>"
    content += f"<ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size>"
    for header, value in part.checksums.items():
        name = f"Checksum{header.rpartition('-')[2].upper()}"
        content += f"<{name}>{value}</{name}>"
    return f"<Part>{content}</Part>"


def _writer(query: Query) -> Callable[[str], str]:
    if query.get("encoding-type", "url") != "url":
        raise RefusedError(400, "InvalidArgument", "Invalid Encoding Method specified in Request")
    return quote if "encoding-type" in query else escape


def _head(name: str, query: Query, write: Callable[[str], str]) -> str:
    encoding = "<EncodingType>url</EncodingType>" if "encoding-type" in query else ""
    return f"<Name>{name}</Name><Prefix>{write(query.get('prefix', ''))}</Prefix>{encoding}"
