"""What lies in a folder and below: names, and of the files that are asked for when they came and how large they are."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pipeline.arrivals import Arrived
from pipeline.folders import Folder
from pipeline.names import RESERVED, within


class Listing(NamedTuple):
    """What is in one folder: `head` is its path, "" at the top; `others` are links, pipes, devices, sockets."""

    head: str
    files: list[Arrived]
    others: list[str]
    folders: list[str]
    seen: int
    """How many files there are, those included that were not asked for."""


def walk(
    folder: Folder,
    complain: Callable[[str, OSError], None],
    enters: Callable[[str], bool] = lambda _name: True,
    takes: Callable[[list[str]], Iterable[str]] = iter,
) -> Iterator[Listing]:
    """`folder` and every folder below it; links are never followed.

    `enters` says by their names which folders are looked into, `takes` which of the files in one are asked for.
    A folder that cannot be read is given to `complain` and passed over. Memory: one folder's names at a time.
    """
    pending = [""]
    while pending:
        head = pending.pop()
        try:
            listing = _list(folder, head, complain, takes)
        except FileNotFoundError:
            continue
        except OSError as error:
            complain(head, error)
            continue
        pending += [within(head, name) for name in listing.folders if enters(name)]
        yield listing


def _list(
    folder: Folder, head: str, complain: Callable[[str, OSError], None], takes: Callable[[list[str]], Iterable[str]]
) -> Listing:
    fd = folder.open(head, os.O_RDONLY | os.O_DIRECTORY) if head else os.dup(folder.fd)
    try:
        names, others, folders = _names(fd, own=not head)
        files = []
        for name in takes(names):
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:  # it went its way meanwhile
                continue
            except OSError as error:
                complain(within(head, name), error)
            else:
                files.append(Arrived(status.st_ctime_ns, head, name, status.st_size))
    finally:
        os.close(fd)
    return Listing(head, files, others, folders, len(names))


def _names(fd: int, *, own: bool) -> tuple[list[str], list[str], list[str]]:
    """The files, what is neither file nor folder, and the folders in an open folder, which may hold one of ours."""
    files: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    with os.scandir(fd) as found:
        for entry in found:
            if own and entry.name == RESERVED:
                continue
            if entry.is_file(follow_symlinks=False):
                files.append(entry.name)
            else:
                (folders if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
    return files, sorted(others), sorted(folders)
