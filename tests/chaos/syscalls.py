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
NAMES = {number: name for name, number in NUMBERS.items()}
