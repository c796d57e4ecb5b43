"""What a method returns for a batch of problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Floats, Indices, Mask
from ..bandit.labels import called
from .problem import Problem
from .solution import Certificate, Status

VANISHED = 1e-12
"""A probability below this at the end of a search is taken to be on its way to zero, and named in the message."""


@dataclass(frozen=True, eq=False)
class Found:
    """log_policy (n, B), 1-norm error bound (B,), steps (B,), status, certificate and message (B,).

    passed_on: (B,), the problems that the method could not settle, and that the next one should be tried on.
    reward: the one that RLHF fits. value: the objective, where the method had all at hand that it takes.
    """

    log_policy: Floats
    bound: Floats
    steps: Indices
    status: NDArray[Any]
    certificate: NDArray[Any]
    message: NDArray[Any]
    passed_on: Mask
    reward: Floats | None = None
    value: Floats | None = None

    def merged(self, other: Found, where: Mask) -> Found:
        """This, with the problems ``where`` taken from ``other``."""
        merged: dict[str, Any] = {}
        for name in ("log_policy", "bound", "steps", "status", "certificate", "message", "passed_on"):
            merged[name] = getattr(self, name).copy()
            merged[name][..., where] = getattr(other, name)
        return Found(**merged)


HIDDEN = "the lowest value to rounding, which is too large against the curvature to tell how far the minimiser is"
"""Of a convex problem whose error bound could not be proven: preferences of 1e-100 hold a policy only by 1e-100."""


def judged(
    log_policy: Floats,
    bound: Floats,
    steps: Indices | None = None,
    converged: Mask | None = None,
) -> Found:
    """Optimal where an error bound proves it, best found where the method of a convex problem converged without; failed
    elsewhere.
    """
    size = len(bound)
    steps = np.zeros(size, dtype=np.intp) if steps is None else steps
    converged = np.ones(size, dtype=bool) if converged is None else converged
    proven = np.isfinite(bound)
    status, certificate, message = texts(Status.OPTIMAL, size), texts(Certificate.ERROR_BOUND, size), texts("", size)
    if not proven.all():
        status[~proven], certificate[~proven] = Status.BEST_FOUND, Certificate.CONDITIONS
        message[~proven] = HIDDEN
        lost = ~proven & ~converged
        status[lost], certificate[lost] = Status.FAILED, Certificate.NONE
        message[lost] = "Newton's method ran out of steps; the policy is its last iterate"
    return Found(log_policy, bound, steps, status, certificate, message, np.zeros(size, dtype=bool))


def texts(text: Any, size: int) -> NDArray[Any]:
    """The same for each of the batch, as objects (`numpy.full` would convert each of them)."""
    found = np.empty(size, dtype=object)
    found.fill(text)
    return found


def named(problem: Problem, which: Mask, column: int | np.intp) -> str:
    """The responses ``which`` (n, B) of one problem of the batch, as messages call them; empty where there are none."""
    assert problem.responses is not None
    numbers = sorted(problem.responses[which[:, column], column].tolist())
    return called(numbers, problem.names) if numbers else ""
