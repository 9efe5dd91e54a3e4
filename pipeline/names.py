"""Paths, keys and versions of a name: values in, values out.

A *relative path* is a `str` with `/` between its components. Bytes that are not UTF-8 are in it as surrogate escapes,
which is how Python hands out file names on POSIX.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

KEY_LIMIT = 1024
"""Bytes of UTF-8 in an S3 key (Amazon S3 User Guide, "Naming Amazon S3 objects")."""

NAME_LIMIT = 255
"""Bytes in one file name: NAME_MAX of every common local file system."""

RESERVED = ".relay"
"""The program's own folder inside the folders it keeps; no relayed path may begin with it."""

STORE_PROBE = f"{RESERVED}/probe"
"""The key, below the folder of the bucket, of the one empty object that a store which is not AWS is tried with."""

SOAK = ".relay-soak"
"""What the keys of soak tests begin with, below the configured folder of the bucket; no relayed path may either."""

_SUFFIX_LIMIT = 200
"""Bytes of a suffix; what is longer is part of the name, so that a numbered name keeps some of it."""

_VERSION = re.compile(r"-Version-([1-9][0-9]{0,8})\Z")


class NameRefusedError(ValueError):
    """A name that cannot be sent or must not be written; the text says why."""


class Key(NamedTuple):
    """An S3 key and whether it is percent-quoted because the path is not UTF-8."""

    text: str
    quoted: bool


class Versioned(NamedTuple):
    """A file name taken apart: `report-Version-2.csv` is ("report", 2, ".csv"); an unnumbered name is version 1."""

    stem: str
    number: int
    suffix: str


def key_for(folder: str, path: str) -> Key:
    """The key of a relative path below `folder`; NameRefusedError if it exceeds KEY_LIMIT."""
    quoted = not _is_utf8(path)
    text = quote(_to_bytes(path), safe="/") if quoted else path
    key = f"{folder}/{text}" if folder else text
    length = len(key.encode())
    if length > KEY_LIMIT:
        raise NameRefusedError(f"its key would have {length} bytes and S3 allows {KEY_LIMIT}; shorten the name")
    return Key(key, quoted)


def path_of_key(folder: str, key: str) -> str:
    """The part of a key below `folder`; NameRefusedError for a key that must not even be asked for."""
    if not is_below(folder, key):
        raise NameRefusedError(f"the key does not lie under '{folder}/'")
    if not _is_utf8(key) or "\0" in key or len(key.encode()) > KEY_LIMIT:
        raise NameRefusedError("this cannot be the key of an object")
    path = _below(folder, key)
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise NameRefusedError("the key is not a plain path")
    return path


def is_below(folder: str, key: str) -> bool:
    """Whether a key lies under a folder of the bucket; "" is the whole of it."""
    return not folder or key.startswith(f"{folder}/")


def is_of_soak(folder: str, key: str) -> bool:
    """Whether a key lies where soak tests keep theirs, below the configured folder: nobody else relays it."""
    return is_below(folder, key) and _below(folder, key).startswith(f"{SOAK}/")


def is_of_program(folder: str, key: str) -> bool:
    """Whether a key is the program's own, and so nobody's file: of a soak test, or what a store is tried with.

    Outside of `folder` another relay may have a folder of its own anywhere, and these below it.
    """
    if is_below(folder, key):
        return is_of_soak(folder, key) or _below(folder, key) == STORE_PROBE
    return f"/{SOAK}/" in f"/{key}" or f"/{key}".endswith(f"/{STORE_PROBE}")


def is_of_other_soak(folder: str, key: str) -> bool:
    """Whether `folder` is the key prefix of a soak test, and a key that of another one beside it."""
    parent, mark, run = folder.rpartition(f"{SOAK}/")
    return bool(mark) and "/" not in run and key.startswith(parent + mark) and not key.startswith(f"{folder}/")


@lru_cache(maxsize=256)  # identity, object and message of a file all have it
def encode_path(path: str) -> str:
    """A relative path as ASCII, for metadata and message attributes; `decode_path` is its exact reverse."""
    return quote(_to_bytes(path), safe="/")


