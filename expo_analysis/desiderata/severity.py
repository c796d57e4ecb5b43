"""How much a failure matters: on ordinary problems at ordinary lambdas, and at its worst. See `Severity`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._types import Floats
from ..bandit import Bandit
from .falsify.problems import FAMILIES, pi_star
from .subject import Optima, Subject
from .verdict import Severity, Verdict

LAMS = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
"""Ordinary lambdas."""

COUNT = 40
"""Ordinary problems."""

RESPONSES = 4


def ordinary(subject: Subject, preserved: bool = False) -> tuple[Bandit, Optima]:
    """Problems of four responses with policies uniform on the simplex and even pairs, and their optima at `LAMS`.

    preserved: with pi_ref = pi*.
    """

    def compute() -> tuple[Bandit, Optima]:
        count = COUNT if subject.fast else max(4, COUNT // 5)
        bandit = FAMILIES["moderate"].draw(subject.rng("ordinary problems"), count, RESPONSES, preserved)
        return bandit, subject.optima(bandit, LAMS)

    return subject.once(("ordinary", preserved), compute)


def measured(unit: str, size: Floats, worst: float = float("nan"), least: float = 1e-9) -> Severity:
    """The severity of sizes (lambdas, problems): below ``least`` is no failure, and nan is not counted."""
    known = size[np.isfinite(size)]
    seen = known[known > least]
    share = seen.size / known.size if known.size else float("nan")
    largest = float(np.fmax(worst, seen.max(initial=0.0)))
    return Severity(unit, share, float(np.median(seen)) if seen.size else 0.0, largest)


def _preservation(subject: Subject, verdict: Verdict) -> Severity:
    bandit, optima = ordinary(subject, preserved=True)
    away = np.abs(optima.policies - pi_star(bandit)).sum(axis=-1) / 2
    worst = verdict.evidence.get("excess", np.nan) / 2
    return measured("TV", np.where(optima.exists, away, np.nan), worst, 1e-6)


SEVERITIES: dict[str, Callable[[Subject, Verdict], Severity]] = {"preservation": _preservation}
"""By desideratum."""


def severity(key: str, subject: Subject, verdict: Verdict) -> Severity | None:
    """The severity of a failure; None where it is not measured for this desideratum."""
    measure: Any = SEVERITIES.get(key)
    return None if measure is None else measure(subject, verdict)
