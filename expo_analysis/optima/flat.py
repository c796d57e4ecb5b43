"""What is found for each lambda and prompt, piece by piece, before it has the shape of a solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import Floats, Indices
from .certificate import UNIT
from .found import Found
from .solution import Certificate, Status

WORSE = (Status.OPTIMAL, Status.BEST_FOUND, Status.NOT_UNIQUE, Status.NO_MINIMISER, Status.FAILED)
"""From the best to the worst that can be said of a piece."""


@dataclass(eq=False)
class Flat:
    """Results for each (lambda, prompt): log-policies and fitted rewards (size, n), the rest (size,)."""

    log_policy: Floats
    reward: Floats
    value: Floats
    status: NDArray[Any]
    certificate: NDArray[Any]
    message: NDArray[Any]
    error_bound: Floats
    iterations: Indices

    @classmethod
    def empty(cls, size: int, n: int) -> Flat:
        return cls(
            log_policy=np.full((size, n), -np.inf),
            reward=np.full((size, n), np.nan),
            value=np.full(size, np.nan),
            status=np.empty(size, dtype=object),
            certificate=np.empty(size, dtype=object),
            message=np.empty(size, dtype=object),
            error_bound=np.zeros(size),
            iterations=np.zeros(size, dtype=np.intp),
        )

    def begin(self, at: Indices, status: Status, message: str) -> None:
        """Enter what follows from the structure alone."""
        self.log_policy[at], self.error_bound[at], self.iterations[at] = -np.inf, 0.0, 0
        self.status[at], self.message[at] = status, message
        self.certificate[at] = Certificate.ERROR_BOUND if status == Status.OPTIMAL else Certificate.THEOREM

    def put(self, at: Indices, mass: Floats, responses: Indices, found: Found, whole: bool) -> None:
        """Enter what was found for a piece of these ``responses`` and of this ``mass`` in the rows ``at``.

        whole: whether these are all responses, so that the piece's reward and value are those of the problem.
        """
        self.log_policy[at, responses] = np.log(mass) + found.log_policy
        self.error_bound[at] += mass * (found.bound + 4 * UNIT)
        self.iterations[at] = np.maximum(self.iterations[at], found.steps)
        if found.reward is not None and whole:
            self.reward[at, responses] = found.reward
        if found.value is not None and whole:
            self.value[at] = found.value
        # the problem's status is the worst of its pieces'; what it rests on goes with it
        before_status = self.status[at]
        worse = np.asarray(found.status != before_status)
        for k in np.flatnonzero(worse):
            worse[k] = WORSE.index(found.status[k]) > WORSE.index(before_status[k])
        weaker = (found.status == before_status) & (self.certificate[at] == Certificate.ERROR_BOUND)
        self.certificate[at] = np.where(worse | weaker, found.certificate, self.certificate[at])
        self.status[at] = np.where(worse, found.status, before_status)
        told = np.flatnonzero(found.message != "")
        rows = at[told]
        before = self.message[rows]
        both = (before != "the minimiser") & (before != "")
        self.message[rows] = np.where(both, before + "; " + found.message[told], found.message[told])

    def verdicts(self, shape: tuple[int, ...]) -> dict[str, Any]:
        names = ("value", "status", "message", "error_bound", "iterations", "certificate")
        return {name: getattr(self, name).reshape(shape)[()] for name in names}
