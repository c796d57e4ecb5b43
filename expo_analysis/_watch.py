"""Somebody else's code, called such that it can neither end the audit nor keep it for ever.

A loss may raise anything: also `SystemExit`, and a `KeyboardInterrupt` that nobody at the keyboard asked for. It may
sleep, or never return. `Watch.call` turns all of that into words. It cannot help where the process itself ends
(``os._exit``, a fault in compiled code); for that losses are audited in processes of their own (`audit_many`).

Time is what a call runs or sleeps. What it waits for a processor, beside other work on the machine, is not counted
where the system tells (Linux): the same loss gets as far on a busy machine.
"""

from __future__ import annotations

import ctypes
import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

from ._effects import Effects
from .own_file import in_words

T = TypeVar("T")

TIME_UP = "the time limit was reached"
AGAIN = 0.5
"""Seconds after which the clock rings again, in case that the loss caught what was raised."""


EARLY = 0.05
"""Seconds by which it may ring too early."""


class TimeUp(BaseException):
    """Raised in the midst of whatever is computed when the time is over; no `Exception`, which a loss may catch."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a call returned, or why it did not: `TIME_UP`, or an exception in words; empty where it returned."""

    value: T | None
    failure: str = ""

    @property
    def timed_out(self) -> bool:
        return self.failure == TIME_UP


class Watch:
    """Calls functions until a time limit, in seconds from when it was made; ``math.inf`` is none.

    In the main thread a signal ends a call, even one that sleeps; elsewhere, and where there are no such signals, the
    call ends at its next step in Python. ``guarded``: what it changes beside what it returns is put back, see
    `Effects`; what it prints is not shown.
    """

    def __init__(self, seconds: float = math.inf, guarded: bool = False) -> None:
        self.guarded = guarded
        self._waits = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self.seconds, self.started, self._start_of_time = seconds, time.monotonic(), 0.0
        self._start_of_time, self._deadline = self._now(), math.inf
        self.interrupted, self._armed, self._lock = False, False, threading.RLock()
        self._thread = threading.get_ident()
        self._timer: threading.Timer | None = None

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - self._now()

    def _now(self) -> float:
        """Seconds since it was made in which its thread ran, or slept."""
        try:
            waited = int(self._waits.read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # no such file in this system
            waited = 0.0
        return time.monotonic() - waited - self._start_of_time

    def __enter__(self) -> Watch:
        main = threading.current_thread() is threading.main_thread()
        self._signals = main and hasattr(signal, "setitimer")
        self._on_interrupt = signal.getsignal(signal.SIGINT) if main else None
        if callable(self._on_interrupt):
            signal.signal(signal.SIGINT, self._interrupt)
        if self._signals:
            self._on_alarm = signal.signal(signal.SIGALRM, self._ring)
            self._others = signal.setitimer(signal.ITIMER_REAL, 0.0)  # somebody else's clock, which goes on afterwards
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._disarm()
        if self._signals:
            signal.signal(signal.SIGALRM, self._on_alarm)
            rest, interval = self._others
            if rest > 0:
                passed = time.monotonic() - self.started
                signal.setitimer(signal.ITIMER_REAL, max(rest - passed, 1e-3), interval)
        if callable(self._on_interrupt):
            signal.signal(signal.SIGINT, self._on_interrupt)

    def call(self, function: Callable[[], T], seconds: float = math.inf) -> Outcome[T]:
        """What a function returns, or why it does not, within so many seconds and the limit.

        Raises:
            KeyboardInterrupt: the user asked for it, and not the function.
        """
        allowed = min(seconds, self.left)
        if allowed <= EARLY:
            return Outcome(None, TIME_UP)
        with Effects() if self.guarded else nullcontext():
            try:
                outcome = self._outcome(function, allowed)
            except TimeUp:  # the clock rang again on the way out
                outcome = Outcome(None, TIME_UP)
            self._disarm()
        return outcome

    def _outcome(self, function: Callable[[], T], allowed: float) -> Outcome[T]:
        try:
            self._arm(allowed)
            try:
                return Outcome(function())
            finally:
                self._disarm()
        except TimeUp:
            return Outcome(None, TIME_UP)
        except KeyboardInterrupt as error:
            if self.interrupted:
                raise
            return Outcome(None, in_words(error))
        except BaseException as error:
            return Outcome(None, in_words(error)[:300])

    def _arm(self, seconds: float) -> None:
        self._armed = True
        if seconds == math.inf:
            return
        self._deadline = self._now() + seconds
        if self._signals:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN)
        else:
            # One lock a call: should an exception arrive between its being taken and the block that gives it back, it
            # is lost, and only this call's clock waits for it. Its owner can take it again, as it is an RLock.
            self._lock = threading.RLock()
            self._start(self._lock, seconds)

    def _disarm(self) -> None:
        """Nothing is raised any more when this returns, whatever arrives meanwhile."""
        while True:
            try:
                with self._lock:
                    self._armed = False
                if self._signals:
                    signal.setitimer(signal.ITIMER_REAL, 0.0)
                elif self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                    for _ in range(10):  # what was thrown and has not arrived yet arrives here; CPython 3.11 would
                        pass  # never leave a traced function if it were taken back
                return
            except TimeUp:
                continue

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        rest = self._deadline - self._now()
        if rest > EARLY:
            signal.setitimer(signal.ITIMER_REAL, rest, AGAIN)
            return
        raise TimeUp

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        assert callable(self._on_interrupt)
        self._on_interrupt(number, frame)

    def _start(self, lock: Any, seconds: float) -> None:
        timer = threading.Timer(seconds, self._over, [lock])
        timer.daemon = True
        self._timer = timer
        timer.start()

    def _over(self, lock: Any) -> None:
        while not lock.acquire(timeout=AGAIN):
            if not self._armed or lock is not self._lock:
                return  # it was lost
        try:
            if not self._armed or lock is not self._lock:
                return
            rest = self._deadline - self._now()
            if rest <= EARLY:
                _throw(self._thread, TimeUp)
            self._start(lock, rest if rest > EARLY else AGAIN)
        finally:
            lock.release()


def _throw(thread: int, error: type[BaseException]) -> None:
    """Raise an exception in another thread at its next step."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
