"""Tries one crash point after the other: a point on each line of stdin, its verdict on one of stdout.

It is the template of the programs' processes (see nursery), and so has no thread and no client of its own.
"""

import argparse
import itertools
import shutil
import sys
from pathlib import Path

from tests.chaos import nursery
from tests.chaos.crash_site import Site, be_reaper
from tests.chaos.crash_target import Point


def main() -> None:
    """Until stdin ends. What a violation left is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.crash_worker", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True, help="the tree of the program")
    parser.add_argument("--endpoint", required=True, help="where tests.chaos.shore serves this worker alone")
    options = parser.parse_args()
    nursery.preload()
    be_reaper()
    for number in itertools.count(1):
        if not (line := sys.stdin.readline()):
            return
        folder = options.folder / str(number)
        verdict = Site(folder, options.code, options.endpoint, Point.read(line.strip())).run()
        if verdict.violations:
            verdict.folder = str(folder)
        else:
            shutil.rmtree(folder)
        print(verdict.line(), flush=True)


if __name__ == "__main__":
    main()
