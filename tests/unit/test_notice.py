"""The announcement of a file, in every shape that is sent or accepted."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.names import NameRefusedError, checked_path, key_for, path_of_key
from pipeline.notice import FORMATS, Event, Notice, encode
from pipeline.shapes import BODY_LIMIT, UnreadableError, read
from tests.unit.test_names import paths

BUCKET = "relay"
EVENT = Event("eu-west-1", "2025-01-31T12:00:00.000Z", "REQUEST")
AWKWARD = ["in/a+b c", "in/%2e%2e%2fx", "in/é/ñ \U0001f600", "in/{", "in/a\\b", 'in/"q"', "in/&=?#;", "in/test%46.txt"]


def attributes(message: Any) -> dict[str, str]:
    """Attributes as SQS hands them out: every one a text."""
    return {name: str(value) for name, value in message.attributes.items()}


def record(key: str = "in/red+flower%2B1.txt", **changes: Any) -> dict[str, Any]:
    """One record of AWS's documentation."""
    entity = {"key": key, "size": 1024, "eTag": "d41d8", "versionId": "v1", "sequencer": "0055AED6DCD90281E5"}
    result: dict[str, Any] = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventTime": "1970-01-01T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": BUCKET, "arn": "arn:aws:s3:::relay"}, "object": entity},
    }
    return {**result, **changes}


def of(key: str, **entity: Any) -> dict[str, Any]:
    return {"bucket": {"name": BUCKET}, "object": {"key": key, **entity}}


def decode(text: str, said: dict[str, str], bucket: str) -> list[Notice]:
    """The notices of a message."""
    return read(text, said, bucket).notices


def body(*records: Any) -> str:
    return json.dumps({"Records": list(records)})


def sns(message: str, **more: Any) -> str:
    return json.dumps({"Type": "Notification", "MessageId": "1", "TopicArn": "arn", "Message": message, **more})


def eventbridge(key: str, kind: str = "Object Created") -> str:
    detail = {"bucket": {"name": BUCKET}, "object": {"key": key, "size": 5, "etag": "e", "version-id": "v"}}
    return json.dumps({"version": "0", "detail-type": kind, "source": "aws.s3", "detail": detail})


def written_paths(text: str, said: dict[str, str]) -> list[str]:
    """The paths below DownloadedFromS3 that a message leads to."""
    return [checked_path(path_of_key("in", notice.key)) for notice in decode(text, said, BUCKET)]


NO_SIZES: list[Any] = [True, -1, 2**63, 1.5, "5", [], {}, 50 * 1024**4 + 1]

A = Notice(BUCKET, "in/a")
FROM_AWS = Notice(
    BUCKET, "in/red flower+1.txt", size=1024, etag="d41d8", version_id="v1", sequencer="0055AED6DCD90281E5"
)

notices = st.builds(
    lambda path, size, version: Notice(
        BUCKET,
        key_for("in", path).text,
        path=path,
        size=size,
        crc64nvme="AAAAAAAAAAA=",
        drop_id="a" * 26,
        mtime="2025-01-31T12:00:00.000000000Z",
        etag="e1",
        version_id=version,
        sequencer="00AB",
    ),
    paths.filter(lambda path: len(path.encode("utf-8", "surrogateescape")) < 330),
    st.integers(0, 50 * 1024**4),
    st.sampled_from([None, "v1"]),
)


@pytest.mark.parametrize("form", FORMATS)
@given(notice=notices)
@example(notice=Notice(BUCKET, "in/\x01\x1b", path="\x01\x1b", size=0, etag="e1", sequencer="00AB"))
def test_round_trip(form: str, notice: Notice) -> None:
    """What was announced is read back whole, in either form, for any path; and SQS can carry it."""
    message = encode(notice, form, EVENT)
    assert len(message.attributes) <= 10
    assert all(value != "" for value in message.attributes.values())
    assert not any(char < " " and char not in "\t\n\r" for char in message.body)
    (read,) = decode(message.body, attributes(message), "another")
    sequencer = notice.sequencer if message.attributes["format"] == "s3-event" else None
    assert read == Notice(**{**vars(notice), "sequencer": sequencer})


