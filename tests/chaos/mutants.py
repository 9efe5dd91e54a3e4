"""The program with one protection taken out: what a proof is worth is what it catches."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.mutations import aws, hostile, landing, moving, processes, queueing, receiving, sending, watching
from tests.chaos.mutations.mutant import Mutant
from tests.chaos.relay import ROOT

TABLES = (moving, watching, sending, receiving, landing, hostile, aws, queueing, processes)
MUTANTS: dict[str, Mutant] = {name: mutant for table in TABLES for name, mutant in table.MUTANTS.items()}
IN_KILLS = ("move-before-send", "no-ledger", "no-lock")
"""Those that show when processes are killed at random times."""
IN_CONSUMERS = ("delete-first", "no-ledger")
"""Those that show when messages come twice and consumers are killed."""
IN_SOAK = ("delete-first", "move-before-send", "no-ledger", "no-lock", "replacing-claim", "written-under-its-name")
"""Those that show when everything happens at once."""
IN_CRASHPOINTS = ("delete-first", "move-before-send")
"""Those that show in the one file that is in hand when its process is killed."""
IN_MACHINE = (
    "any-object-is-ours",
    "move-before-send",
    "no-doubt",
    "no-ledger",
    "no-lease",
    "no-order",
    "replacing-claim",
)
"""Those that show in one process: it has nobody to lock out."""
_NEVER = (".git", ".venv*", "TEMP", ".*_cache", ".hypothesis", "bench-results")


_BROKEN = re.compile(
    r"\b(?:I(?:[1-9]|1[0-4])\b|LOST|PARTIAL|INVENTED|WRITTEN IN PLACE|OVERWRITTEN|SECOND COPY|COPIES|GONE AGAIN"
    r"|ANOTHER NAME|order: )"
)
"""How proofs begin to say that a promise is broken. Not what load, or a program that cannot be run, leads to."""


def caught_by(violations: Iterable[str]) -> list[str]:
    """The kinds of violation that show that a program is broken."""
    return sorted({found for text in violations for found in _BROKEN.findall(text)})


def mutated(name: str) -> str:
    """The text of the file that a mutant changes, changed. AssertionError if it no longer holds what is changed."""
    mutant = MUTANTS[name]
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.file} no longer holds, just once, what the mutant {name} changes"
    return text.replace(mutant.old, mutant.new)


def make(name: str, folder: Path) -> Path:
    """A copy of the shipped tree in `folder` with one mutant applied; the copy's path."""
    code = copy(folder / name, "tests", "__pycache__")
    (code / MUTANTS[name].file).write_text(mutated(name), encoding="utf-8")
    return code


def make_with_tests(name: str, folder: Path) -> Path:
    """The same with its tests. What is compiled goes along, as it is most of what a short test takes."""
    code = copy(folder / name)
    file = code / MUTANTS[name].file
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()
    file.write_text(mutated(name), encoding="utf-8")
    return code


def copy(target: Path, *without: str) -> Path:
    """A copy of the tree as it is."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*_NEVER, *without))
    return target
