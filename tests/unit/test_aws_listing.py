"""Pages of versions, as S3 cuts them: the latest of a key first, and its delete markers apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from pipeline.aws.listing import versions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def page(*entries: str) -> dict[str, Any]:
    """`a 2` is version 2 of a, `a -2` a delete marker, `a -2!` the latest of all."""
    answer: dict[str, Any] = {"Versions": [], "DeleteMarkers": []}
    for entry in entries:
        key, number = entry.rstrip("!").split()
        said = {"Key": key, "VersionId": number, "IsLatest": entry.endswith("!")}
        if number.startswith("-"):
            answer["DeleteMarkers"].append(said)
        else:
            answer["Versions"].append({**said, "Size": 1, "LastModified": NOW})
    return answer


class Client:
    """Answers with these pages."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = pages

    def get_paginator(self, operation: str) -> Client:
        assert operation == "list_object_versions"
        return self

    def paginate(self, **_asked: str) -> tuple[dict[str, Any], ...]:
        return self.pages


def listed(*pages: dict[str, Any]) -> list[str]:
    return [f"{found.key} {found.version_id}" for found in versions(cast(Any, Client(*pages)), {})]


def test_versions_of_a_key_come_in_their_order() -> None:
    """Across pages, too; what was deleted and stored again has all of them."""
    assert listed(page("a 3", "a 2"), page("a 1", "b 2", "b -1"), page("b 0"), {}) == [
        "a 1",
        "a 2",
        "a 3",
        "b 0",
        "b 2",
    ]


def test_a_deleted_key_has_none() -> None:
    """However many pages its versions and earlier markers take."""
    assert listed(page("a 1", "b -4!"), page("b -3", "b -2"), page("b 1", "c -2!", "c 1"), page("c 0", "d 1")) == [
        "a 1",
        "d 1",
    ]
