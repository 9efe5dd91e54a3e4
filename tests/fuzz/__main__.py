"""Fuzz all that reads what comes from elsewhere; exit code 0 if every promise held."""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz import blind
from tests.fuzz.targets import TARGETS, TOKENS

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """For a time with atheris, where that is installed, or for a number of examples with Hypothesis."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: all")
    parser.add_argument("--minutes", type=float, default=10, help="in all, guided by coverage; needs atheris")
    parser.add_argument("--examples", type=int, help="of each target, with Hypothesis; the default without atheris")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    guided = options.examples is None and importlib.util.find_spec("atheris") is not None
    results = []
    for name in names:
        if guided:
            held, tried = _guided(name, options.minutes * 60 / len(names))
        else:
            held, tried = _blind(name, options.examples or 100_000)
        print(f"{name:12} {tried:>12,} inputs  {'all promises held' if held else 'VIOLATED'}", flush=True)
        results.append(held)
    return 0 if all(results) else 1


def _blind(name: str, examples: int) -> tuple[bool, int]:
    try:
        return True, blind.run(name, examples)
    except Exception:  # noqa: BLE001  # whatever it is, it is a finding
        traceback.print_exc()
        return False, examples


def _guided(name: str, seconds: float) -> tuple[bool, int]:
    with tempfile.TemporaryDirectory(prefix="relay-fuzz-") as temporary:
        folder = Path(temporary)
        corpus = folder / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds):
            (corpus / str(number)).write_bytes(seed)
        words = folder / "words"
        words.write_text("".join(map(_quoted, TOKENS)))
        limits = [f"-max_total_time={seconds:.0f}", "-max_len=4096", "-timeout=30", f"-artifact_prefix={folder}/"]
        given = ["-print_final_stats=1", f"-dict={words}", str(corpus)]
        command = [sys.executable, "-m", "tests.fuzz.guided", name, *limits, *given]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        found = re.search(r"stat::number_of_executed_units: ([0-9]+)", done.stderr)
        if done.returncode != 0:
            print(done.stdout[-2000:], done.stderr[-4000:], sep="\n")
        return done.returncode == 0, int(found[1]) if found else 0


def _quoted(token: bytes) -> str:
    """A line of libFuzzer's dictionary."""
    escaped = "".join(f"\\x{byte:02x}" for byte in token)
    return f'"{escaped}"\n'


if __name__ == "__main__":
    sys.exit(main())
