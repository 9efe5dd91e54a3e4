"""The child side of every process: signals, logging, the parent's death. What it then does is a module of `roles`."""

import contextlib
import faulthandler
import gc
import importlib
import logging
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import app_logger
from app_properties import Settings
from pipeline import kernel
from pipeline.link import Link
from pipeline.local_aws import EmbeddedAws, EmbeddedAwsError
from pipeline.parent import follow_parent
from pipeline.ports import StartupError

log = logging.getLogger(__name__)

_GARBAGE = 10_000
"""New objects after which a process looks for cycles among them; with Python's 700 it does so for every few files."""

_DESCRIPTORS = 4096


@dataclass(frozen=True)
class Context:
    """What every child is given: small, frozen, picklable. Clients are made in the child."""

    settings: Settings
    logging_conf: Path
    embedded: EmbeddedAws | None
    """The embedded S3 and SQS, where the settings select it."""
    once: bool = False
    """Do what is there, then end."""
    console: int = logging.NOTSET
    """The lowest level that this process shows on the console."""


class StopRequested(BaseException):  # like KeyboardInterrupt: nothing may take it for an error
    """SIGTERM came in a wait. No Exception: botocore would wrap it and try again."""


class Stop:
    """SIGTERM as a flag, and, only inside `waiting()`, as an exception that cuts a long poll short."""

    def __init__(self) -> None:
        self.requested = False
        self._armed = False
        signal.signal(signal.SIGTERM, self._on_signal)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait that a signal may cut: nothing inside has an effect that must be finished."""
        self._armed = True
        try:
            if self.requested:
                raise StopRequested
            yield
        finally:
            self._armed = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._armed:
            self._armed = False
            raise StopRequested


def raise_descriptor_limit() -> int:
    """Let this process have up to 4,096 open files where it may; how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _DESCRIPTORS
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def child(link: Link, role: str, context: Context, *work: object) -> None:
    """Entry of every process: `pipeline.roles.ROLE.run` until it is done or SIGTERM comes.

    The role is imported here, not by the parent: a process loads what it needs and nothing else.
    """
    kernel.name_process(link.role)
    kernel.share_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 PID shows on stderr where each of its threads is
    stop = Stop()
    follow_parent()
    app_logger.configure(context.logging_conf, context.settings.log_file, link.role)
    app_logger.show_on_console(context.console)
    log.debug("started")
    try:
        module = importlib.import_module(f"pipeline.roles.{role}")
        gc.freeze()  # what was imported stays: not to be looked through again and again
        gc.set_threshold(_GARBAGE)
        module.run(context, link, stop, *work)
    except StopRequested:
        log.debug("stopped")
    except (StartupError, EmbeddedAwsError) as error:
        log.critical("%s", error)  # it is shown wherever anything is: a person has to do something
        raise SystemExit(error.code) from None
    except Exception:
        log.exception("an error of the program; this process ends")
        raise SystemExit(1) from None
    finally:
        # The interpreter, on its way out, hands SIGTERM back to the kernel: asked to stop just then, a process whose
        # work is done would seem to have been killed. What is ignored stays ignored.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
