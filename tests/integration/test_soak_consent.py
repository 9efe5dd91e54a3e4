"""Before a soak test costs money: who is asked, what they are told, and what they may answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import arguments, plan
from pipeline.ports import EXIT_USAGE, StartupError
from pipeline.soak import consent
from pipeline.soak.consent import agree
from pipeline.soak.estimate import DEFAULT_MAX_BYTES
from pipeline.soak.options import SoakOptions
from tests.soak import settings_at

FOREIGN = {"aws_endpoint_url": "https://s3.example.org"}
ASKED = SoakOptions(duration=60.0, chaos=True)


@contextmanager
def typed(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> Iterator[None]:
    """A person at a terminal who has typed this."""
    ours, theirs = os.openpty()
    with open(theirs, encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(ours, answer)
        yield
    os.close(ours)


@contextmanager
def no_terminal(monkeypatch: pytest.MonkeyPatch, *, closed: bool = False) -> Iterator[None]:
    """As under cron; `closed` as a shell does with <&-."""
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", None if closed else nothing)
        yield


@pytest.mark.parametrize(
    "aws",
    [
        {},
        {"aws_endpoint_url": "http://localhost:9000"},
        {**FOREIGN, "aws_endpoint_url_s3": "http://127.0.0.1:1", "aws_endpoint_url_sqs": "http://[::1]:2"},
    ],
)
def test_on_this_machine_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], aws: dict[str, str]
) -> None:
    """And there is no limit."""
    with no_terminal(monkeypatch):
        assert agree(ASKED, settings_at(tmp_path, **aws)) == ASKED
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("aws", "named"),
    [
        ({"aws_endpoint_url": ""}, "https://s3.eu-west-1.amazonaws.com and https://sqs.eu-west-1.amazonaws.com, which"),
        ({"aws_endpoint_url_s3": "https://s3.example.org"}, "http://127.0.0.1 and https://s3.example.org, which"),
        (
            {"aws_endpoint_url": "http://127.0.0.1:1", "aws_endpoint_url_sqs": "http://10.0.0.1:2"},
            "http://10.0.0.1:2 and http://127.0.0.1:1, which",
        ),
    ],
)
def test_elsewhere_the_bill_comes_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    aws: dict[str, str],
    named: str,
) -> None:
    """It names every endpoint, what goes there, and dollars; one of the two is enough. There is a limit of 1 GiB."""
    with typed(monkeypatch, b"y\n"):
        found = agree(ASKED, settings_at(tmp_path, **aws))
    assert DEFAULT_MAX_BYTES == 1 << 30
    assert found == SoakOptions(duration=60.0, chaos=True, max_bytes=DEFAULT_MAX_BYTES)
    out = capsys.readouterr().out
    assert f"speaks to {named} may cost money" in out
    assert "537 MB up and as much down" in out
    assert "about $0.05" in out
    assert out.index("$") < out.index("Begin? [y/N]")


@pytest.mark.parametrize(("limit", "taken", "sent"), [(None, 1 << 30, "537 MB"), (20 * 10**9, 20 * 10**9, "10 GB")])
def test_yes_is_agreed_beforehand(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: int | None,
    taken: int,
    sent: str,
) -> None:
    """Nobody is asked; the bill is shown all the same, and there is a limit, which is that of the person if any."""
    with no_terminal(monkeypatch):
        found = agree(SoakOptions(yes=True, max_bytes=limit), settings_at(tmp_path, **FOREIGN))
    assert found == SoakOptions(yes=True, max_bytes=taken)
    out = capsys.readouterr().out
    assert "speaks to https://s3.example.org, which may cost money" in out
    assert f"{sent} up and as much down" in out
    assert "Begin?" not in out


@pytest.mark.parametrize("closed", [False, True])
def test_where_nobody_can_be_asked_nothing_begins(monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    """Exit code 2, and what to do about it."""
    with no_terminal(monkeypatch, closed=closed), pytest.raises(StartupError, match="add --yes") as refused:
        consent._ask()
    assert refused.value.code == EXIT_USAGE == 2


@pytest.mark.parametrize("answer", [b"y\n", b"Y\n", b"yes\n", b" YES \n"])
def test_yes(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Nothing is said to it."""
    with typed(monkeypatch, answer):
        consent._ask()


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04", b"no\n", b"yy\n", b"ja\n"])
def test_anything_else_is_no(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Also Enter alone, and the end of the input (Ctrl-D)."""
    with typed(monkeypatch, answer), pytest.raises(StartupError, match=r"^nothing was started$") as refused:
        consent._ask()
    assert refused.value.code == EXIT_USAGE


def test_nothing_is_made_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither folder nor lock; here only one of S3 and SQS is the program's own."""
    settings = settings_at(tmp_path, aws_endpoint_url_s3="https://s3.example.org")
    before = sorted(tmp_path.rglob("*"))
    asked = arguments.read(["-Mode", "4"], "", "", tmp_path / "Application.properties")
    with no_terminal(monkeypatch), pytest.raises(StartupError, match="add --yes"):
        plan.prepare(asked, settings, tmp_path / "logging.conf")
    assert sorted(tmp_path.rglob("*")) == before
