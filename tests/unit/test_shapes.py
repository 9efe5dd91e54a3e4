"""What a message announces beside its files, and which of several records of one object counts."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.drop import Drop, Fingerprint, origin_of
from pipeline.names import key_for
from pipeline.notice import FORMATS, Notice, announce
from pipeline.ports import StoredObject
from pipeline.shapes import TEST_EVENT, UnreadableError, newest, read
from tests.unit.test_names import paths
from tests.unit.test_notice import BUCKET, FROM_AWS, attributes, body, eventbridge, record, sns

ONE = Notice(BUCKET, "in/a", etag="e")


@pytest.mark.parametrize("form", FORMATS)
@given(path=paths.filter(lambda path: len(path.encode("utf-8", "surrogateescape")) < 330))
def test_what_is_announced_is_read(form: str, path: str) -> None:
    """Whatever bytes a path has: the exact key, with or without attributes, and by it and the object the path."""
    drop = Drop(path, Fingerprint(1, 5, 10**18, 2), "AAAAAAAAAAA=", key_for("in", path))
    stored = StoredObject(drop.key.text, 5, "e", "v", drop.metadata(), "REQUEST")
    message = announce(stored, BUCKET, drop.origin, form, region="eu-west-1", now_ns=10**18)
    for said in (attributes(message), {}):
        (notice,) = read(message.body, said, BUCKET).notices
        assert (notice.bucket, notice.key) == (BUCKET, drop.key.text)
        assert notice.path == (path if said else None)
    assert origin_of(stored, BUCKET, "in") == drop.origin


def overtaken(*sequencers: str | None, **more: Any) -> list[str | None]:
    """What is left of records of one object."""
    notices = [replace(ONE, sequencer=sequencer, **more) for sequencer in sequencers]
    return [notice.sequencer for notice in newest(notices)]


@pytest.mark.parametrize(
    ("sequencers", "left"),
    [
        (("0A", "0B"), ["0B"]),
        (("0b", "0A"), ["0b"]),
        (("1", "0FFFFFFF"), ["1"]),  # padded on the right: 10000000
        (("055AED6DCD90281E5", "055AED6DCD90281E500"), ["055AED6DCD90281E500"]),  # equal: one of them
        (("00", "0"), ["0"]),
        (("00", "01"), ["01"]),
        (("0A", None, "0B"), [None, "0B"]),
        ((None, None), [None, None]),
        (("later", "0A", "sooner"), ["later", "0A", "sooner"]),  # no hexadecimal number
    ],
)
def test_the_highest_sequencer_counts(sequencers: tuple[str | None, ...], left: list[str | None]) -> None:
    """Padded with zeros on the right, in either case of letters; a record without one stays as it is."""
    assert overtaken(*sequencers) == left


@given(st.lists(st.text("0123456789abcdefABCDEF", min_size=1, max_size=6), min_size=1, max_size=4))
def test_sequencers_compare_as_padded_numbers(sequencers: list[str]) -> None:
    """Whatever their lengths and their order in the message, one record is left, and none is higher."""
    width = max(map(len, sequencers))
    values = [int(sequencer.ljust(width, "0"), 16) for sequencer in sequencers]
    for order in permutations(sequencers):
        (left,) = overtaken(*order)
        assert int((left or "").ljust(width, "0"), 16) == max(values)


@pytest.mark.parametrize("other", [{"key": "in/b"}, {"version_id": "v2"}, {"bucket": "another"}])
def test_records_of_other_objects_are_their_own(other: dict[str, Any]) -> None:
    """Another key, another version, another bucket: sequencers of these do not compare."""
    notices = [replace(ONE, sequencer="0A"), replace(ONE, sequencer="0B", **other)]
    assert newest(notices) == notices


def test_of_a_message_the_latest_record_is_read() -> None:
    """In the place of its own among the others."""
    entity = {"bucket": {"name": BUCKET}}
    records = [
        record(s3={**entity, "object": {"key": key, "size": size, "sequencer": sequencer}})
        for key, size, sequencer in [("in/a", 1, "01"), ("in/b", 2, "05"), ("in/a", 3, "03"), ("in/a", 4, "02")]
    ]
    assert [notice.size for notice in read(body(*records), {}, BUCKET).notices] == [2, 3]


@pytest.mark.parametrize(
    ("text", "others"),
    [
        (json.dumps({"Service": "Amazon S3", "Event": TEST_EVENT, "Bucket": BUCKET}), [TEST_EVENT]),
        (sns(json.dumps({"Service": "Amazon S3", "Event": TEST_EVENT})), [TEST_EVENT]),
        (body(record(eventName="ObjectRemoved:Delete")), ["ObjectRemoved:Delete"]),
        (sns(body(record(eventName="s3:ObjectRestore:Completed"))), ["ObjectRestore:Completed"]),
        (sns(eventbridge("in/a", "Object Deleted")), ["Object Deleted"]),
    ],
)
def test_events_without_a_file_are_named(text: str, others: list[str]) -> None:
    """So that they can be counted; none of them asks for anything."""
    assert read(text, {}, BUCKET) == ([], others)


def test_an_event_without_a_file_beside_others() -> None:
    """Of one message some bring a file and some none."""
    records = [record(eventName="ObjectRemoved:Delete"), record(), record(eventName="ObjectTagging:Put")]
    assert read(body(*records), {}, BUCKET) == ([FROM_AWS], ["ObjectRemoved:Delete", "ObjectTagging:Put"])


@pytest.mark.parametrize("name", ["Put", "Post", "Copy", "CompleteMultipartUpload", "AnythingNew"])
def test_an_object_may_be_created_in_any_way(name: str) -> None:
    assert read(body(record(eventName=f"ObjectCreated:{name}")), {}, BUCKET) == ([FROM_AWS], [])


@pytest.mark.parametrize("version", ["1.0", "3.0", "22.0", "", 2.1, None])
def test_another_version_of_events_is_not_guessed_at(version: Any) -> None:
    """Its fields may mean something else: it is kept with the reason. Any 2.x is read."""
    with pytest.raises(UnreadableError, match="version"):
        read(body(record(eventVersion=version)), {}, BUCKET)
    for known in ("2.0", "2.1", "2.99"):
        assert read(body(record(eventVersion=known)), {}, BUCKET).notices == [FROM_AWS]


def test_what_minio_sends() -> None:
    """Its documentation's example: more beside the records, and every slash of the key encoded."""
    event = record(
        "in%2Fa+b%2B%C3%A9",
        eventVersion="2.0",
        eventSource="minio:s3",
        eventName="s3:ObjectCreated:Put",
        source={"host": "127.0.0.1", "port": "", "userAgent": "MinIO"},
    )
    text = json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"{BUCKET}/in/a b+é", "Records": [event]})
    assert read(text, {}, BUCKET) == ([replace(FROM_AWS, key="in/a b+é")], [])
