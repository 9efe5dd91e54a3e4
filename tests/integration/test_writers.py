"""Files written by real programs, each in its own way: what arrives is what they wrote, and nothing else is announced.

One program relays for all tests of a kind; each test has a folder of its own in Watch.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import mmap
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.integration.program import Program, drop, wait_for
from tests.integration.relay import INTERVAL, SETTLE, Relay, running

KIB, MIB = 1 << 10, 1 << 20
PAUSE = 2 * SETTLE
"""Longer than any timer of the program: a writer that pauses so long is only given away by its descriptor."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    yield from running(tmp_path_factory.mktemp("auto"))


@pytest.fixture(scope="module")
def settling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    yield from running(tmp_path_factory.mktemp("settle"), completionCheck="settle", settleSeconds=2)


@pytest.fixture
def relay(program: Program, request: pytest.FixtureRequest) -> Relay:
    return Relay(program, re.sub(r"\W+", "-", request.node.name))


@pytest.fixture
def settled(settling: Program, request: pytest.FixtureRequest) -> Relay:
    return Relay(settling, re.sub(r"\W+", "-", request.node.name))


def tool(name: str) -> str:
    """The path of a program; where there is none the test is skipped, in CI (CI=true) it fails."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"not installed: {name}", pytrace=False)
        pytest.skip(f"not installed: {name}")
    return path


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 1 MiB elsewhere, with an old time."""
    path = tmp_path / "report.bin"
    path.write_bytes(os.urandom(MIB))
    os.utime(path, (10**9, 10**9))
    return path


@pytest.mark.parametrize("options", [(), ("--inplace",), ("-a", "--inplace")])
def test_rsync(relay: Relay, source: Path, options: tuple[str, ...]) -> None:
    """To a hidden name and renamed, or into place; slow enough for several looks."""
    command = [tool("rsync"), *options, "--bwlimit=1M", str(source), f"{relay.watch}/"]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    # Into place it gives the file its mode and time after it has closed it: it may be gone by then.
    assert done.returncode in ((0, 23) if "--inplace" in options else (0,)), done.stderr
    relay.delivered({"report.bin": source.read_bytes()})


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Options with which scp reaches a server on 127.0.0.1 without a question."""
    server, folder = tool("sshd"), tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        run(tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it separates privileges
    settings = [f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={folder}/host", "PidFile=none", "UsePAM=no"]
    settings += [f"AuthorizedKeysFile={folder}/user.pub", "StrictModes=no", "PermitRootLogin=yes"]
    settings += ["Subsystem=sftp internal-sftp"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", "-e", "-f", "/dev/null", *(word for item in settings for word in ("-o", item))], stderr=log
        )
    try:
        wait_for(lambda: b"listening" in (folder / "log").read_bytes(), explain=(folder / "log").read_text)
        options = [f"IdentityFile={folder}/user", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        yield ["-P", str(port), "-F", "/dev/null", *(word for item in options for word in ("-o", item))]
    finally:
        process.terminate()
        process.wait()


def test_scp(relay: Relay, source: Path, ssh: list[str]) -> None:
    """Straight to its name, at 1 MiB/s, with its time."""
    run(tool("scp"), "-q", "-p", "-l", "8192", *ssh, source, f"127.0.0.1:{relay.watch}/")
    relay.delivered({"report.bin": source.read_bytes()})
    assert (relay.program.downloaded / relay.place / "report.bin").stat().st_mtime == 10**9


@pytest.mark.parametrize("options", [(), ("-p",)])
def test_cp(relay: Relay, source: Path, options: tuple[str, ...]) -> None:
    run("cp", *options, source, relay.watch)
    relay.delivered({"report.bin": source.read_bytes()})


def test_mv(relay: Relay, source: Path) -> None:
    content = source.read_bytes()
    run("mv", source, relay.watch)
    relay.delivered({"report.bin": content})


def test_mv_from_another_file_system(relay: Relay) -> None:
    """Then it is a copy, which takes its time."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == relay.watch.stat().st_dev:
        pytest.skip("no other file system")
    content, path = os.urandom(16 * MIB), memory / f"{relay.place}-{os.getpid()}"
    path.write_bytes(content)
    run("mv", path, relay.watch / "big.bin")
    relay.delivered({"big.bin": content})


