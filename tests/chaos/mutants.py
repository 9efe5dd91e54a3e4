"""The program with one protection taken out: what a proof is worth is what it catches."""

import shutil
from pathlib import Path
from typing import NamedTuple

from tests.chaos.relay import ROOT


class Mutant(NamedTuple):
    """A change to one shipped file: `old`, which stands there exactly once, becomes `new`."""

    file: str
    old: str
    new: str


MUTANTS = {
    "no-lock": Mutant(
        "pipeline/spool.py",
        "is_regular(os.fstat(queued.fd)) and try_lock(queued.fd) and self.still_there(queued)",
        "is_regular(os.fstat(queued.fd)) and self.still_there(queued)",
    ),
    "no-ledger": Mutant(
        "pipeline/landing.py",
        "new = self.ledger.begin(rows)",
        "new = [True] * len(rows)",
    ),
    "move-before-send": Mutant(
        "pipeline/announcer.py",
        "        new = [each for each in sent if each.drop.id not in self._announced]\n",
        "        new = [each for each in sent if self._spool.finish(each.queued)]\n",
    ),
    "replacing-claim": Mutant(
        "pipeline/claims.py",
        "            if place is not None and self._move(item, place):\n",
        "            target = self._queued.make(item.head)\n"
        "            if target is not None:\n"
        "                source = self._watch.open(item.head)\n"
        "                os.rename(item.name, item.name, src_dir_fd=source, dst_dir_fd=target)\n",
    ),
    "no-order": Mutant(
        "pipeline/spool.py",
        "        return with_name(path, name.stem + name.suffix), name.number\n",
        "        return path, 1\n",
    ),
    "no-lease": Mutant(
        "pipeline/completeness.py",
        "        return not written\n",
        "        return True\n",
    ),
    "any-object-is-ours": Mutant(
        "pipeline/storing.py",
        "if found is None or found.metadata.get(DROP_ID) != drop.id:",
        "if found is None:",
    ),
    "delete-first": Mutant(
        "pipeline/poller.py",
        "            published = self._publisher.submit((held, arrival))\n",
        "            self._queue.delete([held.message.receipt])\n"
        "            published = self._publisher.submit((held, arrival))\n",
    ),
    "no-doubt": Mutant(
        "pipeline/landing.py",
        '        if row.state == "publishing":\n',
        "        if False:\n",
    ),
}
IN_KILLS = ("move-before-send", "no-ledger", "no-lock")
"""Those that show when processes are killed at random times."""
IN_CONSUMERS = ("delete-first", "no-ledger")
"""Those that show when messages come twice and consumers are killed."""
IN_SOAK = ("delete-first", "move-before-send", "no-ledger", "no-lock", "replacing-claim")
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


def make(name: str, folder: Path) -> Path:
    """A copy of the shipped tree in `folder` with one mutant applied; the copy's path."""
    mutant = MUTANTS[name]
    code = folder / name
    shutil.copytree(
        ROOT, code, ignore=shutil.ignore_patterns(".git", ".venv*", "TEMP", "__pycache__", ".*_cache", "tests")
    )
    file = code / mutant.file
    text = file.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file} no longer holds what the mutant {name} changes"
    file.write_text(text.replace(mutant.old, mutant.new))
    return code
