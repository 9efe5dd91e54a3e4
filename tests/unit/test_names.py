"""Paths, keys and versions of a name."""

from __future__ import annotations

import os

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.names import (
    KEY_LIMIT,
    NAME_LIMIT,
    NameRefusedError,
    Versioned,
    checked_path,
    decode_path,
    encode_path,
    human_size,
    is_of_other_soak,
    is_of_soak,
    key_for,
    next_version,
    path_of_key,
    printable,
    split_version,
    versions_prefix,
    with_name,
)

FOLDERS = ["", "in", "team/inbox", "größe"]
FULLWIDTH_DOTS = "\uff0e\uff0e"

components = (
    st.binary(min_size=1, max_size=NAME_LIMIT)
    .filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b".."))
    .map(os.fsdecode)
)
paths = st.lists(components, min_size=1, max_size=3).map("/".join)


def size(text: str) -> int:
    return len(os.fsencode(text))


@example(b"\xff\xfe")
@given(st.binary(max_size=300))
def test_any_bytes_survive_encoding(raw: bytes) -> None:
    """E5. decode_path is the exact reverse of encode_path, whose text is ASCII."""
    path = raw.decode("utf-8", "surrogateescape")
    encoded = encode_path(path)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert decode_path(encoded) == path


@pytest.mark.parametrize("text", ["é", "\udcff", "\u202e", "．"])
def test_an_encoded_path_is_ascii(text: str) -> None:
    """What encode_path cannot have made is refused."""
    with pytest.raises(NameRefusedError):
        decode_path(text)


@pytest.mark.parametrize("folder", FOLDERS)
@given(path=paths)
@example(path="%2e%2e/x")
@example(path="%FF")
@example(path="a+b c")
@example(path="\udcff\udcfe")
def test_the_key_leads_back_to_the_path(folder: str, path: str) -> None:
    """A key is UTF-8, lies under the folder and holds the whole path: literally, or quoted once where it is flagged."""
    try:
        key = key_for(folder, path)
    except NameRefusedError:
        assert size(path) * 3 + size(folder) + 1 > KEY_LIMIT
        return
    assert len(key.text.encode()) <= KEY_LIMIT
    rest = path_of_key(folder, key.text)
    assert (decode_path(rest) if key.quoted else rest) == path


@pytest.mark.parametrize(
    ("folder", "path", "text", "quoted"),
    [
        ("in", "a.csv", "in/a.csv", False),
        ("", "a.csv", "a.csv", False),
        ("in", "test%46.txt", "in/test%46.txt", False),
        ("in", "a+b c", "in/a+b c", False),
        ("in", "a\\b", "in/a\\b", False),
        ("in", "x/é", "in/x/é", False),
        ("in", "x y/\udcff", "in/x%20y/%FF", True),
    ],
)
def test_key_table(folder: str, path: str, text: str, quoted: bool) -> None:
    """Keys are literal unless the path is not UTF-8."""
    assert key_for(folder, path) == (text, quoted)


def test_a_key_may_have_1024_bytes_and_no_more() -> None:
    """E7. The limit counts bytes of UTF-8, the folder included."""
    fits = "/".join(["é" * 127] * 4)  # 4 × 254 + 3 = 1019
    assert len(key_for("in12", fits).text.encode()) == KEY_LIMIT
    with pytest.raises(NameRefusedError, match="1025 bytes"):
        key_for("in123", fits)


@pytest.mark.parametrize(
    "key",
    [
        "../x",
        "in/../x",
        "in/a/../../x",
        "/etc/passwd",
        "in//etc/passwd",
        "..",
        ".",
        "",
        "in",
        "in/",
        "in/a/",
        "in//a",
        "in/.",
        "in/./a",
        "in/a\0b",
        "in/\udcff",
        "in/" + "x" * 1022,
        "other/a",
        "inn/a",
        "In/a",
    ],
)
def test_keys_that_are_never_asked_for(key: str) -> None:
    """F1. Whatever is no plain path under the folder is refused before any request."""
    with pytest.raises(NameRefusedError):
        path_of_key("in", key)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("in/%2e%2e%2fx", "%2e%2e%2fx"),
        (f"in/{FULLWIDTH_DOTS}/x", f"{FULLWIDTH_DOTS}/x"),
        ("in/a\\..\\x", "a\\..\\x"),
        ("in/...", "..."),
        ("in/-rf", "-rf"),
    ],
)
def test_keys_are_never_decoded_twice(key: str, path: str) -> None:
    """E1, F1. What only looks like `..` after another decoding is an ordinary name, and stays one."""
    assert checked_path(path_of_key("in", key)) == path


