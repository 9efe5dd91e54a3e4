"""What a template makes of a drop, and how an object tells its path whatever its key."""

from __future__ import annotations

import os
import pickle
import re
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.drop import Drop, Fingerprint, drop_id, origin_of
from pipeline.keys import FIELDS, Keys, KeyTemplate, host_field
from pipeline.names import (
    KEY_LIMIT,
    NAME_LIMIT,
    NameRefusedError,
    next_version,
    path_of_key,
    split_version,
    with_name,
)
from pipeline.ports import StoredObject
from pipeline.values import ExplainedError

SECOND = 1_000_000_000
MARCH = int(datetime(2026, 3, 7, 4, 59, 59, tzinfo=UTC).timestamp()) * SECOND + 999_999_999
FAR = 253_402_300_800 * SECOND  # the first instant of the year 10000
ID = "mzk7yyde3y4ulqcjdjnmqf5rg4"
TEMPLATES = (
    "{path}",
    "{name}",
    "{drop_id}",
    "{yyyy}/{mm}/{stem}-{drop_id}{suffix}",
    "größe/{host}/{path}",
    "{suffix}{stem}/{stem}7",
)

components = (
    st.binary(min_size=1, max_size=NAME_LIMIT)
    .filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b".."))
    .map(os.fsdecode)
)
paths = st.lists(components, min_size=1, max_size=4).map("/".join)


def keys(template: str, folder: str = "in") -> Keys:
    return Keys(folder, KeyTemplate(template), "scanner-1")


@pytest.mark.parametrize(
    ("template", "path", "key"),
    [
        ("{path}", "a/b/r.csv", "a/b/r.csv"),
        ("{name}", "a/b/r.csv", "r.csv"),
        ("{stem}{suffix}", "a/b/r.tar.gz", "r.tar.gz"),
        ("{stem}+{suffix}", "a/b/r.tar.gz", "r.tar+.gz"),
        ("{stem}", "r-Version-2.csv", "r-Version-2"),
        ("{stem}|{suffix}", ".hidden", ".hidden|"),
        ("{stem}|{suffix}", "x." + "y" * 240, "x." + "y" * 240 + "|"),
        ("{yyyy}/{mm}/{dd}/{hh}/{name}", "a/r.csv", "2026/03/07/04/r.csv"),
        ("{host}/{drop_id}", "a/r.csv", f"scanner-1/{ID}"),
        ("x y+%2f/{name}{name}", "é b", "x y+%2f/é bé b"),
    ],
)
def test_what_the_fields_say(template: str, path: str, key: str) -> None:
    """Each its own part; the date is that of the file, in UTC, and rounds nothing up."""
    assert keys(template).of(path, MARCH, ID) == (f"in/{key}", False)
    assert keys(template, folder="").of(path, MARCH, ID).text == key


def test_every_field_has_its_own_value() -> None:
    """None stands for another."""
    text = KeyTemplate(" ".join(f"{{{field}}}" for field in FIELDS))
    values = Keys("", text, "scanner-1").of("a/r.csv", MARCH, ID).text.split(" ")
    assert len(set(values)) == len(values) == len(FIELDS)


def test_a_key_of_bytes_that_are_not_utf8_is_quoted_as_a_whole() -> None:
    """And only where they stand in it."""
    assert keys("größe {name}").of("\udcff/é", MARCH, ID) == ("in/größe é", False)
    assert keys("größe {name}").of("\udcff", MARCH, ID) == ("in/gr%C3%B6%C3%9Fe%20%FF", True)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{Path}", "{Path} is not a field of a key; did you mean path?"),
        ("{nam}", "did you mean name?"),
        ("{dropid}", "did you mean drop_id?"),
        ("{}{path}", "{} is not a field"),
        ("{path}{yyyy:04}", "{yyyy:04} is not a field of a key; did you mean yyyy?"),
        ("{path!r}", "did you mean path?"),
        ("{path.x}", "did you mean path?"),
        ("{path}{", "brace"),
        ("}{path}", "brace"),
        ("{{path}}", "brace"),
        ("{path", "brace"),
        ("{path}\t", "control character"),
        ("a\x1b{path}", "control character"),
        ("archive", "two files would share a key"),
        ("{yyyy}/{host}{suffix}", "two files would share a key"),
        ("/{path}", "not a plain path"),
        ("{path}/", "not a plain path"),
        ("a//{path}", "not a plain path"),
        ("./{path}", "not a plain path"),
        ("a/../{path}", "not a plain path"),
        ("{suffix}/{path}", "not a plain path"),
        ("..{suffix}/{path}", "not a plain path"),
        (".relay/{path}", ".relay is the program's own"),
        (".relay-soak/{path}", ".relay-soak is the program's own"),
        (".relay{suffix}/{path}", ".relay is the program's own"),
    ],
)
def test_templates_that_are_refused(template: str, says: str) -> None:
    """When the properties are read, with what is wrong and what was meant."""
    with pytest.raises(ExplainedError) as refused:
        KeyTemplate(template)
    assert says in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "template", ["{path}", ".relays/{path}", "a/.relay/{name}", "a b+%{stem}", ".x/{drop_id}", "ü{path}"]
)
def test_templates_that_are_not(template: str) -> None:
    """It is shown as it was given, and travels to other processes."""
    made = KeyTemplate(template)
    assert str(made) == template
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{name}/{drop_id}", "a/.relay-soak"),
        ("{path}", ".relay-soak/x"),
        ("{yyyy}/{path}", ".relay-soak/x"),
        ("{drop_id}", ".relay/x"),
        ("{stem}{suffix}", "a/.relay"),
        ("{stem}", "..."),
        ("{stem}/x", "..x"),
        ("{name}", "x" * (KEY_LIMIT - 2)),
    ],
)
def test_paths_without_a_key(template: str, path: str) -> None:
    """It makes a key what none may be: no plain path, one of the program's own, too long; or no receiver writes it."""
    with pytest.raises(NameRefusedError):
        keys(template).of(path, MARCH, ID)


