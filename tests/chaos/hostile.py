"""What an attacker may send to the queue, row by row of docs/faults.md, and put under the prefix."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

BUCKET, FOLDER = "relay", "inbox"
EVIL = b"evil content that no consumer writes"
_LIMIT = 262_144


@dataclass(frozen=True)
class Hostile:
    """One message."""

    row: str
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    """Of the object that it is about, where that may be asked for."""
    comes_again: bool = False
    """Its object may be there, or whole, the next time: only the queue ends it, and no reason is known."""


OBJECTS: dict[str, dict[str, str]] = {
    "evil/up": {"drop-id": "a" * 26, "path": "../../escaped"},
    "evil/absolute": {"drop-id": "a" * 26, "path": "/tmp/escaped"},
    "evil/base64": {"drop-id": "a" * 26, "path-base64": "Li4vLi4vZXNjYXBlZA=="},
    "evil/ledger": {"drop-id": "a" * 26, "path": ".relay/ledger.sqlite3"},
    "evil/long": {"drop-id": "a" * 26, "path": "x" * 256},
    "evil/another": {"drop-id": "a" * 26 + "/inbox"},
    "evil/damaged": {"drop-id": "a" * 26, "crc64nvme": "AAAAAAAAAAA="},
    "evil/plain": {"drop-id": "b" * 26, "crc64nvme": "AAAAAAAAAAA="},
    ".relay/ledger.sqlite3-journal": {},
}
"""Below the folder; all with EVIL as their content."""


def event(key: str, bucket: str = BUCKET, **entity: object) -> str:
    """An S3 event of one object."""
    about = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/"), **entity}}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": about}]})


def messages() -> Iterator[Hostile]:
    """All kinds, over and over; no two of those that come again are about one object that is missing."""
    large = [*_with_large_bodies()]
    for turn in itertools.count():
        yield from _bodies()
        yield from _about_objects()
        yield from (Hostile("F9", f"{FOLDER}/missing/{turn}-{number}", comes_again=True) for number in range(4))
        yield large[turn % len(large)]


def _bodies() -> Iterator[Hostile]:
    bodies = {
        "F1": ["../escaped", f"{FOLDER}/../escaped", "/etc/passwd", f"{FOLDER}//a", f"{FOLDER}/a/", "..", FOLDER],
        "F2": [f"{FOLDER}/{'x' * 5000}", event(f"{FOLDER}/a\0b"), event(f"{FOLDER}/\x1b[31m/../a")],
        "F3": ["other/bait", event("other/bait"), *(event(f"{FOLDER}/a", each) for each in _BUCKETS)],
        "F4": ["{}", "{", "null", "[1]", '{"Records":[]}', '{"Records":[1]}', '{"a":1,"a":2}', *_SIZES, *_TOKENS],
        "F5": ['{"a":' * 2000, '{"Records":' + "[" * 20_000],
        "F6": ['{"a":' + "9" * 5000 + "}", event(f"{FOLDER}/a", size=5).replace("5}", "5" * 5000 + "}")],
        "F7": ["\ufeff" + event(f"{FOLDER}/a"), event(f"{FOLDER}/a").replace("inbox/a", "inbox/\\udcff")],
        "F8": ['{"detail-type":"EC2 Instance State-change Notification"}', '{"Type":"Notification"}'],
    }
    for row, texts in bodies.items():
        yield from (Hostile(row, text) for text in texts)
    yield Hostile("F3", f"{FOLDER}/a", {"bucket": "another"})
    yield Hostile("F4", f"{FOLDER}/a", {"size": "-1"})
    yield Hostile("F10", f"{FOLDER}/a", {"drop_id": "a" * 26 + "/inbox"})


_BUCKETS = ("another", "arn:aws:s3:::relay", "https://relay.example", "relay.s3.us-west-2.amazonaws.com", "relay/inbox")
_SIZES = [event(f"{FOLDER}/a", size=5).replace("5}", f"{size}}}") for size in ("1e999", "-1", "true", "NaN", "5.0")]
_TOKENS = [event(f"{FOLDER}/a", versionId=text) for text in ("v\n", "é", "\ud800", "v" * 1025)]


def _about_objects() -> Iterator[Hostile]:
    for name in OBJECTS:
        key = f"{FOLDER}/{name}"
        if name in ("evil/damaged", "evil/plain"):
            continue
        yield Hostile("F2" if name.startswith(".relay") else "F1", key, key=key)
        yield Hostile("F1", event(key, size=len(EVIL)), key=key)
    plain = f"{FOLDER}/evil/plain"
    lies = {"size": "3", "crc64nvme": "BBBBBBBBBBA=", "path": "another", "drop_id": "c" * 26}
    yield from (Hostile("F10", plain, {"drop_id": "b" * 26, name: text}, plain) for name, text in lies.items())
    yield Hostile("F10", f"{FOLDER}/evil/damaged", {"size": str(len(EVIL))}, f"{FOLDER}/evil/damaged", comes_again=True)


def _with_large_bodies() -> Iterator[Hostile]:
    yield Hostile("F5", '{"Records":' + "[" * (_LIMIT - 20))
    yield Hostile("F7", "x" * (_LIMIT + 1))
    yield Hostile("F7", json.dumps({"Records": json.loads(event(f"{FOLDER}/a"))["Records"] * 1000}))
    yield Hostile("F6", '{"Records":' + "9" * (_LIMIT - 20) + "}")
    yield Hostile("F4", json.dumps({"a": [[]] * 60_000}))