@given(st.one_of(st.text(), paths, st.lists(st.sampled_from(["..", ".", "", "a", ".relay", "\0"])).map("/".join)))
def test_a_checked_path_stays_below_its_folder(path: str) -> None:
    """F1. Whatever checked_path lets through names something strictly below the folder it is joined to."""
    try:
        assume(not any("\ud800" <= char < "\udc80" or "\udcff" < char <= "\udfff" for char in path))
        checked = checked_path(path)
    except NameRefusedError:
        return
    assert checked == path
    joined = os.path.normpath(os.path.join("/folder", path))
    assert joined == f"/folder/{path}"
    assert not joined.startswith("/folder/.relay/")
    assert joined != "/folder/.relay"
    assert all(0 < size(part) <= NAME_LIMIT for part in path.split("/"))


@pytest.mark.parametrize(
    ("path", "separators"),
    [
        ("..", ""),
        ("a/..", ""),
        ("a//b", ""),
        ("/a", ""),
        ("a/", ""),
        ("", ""),
        (".", ""),
        ("a\0", ""),
        ("x" * 256, ""),
        ("é" * 128, ""),
        (".relay", ""),
        (".relay/ledger.sqlite3", ""),
        ("a\\b", "\\"),
        ("c:d", "\\:"),
    ],
)
def test_paths_that_are_never_written(path: str, separators: str) -> None:
    """F1, F2. Each of these is refused."""
    with pytest.raises(NameRefusedError):
        checked_path(path, separators)


@pytest.mark.parametrize("path", ["a", "x" * 255, "a/.relay", ".relays", "é" * 127, "a\\b", "c:d", " ", "\n", "\udcff"])
def test_paths_that_are_written(path: str) -> None:
    """Odd names are ordinary."""
    assert checked_path(path) == path


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("report.csv", Versioned("report", 1, ".csv")),
        ("report-Version-2.csv", Versioned("report", 2, ".csv")),
        ("report-Version-2", Versioned("report", 2, "")),
        ("a.tar.gz", Versioned("a.tar", 1, ".gz")),
        (".bashrc", Versioned(".bashrc", 1, "")),
        ("report-Version-0.csv", Versioned("report-Version-0", 1, ".csv")),
        ("report-Version-02.csv", Versioned("report-Version-02", 1, ".csv")),
        ("-Version-2.csv", Versioned("-Version-2", 1, ".csv")),
        ("report-version-2.csv", Versioned("report-version-2", 1, ".csv")),
        ("report.", Versioned("report", 1, ".")),
    ],
)
def test_a_name_taken_apart(name: str, parts: Versioned) -> None:
    """The number stands before the last suffix and has no leading zero."""
    assert split_version(name) == parts


@pytest.mark.parametrize(
    ("name", "taken", "following"),
    [
        ("r.csv", [], "r-Version-2.csv"),
        ("r.csv", ["r.csv"], "r-Version-2.csv"),
        ("r.csv", ["r.csv", "r-Version-2.csv"], "r-Version-3.csv"),
        ("r.csv", ["r-Version-7.csv"], "r-Version-8.csv"),
        ("r.csv", ["r-Version-7.txt", "s-Version-9.csv"], "r-Version-2.csv"),
        ("r-Version-2.csv", ["r.csv"], "r-Version-3.csv"),
        ("r-Version-2.csv", ["r-Version-5.csv"], "r-Version-6.csv"),
        ("r", ["r"], "r-Version-2"),
        (".env", [".env"], ".env-Version-2"),
        ("a.tar.gz", ["a.tar.gz"], "a.tar-Version-2.gz"),
    ],
)
def test_next_version_table(name: str, taken: list[str], following: str) -> None:
    """Numbers are counted on, never filled in, never nested."""
    assert next_version(name, taken) == following


