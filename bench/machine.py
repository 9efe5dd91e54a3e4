"""What a result was measured on."""

import importlib.metadata
import mmap
import os
import platform
import re
from pathlib import Path

import psutil

_PACKAGES = ("boto3", "botocore", "awscrt", "watchdog")


def describe(work: Path) -> dict[str, str]:
    """The machine, and where the files lay."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": _system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file system": file_system(work),
    }


def versions() -> dict[str, str]:
    """What the program runs on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def touch_memory(size: int) -> None:
    """Use so many bytes of free memory once, and give them back.

    A virtual machine may hand memory that it does not use back to its host; whoever then writes files first waits while
    the host finds it again, three times as long as whoever comes next.
    """
    populate = getattr(mmap, "MAP_POPULATE", 0)
    if populate and size < psutil.virtual_memory().available // 2:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate).close()


def file_system(folder: Path) -> str:
    """Of the mount that a folder lies on."""
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
