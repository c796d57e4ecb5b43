"""What the methods for restricted policies return."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ..._types import Floats, Indices, Mask
from ..derivatives import log_softmax
from ..solution import Certificate, Status
from .certificate import Bounds
from .family import Family


@dataclass(frozen=True, eq=False)
class RestrictedFound:
    """For B problems of P prompts, in the cells' order of responses.

    bound: of policies, 1-norm. weight_bound: of w. direction: of w, along which minimising sequences run to infinity;
    nan where there is a minimiser. agreeing: the share of a search's starts that reached its value. passed_on: what
    another method should be tried on.
    """

    w: Annotated[Floats, "batch d"]
    log_policy: Annotated[Floats, "n cells"]
    status: Annotated[NDArray[Any], "batch prompts"]
    certificate: Annotated[NDArray[Any], "batch prompts"]
    message: Annotated[NDArray[Any], "batch"]
    bound: Annotated[Floats, "batch prompts"]
    weight_bound: Annotated[Floats, "batch d"]
    steps: Annotated[Indices, "batch"]
    direction: Annotated[Floats, "batch d"]
    agreeing: Annotated[Floats, "batch"]
    passed_on: Annotated[Mask, "batch"]

    @classmethod
    def blank(cls, family: Family, w: Floats) -> RestrictedFound:
        """At w (B, d), of which nothing is known."""
        shape = family.shares.shape
        status, certificate = np.empty(shape, dtype=object), np.empty(shape, dtype=object)
        status[...], certificate[...] = Status.FAILED, Certificate.NONE
        message = np.empty(shape[0], dtype=object)
        message[...] = ""
        return cls(
            w.copy(),
            log_softmax(family.logits(w)),
            status,
            certificate,
            message,
            np.full(shape, np.nan),
            np.full(w.shape, np.nan),
            np.zeros(shape[0], dtype=np.intp),
            np.full(w.shape, np.nan),
            np.ones(shape[0]),
            np.zeros(shape[0], dtype=bool),
        )

    def say(self, rows: Any, status: Status, certificate: Certificate, message: str) -> None:
        """Enter a verdict for some of the problems."""
        self.status[rows], self.certificate[rows], self.message[rows] = status, certificate, message

    def bounded(self, rows: Any, bounds: Bounds) -> None:
        """Enter the bounds of some of the problems."""
        self.bound[rows], self.weight_bound[rows] = bounds.policies[rows], bounds.weights[rows]

    def put(self, rows: Any, other: RestrictedFound) -> None:
        """Enter what was found for some of the problems."""
        rows = np.arange(len(self.w))[rows]
        for name in {f.name for f in dataclasses.fields(self)} - {"log_policy"}:
            getattr(self, name)[rows] = getattr(other, name)
        prompts = self.status.shape[1]
        self.log_policy[:, (rows[:, None] * prompts + np.arange(prompts)).reshape(-1)] = other.log_policy


def one_found(family: Family, z: Floats, passed_on: bool = False) -> RestrictedFound:
    """Of one problem, at the first coordinates ``z`` of what spans w; nothing is said of it yet."""
    whole = np.zeros((1, family.d))
    whole[0, : len(z)] = z
    found = RestrictedFound.blank(family, family.weights(whole))
    found.passed_on[:] = passed_on
    return found