@given(components, st.lists(components, max_size=5), st.integers(1, 6))
@example("a." + "b" * 253, [], 2)
@example("x" * 255, [], 3)
@example("é" * 127, [], 3)
@example(os.fsdecode(b"\x80" * 255), [], 3)
@example(os.fsdecode(b"." + b"\x80" * 254), [], 3)
@example("x" * 250 + ".csv", [], 12)
@example("\U0001f600" * 63, [], 3)
def test_versions_are_new_short_and_not_nested(name: str, others: list[str], count: int) -> None:
    """D23. Version after version is new, a file name of at most 255 bytes, and carries the number once."""
    taken = {name, *others}
    for _ in range(count):
        version = next_version(name, taken)
        assert version not in taken
        assert 0 < size(version) <= NAME_LIMIT
        assert "/" not in version
        assert split_version(version).number > split_version(name).number
        if "-Version-" not in name:
            assert version.count("-Version-") == 1
        taken.add(version)
        name = version


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=255))
@example("é" * 127)
@example("a" + "\U0001f600" * 63)
@example("a" + "é" * 120 + ".csv")
def test_a_cut_never_splits_a_character(name: str) -> None:
    """D23. A name that is UTF-8 has versions that are UTF-8."""
    assume(size(name) <= NAME_LIMIT)
    version = next_version(name, [name])
    assert version.encode()
    assert size(version) <= NAME_LIMIT


def test_versions_prefix_finds_every_version() -> None:
    """What a listing by prefix returns holds each version, whichever of them one begins with."""
    for path in ("d/r.csv", "d/r-Version-3.csv"):
        assert versions_prefix(path) == "d/r-Version-"
    assert versions_prefix("r") == "r-Version-"


@pytest.mark.parametrize(("path", "name", "renamed"), [("a/b", "c", "a/c"), ("a", "c", "c"), ("a/b/c", "d", "a/b/d")])
def test_with_name(path: str, name: str, renamed: str) -> None:
    """Only the last component changes."""
    assert with_name(path, name) == renamed


@given(st.text())
@example("\x1b[31m\r\nforged \u202e \udcff")
def test_printable_is_one_harmless_line(text: str) -> None:
    """E2, G6. No control character, line end, direction mark or undecodable byte survives; plain text does."""
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (12_345, "12.3 KB"),
        (999_499, "999 KB"),
        (999_999, "1 MB"),
        (10**6, "1 MB"),
        (5 * 10**12, "5 TB"),
    ],
)
def test_human_size(size: int, text: str) -> None:
    """Powers of 1,000, three digits."""
    assert human_size(size) == text


@pytest.mark.parametrize("name", [".relay", ".relay-soak", ".RELAY", ".Relay-Soak"])
def test_the_programs_own_names_are_refused(name: str) -> None:
    """F2. At the top alone: deeper, or as a part of a name, they are anybody's."""
    for path in (name, f"{name}/a.csv"):
        with pytest.raises(NameRefusedError, match="the program's own"):
            checked_path(path)
    assert checked_path(f"d/{name}/a.csv")
    assert checked_path(f"{name}-2/a.csv")


@pytest.mark.parametrize(
    ("folder", "key", "is_one"),
    [
        ("in", "in/.relay-soak/run/a", True),
        ("in", "in/.relay-soak/", True),
        ("", ".relay-soak/run/a", True),
        ("a/b", "a/b/.relay-soak/run/d/a", True),
        ("in", "in/.relay-soak", False),
        ("in", "in/.relay-soak-2/a", False),
        ("in", "in/d/.relay-soak/a", False),
        ("in", "inn/.relay-soak/a", False),
        ("in", ".relay-soak/a", False),
        ("", "in/.relay-soak/a", False),
        ("", "a", False),
    ],
)
def test_keys_of_soak_tests(folder: str, key: str, is_one: bool) -> None:
    """Right below the folder alone, and by the whole component."""
    assert is_of_soak(folder, key) is is_one


@pytest.mark.parametrize(
    ("folder", "key", "is_one"),
    [
        ("in/.relay-soak/r1", "in/.relay-soak/r2/a", True),
        (".relay-soak/r1", ".relay-soak/r2/a", True),
        ("in/.relay-soak/r1", "in/.relay-soak/r1/a", False),
        ("in/.relay-soak/r1", "in/.relay-soak/r11/a", True),
        ("in/.relay-soak/r1", "in/a", False),
        ("in/.relay-soak/r1", "inn/.relay-soak/r2/a", False),
        ("in", "in/.relay-soak/r2/a", False),
        ("", ".relay-soak/r2/a", False),
    ],
)
def test_keys_of_another_soak_test(folder: str, key: str, is_one: bool) -> None:
    """As one of them sees those beside it; who is none has no such neighbours."""
    assert is_of_other_soak(folder, key) is is_one