@pytest.mark.parametrize("key", AWKWARD)
def test_without_attributes_the_key_is_still_exact(key: str) -> None:
    """A consumer that sees no attributes reads the same key from either form."""
    notice = Notice(BUCKET, key, size=1, etag="e")
    for form in FORMATS:
        (read,) = decode(encode(notice, form, EVENT).body, {}, BUCKET)
        assert (read.bucket, read.key) == (BUCKET, key)


@pytest.mark.parametrize("key", ["in/a\x00", "in/\x1b[31m", "in/\x7f\x1f", "in/\ufffe", '{"a"', "  {x"])
def test_what_a_body_cannot_carry_goes_as_an_event(key: str) -> None:
    """A key with characters SQS refuses, or that reads as JSON, is sent as s3-event whatever the setting."""
    message = encode(Notice(BUCKET, key), "key", EVENT)
    assert message.attributes["format"] == "s3-event"
    assert decode(message.body, attributes(message), BUCKET)[0].key == key


def test_an_ordinary_key_is_the_body_and_nothing_else() -> None:
    """The default form is what the system has always sent."""
    assert encode(Notice(BUCKET, "in/a b"), "key", EVENT).body == "in/a b"


def test_every_message_has_a_group_for_fifo_queues() -> None:
    """One for each folder, of characters that SQS allows; without one a FIFO queue refuses every message."""
    groups = [encode(Notice(BUCKET, key), "key", EVENT).group for key in ("in/é/a", "in/é/a-Version-2", "in/b", "b")]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", group) for group in groups)


def test_the_versions_of_a_name_have_one_group_whatever_their_keys() -> None:
    """A key may hold a date or an id before the name; the path says what belongs together."""
    notices = [
        Notice(BUCKET, "in/2026/1/a", path="é\udcff/a"),
        Notice(BUCKET, "in/2027/2/a-Version-2", path="é\udcff/a-Version-2"),
        Notice(BUCKET, "in/2027/2/a", path="b/a"),
    ]
    groups = [encode(notice, "key", EVENT).group for notice in notices]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize(("multipart", "name"), [(False, "Put"), (True, "CompleteMultipartUpload")])
def test_the_event_has_every_field_that_readers_require(multipart: bool, name: str) -> None:
    """Vector, Powertools and Filebeat need these; and `Records` stands alone at the top."""
    event = Event("eu-west-1", "2025-01-31T12:00:00.000Z", "REQUEST", multipart)
    notice = Notice(BUCKET, "in/ñ+ b", size=5, etag="e", version_id="v", sequencer="0A")
    text = encode(notice, "s3-event", event).body
    value = json.loads(text)
    assert list(value) == ["Records"]
    (only,) = value["Records"]
    assert set(only) == {
        *("eventVersion", "eventSource", "awsRegion", "eventTime", "eventName", "userIdentity"),
        *("requestParameters", "responseElements", "s3"),
    }
    assert (only["eventVersion"], only["eventSource"], only["awsRegion"]) == ("2.1", "aws:s3", "eu-west-1")
    assert (only["eventName"], only["eventTime"]) == (f"ObjectCreated:{name}", "2025-01-31T12:00:00.000Z")
    assert only["responseElements"]["x-amz-request-id"] == "REQUEST"
    assert only["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{BUCKET}"
    expected = {"key": "in/%C3%B1%2B+b", "size": 5, "eTag": "e", "versionId": "v", "sequencer": "0A"}
    assert only["s3"]["object"] == expected
    assert "\\u" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (body(record()), [FROM_AWS]),
        (body(record(eventVersion="2.4")), [FROM_AWS]),
        (sns(body(record())), [FROM_AWS]),
        (sns(sns(body(record()))), [FROM_AWS]),
        (body(record(eventSource="minio:s3", eventName="s3:ObjectCreated:Put")), [FROM_AWS]),
        (body(record("in%2Fred+flower%2B1.txt", eventSource="minio:s3")), [FROM_AWS]),
        (body(record(), record("in/b")), [FROM_AWS, replace(FROM_AWS, key="in/b")]),
        (body(record(s3=of("in/a")), record(s3=of("in/b")), record(s3=of("in/a"))), [A, replace(A, key="in/b")]),
        ("\n " + body(record()), [FROM_AWS]),
        (
            eventbridge("in/red+flower%2B1.txt"),
            [Notice(BUCKET, "in/red+flower%2B1.txt", size=5, etag="e", version_id="v")],
        ),
        ("in/red+flower%2B1.txt", [Notice(BUCKET, "in/red+flower%2B1.txt")]),
        (" in/a ", [Notice(BUCKET, " in/a ")]),
        (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}), []),
        (sns(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})), []),
        (body(record(eventName="ObjectRemoved:Delete")), []),
        (body(record(eventName="s3:ObjectRestore:Completed")), []),
        (body(record(eventName="ObjectRemoved:Delete"), record()), [FROM_AWS]),
        (eventbridge("in/a", "Object Deleted"), []),
        (eventbridge("in/a", "Object Tags Added"), []),
    ],
)
def test_every_accepted_shape(text: str, expected: list[Notice]) -> None:
    """F8. Shapes of AWS, MinIO, SNS and EventBridge, several records, and what is only to be acknowledged."""
    assert decode(text, {}, BUCKET) == expected


