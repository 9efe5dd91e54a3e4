"""Objects that may not be read, one alone or all of them, by both engines and by the workers' fake."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.aws import evidence
from pipeline.ports import DeniedError, RefusedError
from tests.contract.test_store import ENGINES, Shelf, _served
from tests.fakes import FakeStore
from tests.proxy import Fault, Proxy, Request, error, proxy

REFUSALS = [("AccessDenied", 403), ("KMS.DisabledException", 400)]


@dataclass
class Guarded:
    """A shelf, and what says which of its objects may not be read."""

    shelf: Shelf
    deny: Callable[[str], None]
    """Every key that ends like this; "": all."""
    network: Proxy | None = None

    def fails(self, key: str, *, size: int | None) -> Exception:
        """What a download raises; the same either way that it can be begun."""
        fd = os.open(self.shelf.folder / "arrived", os.O_RDWR | os.O_CREAT)
        begun = self.shelf.store.begin_download(key, fd, size=size, version_id=None).exception(30)
        with pytest.raises((DeniedError, RefusedError)) as caught:
            self.shelf.store.download(key, fd, size=size)
        os.close(fd)
        assert type(begun) is caught.type
        return caught.value


@pytest.fixture(params=[*ENGINES, "fake"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    """With a good and a bad object in it; what is known of others is known for no time."""
    monkeypatch.setattr(evidence, "_FRESH_SECONDS", 0.0)
    if request.param == "fake":
        store = FakeStore()
        made = Guarded(Shelf("fake", store, tmp_path), lambda end: _deny_fake(store, end))
        yield _filled(made)
        return
    served = _served(f"moto {request.param}", request, tmp_path)
    with proxy(served.server.port) as network:
        through = served.over(network.endpoint)
        with contextlib.closing(through.store):
            yield _filled(Guarded(through, lambda end: _deny(network, end), network))


def _filled(guarded: Guarded) -> Guarded:
    guarded.shelf.put("in/good", b"good")
    guarded.shelf.put("in/bad", b"bad")
    return guarded


def _deny_fake(store: FakeStore, end: str) -> None:
    store.denies = lambda key: key.endswith(end)


def _deny(network: Proxy, end: str, code: str = "AccessDenied", status: int = 403) -> None:
    def refuse(request: Request) -> Fault | None:
        path = request.path.partition("?")[0]
        return error(status, code) if request.method in ("GET", "HEAD") and path.endswith(end) else None

    network.fault = refuse


@pytest.mark.parametrize("size", [3, None])
def test_one_object_that_may_not_be_read(guarded: Guarded, size: int | None) -> None:
    """B18, F15. Where another can be read it is this one's own trouble, and its text names it."""
    guarded.deny("bad")
    assert isinstance(guarded.fails("in/bad", size=size), RefusedError), "nothing was read yet"
    assert guarded.shelf.get("in/good") == b"good"
    error = guarded.fails("in/bad", size=size)
    assert isinstance(error, DeniedError)
    assert "in/bad" in str(error)
    assert "others can be read" in str(error)


def test_no_object_may_be_read(guarded: Guarded) -> None:
    """F15. Then it is everybody's; once others can be read again it is not."""
    guarded.shelf.get("in/good")
    guarded.deny("")
    assert isinstance(guarded.fails("in/bad", size=3), RefusedError)
    guarded.deny("bad")
    assert isinstance(guarded.fails("in/bad", size=3), DeniedError)


def test_the_object_that_was_read_is_gone(guarded: Guarded) -> None:
    """It says nothing any more, until another is read."""
    guarded.shelf.put("in/other", b"other")
    guarded.shelf.get("in/good")
    guarded.shelf.store.delete("in/good")
    guarded.deny("bad")
    assert isinstance(guarded.fails("in/bad", size=3), RefusedError)
    guarded.shelf.get("in/other")
    assert isinstance(guarded.fails("in/bad", size=3), DeniedError)


@pytest.mark.parametrize("guarded", ENGINES, indirect=True)
@pytest.mark.parametrize(("code", "status"), REFUSALS)
def test_what_it_costs_to_find_out(guarded: Guarded, code: str, status: int) -> None:
    """F15. One byte of the other, by GET: HEAD needs no KMS key. The text has code, status and request id."""
    network = guarded.network
    assert network is not None
    guarded.shelf.get("in/good")
    _deny(network, "bad", code, status)
    network.seen.clear()
    error = guarded.fails("in/bad", size=3)
    assert isinstance(error, DeniedError)
    assert f"({code}, HTTP {status}, request REQ1)" in str(error)
    asked = [(request.method, request.path.rpartition("/")[2], request.headers["Range"]) for request in network.seen]
    assert asked == [("GET", "bad", "bytes=0-2"), ("GET", "good", "bytes=0-0")] * 2