class _Slow(http.server.BaseHTTPRequestHandler):
    """Sends a file in four pieces, with pauses."""

    def do_GET(self) -> None:
        pieces = [letter * 64 * KIB for letter in (b"a", b"b", b"c", b"d")]
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Disposition", 'attachment; filename="page.bin"')
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(PAUSE / 2)

    def log_message(self, format: str, *args: object) -> None:
        pass


DOWNLOAD = b"".join(letter * 64 * KIB for letter in (b"a", b"b", b"c", b"d"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/page.bin"
        server.shutdown()


def test_curl(relay: Relay, url: str) -> None:
    """Straight to its name, from a server that pauses."""
    run(tool("curl"), "-sS", "--fail", "--noproxy", "*", "-o", relay.watch / "page.bin", url)
    relay.delivered({"page.bin": DOWNLOAD})


def test_a_browser(relay: Relay, url: str, tmp_path: Path) -> None:
    """To a name that ends in .crdownload, and renamed."""
    preferences = {"download": {"default_directory": str(relay.watch), "prompt_for_download": False}}
    (tmp_path / "Default").mkdir()
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(preferences))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--no-proxy-server", f"--user-data-dir={tmp_path}"]
    with (tmp_path / "log").open("wb") as log:
        browser = subprocess.Popen(
            [chromium(), *options, url], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(lambda: list(relay.watch.glob("*.crdownload")), explain=(tmp_path / "log").read_text)
        relay.delivered({"page.bin": DOWNLOAD})
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, 9)
        browser.wait()


def test_tar(relay: Relay, tmp_path: Path) -> None:
    """Folders and files with their old times, and modes that forbid writing."""
    expected = {f"d/{n}/f{n}.bin": os.urandom(20 * KIB) for n in range(30)}
    drop(tmp_path / "tree", expected)
    for name in expected:
        os.utime(tmp_path / "tree" / name, (10**9, 10**9))
        (tmp_path / "tree" / name).chmod(0o440)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(tmp_path / "tree" / "d", "d")
    run("tar", "-x", "-f", tmp_path / "all.tar", "-C", relay.watch)
    relay.delivered(expected)


@contextlib.contextmanager
def held(path: Path, content: bytes) -> Iterator[None]:
    """A file in Watch that another program still has open: so it is there to be edited."""
    with path.open("wb") as holder:
        holder.write(content)
        holder.flush()
        yield


def test_sed(relay: Relay) -> None:
    """A new file under a name of its own, and renamed over the old one."""
    path = relay.watch / "list.txt"
    with held(path, b"one\ntwo\n"):
        relay.look_again()
        run("sed", "-i", "s/one/three/", path)
        relay.delivered({"list.txt": b"three\ntwo\n"})


def test_vim(relay: Relay) -> None:
    """A swap file beside it; saved, the old file is renamed, and removed once the new one is whole."""
    path = relay.watch / "list.txt"
    with held(path, b"one\n"):
        keys = ["set swapfile writebackup backupcopy=no backupskip=", "normal otwo", "preserve", "sleep 500m", "wq"]
        run(tool("vim"), "-Nu", "NONE", "-i", "NONE", "-es", *(word for key in keys for word in ("-c", key)), path)
        relay.delivered({"list.txt": b"one\ntwo\n"})


def test_vim_saves_a_new_file_twice(relay: Relay) -> None:
    """Each time it is saved it is a whole file: both may arrive, the last one always, and nothing in between."""
    path = relay.watch / "new.txt"
    keys = ["normal ione", "w!", "sleep 500m", "normal otwo", "w!", "q"]
    run(tool("vim"), "-Nu", "NONE", "-i", "NONE", "-es", *(word for key in keys for word in ("-c", key)), path)
    wait_for(lambda: b"one\ntwo\n" in relay.lying("DownloadedFromS3").values(), explain=relay.program.output)
    relay.look_again()
    assert set(relay.lying("DownloadedFromS3").values()) <= {b"one\n", b"one\ntwo\n"}
    assert relay.lying("DownloadedFromS3") == relay.lying("UploadedToS3")


def test_d06_a_slow_writer(relay: Relay) -> None:
    """D6. Pauses longer than settleSeconds and sleepWatchLocalFolder: the kernel knows that it is not done."""
    with (relay.watch / "slow.bin").open("wb", buffering=0) as file:
        for letter in b"abc":
            file.write(bytes([letter]) * 10_000)
            time.sleep(PAUSE)
            relay.look_again()
            assert relay.lying("DownloadedFromS3") == {}
    relay.delivered({"slow.bin": b"a" * 10_000 + b"b" * 10_000 + b"c" * 10_000})


def test_a_mapping_outlives_its_descriptor(relay: Relay) -> None:
    """A shared writable mapping: closed, but not yet unmapped."""
    path = relay.watch / "mapped.bin"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 8 * KIB)
    with mmap.mmap(fd, 8 * KIB) as memory:
        os.close(fd)
        relay.look_again()
        time.sleep(PAUSE)
        memory[:] = b"m" * 8 * KIB
        relay.look_again()
        assert relay.lying("UploadedToS3") == relay.lying("QueuedForUpload") == {}
    relay.delivered({"mapped.bin": b"m" * 8 * KIB})


