"""What can go wrong between Watch and UploadedToS3, with the real program; the numbers are those of docs/faults.md."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.program import Launch, Program, drop, files, wait_for, write_properties
from tests.integration.relay import INTERVAL, SETTLE, Relay, running
from tests.integration.test_main import unprivileged
from tests.proxy import Dam
from tests.servers import MotoServer, make_bucket

SOON = 10.0
"""Seconds; far from the intervals that are set where an event has to be what wakes the watcher."""
RARELY = 60


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    yield from running(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def relay(program: Program, request: pytest.FixtureRequest) -> Relay:
    return Relay(program, re.sub(r"\W+", "-", request.node.name))


@contextlib.contextmanager
def stopped(program: Program, role: str) -> Iterator[None]:
    """A process that stands still meanwhile."""
    wait_for(lambda: role in program.roles(), explain=program.output)
    pid = program.roles()[role]
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    try:
        wait_for(lambda: all("\nState:\tT" in (each / "status").read_text() for each in threads))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def lines(program: Program, *words: str) -> list[str]:
    """The lines of the console with all of these words."""
    return [line for line in program.output().splitlines() if all(word in line for word in words)]


def arrive(program: Program, expected: dict[bytes, bytes], seconds: float = SOON) -> None:
    wait_for(lambda: files(program.downloaded).keys() >= expected.keys(), seconds, program.output)
    assert files(program.downloaded) == expected


def hurry(path: Path, content: bytes) -> None:
    """Write in place and give the file its old time back."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_d04_folders_that_may_not_be_written(tmp_path: Path) -> None:
    """D4. One line, files wait, and all goes on by itself once that is mended: on the way in, out, and at the end."""
    config = write_properties(tmp_path, sleepWatchLocalFolder=INTERVAL, uploadProcesses=1)
    program = Program(config, 3, prefix=unprivileged())
    try:
        program.started()
        expected = drop(program.watch, {"first": b"1"})
        arrive(program, expected)
        for name, said in (
            ("QueuedForUpload", "cannot be moved to QueuedForUpload"),
            ("UploadedToS3", "UploadedToS3"),
            ("DownloadedFromS3", "cannot write to"),
        ):
            folder = program.state / name
            folder.chmod(0o550)
            drop(program.watch, {f"for-{name}": name.encode()})
            wait_for(partial(lines, program, "Permission denied", said), explain=program.output)
            folder.chmod(0o750)
            expected[f"for-{name}".encode()] = name.encode()
            arrive(program, expected, 30)
            assert len(lines(program, " W ", f"for-{name}", "it waits")) <= 1
        wait_for(lambda: files(program.state / "UploadedToS3") == expected, explain=program.output)
        assert program.stopped() == 0
    finally:
        program.end()


def test_d04_a_folder_that_may_not_be_written_when_a_process_starts_again(tmp_path: Path) -> None:
    """D4. It says so, waits, and goes on: whoever mends the folder need not know of the program."""
    program = Program(write_properties(tmp_path, sleepWatchLocalFolder=INTERVAL), 3, prefix=unprivileged())
    try:
        arrive(program, expected := drop(program.started().watch, {"first": b"1"}))
        (program.state / "QueuedForUpload/.relay").rmdir()  # in which a process tries what it can do there
        (program.state / "QueuedForUpload").chmod(0o550)
        os.kill(program.roles()["watcher"], signal.SIGKILL)
        wait_for(partial(lines, program, " E ", "QueuedForUpload", "let this user write"), explain=program.output)
        expected |= drop(program.watch, {"file": b"1"})
        (program.state / "QueuedForUpload").chmod(0o750)
        arrive(program, expected, 30)
        assert "Traceback" not in program.log()
        assert program.stopped() == 0
    finally:
        program.end()


