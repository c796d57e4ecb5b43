"""Preservation: where the reference is already pi*, the optimum should be pi* for every lambda. [paper]"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ..falsify.problems import pi_star
from ..falsify.search import Case, Measure, hunt
from ..subject import Optima, Subject
from ..verdict import Verdict
from .outcome import from_hunt

KEY = "preservation"
LAMS = 10.0 ** np.array([-6, -4, -2, -1, 0, 1, 2, 4, 6, 8])
COUNTS = {2: 100, 3: 100, 4: 50, 6: 15, 8: 10}
SLACK = 1e-10


def _excess(optima: Optima, bandit: Bandit) -> Floats:
    """1-norm distance from pi*, beyond the error bound."""
    bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-6)
    found = np.abs(optima.policies - pi_star(bandit)).sum(axis=-1) - bound - SLACK
    return np.where(optima.exists, found, np.nan)


def _refuted(subject: Subject, case: Case, optima: Optima) -> str:
    """pi* is no minimiser if another policy has a lower value, whether or not that one is the minimiser."""
    (lam,) = case.lams
    here, there = (float(subject.value(case.bandit, lam, x)) for x in (np.log(case.optimal), optima.log_policies[0, 0]))
    if there < here - 1e-12 * (1 + abs(here)):
        return f"its value is {here - there:.3g} below that of π*"
    return ""


def judge(subject: Subject) -> Verdict:
    """Look for a problem with pi_ref = pi* whose optimum is somewhere else."""
    found = hunt(
        subject,
        KEY,
        Measure(_excess, preserved=True, refuted=_refuted),
        LAMS,
        {n: subject.count(count, least=2) for n, count in COUNTS.items()},
    )
    return from_hunt(
        subject,
        KEY,
        found,
        holds="where π_ref = π*, the optimum is π* at every λ",
        fails="the optimum moves away from a reference that is already π*",
        conditions="π_ref = π*; 2 to 8 responses; λ from 1e-6 to 1e8, on a grid and between its points",
        statement=""
        if found.case is None
        else f"π_ref = π*, yet the optimum is {found.excess:.3g} away in 1-norm at λ = {found.case.lams[0]:g}",
        lines=[
            "distance = abs(solutions[0].policy - bandit.optimal).sum()",
            "print(solutions[0].policy, distance)",
            "assert distance > 1e-10",
        ],
    )
