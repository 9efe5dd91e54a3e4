"""What the kernel offers beyond POSIX, each probed once, each with a portable fallback.

Linux has moves that refuse to replace (renameat2), lookups that cannot leave a folder (openat2), an answer to "does
anybody write to this?" (leases), one call that makes many files durable (syncfs), a signal at the parent's death and
names for processes. Elsewhere, and on file systems that lack one, the fallback named at each function does the same in
more steps.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields

_NO_REPLACE = 1
_KEEP_SIZE = 1  # of fallocate(2)
_SYS_OPENAT2 = 437  # the same on every architecture (Linux 5.6)
_RESOLVE = 0x08 | 0x04 | 0x02  # BENEATH | NO_SYMLINKS | NO_MAGICLINKS
PROBE = ".relay-probe-"
"""Names of what is tried out in a folder; no drop, even where a kill left it in QueuedForUpload."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_F_SETLEASE = 1024
# mallopt(3): M_ARENA_MAX; M_MMAP_THRESHOLD, which takes no more; M_TRIM_THRESHOLD, what stays when all is free.
_ONE_HEAP = ((-8, 1), (-3, 32 << 20), (-1, 64 << 20))

# Local file systems whose leases tell the truth (statfs(2), linux/magic.h). FUSE grants leases under an open writer.
_LEASE_FILE_SYSTEMS = {
    0xEF53: "ext",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x2FC12FC1: "zfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlay",
}


# Local file systems of which syncfs(2) writes all that fsync(2) does; FUSE asks its server nothing.
_TOGETHER = {"ext", "xfs", "btrfs", "tmpfs"}


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _load_libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


_libc = _load_libc()


def prepared(name: str, *types: type) -> Callable[..., int] | None:
    """A function of libc with the types of its arguments: without them every call finds them out anew."""
    function = getattr(_libc, name, None)
    if function is not None:
        function.argtypes = types
    return function


