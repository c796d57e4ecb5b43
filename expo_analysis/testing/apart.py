"""Calls of somebody's loss, in a copy of this process where that can be: it may end it, or never return."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .._child import LATE, in_copy
from .._threads import one_thread
from .._watch import TIME_UP, Outcome, Watch
from ..desiderata.audit import AMPLE, GRACE, is_own
from ..losses import Objective

T = TypeVar("T")

ENDS = "it ends the process that calls it"


def watched(call: Callable[[], T], seconds: float, *losses: Objective) -> Outcome[T]:
    """What a call with these losses returns, or why it does not: of the package's own here, of others in a copy."""

    def made() -> Outcome[T]:
        with one_thread(), Watch(seconds, guarded=True) as watch:
            return watch.call(call)

    copied = in_copy(made, AMPLE * seconds + GRACE) if any(map(is_own, losses)) else None
    if copied is None:
        return made()
    if copied.ended:
        return Outcome(None, TIME_UP if copied.ended == LATE else f"{ENDS} ({copied.ended})")
    outcome: Outcome[T] = copied.value
    return outcome


def said(outcome: Outcome[T]) -> str:
    """Why a call did not return, of what was called."""
    return outcome.failure if outcome.failure.startswith((ENDS, TIME_UP)) else f"it raises {outcome.failure}"
