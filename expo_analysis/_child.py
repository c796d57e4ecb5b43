"""What would end this process, tried in a copy of it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from ._effects import watching

SECONDS = 5.0
"""How long a copy may take; what takes longer is left to whoever calls it here."""

CAME_BACK = 77
"""Exit status of a copy that could not say through its pipe that the call came back."""


def ends_process(call: Callable[[], Any]) -> str:
    """How a call ends the process that makes it, such as "exit status 3" or "signal SIGSEGV"; empty where it does not.

    It is made in a copy of this process, whatever it raises or returns there. Empty also where there are no copies
    (Windows), where they are forbidden (within a guarded call), and where it takes longer than `SECONDS`. What JAX
    computes is traced there and not computed, as its threads are not copied.
    """
    if not hasattr(os, "fork") or watching():
        return ""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other threads are not copied: the call is not ours to change
        child = os.fork()
    if child == 0:
        _in_copy(call, read, write)
    os.close(write)
    try:
        return _outcome(child, read)
    finally:
        os.close(read)


def _in_copy(call: Callable[[], Any], read: int, write: int) -> None:
    """Make the call, say through the pipe that it came back, and end."""
    try:
        os.setsid()
        faulthandler.disable()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        os.close(read)
        with contextlib.suppress(BaseException):
            _traced(call) if "jax" in sys.modules else call()
        with contextlib.suppress(OSError):
            os.write(write, b"back")
    finally:
        os._exit(CAME_BACK)


def _traced(call: Callable[[], Any]) -> None:
    """Make the call within one of JAX's transformations, which runs its Python alone."""

    def without_result() -> None:
        call()

    sys.modules["jax"].eval_shape(without_result)


def _outcome(child: int, read: int) -> str:
    """What became of the copy; it is ended, with all that it started, where its time is over."""
    until = time.monotonic() + SECONDS
    pause = 0.001
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            _kill(child)
            os.waitpid(child, 0)
            return ""
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    _kill(child)
    os.set_blocking(read, False)
    with contextlib.suppress(BlockingIOError):
        if os.read(read, 4) or os.waitstatus_to_exitcode(status) == CAME_BACK:
            return ""
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def _kill(child: int) -> None:
    """End a copy and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
