"""A ledger forgets, by and by."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import forgetting
from pipeline.forgetting import DAY, Forgetting
from pipeline.ledger import Ledger, Row
from tests.unit.places import make

DAYS = 30


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger", durable=False)
    yield made
    made.close()


def deliver(ledger: Ledger, *names: str) -> None:
    ledger.begin([Row(name, "temp", name, "publishing") for name in names])
    ledger.deliver(names)


def test_what_lies_there_is_not_forgotten(tmp_path: Path, ledger: Ledger) -> None:
    """Its row tells its content from that of a later drop; and nothing is forgotten before its time."""
    folder = make(tmp_path, "DownloadedFromS3", "portable")
    (tmp_path / "DownloadedFromS3" / "a b").touch()
    deliver(ledger, "a%20b", "moved", "sub/moved", "x" * 300)
    forgets = Forgetting(ledger, folder, DAYS)
    assert forgets.forget(time.time() + (DAYS - 1) * DAY) == 0
    assert forgets.forget(time.time() + (DAYS + 1) * DAY) == 2
    assert ledger.find("a%20b")
    assert ledger.find("x" * 300)  # who knows


def test_it_forgets_at_once_and_every_day(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a day fails the next one is tried."""
    monkeypatch.setattr(forgetting, "DAY", 0.001)  # and with it the days after which is forgotten
    passes, enough = [], threading.Event()

    def forget(before: float, _keeps: object) -> Iterator[int]:
        passes.append(before)
        if len(passes) == 1:
            raise sqlite3.OperationalError("disk I/O error")
        enough.set()
        yield 1

    monkeypatch.setattr(ledger, "forget", forget)
    forgets = Forgetting(ledger, make(tmp_path, "DownloadedFromS3", "portable"), DAYS)
    forgets.start()
    assert enough.wait(10)
    forgets.close()
    assert not forgets._thread.is_alive()
    assert len(passes) >= 2


def test_for_ever_is_for_ever(tmp_path: Path, ledger: Ledger) -> None:
    """With 0 days nothing runs."""
    forgets = Forgetting(ledger, make(tmp_path, "DownloadedFromS3", "portable"), 0)
    forgets.start()
    assert not forgets._thread.is_alive()
    forgets.close()
