"""Subjects and optima to hand to the judges."""

from __future__ import annotations

from typing import Any

import numpy as np

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.subject import Optima, Subject

H, HBAR = terms.h, terms.hbar
LOGISTIC, SQUARED = terms.Logistic(), terms.Square()


def subject(objective: Any, effort: float = 0.1) -> Subject:
    return Subject(objective, *written(objective), effort=effort)


EXPO, DPO = subject(ea.EXPO(1.0)), subject(ea.DPO(1.0))


def optima_at(policies: Any, lams: Any, bound: Any = 1e-14, status: Any = "optimal") -> Optima:
    """Policies (L, P, n) as they would come from the solver."""
    policies = np.asarray(policies, dtype=float)
    shape = policies.shape[:2]
    with np.errstate(divide="ignore"):
        logs = np.log(policies)
    return Optima(
        np.asarray(lams, dtype=float), policies, logs, np.broadcast_to(bound, shape), np.full(shape, status, object)
    )


def verdict_example() -> Any:
    from expo_analysis.desiderata.verdict import Counterexample

    return Counterexample("", {}, "")
