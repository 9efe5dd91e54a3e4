"""`python -m tests.floor`: the program with the oldest versions of what it depends on that requirements.txt allows.

It installs them into an environment of its own, with what the tests need, and runs there the contract of the store and
of the queue and two programs that relay through moto. The embedded server is left out: ministack pins one botocore.
"""

import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TESTS = ("pytest>=9,<10", "pytest-timeout", "pytest-xdist", "hypothesis", "moto[s3,sqs]>=5.2,<6", "flask-cors")
_RUN = (
    "tests/contract/test_store.py",
    "tests/contract/test_queue.py",
    "tests/integration/test_flow.py::test_two_programs_on_moto",
)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+(?:\[[a-z0-9,]+\])?)>=([0-9.]+)")


def lower_bounds(requirements: str) -> list[str]:
    """Each requirement that has a lower bound, as exactly that version."""
    lines = (line.strip() for line in requirements.splitlines())
    return [f"{found[1]}=={found[2]}" for line in lines if (found := _REQUIREMENT.match(line))]


def main(arguments: Sequence[str]) -> int:
    """pytest's exit code; `arguments` are handed on to it."""
    oldest = lower_bounds((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    print("with", *oldest, flush=True)
    with tempfile.TemporaryDirectory(prefix="relay-floor-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *oldest, *_TESTS], check=True)
        command = [python, "-m", "pytest", "-q", "-k", "not ministack and not seaweed", *_RUN, *arguments]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