@pytest.mark.parametrize("mtime_ns", [FAR, -62_135_596_800 * SECOND - 1, 2**63 * SECOND])
def test_a_time_without_a_date(mtime_ns: int) -> None:
    """Refused where the key asks for the date; elsewhere it is none of its business."""
    for field in ("yyyy", "mm", "dd", "hh"):
        with pytest.raises(NameRefusedError, match="years 1 and 9999"):
            keys(f"{{{field}}}/{{path}}").of("a", mtime_ns, ID)
    assert keys("{path}").of("a", mtime_ns, ID).text == "in/a"


@pytest.mark.parametrize(
    ("mtime_ns", "key"),
    [
        (FAR - 1, "9999123123"),
        (-62_135_596_800 * SECOND, "0001010100"),
        (-1, "1969123123"),
        (0, "1970010100"),
    ],
)
def test_the_edges_of_dates(mtime_ns: int, key: str) -> None:
    """Four digits of year, two of the rest, before 1970 too."""
    assert keys("{yyyy}{mm}{dd}{hh}{name}").of("r", mtime_ns, ID).text == f"in/{key}r"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("scanner-1", "scanner-1"),
        ("a.b.c", "a.b.c"),
        ("a/b\n", "a-b-"),
        ("é", "-"),
        ("", "localhost"),
        ("..", "localhost"),
    ],
)
def test_the_name_of_a_machine(name: str, field: str) -> None:
    """Whatever it is called, it is a part of a plain path."""
    assert host_field(name) == field


# ------------------------------------------------------------------ versions


@given(
    template=st.sampled_from([text for text in TEMPLATES if "drop_id" not in text]),
    folder=st.sampled_from(["", "in", "größe.*"]),
    path=paths,
    number=st.integers(2, 10**9 - 1),
)
@example("{path}", "in", "a.csv", 2)
@example("{path}", "in", "d.x/\udcff-Version-3.csv", 12)
@example("{suffix}{stem}/{stem}7", "", "a.+(b)[c]{d}", 77)
def test_a_version_is_known_by_its_key(template: str, folder: str, path: str, number: int) -> None:
    """Its key leads back to its name, and begins with what is listed; a key that leads to a name is that name's."""
    name, made = split_version(path.rpartition("/")[2]), keys(template, folder)
    numbered = f"{name.stem}-Version-{number}{name.suffix}"
    try:
        key = made.of(with_name(path, numbered), MARCH, "").text
    except NameRefusedError:
        assume(False)
    versions = made.versions(path, MARCH)
    assert versions is not None
    assert key.startswith(versions.prefix)
    assert versions.name_of(key) == numbered
    for other in (f"{key}0", key.replace("7", "0", 1), key.replace("-Version-", "-Version-0"), key[:-1], f"{key}7"):
        if (known := versions.name_of(other)) is not None:
            assert made.of(with_name(path, known), MARCH, "").text == other


def test_the_number_is_not_taken_from_what_follows_it() -> None:
    """A literal may begin with digits, and the number may stand in a key twice: it is the same in both places."""
    versions = keys("{stem}7/{stem}").versions("a.csv", MARCH)
    assert versions is not None
    assert versions.prefix == "in/a-Version-"
    assert versions.name_of("in/a-Version-27/a-Version-2") == "a-Version-2.csv"
    assert versions.name_of("in/a-Version-277/a-Version-27") == "a-Version-27.csv"
    assert versions.name_of("in/a-Version-27/a-Version-3") is None
    assert versions.name_of("in/a-Version-2/a-Version-2") is None