def test_d07_d08_d09_d10_d28_changed_between_claim_and_upload(relay: Relay) -> None:
    """D7, D8, D9, D10, D28. Written on, overwritten, removed, replaced, taken away: what is there at last counts."""
    names = ("written", "overwritten", "cut", "removed", "replaced", "taken")
    queued = relay.program.state / "QueuedForUpload" / relay.place
    with contextlib.ExitStack() as writers:
        with stopped(relay.program, "uploader"):
            drop(relay.watch, dict.fromkeys(names, b"before"))
            wait_for(lambda: set(os.listdir(relay.watch)) == set(), explain=relay.program.output)
            writer = writers.enter_context((queued / "written").open("ab", buffering=0))
            writer.write(b", and")
            hurry(queued / "overwritten", b"after!")
            hurry(queued / "cut", b"be")
            (queued / "removed").unlink()
            (queued / ".new").write_bytes(b"another")
            (queued / ".new").rename(queued / "replaced")
            (queued / "taken").rename(relay.program.state / f"taken-{os.getpid()}")
        relay.look_again()
        assert b"written" in relay.lying("QueuedForUpload")
        writer.write(b" after")
    relay.delivered({"written": b"before, and after", "overwritten": b"after!", "cut": b"be", "replaced": b"another"})


@pytest.fixture
def dammed(tmp_path: Path, launch: Launch, moto_server: MotoServer, dam: Dam) -> tuple[Program, Dam]:
    """A program whose requests to S3 can be held up."""
    make_bucket(moto_server, name := "changed")
    key, secret = moto_server.credentials
    keys: dict[str, Any] = {"aws_access_key_id": key, "aws_secret_key": secret, "aws_s3_bucket": name, "aws_sqs": name}
    keys |= {"aws_endpoint_url": moto_server.endpoint, "aws_endpoint_url_s3": dam.endpoint, "uploadProcesses": 1}
    return launch(tmp_path, 3, completionCheck="settle", settleSeconds=0.1, sleepWatchLocalFolder=0.1, **keys), dam


def test_d06_d07_d08_d10_changed_during_the_upload(dammed: tuple[Program, Dam]) -> None:
    """D6, D7, D8, D10. Where time decides: what is no longer what was sent is never announced, and is taken again."""
    program, dam = dammed
    program.started()
    queued = program.state / "QueuedForUpload"
    first = drop(program.watch, {"first": b"1"})  # once it is through nothing else is asked of the store
    arrive(program, first, 30)
    with (program.watch / "written").open("wb", buffering=0) as writer:
        dam.shut("PUT /")
        writer.write(b"half")
        drop(program.watch, {"overwritten": b"before", "replaced": b"before"})
        names = ("/inbox/written", "/inbox/overwritten", "/inbox/replaced")
        wait_for(lambda: all(map(dam.holds, names)), explain=program.output)
        writer.write(b" and half")
        hurry(queued / "overwritten", b"after!")
        (program.state / "new").write_bytes(b"another")
        (program.state / "new").rename(queued / "replaced")
    dam.open()
    # What was replaced had been sent whole, from the one descriptor; what took its place is another drop.
    sent = {b"written": b"half and half", b"overwritten": b"after!", b"replaced": b"before"}
    arrive(program, first | sent | {b"replaced-Version-2": b"another"}, 30)
    wait_for(lambda: not files(queued), 30, program.output)
    assert len(lines(program, " sent ")) == 5
    again = {line.split()[3] for line in lines(program, "changed while it was uploaded; nobody was told")}
    assert again >= {"written", "overwritten"}
    assert program.stopped() == 0


def test_d13_files_that_may_not_be_read(tmp_path: Path) -> None:
    """D13. Mode 000, or another's: one line, no hot loop, others go; another's that may be read goes, too."""
    keys = {"sleepWatchLocalFolder": INTERVAL, "settleSeconds": SETTLE, "folderToWatch": tmp_path / "state" / "Watch"}
    program = Program(write_properties(tmp_path, **keys), 3, prefix=unprivileged())
    try:
        program.started()
        staged = tmp_path / "staged"
        drop(staged, {"shut": b"1", "others": b"2", "open-to-all": b"3"})
        (staged / "shut").chmod(0)
        (staged / "others").chmod(0o600)
        (staged / "open-to-all").chmod(0o644)
        if os.geteuid() == 0:
            for name in ("others", "open-to-all"):
                os.chown(staged / name, 12345, 12345)
        else:
            (staged / "others").chmod(0)
        for path in staged.iterdir():
            path.rename(program.watch / path.name)
        expected = {b"open-to-all": b"3"}
        arrive(program, expected)
        for number in range(3):  # three later looks
            expected |= drop(program.watch, {f"{number}": b""})
            arrive(program, expected)
        for name in ("shut", "others"):
            assert len(lines(program, "Watch", name, "cannot be opened, it waits: Permission denied")) == 1
        assert "Traceback" not in program.log()
        for name, content in (("shut", b"1"), ("others", b"2")):
            (program.watch / name).chmod(0o644)
            expected[name.encode()] = content
        arrive(program, expected)
        assert program.stopped() == 0
    finally:
        program.end()


