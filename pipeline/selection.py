"""Which of the files in Watch are to be relayed at all. Names and sizes in, an answer out."""

import fnmatch
import re
from collections.abc import Callable, Iterable


class Selection:
    """What the properties file says of names and sizes. Patterns are those of the shell, for one component each."""

    def __init__(
        self,
        *,
        ignore: Iterable[str] = (),
        include: Iterable[str] = (),
        marker: str = "",
        minimum: int = 0,
        maximum: int = 0,
        subfolders: bool = True,
    ) -> None:
        """`marker`: what the name of a completion marker ends with; `minimum`, `maximum`: bytes, 0 where there is none.

        Where nothing is included by name, everything is that is not ignored.
        """
        included = tuple(include)
        self._ignores, self._includes = _matcher(ignore), _matcher(included)
        self._includes_all, self._subfolders = not included, subfolders
        self._minimum, self._maximum = minimum, maximum
        self.marker = marker

    def enters(self, name: str) -> bool:
        """Whether a folder of this name is looked into."""
        return self._subfolders and not self._ignores(name)

    def ignores(self, name: str) -> bool:
        """Whether whatever has this name is left alone without a word."""
        return self._ignores(name)

    def chosen(self, names: list[str]) -> Iterable[str]:
        """Those files of a folder, all of whose names are given, that may be relayed, as far as their names tell."""
        if not self.marker:
            return filter(self._takes, names)
        marked = {name.removesuffix(self.marker) for name in names if self._is_marker(name)}
        return (name for name in names if name in marked and not self._is_marker(name) and self._takes(name))

    def refusal(self, size: int) -> str:
        """Why a file of so many bytes is not relayed; empty if it is."""
        if size < self._minimum:
            return f"has {size} bytes, fewer than minimumFileBytes ({self._minimum}); it stays where it is"
        if 0 < self._maximum < size:
            return f"has {size} bytes, more than maximumFileBytes ({self._maximum}); it stays where it is"
        return ""

    def _takes(self, name: str) -> bool:
        return (self._includes_all or self._includes(name)) and not self._ignores(name)

    def _is_marker(self, name: str) -> bool:
        return name.endswith(self.marker) and name != self.marker


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    expressions = [fnmatch.translate(pattern) for pattern in patterns]
    if not expressions:
        return lambda _name: False
    matches = re.compile("|".join(expressions)).match
    return lambda name: matches(name) is not None