def test_an_appender_that_opens_anew(relay: Relay) -> None:
    """Nobody can know that more will come: what arrives, in the order of its versions, is all of it, and once."""
    path, lines = relay.watch / "log.txt", [b"line %d\n" % number for number in range(40)]
    for line in lines:
        with path.open("ab") as file:
            file.write(line)
        time.sleep(0.01)
    arrived: dict[bytes, bytes] = {}

    def whole() -> bool:
        arrived.update(relay.lying("DownloadedFromS3"))
        return sum(map(len, arrived.values())) >= len(b"".join(lines))

    wait_for(whole, explain=relay.program.output)
    relay.look_again()
    arrived = relay.lying("DownloadedFromS3")
    versions = sorted(arrived, key=lambda name: int((re.findall(rb"-Version-(\d+)", name) or [b"1"])[0]))
    assert b"".join(arrived[name] for name in versions) == b"".join(lines)
    assert relay.lying("UploadedToS3") == arrived
    assert len(relay.announced()) == len(arrived)


def test_settle_a_slow_writer(settled: Relay) -> None:
    """completionCheck=settle, and pauses that are longer than a look takes, but shorter than settleSeconds: whole."""
    pieces = [bytes([letter]) * 10_000 for letter in b"abcd"]
    with (settled.watch / "slow.bin").open("wb", buffering=0) as file:
        for piece in pieces:
            file.write(piece)
            time.sleep(3 * INTERVAL)
    settled.delivered({"slow.bin": b"".join(pieces)})


def test_settle_cannot_know_of_a_pause(settled: Relay) -> None:
    """D6. Pauses longer than settleSeconds: what was there goes, as a whole; the rest comes too late."""
    with (settled.watch / "slow.bin").open("wb", buffering=0) as file:
        file.write(b"a" * 10_000)
        settled.delivered({"slow.bin": b"a" * 10_000})
        file.write(b"b" * 10_000)
    settled.look_again()
    assert settled.lying("DownloadedFromS3") == {b"slow.bin": b"a" * 10_000}
    assert settled.lying("UploadedToS3") == {b"slow.bin": b"a" * 10_000 + b"b" * 10_000}
    assert settled.announced() == ["slow.bin"]