def test_versions_that_are_not_listed() -> None:
    """Where the key holds the drop's id, and where no key could be so long."""
    assert keys("{name}-{drop_id}").versions("a.csv", MARCH) is None
    assert keys("{path}", "f" * KEY_LIMIT).versions("a.csv", MARCH) is None


@given(template=st.sampled_from(TEMPLATES), path=paths)
def test_another_version_has_another_key(template: str, path: str) -> None:
    """Renumbering always helps: the new key is not the one that was taken."""
    made = keys(template)
    other = with_name(path, next_version(path.rpartition("/")[2], ()))
    try:
        first, second = (drop(each, made).key.text for each in (path, other))
    except NameRefusedError:
        assume(False)
    assert first != second


# ------------------------------------------------------------------ there and back


def drop(path: str, made: Keys) -> Drop:
    """As an uploader makes it."""
    seen = Fingerprint(7, 11, MARCH, 12)
    return Drop(path, seen, "AAAAAAAAAAA=", made.of(path, MARCH, drop_id(path, seen, "AAAAAAAAAAA=")))


def there_and_back(path: str, template: str) -> None:
    """The object of a path says that path, in ASCII that fits beside other metadata; again after a restart."""
    made = keys(template)
    item = drop(path, made)
    assert len(item.key.text.encode()) <= KEY_LIMIT
    path_of_key("in", item.key.text)  # else no consumer would ask for it
    metadata = item.metadata()
    assert all(f"{name}{value}".isascii() and value.isprintable() for name, value in metadata.items())
    assert sum(len(name) + len(value) for name, value in metadata.items()) <= 1536
    assert origin_of(StoredObject(item.key.text, 11, "e", metadata=metadata), "relay", "in").path == path
    drop_id.cache_clear()
    again = drop(os.fsdecode(os.fsencode(path)), keys(template))
    assert (again.id, again.key) == (item.id, item.key)
    assert re.fullmatch(r"[a-z2-7]{26}", again.id)


@given(template=st.sampled_from(TEMPLATES), path=paths)
def test_a_path_goes_there_and_back(template: str, path: str) -> None:
    """Any bytes that a name may have, whatever the key is; what cannot go is refused before anything is sent."""
    try:
        drop(path, keys(template)).metadata()
    except NameRefusedError:
        # Long, or a part of it alone makes no plain path; with another key it can go, or is too long for any.
        assume(len(os.fsencode(path)) <= 1062)
        template = "x/{drop_id}"
    there_and_back(path, template)


ODD = [
    *(f"x{mark}y" for mark in " +%#?&=;'\"<>|*\\:~$()"),
    " a ",
    "%2e%2e",
    "test%46.txt",
    "a+b c",
    *(f"x{chr(number)}y" for number in (*range(1, 32), 127)),
    "\x1b[31m",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "\u202egnp.exe",
    "a\u200bb",
    "\U0001f388" * 63 + "abc",  # 255 bytes, the last sequence of four at the edge
    "\udcff\udcfe",
    "\udced\udca0\udc80",  # the bytes of a lone surrogate
    "-rf",
    ".hidden",
    "~",
    "CON",
    "nul",
    "x" * 255,
    "日" * 85,
    "\udcff" * 255 + "/" + "x" * 80,  # its key has 848 bytes
    "/".join(["日" * 85] * 3 + ["x" * 250]),
]


@pytest.mark.parametrize("path", ODD)
def test_odd_names_go_there_and_back(path: str) -> None:
    """Marks that others read twice, control characters, bytes that are no text, long names: by any key."""
    for template in ("{drop_id}", "{yyyy}/{name}", "{path}"):
        there_and_back(path, template)


def test_normal_forms_are_two_files() -> None:
    """NFC and NFD of one text are neither one key nor one drop."""
    forms = [unicodedata.normalize(form, "größe.csv") for form in ("NFC", "NFD")]
    assert len({drop(form, keys("{path}")).key.text for form in forms}) == 2
    assert len({drop(form, keys("{drop_id}")).key.text for form in forms}) == 2


def test_a_path_that_no_object_can_carry() -> None:
    """1,062 bytes can; one more is refused, with both numbers."""
    path = "/".join(["x" * 250] * 4) + "/" + "y" * 59
    assert len(path) == 1063
    there_and_back(path[:-1], "{drop_id}")
    with pytest.raises(NameRefusedError, match="1063 bytes and an object can carry 1062"):
        drop(path, keys("{drop_id}")).metadata()