@pytest.mark.parametrize("key", AWKWARD)
def test_keys_of_foreign_events_are_decoded_once(key: str) -> None:
    """Once where the producer encodes, never where it does not."""
    assert decode(body(record(quote_plus(key, safe="/"))), {}, BUCKET)[0].key == key
    assert decode(body(record(quote(key, safe=""))), {}, BUCKET)[0].key == key
    assert decode(eventbridge(key), {}, BUCKET)[0].key == key


def test_our_attributes_complete_a_single_event() -> None:
    """Attributes speak of one object: they are taken for one record, and never for several."""
    ours = {"format": "s3-event", "path": "a%20b", "drop_id": "d" * 26, "size": "1024"}
    assert decode(body(record()), ours, BUCKET)[0].path == "a b"
    assert [notice.path for notice in decode(body(record(), record("in/b")), ours, BUCKET)] == [None, None]


ODD_TOKENS = ["v\n", "v\0", "é", "\ud800", "v" * 1025, "\x7f"]
"""What is no version id: it would go into a request."""

HOSTILE = [
    # F4: not JSON, other JSON, missing, extra, duplicate and ill-typed values
    "{",
    '{"Records":[}',
    "{}",
    '{"Records":[]}',
    '{"Records":{}}',
    '{"Records":null}',
    '{"Records":[null]}',
    '{"Records":[[]]}',
    '{"Records":[1]}',
    '{"Records":["in/a"]}',
    '{"Records":[{}]}',
    '{"Records":[{"eventSource":"aws:s3"}]}',
    '{"a":1,"a":2}',
    body(record()).replace('{"Records"', '{"a":1,"a":2,"Records"'),
    body(record()).replace('{"Records"', '{"a":NaN,"Records"'),
    '{"Records":[{"eventSource":"aws:s3","eventSource":"aws:s3"}]}',
    body(record(eventSource="aws:ses")),
    body(record(eventSource=["aws:s3"])),
    body(record(eventName=None)),
    body(record(eventName=7)),
    body(record(eventName="")),
    body(record(s3=None)),
    body(record(s3=[])),
    body(record(s3={"bucket": {"name": BUCKET}})),
    body(record(s3={"object": {"key": "in/a"}})),
    body(record(s3={"bucket": BUCKET, "object": {"key": "in/a"}})),
    body(record(s3={"bucket": {"name": 5}, "object": {"key": "in/a"}})),
    body(record(s3={"bucket": {"name": BUCKET}, "object": {"key": ["in/a"]}})),
    body(record(s3={"bucket": {"name": BUCKET}, "object": {"key": ""}})),
    *(body(record(s3={"bucket": {"name": BUCKET}, "object": {"key": "in/a", "size": size}})) for size in NO_SIZES),
    *(
        body(record()).replace("1024", size)
        for size in ("NaN", "Infinity", "-Infinity", "1e999", "1" * 5000, "-" + "9" * 5000)
    ),
    body(record(s3={"bucket": {"name": BUCKET}, "object": {"key": "in/a", "eTag": 5}})),
    body(record(s3={"bucket": {"name": BUCKET}, "object": {"key": "in/a", "versionId": {}}})),
    *(body(record(s3=of("in/a", versionId=text))) for text in ODD_TOKENS),
    *(body(record(s3=of("in/a", **{name: "é"}))) for name in ("eTag", "sequencer")),
    eventbridge("in/a").replace('"v"', json.dumps("a&partNumber=1\n")),
    body(*(record(f"in/{number}") for number in range(101))),
    body(record("in/" + "%41" * 1024)),
    body(record("in/%FF%FE")),
    body(record("in/%ED%A0%80")),
    sns("{"),
    sns("not JSON"),
    sns("\ufeff" + body(record())),
    sns("[]"),
    sns(body()),
    json.dumps({"Type": "Notification"}),
    json.dumps({"Type": "Notification", "Message": {"Records": [record()]}}),
    json.dumps({"detail-type": "Object Created"}),
    json.dumps({"detail-type": "Object Created", "detail": []}),
    json.dumps({"detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2", "detail": {}}),
    json.dumps({"detail-type": None}),
    json.dumps({"detail-type": ["Object Deleted"]}),
    # F5 and F6
    '{"a":' * 50_000,
    '{"Records":' + "[" * 200_000,
    '{"a":' + "9" * 5000 + "}",
    '{"Records":' + "9" * 200_000 + "}",
    '{"Records":[' * 20_000,
    # F7
    "{" + " " * BODY_LIMIT,
    "x" * (BODY_LIMIT + 1),
    "é" * (BODY_LIMIT // 2 + 1),
    "\udcff" * (BODY_LIMIT // 3 + 1),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40])
def test_hostile_bodies_are_unreadable(text: str) -> None:
    """F4, F5, F6, F7, F8. Each is refused with a reason, none is acknowledged, none ends the process."""
    with pytest.raises(UnreadableError) as caught:
        decode(text, {}, BUCKET)
    assert str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        *("../x", "a/../../x", "/etc/passwd", "..", ".", "in/", "in//", "in/../x", "in/..", "in/.", "in"),
        *("", "[]", "null", "5", '"in/a"', "\ufeffin/a", "in/\0", "in/" + "x" * 5000, "in/\udcff", "in\\..\\x"),
        *("in/" + "x" * 256, "in/.relay/ledger.sqlite3", "in/.relay"),
        "\ufeff" + body(record()),
        body(record()).encode("utf-16").decode("latin-1"),
    ],
    ids=lambda key: key[:30],
)
def test_hostile_keys_are_refused(key: str) -> None:
    """F1, F2, F7. Bare or in an event, once or doubly wrapped: what must not be asked for, or written, never is."""
    shapes = [(key, {}), (key, {"format": "key"})]
    if key and "\udcff" not in key:
        shapes += [(body(record(quote_plus(key))), {}), (sns(eventbridge(key)), {})]
    for text, said in shapes:
        with pytest.raises((UnreadableError, NameRefusedError)):
            written_paths(text, said)


def test_an_event_with_lone_surrogates_is_refused_as_a_key() -> None:
    """F7. A JSON escape of half a character is no key; asking S3 for it would raise deep inside a client."""
    (notice,) = decode(body(record("in/a\udcff")), {}, BUCKET)
    with pytest.raises(NameRefusedError):
        path_of_key("in", notice.key)


@pytest.mark.parametrize(
    "said",
    [
        {"size": "-1"},
        {"size": "1e3"},
        {"size": ""},
        {"size": "٣"},
        {"size": "9" * 16},
        {"size": "999999999999999"},
        {"path": "é"},
        {"path": "\udcff"},
        {"drop_id": f"{'a' * 26}/in"},
        {"drop_id": f"s3-{'a' * 26}"},
        {"drop_id": "a" * 65},
        {"version_id": "v\n"},
        {"bucket": "other", "format": "s3-event"},
    ],
)
def test_hostile_attributes_are_unreadable(said: dict[str, str]) -> None:
    """F4. A size that is none, a path we cannot have encoded, another's drop id, two different buckets."""
    with pytest.raises(UnreadableError):
        decode(body(record()), {"format": "s3-event", **said}, BUCKET)
    if "bucket" not in said:
        with pytest.raises(UnreadableError):
            decode("in/a", said, BUCKET)


def test_a_body_may_be_as_large_as_the_limit() -> None:
    """F7. The limit is read, one byte more is not."""
    assert decode("x" * BODY_LIMIT, {}, BUCKET)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"a": [[]] * 60_000, "Event": "s3:TestEvent"}),
        json.dumps({"a": [{}] * 60_000, "Event": "s3:TestEvent"}),
        json.dumps({"Event": "s3:TestEvent"} | {f"{number:x}": 0 for number in range(20_000)}),
        json.dumps({"Event": "s3:TestEvent", "a": [10**4299] * 50}),
        sns(sns(json.dumps({"Event": "s3:TestEvent", "a": "\\" * 28_000}))),
        body(*(record("in/" + "é" * 200 + str(number)) for number in range(100))),
    ],
    ids=["lists", "objects", "names", "numbers", "quotes", "records"],
)
def test_the_most_that_is_read_costs_little(text: str) -> None:
    """F5, F6, F7. Whatever fills the limit is read in time that grows with its length: some 25 ms at most."""
    assert BODY_LIMIT / 2 < len(text) <= BODY_LIMIT
    started = time.thread_time()
    decode(text, {}, BUCKET)
    assert time.thread_time() - started < 0.5


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Records", "s3", "object", "bucket", "key", "name", "size", "Type", "Message", "Event", "detail"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
said_values = st.dictionaries(
    st.sampled_from(["bucket", "path", "size", "crc64nvme", "drop_id", "format", "mtime", "etag", "version_id"]),
    st.text(max_size=8) | st.sampled_from(["key", "s3-event", BUCKET, "5"]),
)


