"""What has to arrive, by content: how many files hold it, and how often it was seen on either side."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Account:
    """Of one content."""

    name: str
    """The path it was dropped under, of any of its files; versions have it in common."""
    files: int = 0
    """Of the user's, on the sending side."""
    drops: int = 0
    """How often one of them was dropped: as often it has to arrive."""
    archived: int = 0
    arrived: int = 0
    spoiled: bool = False
    """It was removed or cut by its user meanwhile: it may arrive, and need not."""


class Book:
    """The accounts of one pair of programs."""

    def __init__(self) -> None:
        self._accounts: dict[bytes, Account] = {}
        self.under_way = 0
        """Drops that have not arrived, the spoiled ones left out."""

    def drop(self, content: bytes, name: str, *, spoiled: bool = False) -> None:
        """A new file with this content is about to be dropped."""
        account = self._accounts.setdefault(content, Account(name, spoiled=spoiled))
        account.files += 1
        account.drops += 1
        self.under_way += not account.spoiled

    def drop_again(self, content: bytes, *, times: int = 1) -> None:
        """A user moves it back; -1 if that came to nothing."""
        account = self._accounts[content]
        account.drops += times
        account.archived -= times
        self.under_way += times * (not account.spoiled)

    def archive(self, content: bytes) -> str:
        """It is seen in UploadedToS3; what is wrong with that, or nothing."""
        return self._count(content, "archived", "files")

    def arrive(self, content: bytes, name: str) -> str:
        """The same of DownloadedFromS3, where `name` is what its versions have in common."""
        wrong = self._count(content, "arrived", "drops")
        account = self._accounts.get(content)
        if account is not None:
            self.under_way -= not account.spoiled
            if not wrong and content != EMPTY and name != account.name:
                return f"ANOTHER NAME: {account.name!r} arrived as {name!r}"
        return wrong

    def _count(self, content: bytes, seen: str, most: str) -> str:
        account = self._accounts.get(content)
        if account is None:
            return "PARTIAL or invented"
        setattr(account, seen, getattr(account, seen) + 1)
        if getattr(account, seen) > getattr(account, most):
            return f"SECOND COPY: {account.name!r} {seen} {getattr(account, seen)} times"
        return ""

    def open(self) -> Iterator[str]:
        """Whatever is not where it has to be."""
        for account in self._accounts.values():
            if account.spoiled:
                continue
            if account.arrived < account.drops:
                yield f"LOST: {account.name!r} arrived {account.arrived} of {account.drops} times"
            if account.archived < account.files:
                yield f"LOST: {account.name!r} is {account.archived} of {account.files} times on the sending side"

    def arrived(self) -> int:
        """Files that were delivered."""
        return sum(account.arrived for account in self._accounts.values())

    def spoiled(self) -> int:
        """Contents of which nothing is demanded."""
        return sum(account.spoiled for account in self._accounts.values())


EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""SHA-256 of nothing: files without content are known by their number alone."""