def test_d14_what_is_no_file(relay: Relay, tmp_path: Path) -> None:
    """D14. Pipe, socket, device, links of every kind: told of once, never opened; a second name of a file is a file."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    odd = {name: relay.watch / name for name in ("pipe", "socket", "file", "folder", "nowhere", "loop")}
    os.mkfifo(odd["pipe"])
    fd = os.open(relay.watch, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{fd}/socket")  # its own path may be longer than a socket's
    os.close(fd)
    for name, target in (("file", secret), ("folder", tmp_path), ("nowhere", "absent"), ("loop", "loop")):
        odd[name].symlink_to(target)
    if os.geteuid() == 0:
        odd["device"] = relay.watch / "device"
        with contextlib.suppress(PermissionError):
            os.mknod(odd["device"], 0o600 | 0o020000, os.makedev(1, 3))
    os.link(secret, relay.watch / "linked")
    relay.delivered({"linked": b"secret"})
    for _ in range(2):
        relay.look_again()
    for name, path in odd.items():
        assert path.is_symlink() or path.exists() or name == "device"
        assert len(lines(relay.program, f"{path} is no regular file")) == (path.is_symlink() or path.exists())
    assert secret.read_bytes() == b"secret"
    for path in odd.values():
        path.unlink(missing_ok=True)


def test_d27_a_tree_that_is_moved_in(relay: Relay) -> None:
    """D27. One of its files is still open: the others arrive, each in its folder, and that one when it is closed."""
    staged = relay.program.state / "staged"
    content = {f"tree/{n % 20}/{n % 3}/{n}.txt": b"%d" % n * n for n in range(150)}
    drop(staged, content)
    with (staged / "tree" / "0" / "0" / "open").open("wb") as late:
        (staged / "tree").rename(relay.watch / "tree")
        relay.delivered(content)
        late.write(b"late")
    relay.delivered(content | {"tree/0/0/open": b"late"})


def test_d18_more_events_than_the_kernel_keeps(tmp_path: Path, launch: Launch) -> None:
    """D18. What comes after an overflow is found at once, told in one line, and there are events as before."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=RARELY).started()
    expected = drop(program.watch, {"first": b"1"})
    arrive(program, expected)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with stopped(program, "watcher"):
        paths = [os.fsencode(program.watch / name) for name in (".a", ".b")]
        for number in range(most + 2000):  # in turn: equal events that follow each other are one
            os.close(os.open(paths[number % 2], os.O_WRONLY | os.O_CREAT))
        expected |= drop(program.watch, {"late/a": b"2", "b": b"3"})
    arrive(program, expected)
    wait_for(lambda: lines(program, " W ", "kernel events for", "were lost"), SOON, program.output)
    expected |= drop(program.watch, {"late/c": b"4"})
    arrive(program, expected)
    assert len(lines(program, "kernel events")) == 1
    assert "Traceback" not in program.log()
    assert program.stopped() == 0


def test_d23_a_name_without_room(relay: Relay) -> None:
    """D23. 255 bytes, dropped twice: the second loses whole characters of its stem to its number."""
    name = "é" * 125 + "x.txt"
    assert len(os.fsencode(name)) == 255
    for content in (b"1", b"2"):
        drop(relay.watch, {name: content})
        wait_for(lambda: not (relay.watch / name).exists(), explain=relay.program.output)
    relay.delivered({name: b"1", "é" * 120 + "-Version-2.txt": b"2"})