def read_or_refuse(text: str, said: dict[str, str]) -> None:
    """Decode as the poller does; anything but the two refusals fails the test."""
    try:
        for notice in decode(text, said, BUCKET):
            path_of_key("in", notice.key)
            if notice.path is not None:
                checked_path(notice.path)
    except (UnreadableError, NameRefusedError):
        return


@given(st.text() | st.text().map(lambda text: "{" + text), said_values)
@example("{" + "\udcff", {})
def test_any_text_is_read_or_refused(text: str, said: dict[str, str]) -> None:
    """UnreadableError or NameRefusedError, and nothing else."""
    read_or_refuse(text, said)


@given(values, said_values)
def test_any_json_is_read_or_refused(value: Any, said: dict[str, str]) -> None:
    """The same for JSON that looks like an event here and there."""
    read_or_refuse(json.dumps(value), said)
    read_or_refuse(json.dumps({"Records": [value]}), said)
    read_or_refuse(sns(json.dumps(value)), said)


@given(values, st.sampled_from(["eventName", "eventSource", "s3", "bucket", "name", "object", "key", "size", "eTag"]))
def test_one_wrong_value_in_an_event_is_read_or_refused(value: Any, name: str) -> None:
    """Any JSON at any place of a good event."""

    def put(inner: Any) -> Any:
        if not isinstance(inner, dict):
            return inner
        return {key: value if key == name else put(item) for key, item in inner.items()}

    read_or_refuse(body(put(record())), {"format": "s3-event"})
