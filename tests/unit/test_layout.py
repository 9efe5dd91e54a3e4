"""The arrows of the layout, held over the syntax trees of the program."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("*.py"), *(ROOT / "pipeline").rglob("*.py")])
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

PURE = ("names", "keys", "notice", "shapes", "drop", "failures", "ports", "blame", "values", "arrivals", "selection")
WORKERS = ("watcher", "uploader", "poller")
AWS = {"boto3", "botocore", "awscrt", "s3transfer"}
MOVES = {
    "rename", "renames", "replace", "link", "unlink", "remove", "rmdir", "removedirs", "rmtree", "move",
    "_renameat2", "rename_noreplace",
}  # fmt: skip
# Who may move or remove anything, and why.
MOVERS = {
    "pipeline/kernel.py": "the moves themselves, and the probes' own files",
    "pipeline/folders.py": "empty folders are tidied away",
    "pipeline/claims.py": "a file of a batch, whose name is free in QueuedForUpload",
    "pipeline/moves.py": "the one move of the ingest side; a reason that could not be written whole",
    "pipeline/crossing.py": "the same between two file systems: gives copies their names, removes what was copied",
    "pipeline/records.py": "the records and unnamed copies of such moves",
    "pipeline/landing.py": "gives downloads their names and removes temporary files",
    "pipeline/strays.py": "removes temporary files of downloads that were cut off",
    "pipeline/command_locks.py": "the lock of a command that has ended",
    "pipeline/dead_letters.py": "a kept message appears whole, under its own id",
    "pipeline/redrive.py": "a kept message that was sent back",
    "pipeline/aws/journal.py": "the record of a multipart upload that has ended",
    "pipeline/start.py": "trial files, to see that folders can be used",
    "pipeline/local_server.py": "the embedded server's own state",
    "pipeline/local_ministack.py": "the embedded server's own state",
    "pipeline/soak/report.py": "a report appears whole, in the place of an earlier one",
    "pipeline/soak/logtail.py": "the log of a soak test, which may run for days",
    "pipeline/soak/feeder.py": "files that the test made itself: dropped by a rename, removed once settled",
    "pipeline/soak/cleanup.py": "what a soak test left in its own folders",
}
# Formats in which data can name code that is run when they are read.
READS_CODE = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "jsonpickle", "code", "codeop")
MAKES_CODE = {"eval", "exec", "compile", "__import__"}
# From the bottom; a package is one unit.
LAYERS = (
    PURE,
    ("kernel", "locks", "pacing", "batcher", "agenda", "sides", "command", "threads"),
    ("durability", "folders", "listing", "copying", "records", "crossing", "moves", "ledger", "ledgers", "aws"),
    ("parents", "told", "strays", "backlog", "command_locks"),
    ("spool", "landing", "hand", "room", "completeness", "dead_letters", "events", "claims", "kept", "offers"),
    ("groups", "redrive"),
    ("storing", "acceptance", "acknowledger", "receiver", "doubts", "undelivered", "reconcile", "forgetting"),
    ("announcer", "handling"),
    ("processing",),
    WORKERS,
    ("app_properties", "app_logger", "aws_util", "link", "parent"),
    ("local_aws", "local_ministack", "local_server", "reannounce", "start", "supervisor", "children"),
    ("process",),
    ("plan", "roles", "soak", "arguments"),
    ("main",),
)
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}


@cache
def nodes_of(name: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))))


@cache
def imports(name: str) -> set[str]:
    """Every module a file imports, and every name it imports from one (`pipeline.kernel` from `pipeline`)."""
    found: set[str] = set()
    for node in nodes_of(name):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def depends(name: str, *modules: str) -> set[str]:
    """Which of some modules, or anything in them, a file imports."""
    return {found for found in imports(name) for module in modules if f"{found}.".startswith(f"{module}.")}


def calls(name: str) -> set[str]:
    """The plain or last name of everything that is called as `x.name(…)`, `name(…)`; not methods of text."""
    found = set()
    values = {"replace"} & {imported.rpartition(".")[2] for imported in depends(name, "dataclasses")}
    for node in nodes_of(name):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id not in values:
                found.add(node.func.id)
            elif isinstance(node.func, ast.Attribute) and not _is_of_values(node):
                found.add(node.func.attr)
    return found


def calls_in(name: str) -> list[ast.Call]:
    return [node for node in nodes_of(name) if isinstance(node, ast.Call)]


def _is_of_values(node: ast.Call) -> bool:
    """`text.replace(a, b)`, `datetime.replace(name=…)` and `list.remove(x)`: only `os`'s and `Path.replace` move."""
    function = node.func
    assert isinstance(function, ast.Attribute)
    if isinstance(function.value, ast.Name) and function.value.id == "os":
        return False
    many = len(node.args) != 1 or bool(node.keywords)
    return function.attr == "remove" or (function.attr == "replace" and many)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_touch_nothing(module: str) -> None:
    """Values in, values out: no clock, path, client or log, directly or through another module of ours."""
    seen, pending = set(), [f"pipeline/{module}.py"]
    while pending:
        name = pending.pop()
        seen.add(name)
        impure = depends(name, "os", "time", "logging", "pathlib", "random", "socket", "subprocess", "threading", *AWS)
        assert not impure, f"{module} → {name}"
        ours = {found.split(".")[1] for found in imports(name) if found.startswith("pipeline.")}
        pending += [path for path in (f"pipeline/{part}.py" for part in ours) if path not in seen and path in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_facade_knows_aws(name: str) -> None:
    """boto3, botocore and awscrt are imported by aws_util and pipeline/aws alone; ministack by the embedded server."""
    if name != "aws_util.py" and not name.startswith("pipeline/aws/"):
        assert not depends(name, *AWS)
    if not name.startswith("pipeline/local_"):
        assert "ministack" not in (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("module", WORKERS)
def test_workers_know_what_they_are_given(module: str) -> None:
    """No worker wires itself, and none knows another."""
    others = [f"pipeline.{other}" for other in WORKERS if other != module]
    above = ["aws_util", "app_properties", "app_logger", "main", "pipeline.process", "pipeline.supervisor"]
    assert not depends(f"pipeline/{module}.py", *above, *others, "pipeline.roles", "pipeline.start", "pipeline.aws")


def test_the_supervisor_knows_nothing_of_its_children() -> None:
    """It starts, watches and stops whatever it is given."""
    assert not depends(
        "pipeline/supervisor.py",
        *(
            f"pipeline.{module}"
            for module in (*WORKERS, "roles", "aws", "process", "spool", "folders", "moves", "landing")
        ),
        "aws_util",
        "app_properties",
    )


def unit_of(module: str) -> str:
    """`pipeline.aws.sqs` → `aws`, `main` → `main`; empty for the package pipeline itself."""
    first, *below = module.split(".")
    return first if first != "pipeline" else (below or [""])[0]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "pipeline/__init__.py"])
