"""What may be asked for, and what may get a name, whatever a message or an object says of itself."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.acceptance import Acceptance
from pipeline.aws.checksum import crc64nvme
from pipeline.landing import Arrival
from pipeline.names import encode_path
from pipeline.notice import Notice
from pipeline.ports import LaterError, NeverError, Received, StoredObject
from tests.unit.test_notice import body, eventbridge, of, record, said_values, sns, values

BUCKET, FOLDER = "relay", "in"
ACCEPTANCE = Acceptance(BUCKET, FOLDER, crc64nvme)
ELSEWHERE = Acceptance(BUCKET, FOLDER, crc64nvme, outside=True)
FLAT = Acceptance(BUCKET, FOLDER, crc64nvme, flat=True)
CONTENT = b"content"

parts = st.sampled_from(
    ["in", "a", "..", ".", "", "\0", "%2e%2e", "%2F", "．．", "\\..", "~", ".relay", ".relay-soak", "\udcff", "é", "\n"]
) | st.sampled_from(["x" * 255, "x" * 256, "é" * 128, "/etc", "-rf", "C:", "a\ud800", "\u202e", "+", "a b"])
paths = st.lists(parts, max_size=5).map("/".join)
keys = paths | paths.map(lambda path: f"in/{path}")
texts = st.text(max_size=8) | st.sampled_from(["a" * 26, "b/in", "s3-x", "AAAAAAAAAAA=", "7", "percent"])


def refused_by_name(path: str) -> bool:
    """What no file below a folder may be called; written without the program's own rules."""
    raw = os.fsencode(path)
    pieces = raw.split(b"/")
    return (
        os.path.normpath(b"/top/" + raw) != b"/top/" + raw
        or b"\0" in raw
        or max(map(len, pieces)) > 255
        or pieces[0] in (b".relay", b".relay-soak")
    )


@contextlib.contextmanager
def arrived(content: bytes) -> Iterator[Arrival]:
    """A download of these bytes that has no name yet."""
    fd = os.memfd_create("arrival")
    try:
        os.write(fd, content)
        yield Arrival(fd, "part-1")
    finally:
        os.close(fd)


@contextlib.contextmanager
def refused() -> Iterator[list[str]]:
    """The reason of a refusal, if there is one; any other error passes."""
    reasons: list[str] = []
    try:
        yield reasons
    except (NeverError, LaterError) as error:
        reasons.append(str(error))


def announced(text: str, said: dict[str, str], acceptance: Acceptance = ACCEPTANCE) -> None:
    """Nothing but the two refusals may be raised, and what is not refused lies where it may."""
    notices: list[Notice] = []
    with refused() as reasons:
        for notice in acceptance.announced(Received("id", "receipt", text, said)).notices:
            with refused() as more:
                acceptance.check(notice)
                notices.append(notice)
            reasons.extend(more)
    assert all(reason.isprintable() for reason in reasons)
    for notice in notices:
        assert notice.bucket == BUCKET
        assert len(notice.key.encode()) <= 1024
        assert os.path.normpath(f"/{notice.key}") == f"/{notice.key}"
        assert notice.key.startswith("in/") or acceptance is ELSEWHERE
        assert f"{notice.version_id}".isascii()
        assert f"{notice.version_id}{notice.etag}{notice.sequencer}{notice.drop_id}".isprintable()
        assert "/" not in (notice.drop_id or "")


@given(keys, said_values)
@example("in/a", {"drop_id": "b/in"})
def test_any_key_in_any_shape(key: str, said: dict[str, str]) -> None:
    """F1, F2. Read as the poller reads it: asked for only where it is a plain path below the folder."""
    announced(key, said)
    announced(key, said, ELSEWHERE)
    announced(key, {**said, "format": "key"})
    announced(eventbridge(key), said)
    announced(body(record(s3=of(key))), {**said, "format": "s3-event"})
    announced(sns(body(record(s3=of(key)))), said)


@given(values, said_values, texts)
def test_any_json_is_asked_for_below_the_folder_or_refused(value: Any, said: dict[str, str], version: str) -> None:
    """F4. Any JSON as a message, as its records, as a part of one of them."""
    announced(json.dumps(value), said)
    announced(body(value, value), said)
    announced(body(record(s3=of("in/a", size=value, versionId=version))), said)
    announced(body(record(s3={"bucket": value, "object": value})), said)


@given(
    keys,
    st.dictionaries(
        st.sampled_from(["drop-id", "crc64nvme", "mtime", "path", "path-base64", "key-encoding", "mode"]),
        texts | paths.map(lambda path: encode_path(path.replace("\ud800", ""))),
    ),
    st.sampled_from([0, 7, 2**63]),
    st.none() | texts,
    st.sampled_from([ACCEPTANCE, ELSEWHERE, FLAT]),
)
@example("in/a", {"drop-id": "a" * 26, "path": ".relay/ledger.sqlite3"}, 7, None, ACCEPTANCE)
@example("in/a", {"drop-id": "a" * 26, "path-base64": "Li4veA=="}, 7, None, ACCEPTANCE)
@example("in/a", {"drop-id": "a" * 26, "path": "a/.relay"}, 7, None, FLAT)
@example(".relay/ledger.sqlite3", {}, 7, None, ELSEWHERE)
@example("in/a", {"drop-id": "a" * 26, "path": "b"}, 7, "b" * 26, ACCEPTANCE)
def test_whatever_an_object_says_of_itself(
    key: str, metadata: dict[str, str], size: int, drop_id: str | None, acceptance: Acceptance
) -> None:
    """F1, F2, F10, F12. It gets a name that may be written, as itself, with the mode it had; or it is refused."""
    stored = StoredObject(key, size, "etag", metadata=metadata)
    with arrived(CONTENT) as arrival:
        before = os.fstat(arrival.fd)
        with refused() as reasons:
            acceptance.accept(arrival, Notice(BUCKET, key, drop_id=drop_id), stored)
        after = os.fstat(arrival.fd)
    if reasons:
        return
    assert not refused_by_name(arrival.path)
    assert size == len(CONTENT)
    identity, _, rest = arrival.drop_id.partition("/")
    assert rest == key
    assert identity == metadata.get("drop-id", identity)
    assert drop_id in (None, identity) or "drop-id" not in metadata
    assert (stat.S_IMODE(after.st_mode), after.st_uid) == (stat.S_IMODE(before.st_mode), before.st_uid)
