"""`python -m tests.chaos kills`: the full proof, as long as one likes; see `--help`."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos import kills, mutants
from tests.chaos.relay import ROOT, Relay


def main() -> int:
    """0 if nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("what", choices=["kills"])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="a broken program, which must be caught")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-chaos-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        relay = Relay(folder, mutants.make(options.mutant, folder) if options.mutant else ROOT)
        print(
            f"replay: python -m tests.chaos kills --files {options.files} --kills {options.kills} --seed {options.seed}"
        )
        try:
            outcome = kills.run(folder, relay, files=options.files, kills=options.kills, seed=options.seed)
        finally:
            relay.end()
    print(outcome.table())
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
