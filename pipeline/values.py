"""Readers of single values of the properties file: text in, the value out, or ValueError; and the nearest known word.

The docstring of a reader is what the complaint about a value says it should have been.
"""

import difflib
import re
import shlex
from collections.abc import Callable, Mapping

from pipeline.drop import OWN_METADATA

EMBEDDED = "embedded"
"""As aws_endpoint_url: an S3 and SQS of the program's own."""

AUTO, CRT, CLASSIC = "auto", "crt", "classic"
"""As aws_transfer_client: which engine moves content to and from S3."""

ON_CONFLICT = VERSION, OVERWRITE, FAIL = "version", "overwrite", "fail"
"""As onNameConflict: what becomes of a file whose key holds another object."""

EXTRA_METADATA_LIMIT = 512
"""Bytes of names and values of aws_s3_extra_metadata. S3 allows 2 KB for all user-defined metadata of an object, names
and values (Amazon S3 User Guide, "Working with object metadata"); the program's own may need 1,535."""

BYTES = 10**15
"""The largest number of bytes that a key may have: a petabyte."""

_LEDGER_DAYS = 25
"""A queue that this program made keeps a message for ten days and its dead letters for fourteen."""
_HEADER = r"[!-~]([ -~]*[!-~])?"


class ExplainedError(ValueError):
    """Says what is wrong with a value."""


class HiddenError(ExplainedError):
    """Says it of one that must not be shown."""


def text(value: str) -> str:
    """text without NUL"""
    if "\0" in value:
        raise ValueError
    return value


def number(low: float, high: float) -> Callable[[str], float]:
    """A reader of numbers."""

    def read(value: str) -> float:
        number = float(value)
        if not low <= number <= high:
            raise ValueError
        return number

    read.__doc__ = f"a number from {low:g} to {high:g}"
    return read


def count(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,16}", value) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    read.__doc__ = f"a whole number from {low} to {high}"
    return read


def days(value: str) -> int:
    """0 (for ever), or a whole number of days from 25 (longer than SQS keeps any message) to 36500"""
    number = int(value) if re.fullmatch(r"[0-9]{1,5}", value) else -1
    if number != 0 and not _LEDGER_DAYS <= number <= 36_500:
        raise ValueError
    return number


def flag(value: str) -> bool:
    """0 or 1"""
    if value not in ("0", "1"):
        raise ValueError
    return value == "1"


def name_ending(value: str) -> str:
    """empty, or what a file name may end with, such as .done"""
    if "/" in value or not value.isprintable() or any(char in value for char in "*?[") or len(value.encode()) > 100:
        raise ValueError
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """A reader of one of a few words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError
        return value

    read.__doc__ = "one of " + ", ".join(choices)
    return read


def endpoint(value: str) -> str:
    """empty (AWS), embedded, or a URL such as http://127.0.0.1:9000"""
    if value not in ("", EMBEDDED):
        url(value)
    return value


def url(value: str) -> str:
    """empty, or a URL such as http://127.0.0.1:9000"""
    if "@" in value:  # before anything that would show it
        raise HiddenError("holds a user name or password; give those as aws_access_key_id and aws_secret_key")
    if value and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError
    return value


def bucket(value: str) -> str:
    """a bucket name: 3 to 63 of a-z, 0-9, dot and hyphen"""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
        raise ValueError
    return value


def queue(value: str) -> str:
    """a queue name: up to 80 letters, digits, hyphens and underscores, perhaps ending in .fifo"""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}(\.fifo)?", value) or len(value) > 80:
        raise ValueError
    return value


def key_folder(value: str) -> str:
    """a key prefix such as team/inbox, or empty for the bucket's root"""
    folder = value.strip("/")
    if any(part in ("", ".", "..") for part in folder.split("/")) and folder:
        raise ValueError
    return folder


def patterns(value: str) -> tuple[str, ...]:
    """file name patterns separated by spaces"""
    return tuple(value.split())


def command(value: str) -> tuple[str, ...]:
    """empty, or a program (its name, or its full path) and its arguments"""
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise ExplainedError(f"{value!r} cannot be split into words: {error}") from None
    if "\0" in value or (words and not re.fullmatch(r"/.*|[^/]+", words[0], re.DOTALL)):
        raise ValueError
    return words


def metadata(value: str) -> tuple[tuple[str, str], ...]:
    """name=value pairs separated by ; (a-z, 0-9, - in names, none of the program's own; 512 bytes of ASCII in all)"""
    pairs = [pair.partition("=")[::2] for pair in value.split(";")] if value else []
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names) or not OWN_METADATA.isdisjoint(names):
        raise ValueError
    if not all(re.fullmatch(r"[a-z0-9-]{1,64}", name) and re.fullmatch(_HEADER, text) for name, text in pairs):
        raise ValueError
    if sum(len(name) + len(text) for name, text in pairs) > EXTRA_METADATA_LIMIT:
        raise ValueError
    return tuple(pairs)


def header(value: str) -> str:
    """printable ASCII, without space at either end"""
    if value and not re.fullmatch(_HEADER, value):
        raise ValueError
    return value


def tags(value: str) -> str:
    """up to ten tags as name=value&name=value, percent-encoded"""
    pairs = value.split("&") if value else []
    if len(pairs) > 10 or not all(re.fullmatch(r"[^=&\s]+=[^=&\s]*", pair) for pair in pairs):
        raise ValueError
    return header(value)


def account(value: str) -> str:
    """an AWS account: twelve digits"""
    if value and not re.fullmatch(r"[0-9]{12}", value):
        raise ValueError
    return value


def nearest(word: str, known: Mapping[str, object]) -> str:
    """What a complaint about an unknown word ends with: the nearest known one."""
    lower = {item.lower(): item for item in known}
    found = difflib.get_close_matches(word.lower(), lower, n=1)
    return f"; did you mean {lower[found[0]]}?" if found else "; README lists all that there are"