_RANGE = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_fallocate = prepared("fallocate64", *_RANGE) or prepared("fallocate", *_RANGE)
_rename = prepared("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


@dataclass(frozen=True)
class Facilities:
    """Which of the kernel's own ways are in use for one folder; all False is the portable program."""

    noreplace: bool = False
    beneath: bool = False
    lease: bool = False
    together: bool = False

    def describe(self) -> str:
        """One line for the log."""
        ways = {
            "noreplace": ("renameat2", "link and unlink"),
            "beneath": ("openat2", "component by component"),
            "lease": ("leases", "settle time"),
            "together": ("syncfs", "file by file"),
        }
        return ", ".join(ways[item.name][0 if getattr(self, item.name) else 1] for item in fields(self))


def probe(folder_fd: int, *, moves: bool = True) -> Facilities:
    """Try each facility in an open, writable folder; what fails there is not used there.

    Without `moves` nothing is made in it, and what moves something to it does so in the portable way.
    """
    kind = _file_system(folder_fd)
    return Facilities(
        moves and _probe_rename(folder_fd),
        _probe_beneath(folder_fd),
        kind is not None,
        kind in _TOGETHER,
    )


def rename_noreplace(source_fd: int, source: str, target_fd: int, target: str, facilities: Facilities) -> None:
    """Move a file between open folders; FileExistsError if the target name is taken. Fallback: link, then unlink."""
    if facilities.noreplace:
        _renameat2(source_fd, source, target_fd, target)
        return
    linked = [os.stat(source, dir_fd=source_fd, follow_symlinks=False)]
    os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
    with contextlib.suppress(FileNotFoundError):  # somebody took it away already, or put something else there
        linked.append(os.stat(target, dir_fd=target_fd, follow_symlinks=False))
    os.fsync(target_fd)  # else a power cut may keep the unlink and forget the link
    with contextlib.suppress(FileNotFoundError):
        # What came under the name meanwhile was not moved: it stays.
        now = os.stat(source, dir_fd=source_fd, follow_symlinks=False)
        if any(os.path.samestat(now, one) for one in linked):
            os.unlink(source, dir_fd=source_fd)


def open_beneath(folder_fd: int, path: str, flags: int, facilities: Facilities) -> int:
    """Open a relative path without leaving the folder and without following any link.

    Fallback: each component is opened by itself. OSError (ELOOP, ENOTDIR, ENOENT, EXDEV, …) as openat2(2) gives it.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    if facilities.beneath:
        return _openat2(folder_fd, path, flags)
    *folders, name = refuse_leaving(path).split("/")
    current = os.dup(folder_fd)
    try:
        for part in folders:
            following = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = following
        return os.open(name, flags, dir_fd=current)
    finally:
        os.close(current)


def refuse_leaving(path: str) -> str:
    """`path`, unless a part of it is `..`, which leads out of a folder without any link: OSError (EXDEV)."""
    if ".." in path.split("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return path


def create_hidden(folder_fd: int, mode: int) -> tuple[int, str]:
    """A new file open for reading and writing in a folder, and its name; the umask may take from its mode.

    Not O_TMPFILE: a file that has no name yet, and one that gets its first, each wait for ext4's one list of them; that
    cost as much again as making, writing and renaming the file.
    """
    name = f"part-{secrets.token_hex(12)}"
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, mode, dir_fd=folder_fd), name


def reserve(fd: int, size: int) -> None:
    """Take room for a file that will have so many bytes, without changing what it has; OSError if there is not enough.

    Nothing is reserved where the file system cannot. Not posix_fallocate(3), which then writes all of it instead.
    """
    if _fallocate is None or size <= 0:
        return
    while _fallocate(fd, _KEEP_SIZE, 0, size) != 0:
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def is_being_written(fd: int) -> bool | None:
    """Whether any process has the file open for writing or maps it writable; None where the kernel will not tell.

    `fd` must be read-only. A read lease is refused while a writer exists; it is dropped at once, because a lease that
    somebody breaks sends SIGIO, whose default ends the process.
    """
    try:
        fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_UNLCK)
    return False


def tells_writers(fd: int) -> bool:
    """Whether the answer of `is_being_written` is to be believed on the file system of an open file."""
    return _file_system(fd) is not None


def die_with_parent(number: int = signal.SIGKILL) -> bool:
    """Ask for a signal when the parent ends; False where there is no such service (watch the parent's sentinel)."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    return _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) == 0


def name_process(name: str) -> bool:
    """Show this process, and the threads it starts from now on, under a name of at most 15 bytes in `top` and `ps -L`.

    Of a longer one the first 15 are shown. False where there is no such service: it keeps the interpreter's name.
    """
    return _libc is not None and _libc.prctl(_PR_SET_NAME, os.fsencode(name), 0, 0, 0) == 0


def share_memory() -> bool:
    """Let the threads of this process use blocks of several MiB one after the other; False without glibc's allocator.

    Left alone each thread keeps a heap of them (200 to 320 MB in all). Given back to the system at once, each comes
    back as new pages, which cost more than what is done with them: on a virtual machine downloads took twice the CPU.
    """
    if _libc is None or not hasattr(_libc, "mallopt"):
        return False
    return all(_libc.mallopt(option, value) == 1 for option, value in _ONE_HEAP)


def try_lock(fd: int) -> bool:
    """Take the exclusive lock of an open file without waiting; False if another holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def fsync_path(path: str | os.PathLike[str]) -> None:
    """Make a file's content, or a folder's list of names, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _probe_rename(folder_fd: int) -> bool:
    source, target = (f"{PROBE}{secrets.token_hex(8)}" for _ in range(2))
    for name in (source, target):
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=folder_fd))
    try:
        _renameat2(folder_fd, source, folder_fd, target)
    except FileExistsError:
        return True
    except OSError:
        return False
    finally:
        for name in (source, target):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder_fd)
    return False  # it replaced the target: a file system that ignores the flag


def _probe_beneath(folder_fd: int) -> bool:
    try:
        os.close(_openat2(folder_fd, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _file_system(folder_fd: int) -> str | None:
    """Which of the local file systems that are known here holds an open folder."""
    if _libc is None:
        return None
    # struct statfs begins with f_type, a long; the rest (at most 120 bytes) is not read.
    buffer = (ctypes.c_long * 32)()
    return _LEASE_FILE_SYSTEMS.get(buffer[0] & 0xFFFFFFFF) if _libc.fstatfs(folder_fd, buffer) == 0 else None


def _renameat2(source_fd: int, source: str, target_fd: int, target: str) -> None:
    if _rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _rename(source_fd, os.fsencode(source), target_fd, os.fsencode(target), _NO_REPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source, None, target)


def _openat2(folder_fd: int, path: str, flags: int) -> int:
    if _libc is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    how = _OpenHow(flags, 0, _RESOLVE)
    while True:
        fd: int = _libc.syscall(_SYS_OPENAT2, folder_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: a rename raced with the lookup; ask again
            raise OSError(number, os.strerror(number), path)
