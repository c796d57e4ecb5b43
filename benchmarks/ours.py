"""The solver under test: `expo_analysis.solve`, with its certificates, values and messages."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

import expo_analysis as ea

from .problems import Floats, Problems


def prepare(problems: Problems) -> Callable[[], tuple[Floats, float]]:
    """A call that solves all problems: logits (count, n), and the share of them with a proven error bound."""
    objective = ea.EXPO(problems.lam)
    bandit = ea.Bandit(problems.reference, problems.optimal)

    def run() -> tuple[Floats, float]:
        solution = ea.solve(objective, copy.copy(bandit))  # a copy remembers nothing of earlier calls
        proven = (solution.status == "optimal") & np.isfinite(solution.error_bound)
        return solution.log_policy, float(np.mean(proven))

    return run
