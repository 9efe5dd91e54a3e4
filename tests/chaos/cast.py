"""Whom the proof of several consumers has to do with: a sender, the consumers, and whoever uses their folders."""

import random
from pathlib import Path
from typing import NamedTuple

from tests.chaos.endpoints import Keys
from tests.chaos.kills import Dropper, Observer, digest, files_in
from tests.chaos.relay import STORM, Relay

_NAMES = 0.03
"""Few, so that the drops of a burst come close together."""


class Plan(NamedTuple):
    """What a run does."""

    drops: int
    duplicates: float
    """Of all deliveries, those of a message that was delivered before and not given back."""
    kills: int
    instances: int = 1
    """Programs, each with a folder of its own and two pollers."""
    lose_ledger: bool = False
    """Every kill takes a whole program, and its ledger is removed before the next start."""


class Cast:
    """The sender, the consumers, and whoever uses their folders."""

    def __init__(self, folder: Path, plan: Plan, keys: Keys, rng: random.Random, code: Path) -> None:
        """`code`: of the consumers."""
        storm = {**STORM, **keys}
        self.sender = Relay(folder / "sender", mode=1, keys=storm)
        self.receivers = [Relay(folder / f"receiver-{n}", code, mode=2, keys=storm) for n in range(plan.instances)]
        self.sender.watch.mkdir(parents=True)
        staging = folder / "staging"
        self.dropper = Dropper(self.sender, plan.drops, random.Random(rng.random()), staging, _NAMES)
        self.observers = []
        for number, receiver in enumerate(self.receivers):
            receiver.downloaded.mkdir(parents=True)
            user, taken = random.Random(rng.random()), staging / f"taken-{number}"
            # Without the ledger what lies there is known by its content: it is what was taken that comes again.
            share = 2 / 3 if plan.lose_ledger else 1 / 3
            self.observers.append(Observer(receiver, self.dropper.dropped, user, taken, share))

    def start(self) -> None:
        """Everybody begins; a drop waits for its burst."""
        for relay in (self.sender, *self.receivers):
            relay.start()
        for thread in (self.dropper, *self.observers):
            thread.start()

    def all_sent(self) -> bool:
        """Whether every drop was announced."""
        left = files_in(self.sender.watch) or files_in(self.sender.queued)
        return not self.dropper.is_alive() and not left

    def arrived(self) -> list[dict[str, list[Path]]]:
        """For each consumer the contents that it has or had, and where they lie."""
        return [
            _by_content(receiver.downloaded, observer.taken)
            for receiver, observer in zip(self.receivers, self.observers, strict=True)
        ]

    def stop(self) -> list[str]:
        """Ctrl-C to all of them; what was wrong with it, and with what was seen meanwhile."""
        codes = [(relay.state.parent.name, relay.stop()) for relay in (self.sender, *self.receivers)]
        found = [f"exit code {code} of {name} after Ctrl-C" for name, code in codes if code]
        return found + [problem for observer in self.observers for problem in observer.finish()]

    def end(self) -> None:
        """Whatever still runs."""
        for relay in (self.sender, *self.receivers):
            relay.end()


def _by_content(*folders: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in (path for folder in folders for path in files_in(folder)):
        found.setdefault(digest(path), []).append(path)
    return found
