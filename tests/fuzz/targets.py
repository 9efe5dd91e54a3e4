"""What is fuzzed: bytes in, AssertionError where a promise does not hold; any other error is a finding, too."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from app_properties import PropertiesError, known_keys, load
from pipeline.drop import Drop, Fingerprint, origin_of
from pipeline.names import (
    KEY_LIMIT,
    NAME_LIMIT,
    NameRefusedError,
    checked_path,
    encode_path,
    flat_name,
    key_for,
    next_version,
    path_of_key,
    reason_name,
)
from pipeline.notice import Notice
from pipeline.ports import StoredObject
from tests.unit.test_acceptance import ACCEPTANCE, ELSEWHERE, FLAT, announced, arrived, refused, refused_by_name
from tests.unit.test_app_properties import OLDER
from tests.unit.test_notice import body, eventbridge, of, record, sns

SECONDS = 1.0
"""Of CPU, for any one input: some forty times what the worst message takes."""
CUT = b"\n--\n"
"""Between a body, or a key, and what is said with it, which is a line `name=value` each."""
_FOLDERS = ("", "in", "team/größe")
_SEEN = Fingerprint(7, 11, 1_700_000_000_123_456_789, 1_700_000_001_000_000_001)


class Target(NamedTuple):
    """One kind of input."""

    check: Callable[[bytes], None]
    seeds: list[bytes]
    """What is understood, to begin with, and what once was not refused as it should."""


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """It ends within bounded time."""
    started = time.process_time()
    yield
    assert time.process_time() - started < SECONDS


def _text(raw: bytes) -> str:
    """As it may come out of JSON: with halves of characters."""
    return raw.decode("utf-8", "surrogateescape")


def _said(raw: bytes) -> tuple[str, dict[str, str]]:
    head, _, rest = raw.partition(CUT)
    pairs = (line.partition(b"=")[::2] for line in rest.split(b"\n") if b"=" in line)
    return _text(head), {_text(name): _text(value) for name, value in pairs}


def message(raw: bytes) -> None:
    """As the poller reads it: asked for only where it may be, or refused in a printable line."""
    text, said = _said(raw)
    with soon():
        announced(text, said)
        announced(text, said, ELSEWHERE)


def metadata(raw: bytes) -> None:
    """What an object says of itself: it gets a name that may be written, or is refused."""
    key, said = _said(raw)
    stored = StoredObject(key, len(raw), "etag", metadata=said)
    for acceptance in (ACCEPTANCE, ELSEWHERE, FLAT):
        with arrived(raw) as arrival, refused() as reasons, soon():
            acceptance.accept(arrival, Notice("relay", key), stored)
        if not reasons:
            assert not refused_by_name(arrival.path)
            assert arrival.drop_id.partition("/")[2] == key
        assert all(reason.isprintable() for reason in reasons)


def name(raw: bytes) -> None:
    """Any name that a file can have comes back from its key and from its object, byte for byte; versions are names."""
    parts = [part[:NAME_LIMIT] for part in raw.replace(b"\0", b"").split(b"/") if part[:NAME_LIMIT] not in _NO_NAMES]
    if not parts:
        return
    path = os.fsdecode(b"/".join(parts))
    for folder in _FOLDERS:
        with contextlib.suppress(NameRefusedError):
            drop = Drop(path, _SEEN, "AAAAAAAAAAA=", key_for(folder, path))
            assert len(drop.key.text.encode()) <= KEY_LIMIT
            stored = StoredObject(drop.key.text, _SEEN.size, "etag", metadata=drop.metadata())
            assert all(value.isascii() and value.isprintable() for value in stored.metadata.values())
            origin = origin_of(stored, "relay", folder)
            assert (os.fsencode(origin.path), origin.drop_id) == (b"/".join(parts), drop.id)
    _check_versions(os.fsdecode(parts[-1]))


_NO_NAMES = (b"", b".", b"..")


def _check_versions(last: str) -> None:
    taken = {last}
    for _ in range(3):
        version = next_version(last, taken)
        taken.add(version)
        for each in (version, flat_name(version), reason_name(version)):
            assert 0 < len(os.fsencode(each)) <= NAME_LIMIT
            assert "/" not in each
        if "-Version-" not in last:
            assert version.count("-Version-") == 1
    assert len(taken) == 4


def key(raw: bytes) -> None:
    """Any key leads to a place below the folder, or is refused; encoded once, decoded once."""
    text = _text(raw)
    for folder in _FOLDERS:
        with contextlib.suppress(NameRefusedError):
            path = path_of_key(folder, text)
            assert os.path.normpath(f"/{text}") == f"/{text}"
            checked_path(path)
            assert not refused_by_name(path)
            assert text == (f"{folder}/{path}" if folder else path)
            assert key_for(folder, path).text == text
    assert encode_path(text).isascii()


def properties(raw: bytes) -> None:
    """Settings, or one line that names the file, and the line of it or the section and key."""
    with tempfile.TemporaryDirectory(prefix="relay-fuzz-") as folder:
        file = Path(folder) / "p"
        file.write_bytes(raw)
        for mode in (None, 1, 2, 3):
            with soon():
                _load(file, mode, raw)


def _load(file: Path, mode: int | None, raw: bytes) -> None:
    try:
        load(file, mode, Path("/home/relay"))
    except PropertiesError as error:
        said = str(error)
    else:
        return
    assert said.startswith(f"{file}:")
    rest = said.removeprefix(f"{file}:")
    assert re.match(r"[0-9]+: | \[.*\](?:: | \S)| cannot be read: ", rest, re.DOTALL), said
    assert "\n" not in said
    found = re.match(r"([0-9]+): \[(\w+)\] (\w+): ", rest)
    if found and found[3] in known_keys().get(found[2], {}):
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        assert text.split("\n")[int(found[1]) - 1].lstrip().startswith(found[3]), said


def _attributes(**said: str) -> bytes:
    return CUT + "\n".join(f"{name}={value}" for name, value in said.items()).encode()


_OURS = {"path": "a%20b", "size": "7", "crc64nvme": "AAAAAAAAAAA=", "drop_id": "a" * 26, "format": "s3-event"}
_EVENT = body(record())
TARGETS = {
    "message": Target(
        message,
        [
            b"in/a b" + _attributes(**{**_OURS, "format": "key"}, bucket="relay", etag="e", version_id="v"),
            _EVENT.encode() + _attributes(**_OURS, mtime="2025-01-31T12:00:00Z"),
            *(text.encode() for text in (body(record(), record("in/%C3%A9")), sns(_EVENT), eventbridge("in/a+b"))),
            body(
                record(s3=of("in/a", size=5, sequencer="00"), eventSource="minio:s3", eventName="s3:ObjectCreated:Put")
            ).encode(),
            b'{"Records":' + b"[" * 100_000,
            b'{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"relay"}',
        ],
    ),
    "metadata": Target(
        metadata,
        [
            b"in/a" + _attributes(**{"drop-id": "a" * 26, "path": "a%FF/b", "crc64nvme": "AAAAAAAAAAA="}),
            b"in/a" + _attributes(**{"drop-id": "a" * 26, "path-base64": "YS9i", "mtime": "2025-01-31T12:00:00.5Z"}),
            b"in/a" + _attributes(**{"drop-id": "a" * 26, "path": "a", "crc64nvme": "A\x16\x1b[31m"}),
            b"in/a" + _attributes(**{"drop-id": "b/in", "path": "a"}),
            b"in/a%2Fb" + _attributes(**{"key-encoding": "percent", "mode": "4755"}),
        ],
    ),
    "name": Target(name, [b"a", b"d/report-Version-2.csv", b"\xff\xfe", "größe/日本.tar.gz".encode(), b"x" * 255]),
    "key": Target(key, [b"in/a", "team/größe/%2e%2e/a+b".encode(), b"in/../x", b"in/.relay/a", b"a//b\\c"]),
    "properties": Target(
        properties,
        [
            OLDER.encode(),
            b"\xef\xbb\xbf" + OLDER.replace("\n", "\r\n").encode(),
            OLDER.replace("[General]", "[General]\n# no\x0bline\x85end").replace("aws_sqs=", "aws_sqs=!").encode(),
            OLDER.replace(
                "aws_sqs=", "aws_s3_key_template={yyyy}/{path}\naws_s3_extra_metadata=a=1;b=2\naws_sqs="
            ).encode(),
            OLDER.replace("folderToWatch=", "commandAfterDownload=a 'b c'\nledgerDays=30\nfolderToWatch=").encode(),
            *(
                f"[{section}]\n{item}=1\n".encode()
                for section, keys in known_keys().items()
                for item in keys
                if section != "General"
            ),
        ],
    ),
}

TOKENS = (
    b'"Records":', b'"s3":', b'"object":', b'"key":', b'"size":', b'"Message":', b'"detail-type":', b"NaN", b"1e999",
    b"null", b"[[[[", b'{"a":', b"\\u0000", b"\\ud800", b"%2e%2e", b"%00", b"%", b"../", b"/", b"\0", b"\x1b[31m",
    b"\n", b"\r", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff", b"\xed\xa0\x80", b".relay", b"-Version-2",
    b"-Version-999999999", b"[AWS]", b"[General]", b"=", b";", b"{", b"}", CUT, b"drop_id=", b"path=", b"size=",
    b"drop-id=", b"9" * 20,
)  # fmt: skip
"""What mutations put in."""
