"""Compare a file that appeared with what it has to be, byte for byte."""

from pathlib import Path
from typing import NamedTuple

from pipeline.names import printable
from pipeline.soak.accounts import Accounts
from pipeline.soak.content import HEAD, File, Recipe, difference


class Finding(NamedTuple):
    """What is wrong with a file that was found."""

    kind: str
    """One of facts.KINDS."""
    text: str
    """For a person: where it is, and what was expected."""
    whose: File | None = None
    """Which file's content it is, or was to be."""


class Examiner:
    """Knows every content by its recipe, and from the accounts which were dropped."""

    def __init__(self, recipe: Recipe, accounts: Accounts) -> None:
        self._recipe, self._accounts = recipe, accounts

    def examine(self, path: Path, file: File | None) -> Finding | None:
        """None if the file at `path` is `file`, whole. FileNotFoundError if it is gone."""
        expected = file if file is not None and self._accounts.knows(file) else None
        with path.open("rb") as found:
            says = self._recipe.identify(found.read(HEAD))
            at = None if expected is None else difference(found, self._recipe.blocks(expected))
            if expected is not None and at is None:
                return None
            if says is not None and self._accounts.existed(says):
                differs = difference(found, self._recipe.blocks(says))
                if differs is None:
                    return self._elsewhere(path, says)
                expected, at = (says, differs) if expected is None else (expected, at)
        if expected is None:
            return Finding("invented", f"{printable(str(path))}: nothing of this name or content was ever dropped")
        text = f"{printable(str(path))}: byte {at} differs from what was dropped as {expected.name}"
        return Finding("corrupt", text, expected)

    def _elsewhere(self, path: Path, file: File) -> Finding:
        account = self._accounts.account(file)
        if account is None or account.delivered is not None:
            return again(path, file)
        return Finding("misnamed", f"{printable(str(path))}: the content of {file.name} under another name", file)


def again(path: Path, file: File) -> Finding:
    """It has been delivered already."""
    return Finding("duplicate", f"{printable(str(path))}: the content of {file.name} again", file)
