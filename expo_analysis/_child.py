"""Somebody's code, called in a copy of this process: it may end that, or keep it for ever, and nothing is lost here."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._effects import watching
from ._threads import one_thread

COPIES = sys.platform == "linux" and hasattr(os, "fork")
"""Whether work is done in copies. (Where the system's libraries start threads by themselves, as on macOS, a copy may
hang in them; a single call is tried there nevertheless.)"""

LATE = "it does not return"
"""How a copy ended that was not waited for any longer."""

NOT_IN_COPIES = "fork-based multiprocessing"
"""What torch raises in a copy where it has threads of an accelerator."""

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True)
class Copied:
    """What a copy came to. value: what the call returned. ended: how the copy ended instead, such as "exit status 3",
    "signal SIGSEGV" or `LATE`; empty where the call returned."""

    value: Any = None
    ended: str = ""


def ends_process(call: Callable[[], Any], seconds: float) -> str:
    """How a call ends the process that makes it, or `LATE`; empty where it does neither.

    It is made in a copy of this process, whatever it raises or returns there. Empty also where there are no copies
    (Windows), and where they are forbidden (within a guarded call). What JAX computes is traced there and not computed,
    as its threads are not copied.
    """
    if not hasattr(os, "fork") or watching():
        return ""

    def quietly() -> None:
        with contextlib.suppress(BaseException):
            _traced(call) if "jax" in sys.modules else call()

    return _copied(quietly, seconds).ended


def in_copy(call: Callable[[], Any], seconds: float, tell: Callable[..., object] | None = None) -> Copied | None:
    """A call made in a copy of this process, which is ended when it has run or slept for so many seconds.

    Args:
        call: returns what can be pickled; what it raises is its own business, and told as an end.
        tell: called here with what the call gives to `told`.

    Returns:
        None where copies are not made, see `COPIES`, or not possible: within a guarded call, with JAX, whose threads
        are not copied, with torch's threads for accelerators, and for results that cannot be pickled.
    """
    if not COPIES or watching() or "jax" in sys.modules:
        return None
    found = _copied(call, seconds, tell)
    return None if NOT_IN_COPIES in found.ended or found.ended == _CANNOT_TRAVEL else found


def told(*arguments: Any, **named: Any) -> None:
    """In a copy: have ``tell`` called with this where it was made; nothing elsewhere."""
    if _PIPE:
        with contextlib.suppress(Exception):
            _send(_PIPE[-1], ("told", arguments, named))


_PIPE: list[int] = []
"""In a copy, where to write; empty elsewhere."""

_CANNOT_TRAVEL = "what it returns cannot be pickled"


def _copied(call: Callable[[], Any], seconds: float, tell: Callable[..., object] | None = None) -> Copied:
    read, write = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()  # or the copy would write it, too
    with one_thread(), warnings.catch_warnings():  # torch would wait for ever for threads that are not copied
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:
            _in_copy(call, read, write)
    os.close(write)
    try:
        return _outcome(child, read, seconds, tell)
    finally:
        _kill(child)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        os.close(read)


def _in_copy(call: Callable[[], Any], read: int, write: int) -> None:
    """Make the call, send what it returns through the pipe, and end."""
    try:
        os.setsid()
        faulthandler.disable()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        os.close(read)
        _PIPE[:] = [write]
        try:
            answer: tuple[Any, ...] = ("value", call())
        except BaseException as error:
            answer = ("ended", f"{type(error).__name__}: {error}")
        try:
            _send(write, answer)
        except Exception:
            _send(write, ("ended", _CANNOT_TRAVEL))
    finally:
        os._exit(0)


def _traced(call: Callable[[], Any]) -> None:
    """Make the call within one of JAX's transformations, which runs its Python alone."""

    def without_result() -> None:
        call()

    sys.modules["jax"].eval_shape(without_result)


def _send(pipe: int, message: tuple[Any, ...]) -> None:
    content = pickle.dumps(message)
    content = _LENGTH.pack(len(content)) + content
    while content:
        content = content[os.write(pipe, content) :]


def _outcome(child: int, read: int, seconds: float, tell: Callable[..., object] | None) -> Copied:
    """What became of the copy."""
    os.set_blocking(read, False)
    started, received = time.monotonic(), b""
    while True:
        ready, _, _ = select.select([read], [], [], 0.05)
        ended, status = (0, 0) if ready else os.waitpid(child, os.WNOHANG)
        content = _content(read)
        received += content
        while (message := _first(received)) is not None:
            (kind, *rest), received = message
            if kind == "value":
                return Copied(value=rest[0])
            if kind == "ended":
                return Copied(ended=rest[0])
            if tell is not None:
                tell(*rest[0], **rest[1])
        if ended or (ready and not content):  # all that it wrote was read; or it closed the pipe, and ends or goes on
            return Copied(ended=_words(status if ended else _waited(child, started + seconds)))
        if time.monotonic() - started > seconds and time.monotonic() - started - _idle(child) > seconds:
            return Copied(ended=LATE)


def _content(read: int) -> bytes:
    """What can be read now; it may end."""
    with contextlib.suppress(BlockingIOError):
        return os.read(read, 1 << 20)
    return b""


def _first(received: bytes) -> tuple[tuple[Any, ...], bytes] | None:
    """The first whole message, and what comes after it."""
    if len(received) < _LENGTH.size:
        return None
    end = _LENGTH.size + _LENGTH.unpack_from(received)[0]
    if len(received) < end:
        return None
    return pickle.loads(received[_LENGTH.size : end]), received[end:]


def _waited(child: int, until: float) -> int | None:
    """The exit status of a copy that ends soon; None where it does not."""
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    return None


def _words(status: int | None) -> str:
    if status is None:
        return LATE
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def _idle(child: int) -> float:
    """Seconds that a copy waited for a processor, beside other work; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{child}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    return 0.0


def _kill(child: int) -> None:
    """End a copy and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
