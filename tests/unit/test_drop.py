"""What identifies a drop, and what its object carries."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.drop import (
    DROP_ID,
    MTIME,
    Drop,
    Fingerprint,
    delivery_id,
    format_time,
    origin_of,
    parse_time,
    split_delivery_id,
)
from pipeline.names import NameRefusedError, checked_path, key_for
from pipeline.ports import StoredObject

SEEN = Fingerprint(inode=7, size=11, mtime_ns=1_700_000_000_123_456_789, ctime_ns=1_700_000_001_000_000_001)
SECOND = 1_000_000_000
FIRST, LAST = -62_135_596_800 * SECOND, 253_402_300_800 * SECOND - 1  # 0001-01-01 and the end of 9999


def drop(path: str = "a/r.csv", seen: Fingerprint = SEEN, checksum: str = "AAAAAAAAAAA=", folder: str = "in") -> Drop:
    return Drop(path, seen, checksum, key_for(folder, path))


def stored(item: Drop, **metadata: str) -> StoredObject:
    return StoredObject(item.key.text, item.fingerprint.size, "etag", metadata={**item.metadata(), **metadata})


@pytest.mark.parametrize("key", ["a", "in/d/a", "/a", "in//", "s3-x/a"])
def test_a_delivery_id_can_be_taken_apart(key: str) -> None:
    """Whatever the key, be it one that begins as an id does."""
    assert split_delivery_id(delivery_id(drop().id, key)) == (drop().id, key)


def test_the_id_survives_restarts() -> None:
    """The id is a function of the file alone, 26 characters that fit everywhere."""
    assert drop().id == "mzk7yyde3y4ulqcjdjnmqf5rg4"  # pinned: another version of the program must find its own objects
    assert re.fullmatch(r"[a-z2-7]{26}", drop().id)
    assert drop().id == drop(folder="elsewhere").id


@pytest.mark.parametrize(
    "other",
    [
        drop(path="a/s.csv"),
        drop(checksum="BAAAAAAAAAA="),
        drop(seen=SEEN._replace(inode=8)),
        drop(seen=SEEN._replace(size=12)),
        drop(seen=SEEN._replace(mtime_ns=SEEN.mtime_ns + 1)),
        drop(seen=SEEN._replace(ctime_ns=SEEN.ctime_ns + 1)),
    ],
)
def test_another_drop_has_another_id(other: Drop) -> None:
    """Path, inode, times, size and content each make another drop."""
    assert other.id != drop().id


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-SECOND, "1969-12-31T23:59:59.000000000Z"),
        (FIRST, "0001-01-01T00:00:00.000000000Z"),
        (LAST, "9999-12-31T23:59:59.999999999Z"),
        (LAST + 1, ""),
        (FIRST - 1, ""),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (2**64 * SECOND, ""),
    ],
)
def test_time_table(nanoseconds: int, text: str) -> None:
    """ISO 8601 with nine decimals; nothing where there is no such year."""
    assert format_time(nanoseconds) == text


@given(st.integers(FIRST, LAST))
@example(-1)
@example(FIRST)
@example(LAST)
def test_times_are_kept_to_the_nanosecond(nanoseconds: int) -> None:
    """parse_time reverses format_time, before 1970 and before the year 1000 too."""
    assert parse_time({MTIME: format_time(nanoseconds)}) == nanoseconds


@example("2023-02-30T00:00:00Z")
@example("2023-11-14T25:61:61.5Z")
@given(st.one_of(st.text(), st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.?.{0,12}Z?")))
def test_a_foreign_time_never_raises(text: str) -> None:
    """What cannot be read is no time."""
    assert parse_time({MTIME: text}) is None or isinstance(parse_time({MTIME: text}), int)


@pytest.mark.parametrize(
    "path", ["a/r.csv", "é/\U0001f600", "a b+c%2e", "\udcff/\udcfe.csv", "-rf", "x" * 200, "\n\t\x1b"]
)
def test_an_object_says_where_it_came_from(path: str) -> None:
    """Path, id, checksum and time come back out of the object's metadata, which is ASCII."""
    item = drop(path=path)
    assert all(f"{name}{value}".isascii() for name, value in item.metadata().items())
    origin = origin_of(stored(item), "bucket", "in")
    assert origin == (type(origin))(item.id, path, item.crc64nvme, SEEN.mtime_ns, is_ours=True)