def limited(kind: str, most: int) -> list[str]:
    """A prefix that runs a command where the kernel has so few inotify instances or watches for it."""
    script = f'echo {most} > /proc/sys/user/max_inotify_{kind}; exec "$@"'
    prefix = ["unshare", "-Ur", "sh", "-ec", script, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a user namespace")
    return prefix


@pytest.mark.parametrize(("kind", "most", "said"), [("instances", 0, "instance"), ("watches", 0, "watch limit")])
def test_d19_no_kernel_events(tmp_path: Path, kind: str, most: int, said: str) -> None:
    """D19. No inotify instance or watch is left: one line, and the scan finds everything within its interval."""
    config = write_properties(tmp_path, sleepWatchLocalFolder=INTERVAL)
    program = Program(config, 3, prefix=limited(kind, most))
    try:
        program.started()
        expected: dict[bytes, bytes] = {}
        for number in range(3):
            expected |= drop(program.watch, {f"d{number}/f": b"%d" % number})
            arrive(program, expected)
        assert len(lines(program, " W ", "kernel events for", said)) == 1
        assert "Traceback" not in program.log() + program.output()
        assert program.stopped() == 0
    finally:
        program.end()


def test_d20_silent_events(tmp_path: Path) -> None:
    """D20. As on a network share: watching succeeds and nothing is ever heard; the scan finds everything."""
    if shutil.which("strace") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("not installed: strace", pytrace=False)
        pytest.skip("not installed: strace")
    prefix = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=inotify_add_watch"]
    prefix += ["-e", "inject=inotify_add_watch:retval=1"]
    program = Program(write_properties(tmp_path, sleepWatchLocalFolder=1), 1, prefix=prefix)
    try:
        program.started()
        for number in range(3):
            drop(program.watch, {f"d{number}/f": b"1"})
            wait_for(lambda: not files(program.watch), SOON, program.output)
        wait_for(lambda: len(files(program.state / "UploadedToS3")) == 3, explain=program.output)
        assert lines(program, "kernel events") == []
    finally:
        program.end()


def test_d21_watch_is_replaced(tmp_path: Path, launch: Launch) -> None:
    """D21. Moved away, made anew, replaced by a folder with files, removed: what lies there is found, none is lost."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=0.5).started()
    watch, dropped, over = program.watch, set[bytes](), threading.Event()

    def keep_dropping() -> None:
        number = 0
        while not over.is_set():
            with contextlib.suppress(FileNotFoundError):  # there is no Watch just now
                (watch / f"f{number}").write_bytes(b"%d" % number)
                dropped.add(b"f%d" % number)
            number += 1
            time.sleep(0.01)

    def goes_on() -> None:
        """What is dropped now arrives."""
        before = len(files(program.downloaded))
        wait_for(lambda: len(files(program.downloaded)) > before + 3, 20, program.output)

    dropper = threading.Thread(target=keep_dropping)
    dropper.start()
    try:
        goes_on()
        watch.rename(program.state / "away-1")
        watch.mkdir()
        goes_on()
        dropped |= drop(program.state / "prepared", {"p1": b"p1", "sub/p2": b"p2"}).keys()
        watch.rename(program.state / "away-2")
        (program.state / "prepared").rename(watch)
        goes_on()
    finally:
        over.set()
        dropper.join()
    wait_for(lambda: not files(watch), 20, program.output)
    shutil.rmtree(watch)
    wait_for(watch.exists, 20, program.output)  # the program makes it again
    dropped |= drop(watch, {"last": b"last"}).keys()
    away = files(program.state / "away-1").keys() | files(program.state / "away-2").keys()
    wait_for(lambda: files(program.downloaded).keys() >= dropped - away, 30, program.output)
    sent = files(program.state / "UploadedToS3")
    assert files(program.downloaded) == sent
    assert sent.keys() | away == dropped
    assert not sent.keys() & away
    assert all(content == name.rpartition(b"/")[2].removeprefix(b"f") for name, content in sent.items())
    assert lines(program, "kernel events") == []
    assert "Traceback" not in program.log()
    assert program.stopped() == 0


def test_d22_few_descriptors(tmp_path: Path, launch: Launch) -> None:
    """D22. The watcher may open no more than 40 files, at a moment's notice: no crash, and all arrives."""
    program = launch(tmp_path, 3, sleepWatchLocalFolder=INTERVAL).started()
    expected = drop(program.watch, {"first": b"1"})
    arrive(program, expected)
    pid = program.roles()["watcher"]
    with stopped(program, "watcher"):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
        expected |= drop(program.watch, {f"{n % 9}/{n}": b"%d" % n for n in range(200)})
    arrive(program, expected, 30)
    assert program.roles()["watcher"] == pid
    assert "Traceback" not in program.log()
    assert len(lines(program, " W ")) < 10, "told of each file"
    assert program.stopped() == 0