def test_arrows_never_go_up(name: str) -> None:
    """Whatever a module imports lies in its own layer or below."""
    own = RANK[unit_of(name.removesuffix(".py").replace("/", "."))]
    ours = {found: unit_of(found) for found in depends(name, "pipeline", *(path.stem for path in ROOT.glob("*.py")))}
    assert not {found for found, unit in ours.items() if unit and RANK[unit] > own}


@pytest.mark.parametrize("name", NAMES)
def test_roles_are_imported_by_name(name: str) -> None:
    """In the child alone: no parent loads what a worker needs; and nothing shipped needs the tests."""
    assert not depends(name, "tests")
    if not name.startswith("pipeline/roles/"):
        assert not depends(name, "pipeline.roles")


@pytest.mark.parametrize("name", NAMES)
def test_only_these_move_or_remove_files(name: str) -> None:
    """A file that is lost was lost in one of MOVERS."""
    moving = calls(name) & MOVES
    if name in MOVERS:
        assert moving, "it moves nothing any more: take it off the list"
    else:
        assert moving <= {"move"} if name == "pipeline/spool.py" else not moving


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_came_from_elsewhere_is_run(name: str) -> None:
    """F14. No module reads what can name code, none makes code of text, and what is imported by name is known."""
    assert not depends(name, *READS_CODE)
    called = [(ast.unparse(call.func), call) for call in calls_in(name)]
    assert not [ast.unparse(call) for what, call in called if what in MAKES_CODE]
    assert not depends(name, "runpy", "importlib.import_module")
    for call in [call for what, call in called if what == "importlib.import_module"]:
        assert isinstance(call.args[0], ast.Constant) or name == "pipeline/process.py", ast.unparse(call)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_turns_verification_off(name: str) -> None:
    """B15. Certificates are always verified: no module speaks of what would leave that out, and no key asks for it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"verify_peer|verify\s*=\s*False|CERT_NONE|check_hostname|unverified", text)


def test_nothing_of_a_message_goes_from_process_to_process() -> None:
    """F14. Python pickles what its processes tell each other: a poller, which alone reads messages, is never heard."""
    sides = [call for call in calls_in("pipeline/plan.py") if ast.unparse(call.func) == "Side"]
    (consume,) = [side for side in sides if ast.unparse(side.args[0]) == "'consume'"]
    assert len(consume.args) == 3, "a side that shares something"
    assert not consume.keywords
    assert "_link" not in {node.id for node in nodes_of("pipeline/roles/poller.py") if isinstance(node, ast.Name)}


def test_no_move_replaces() -> None:
    """Where the user's files pass, nothing is called that overwrites its target."""
    for name in ("folders", "moves", "crossing", "records", "spool", "landing", "watcher", "uploader", "poller"):
        assert not calls(f"pipeline/{name}.py") & {"rename_over", "rename", "renames", "replace", "copy", "rmtree"} - (
            {"rename"} if name == "landing" else set()  # the ledger's
        )


@pytest.mark.parametrize("name", NAMES)
def test_modules_stay_small(name: str) -> None:
    """main composes; a module that grows beyond 300 lines is two."""
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    if name == "main.py":
        assert lines <= 80
    elif name.startswith("pipeline/"):
        assert lines < 300


def test_importing_starts_nothing() -> None:
    """No thread, process, open file, handler or signal: children import what their parent imported."""
    modules = [name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in NAMES]
    code = f"""
import importlib, logging, multiprocessing, os, signal, threading
import boto3, awscrt.io, watchdog.observers  # what these open is theirs
files, handlers = sorted(os.listdir("/proc/self/fd")), signal.getsignal(signal.SIGTERM)
for module in {modules!r}:
    importlib.import_module(module)
assert threading.active_count() == 1, threading.enumerate()
assert not multiprocessing.active_children()
assert sorted(os.listdir("/proc/self/fd")) == files, "a file was opened"
assert signal.getsignal(signal.SIGTERM) is handlers
assert not logging.getLogger().handlers
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
