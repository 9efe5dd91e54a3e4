"""S3's answers in XML."""

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from bench.shelf import Bucket, Object, Upload

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def document(name: str, content: str) -> bytes:
    """A document of S3's namespace."""
    return f"{_HEAD}<{name} {_SPACE}>{content}</{name}>".encode()


def error(code: str, message: str) -> bytes:
    """S3's error document."""
    return f"{_HEAD}<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()


def objects(name: str, bucket: Bucket, query: Mapping[str, str]) -> bytes:
    """ListObjectsV2, and version 1 where the query asks for that."""
    write: Callable[[str], str] = quote if query.get("encoding-type") == "url" else escape
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start = unquote(query.get("continuation-token", "")) or query.get("start-after") or query.get("marker") or ""
    found, folders, last, more = _page(bucket, prefix, delimiter, start, int(query.get("max-keys", 1000)))
    parts = [f"<Name>{name}</Name><Prefix>{write(prefix)}</Prefix><Delimiter>{write(delimiter)}</Delimiter>"]
    if write is quote:
        parts.append("<EncodingType>url</EncodingType>")
    parts.append(f"<KeyCount>{len(found) + len(folders)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>")
    if more:
        parts.append(
            f"<NextContinuationToken>{quote(last)}</NextContinuationToken><NextMarker>{write(last)}</NextMarker>"
        )
    parts += [_entry(write(key), bucket.objects[key]) for key in found]
    parts += [f"<CommonPrefixes><Prefix>{write(folder)}</Prefix></CommonPrefixes>" for folder in folders]
    return document("ListBucketResult", "".join(parts))


def uploads(name: str, bucket: Bucket) -> bytes:
    """ListMultipartUploads, in one page."""
    found = "".join(
        f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{number}</UploadId></Upload>"
        for number, upload in bucket.uploads.items()
    )
    return document("ListMultipartUploadsResult", f"<Bucket>{name}</Bucket><IsTruncated>false</IsTruncated>{found}")


def parts(upload: Upload, number: str) -> bytes:
    """ListParts, in one page."""
    found = "".join(
        f'<Part><PartNumber>{part}</PartNumber><ETag>"{etag}"</ETag><Size>{size}</Size></Part>'
        for part, (size, etag, _) in sorted(upload.parts.items())
    )
    head = f"<Key>{escape(upload.key)}</Key><UploadId>{number}</UploadId><IsTruncated>false</IsTruncated>"
    return document("ListPartsResult", head + found)


def _page(
    bucket: Bucket, prefix: str, delimiter: str, start: str, limit: int
) -> tuple[list[str], list[str], str, bool]:
    """Keys, common prefixes, where to go on, and whether there is more."""
    found: list[str] = []
    folders: dict[str, None] = {}
    last = start
    for key in bucket.after(prefix, start):
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        folder = key[: end + len(delimiter)] if end >= 0 else ""
        if folder and (folder in folders or start.startswith(folder)):
            last = key
            continue
        if len(found) + len(folders) == limit:
            return found, list(folders), last, True
        last = key
        if folder:
            folders[folder] = None
        else:
            found.append(key)
    return found, list(folders), last, False


def _entry(key: str, stored: Object) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stored.modified))
    return (
        f"<Contents><Key>{key}</Key><LastModified>{moment}</LastModified><ETag>&quot;{stored.etag}&quot;</ETag>"
        f"<Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