def decode_path(text: str) -> str:
    """The relative path that `encode_path` was given; NameRefusedError if it made no such text."""
    if not text.isascii():
        raise NameRefusedError("an encoded path is ASCII")
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def checked_path(path: str, separators: str = "") -> str:
    """`path`, if it may be written below a folder; else NameRefusedError.

    `separators` are the characters besides `/` that the local system reads as a separator (a backslash on Windows).
    """
    if "\0" in path or any(mark in path for mark in separators):
        raise NameRefusedError("the name holds a character that cannot be part of a file name here")
    parts = path.split("/")
    for part in parts:
        if part in ("", ".", ".."):
            raise NameRefusedError("the name is not a plain path below a folder")
        if len(_to_bytes(part)) > NAME_LIMIT:
            raise NameRefusedError(f"a part of the name has more than {NAME_LIMIT} bytes")
    if is_own(parts[0]):
        raise NameRefusedError(f"the name {parts[0]} is the program's own")
    return path


def is_own(name: str) -> bool:
    """Whether a name at the top of a folder is the program's own; there are file systems on which case is nothing."""
    return name.casefold() in (RESERVED, SOAK)


def flat_name(path: str) -> str:
    """The last name of a path; the next version of it where the name is the program's own."""
    name = path.rpartition("/")[2]
    return next_version(name, ()) if is_own(name) else name


def split_version(name: str) -> Versioned:
    """Take a file name (one component) apart; the number stands before the last suffix."""
    dot = name.rfind(".")
    stem, suffix = (name[:dot], name[dot:]) if dot > 0 else (name, "")
    if len(_to_bytes(suffix)) > _SUFFIX_LIMIT:
        stem, suffix = name, ""
    found = _VERSION.search(stem)
    if found and found.start() > 0:
        return Versioned(stem[: found.start()], int(found.group(1)), suffix)
    return Versioned(stem, 1, suffix)


def next_version(name: str, taken: Iterable[str]) -> str:
    """The first free version of a file name above every version among `taken` (the names beside it)."""
    stem, number, suffix = split_version(name)
    names = set(taken)
    for other in names:
        parts = split_version(other)
        if (parts.stem, parts.suffix) == (stem, suffix):
            number = max(number, parts.number)
    while True:
        number += 1
        mark = f"-Version-{number}"
        room = NAME_LIMIT - len(_to_bytes(mark + suffix))
        candidate = _cut(stem, room) + mark + suffix
        if candidate not in names:
            return candidate


def earlier_versions(name: Versioned) -> Iterator[str]:
    """The file names of lower numbers, the highest first."""
    for number in range(name.number - 1, 1, -1):
        yield f"{name.stem}-Version-{number}{name.suffix}"
    if name.number > 1:
        yield name.stem + name.suffix


def versions_prefix(path: str) -> str:
    """What every numbered version of `path` begins with: a prefix to list by."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{split_version(name).stem}-Version-"


def with_name(path: str, name: str) -> str:
    """`path` with its last component replaced."""
    folder, slash, _ = path.rpartition("/")
    return folder + slash + name


def within(folder: str, name: str) -> str:
    """The path of a name in a folder; the folder itself is a relative path, "" for the top."""
    return f"{folder}/{name}" if folder else name


def folders_above(path: str) -> Iterator[str]:
    """Every folder above a relative path, the nearest first; the last is "", the top."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def reason_name(name: str) -> str:
    """The name of the file that holds the reason of a failed file; a long name leaves no room for its suffix."""
    if len(_to_bytes(name)) <= NAME_LIMIT - len(".json"):
        return f"{name}.json"
    mark = hashlib.sha256(_to_bytes(name)).hexdigest()[:16]
    return f"{_cut(name, NAME_LIMIT - 22)}-{mark}.json"


def printable(text: str) -> str:
    """`text` as one line that a terminal and a log survive: control characters and undecodable bytes escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def human_size(size: int) -> str:
    """Bytes for a person: 999 B, 12.3 KB, 4.56 GB (powers of 1,000)."""
    if size < 1000:
        return f"{size} B"
    power = min(5, (len(str(size)) - 1) // 3)
    if power < 5 and round(size / 1000**power) == 1000:  # else 999,999 B would be 1e+03 KB
        power += 1
    return f"{size / 1000**power:.3g} {('KB', 'MB', 'GB', 'TB', 'PB')[power - 1]}"


def _below(folder: str, key: str) -> str:
    return key.removeprefix(f"{folder}/") if folder else key


def _cut(stem: str, room: int) -> str:
    raw = _to_bytes(stem)
    if len(raw) <= room:
        return stem
    # Never inside a UTF-8 sequence, which has at most four bytes; what has more of these is no UTF-8.
    ends = [end for end in range(room, max(room - 4, 0), -1) if raw[end] & 0xC0 != 0x80]
    return raw[: ends[0] if ends else room].decode("utf-8", "surrogateescape")


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