@pytest.mark.parametrize("path", ["/".join(["é" * 100] * 2), "/".join(["\udcff" * 80] * 4)])
def test_a_long_path_is_carried_compactly(path: str) -> None:
    """Percent-encoded where that has 1,000 bytes at most, as every version of the program reads it; else in base64."""
    item = drop(path=path)
    metadata = item.metadata()
    assert ("path" in metadata) == (len(path.encode("utf-8", "surrogateescape")) * 3 <= 1000)
    assert ("path-base64" in metadata) != ("path" in metadata)
    assert origin_of(StoredObject("in/x", 11, "etag", metadata=metadata), "bucket", "in").path == path


@pytest.mark.parametrize("path", ["/".join(["é" * 100] * 2), "/".join(["\udcff" * 80] * 4)])
def test_a_path_that_is_not_carried_is_read_from_the_key(path: str) -> None:
    """As earlier versions of the program left a long one to it, quoted or not."""
    item = drop(path=path)
    metadata = {name: value for name, value in item.metadata().items() if not name.startswith("path")}
    assert origin_of(StoredObject(item.key.text, 11, "etag", metadata=metadata), "bucket", "in").path == path


@pytest.mark.parametrize("text", ["", "YQ", "Y Q==", "é", "YQ==\n", "_-__"])
def test_a_long_path_that_is_none_is_refused(text: str) -> None:
    """Only base64 is one, and a name that may be written only what it holds; the key does not stand in for it."""
    with pytest.raises(NameRefusedError):
        checked_path(origin_of(stored(drop(), **{"path-base64": text}), "bucket", "in").path)


def test_a_time_without_a_year_is_left_out() -> None:
    """A file from the year 100000 goes on its way without its time."""
    item = drop(seen=SEEN._replace(mtime_ns=LAST + 1))
    assert MTIME not in item.metadata()
    assert origin_of(stored(item), "bucket", "in").mtime_ns is None


@pytest.mark.parametrize("text", ["", "a/in", "s3-" + "a" * 26, "A" * 26, "a" * 65, "a\n", "é"])
def test_an_id_that_is_none_is_refused(text: str) -> None:
    """F10. With a `/` in it a ledger would take it for that of another key, with `s3-` for another program's object."""
    with pytest.raises(NameRefusedError, match="drop id"):
        origin_of(stored(drop(), **{DROP_ID: text}), "bucket", "in")


def test_an_object_of_another_program_has_an_identity() -> None:
    """Key and version, or key and ETag, identify what another program stored."""

    def identity(bucket: str = "bucket", etag: str = "1", version: str | None = None) -> str:
        found = origin_of(StoredObject("in/a%2e.csv", 3, etag, version), bucket, "in")
        assert not found.is_ours
        assert found.path == "a%2e.csv"
        return found.drop_id

    assert identity() == identity()
    assert len({identity(), identity(etag="2"), identity(version="v"), identity(bucket="other")}) == 4
    assert identity().startswith("s3-")


@given(
    st.text(),
    st.dictionaries(
        st.sampled_from(["drop-id", "crc64nvme", "mtime", "path", "path-base64", "key-encoding", "x"]), st.text()
    ),
)
@example("in/%FF", {"key-encoding": "percent"})
@example("in/a", {"drop-id": "x", "path": "é"})
@example("in/a", {"drop-id": "x", "path-base64": "%"})
@example("in/a", {"drop-id": "x", "path-base64": "4pi6/w=="})
@example("in/a", {"mtime": "2023-11-14T22:13:20.-5Z"})
def test_hostile_metadata_is_refused_or_read(key: str, metadata: dict[str, str]) -> None:
    """F12. Reading an object's origin raises NameRefusedError or nothing."""
    try:
        origin = origin_of(StoredObject(key, 1, "e", metadata=metadata), "bucket", "in")
    except NameRefusedError:
        return
    assert isinstance(origin.path, str)
