"""The system calls at which a process of the program is hit, by their numbers on this machine.

Left out is what has no effect that anybody else could see, and no answer that could be an error of the machine: memory,
clocks, waiting for a lock, masks of signals. A process that is killed there has done just what it had done when it is
killed at its next call of those that are here.
"""

import platform

_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
    "ioctl": 16, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "pipe": 22, "select": 23,
    "dup": 32, "dup2": 33, "sendfile": 40, "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "recvfrom": 45,
    "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "bind": 49, "listen": 50, "getsockname": 51, "getpeername": 52,
    "socketpair": 53, "setsockopt": 54, "getsockopt": 55, "clone": 56, "fork": 57, "vfork": 58, "execve": 59,
    "wait4": 61, "kill": 62, "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77,
    "getdents": 78, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85,
    "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93,
    "statfs": 137, "fstatfs": 138, "prctl": 157, "setrlimit": 160, "tkill": 200, "epoll_create": 213,
    "getdents64": 217, "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234, "waitid": 247, "openat": 257,
    "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266,
    "readlinkat": 267, "fchmodat": 268, "faccessat": 269, "pselect6": 270, "ppoll": 271, "utimensat": 280,
    "epoll_pwait": 281, "eventfd": 284, "fallocate": 285, "accept4": 288, "eventfd2": 290, "epoll_create1": 291,
    "dup3": 292, "pipe2": 293, "inotify_init1": 294, "preadv": 295, "pwritev": 296, "inotify_add_watch": 254,
    "inotify_rm_watch": 255, "prlimit64": 302, "sendmmsg": 307, "renameat2": 316, "getrandom": 318,
    "memfd_create": 319, "copy_file_range": 326, "preadv2": 327, "pwritev2": 328, "statx": 332, "clone3": 435,
    "close_range": 436, "openat2": 437, "faccessat2": 439,
}  # fmt: skip
NUMBERS = _X86_64 if platform.machine() == "x86_64" else {}
"""Name → number; empty where they are not known."""
CREATE = "create"
"""What an openat(2) is called that may make a file."""
_WRITING = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range"}
_SENDING = {"sendto", "sendmsg", "sendmmsg", "connect", "shutdown"}
_TAKING = {"recvfrom", "recvmsg", "accept", "accept4"}
_NAMING = {
    "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "mkdir",
    "mkdirat", "rmdir", "creat", CREATE,
}  # fmt: skip
_KEEPING = {"fsync", "fdatasync", "ftruncate", "truncate", "fallocate", "chmod", "fchmod", "fchmodat", "utimensat"}
_OPENING = {"open", "openat", "openat2", "creat", CREATE}
_LOOKING = {
    "stat", "fstat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
    "getdents", "getdents64", "statfs", "fstatfs", "lseek",
}  # fmt: skip
_READING = {"read", "pread64", "readv", "preadv", "preadv2"}
_STARTING = {"clone", "clone3", "fork", "vfork", "execve"}
_WAITING = {"poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "wait4", "waitid", "flock", "fcntl"}
_DESCRIPTORS = {
    "socket", "socketpair", "dup", "dup2", "dup3", "pipe", "pipe2", "accept", "accept4", "epoll_create",
    "epoll_create1", "eventfd", "eventfd2", "inotify_init1", "memfd_create",
}  # fmt: skip
_AT = {
    "KILL": {
        *_WRITING,
        *_SENDING,
        *_TAKING,
        *_NAMING,
        *_KEEPING,
        *_STARTING,
        "read",
        "kill",
        "tkill",
        "tgkill",
        "flock",
    },
    "EIO": {*_WRITING, *_READING, *_NAMING, *_KEEPING, *_OPENING, *_LOOKING, "close", "execve"},
    "ENOSPC": {*_WRITING, *_NAMING, *_KEEPING, "epoll_ctl", "inotify_add_watch"},
    "EINTR": {*_WRITING, *_READING, *_SENDING, *_TAKING, *_OPENING, *_WAITING, "close", "fallocate", "getrandom"},
    "EMFILE": {*_OPENING, *_DESCRIPTORS},
}
"""Where a kill leaves something else behind than at the next call; and where the manual has a call fail with an error.

AWS's runtime forgets a request over an fcntl that fails with EIO or ENOSPC, which no kernel lets it.
"""
NAMES = {number: name for name, number in NUMBERS.items()}


def may_happen(call: str, fault: str) -> bool:
    """Whether a fault at a call is a case of its own."""
    return call in _AT[fault]
