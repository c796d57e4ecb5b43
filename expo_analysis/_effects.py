"""What a call changes beside what it returns: random numbers, torch's settings, files, threads; and how it was before.

A loss is a function of log-probabilities. One that seeds random numbers, closes standard output or turns gradients off
would spoil what is computed after it: `Effects` puts back what can be put back, and says what it was.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import threading
import time
import warnings
from types import TracebackType
from typing import Any

import numpy as np

from .own_file import in_words

SHOWN = 60
"""So many characters of what is printed are kept."""


class Sink(io.TextIOBase):
    """Takes what is printed, keeps the beginning of it, and may be closed without harm."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.kept = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.kept += text[: SHOWN + 1 - len(self.kept)]
        return len(text)

    def close(self) -> None:
        """Nothing: it goes on."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


class _Watched:
    """Calls that are going on, and copies of this process that they made: each of which ends at once, as it would
    otherwise go on with what we do after the call."""

    def __init__(self) -> None:
        self.calls = self.forks = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.before, after_in_child=self.in_child)

    def before(self) -> None:
        self.forks += self.calls > 0

    def in_child(self) -> None:
        if self.calls:
            os._exit(0)


_WATCHED = _Watched()


def watching() -> bool:
    """Whether a call is going on, of which no copy of this process would survive."""
    return _WATCHED.calls > 0


class Effects:
    """Puts back what a call changes, and says what that was.

    ``changed``, afterwards: a phrase for each effect, such as "it changes torch's default dtype to torch.float16".
    Random numbers that are drawn count as changed, too. What is printed meanwhile is not shown.

    Example:
        >>> import random
        >>> with Effects() as effects:
        ...     drawn = random.random()
        >>> effects.changed
        ["it changes the state of Python's random numbers"]
    """

    def __init__(self) -> None:
        self.changed: list[str] = []

    def __enter__(self) -> Effects:
        self.before = _state()
        self.threads = set(threading.enumerate())
        self.streams, self.sink = (sys.stdout, sys.stderr), Sink()
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        self.filters, self.forks = warnings.filters[:], _WATCHED.forks
        _WATCHED.calls += 1
        self.descriptors = {number: _duplicate(number) for number in (1, 2)}
        sys.stdout = sys.stderr = self.sink
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _WATCHED.calls -= 1
        sys.stdout, sys.stderr = self.streams
        for number, kept in self.descriptors.items():
            if kept is not None:
                if _identity(number) != _identity(kept):
                    self.changed.append("it closes or redirects standard output or errors")
                    os.dup2(kept, number)
                os.close(kept)
        if warnings.filters[:] != self.filters:
            self.changed.append("it changes the filters of warnings")
        self.warnings.__exit__(None, None, None)
        if _WATCHED.forks > self.forks:
            self.changed.append("it forks the process (the copy was ended)")
        after = _state()
        for name, (value, _) in self.before.items():
            if not _same(value, after[name][0]):
                self._put_back(name, value, after[name][1])
        started = [thread for thread in threading.enumerate() if thread not in self.threads and not thread.daemon]
        if started:
            self.changed.append(f"it leaves a thread running ({started[0].name})")
        if self.sink.kept.strip():
            text = " ".join(self.sink.kept[:SHOWN].split())
            self.changed.append(f"it prints: {text!r}{' ...' if len(self.sink.kept) > SHOWN else ''}")
        self.changed = list(dict.fromkeys(self.changed))

    def _put_back(self, name: str, value: Any, words: str) -> None:
        self.changed.append(f"it changes {words}")
        try:
            _SETTERS[name](value)
        except Exception as error:
            self.changed.append(f"which could not be put back: {in_words(error)}")


def _state() -> dict[str, tuple[Any, str]]:
    """What a call may change, by name, with words for it."""
    found: dict[str, tuple[Any, str]] = {
        "random": (random.getstate(), "the state of Python's random numbers"),
        "numpy": (np.random.get_state(legacy=False), "the state of numpy's random numbers"),  # noqa: NPY002
        "errors": (np.geterr(), "what numpy does about floating-point errors"),
        "folder": (_folder(), "the working directory"),
        "environment": (dict(os.environ), "environment variables"),
        "recursion": (sys.getrecursionlimit(), "the limit of recursion"),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        dtype = torch.get_default_dtype()
        found |= {
            "torch": (torch.get_rng_state(), "the state of torch's random numbers"),
            "dtype": (dtype, f"torch's default dtype to {dtype}"),
            "gradients": (torch.is_grad_enabled(), "whether torch keeps gradients"),
        }
    return found


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _set_environment(value: dict[str, str]) -> None:
    for name in set(os.environ) - set(value):
        del os.environ[name]
    os.environ.update(value)


_SETTERS: dict[str, Any] = {
    "random": random.setstate,
    "numpy": lambda value: np.random.set_state(value),  # noqa: NPY002
    "errors": lambda value: np.seterr(**value),
    "folder": lambda value: os.chdir(value) if value else None,
    "environment": _set_environment,
    "recursion": sys.setrecursionlimit,
    "torch": lambda value: sys.modules["torch"].set_rng_state(value),
    "dtype": lambda value: sys.modules["torch"].set_default_dtype(value),
    "gradients": lambda value: sys.modules["torch"].set_grad_enabled(value),
}


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if hasattr(first, "shape"):
        return bool((first == second).all())
    return bool(first == second)


def _duplicate(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:  # it is closed
        return None


def _identity(number: int) -> tuple[int, int] | None:
    """Which file a descriptor is, None for a closed one."""
    with contextlib.suppress(OSError):
        found = os.fstat(number)
        return found.st_dev, found.st_ino
    return None


def set_apart() -> None:
    """Make this process one for somebody's loss: what it prints goes to standard error, and no thread of its keeps the
    process from ending."""
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    threading.Thread(target=_end_with_main, daemon=True).start()


def _end_with_main() -> None:
    threading.main_thread().join()
    time.sleep(1.0)  # by then it has ended, unless it waits for another thread
    os._exit(0)
