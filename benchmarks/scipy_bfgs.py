"""A Python loop over `scipy.optimize.minimize`, BFGS with analytic gradients."""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from expo_analysis._progress import Progress

from .problems import Floats, Problems

GRADIENT_TOLERANCE = 1e-8
"""The tightest power of ten at which every problem still reports success. Below it BFGS' line search, which compares
values of the objective, is lost in their rounding: it takes up to twice as long and reports failures, and the worst
error hardly improves."""


def value_and_gradient(
    theta: Floats, wins: Floats, pairs: Floats, target: Floats, reference: Floats, lam: float
) -> tuple[float, Floats]:
    """Compositional EXPO at logits (n,), with wins = 2 q p*, pairs = 2 q, and target the row sums of wins."""
    log_ratio = theta[:, None] - theta
    top = theta.max()
    policy = np.exp(theta - top)
    total = policy.sum()
    value = (wins * np.logaddexp(0.0, -log_ratio)).sum() + lam * (top + np.log(total) - reference @ theta)
    gradient = (pairs * expit(log_ratio)).sum(axis=1) - target + lam * (policy / total - reference)
    return value, gradient


def solve(problems: Problems, progress: Progress, every: int = 500) -> tuple[Floats, float, float]:
    """Logits (count, n), the share that report success, and the seconds taken without those for ``progress``."""
    pairs = 2 * problems.pairs
    wins = pairs * problems.preference
    target = wins.sum(axis=2)
    start, lam = problems.start, problems.lam
    theta = np.empty_like(start)
    succeeded, seconds = 0, 0.0
    for first in range(0, len(theta), every):
        before = time.perf_counter()
        block = range(first, min(first + every, len(theta)))
        for k in block:
            found = minimize(
                value_and_gradient,
                start[k],
                args=(wins[k], pairs[k], target[k], problems.reference[k], lam),
                jac=True,
                method="BFGS",
                options={"gtol": GRADIENT_TOLERANCE},
            )
            theta[k] = found.x
            succeeded += found.success
        seconds += time.perf_counter() - before
        progress(block.stop, len(theta))
    return theta, succeeded / len(theta), seconds
