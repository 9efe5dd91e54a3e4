"""The keys of objects: what a template makes of a drop, and under which keys the other versions of its name lie."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from pipeline.names import (
    Key,
    NameRefusedError,
    encode_path,
    is_own,
    key_for,
    printable,
    split_version,
    versions_prefix,
)
from pipeline.values import ExplainedError, nearest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELD = re.compile(r"\{([^{}]*)\}")
_NOT_IN_HOST = re.compile(r"[^A-Za-z0-9._-]")
_NUMBER = "\0"
"""Stands for the number of a version; no path holds it."""


class Facts(NamedTuple):
    """What a key may tell of a drop."""

    path: str
    mtime_ns: int
    drop_id: str
    host: str


def _name(facts: Facts) -> str:
    return facts.path.rpartition("/")[2]


def _suffix(facts: Facts) -> str:
    return split_version(_name(facts)).suffix


def _stem(facts: Facts) -> str:
    """With the number of a version: only so is the key of each another."""
    return _name(facts).removesuffix(_suffix(facts))


def _moment(facts: Facts) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=facts.mtime_ns // 1_000_000_000)
    except OverflowError:
        raise NameRefusedError("its time has no date between the years 1 and 9999, and the key asks for one") from None


FIELDS: dict[str, Callable[[Facts], str]] = {
    "path": lambda facts: facts.path,
    "name": _name,
    "stem": _stem,
    "suffix": _suffix,
    "yyyy": lambda facts: f"{_moment(facts).year:04}",
    "mm": lambda facts: f"{_moment(facts).month:02}",
    "dd": lambda facts: f"{_moment(facts).day:02}",
    "hh": lambda facts: f"{_moment(facts).hour:02}",
    "host": lambda facts: facts.host,
    "drop_id": lambda facts: facts.drop_id,
}
"""What may stand in braces in a template; dates are of the file's mtime, in UTC."""

_TELLING = {"path", "name", "stem", "drop_id"}
"""Without one of these two files would share a key, whatever number their names are given."""


def _checked(text: str) -> str:
    """`text`, if it is a plain path, and none of the program's own."""
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise NameRefusedError(f"'{printable(text)}' is not a plain path")
    if is_own(parts[0]):
        raise NameRefusedError(f"{parts[0]} is the program's own")
    return text


@dataclass(frozen=True)
class KeyTemplate:
    """What a key looks like below the folder of the bucket, such as `{yyyy}/{path}`; ExplainedError if none can."""

    text: str

    def __post_init__(self) -> None:
        for field in self._pieces[1::2]:
            if field not in FIELDS:
                raise ExplainedError(f"{{{field}}} is not a field of a key{nearest(field, FIELDS)}")
        if any(brace in literal for literal in self._pieces[::2] for brace in "{}"):
            raise ExplainedError(f"{self.text!r} holds a brace without its other one")
        if not self.text.isprintable():
            raise ExplainedError(f"{self.text!r} holds a control character")
        if not _TELLING & self.fields:
            raise ExplainedError("two files would share a key; put {path}, {name}, {stem} or {drop_id} into it")
        try:
            _checked(self.fill(Facts("x", 0, "x", "x")))  # a name without a suffix, as many have none
        except NameRefusedError as error:
            raise ExplainedError(f"{self.text!r} makes a key that cannot be: {error}") from None

    def __str__(self) -> str:
        return self.text

    @cached_property
    def _pieces(self) -> list[str]:
        """Literals, and between them the names of fields."""
        return _FIELD.split(self.text)

    @cached_property
    def fields(self) -> frozenset[str]:
        """Those that stand in it."""
        return frozenset(self._pieces[1::2])

    def fill(self, facts: Facts) -> str:
        """The text with the facts in the place of the fields."""
        pieces = self._pieces.copy()
        pieces[1::2] = [FIELDS[field](facts) for field in pieces[1::2]]
        return "".join(pieces)


BY_PATH = KeyTemplate("{path}")
"""The key says the path, and nothing else."""


@dataclass(frozen=True)
class Versions:
    """The keys of the numbered versions of one name."""

    prefix: str
    """What all of them begin with, to list by."""
    numbered: str
    """Their name, with _NUMBER where that of each stands."""
    pattern: re.Pattern[str]
    """What the keys look like."""

    def name_of(self, key: str) -> str | None:
        """The name of the version that has this key, if one has."""
        found = self.pattern.fullmatch(key)
        return self.numbered.replace(_NUMBER, found["number"]) if found else None


@dataclass(frozen=True)
class Keys:
    """The keys that the drops of one machine get."""

    folder: str
    """Of the bucket."""
    template: KeyTemplate = BY_PATH
    host: str = ""

    def of(self, path: str, mtime_ns: int, drop_id: str) -> Key:
        """The key of a drop; NameRefusedError if it can have none."""
        facts = Facts(_checked(path), mtime_ns, drop_id, self.host)  # receivers write to the path, whatever the key
        return key_for(self.folder, _checked(self.template.fill(facts)))

    def versions(self, path: str, mtime_ns: int) -> Versions | None:
        """Those of the numbered versions of a drop's name; None where they stand in the way of nothing."""
        if "drop_id" in self.template.fields:  # nobody else's key holds it, whatever his name
            return None
        numbered = f"{versions_prefix(path)}{_NUMBER}{split_version(path.rpartition('/')[2]).suffix}"
        text = self.template.fill(Facts(numbered, mtime_ns, "", self.host))
        try:
            is_quoted = key_for(self.folder, text.replace(_NUMBER, "")).quoted
        except NameRefusedError:  # longer than a key: whether the next version fits shows when it is tried
            return None
        first, *others = (encode_path(part) if is_quoted else part for part in text.split(_NUMBER))
        prefix = f"{self.folder}/{first}" if self.folder else first
        rest = "(?P=number)".join(map(re.escape, others))
        pattern = re.compile(f"{re.escape(prefix)}(?P<number>[1-9][0-9]{{0,8}}){rest}")
        return Versions(prefix, numbered.rpartition("/")[2], pattern)


def host_field(name: str) -> str:
    """The name of a machine as a key may hold it."""
    return _NOT_IN_HOST.sub("-", name).strip(".") or "localhost"
