"""Newton's method as one would write it: numpy alone, all problems at a time, LAPACK's systems, no bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from .problems import Floats, Problems, softmax

STEP_TOLERANCE = 1e-8
"""As of optimistix: a last step of this size leaves an error below rounding."""
LONGEST = 2.0
"""Steps that change log-ratios by more are cut to this: without it the first one may overshoot."""


def prepare(problems: Problems) -> Callable[[], tuple[Floats, float]]:
    """A call that solves all problems: logits (count, n), and the share that came to an end."""
    n = problems.reference.shape[1]

    def run() -> tuple[Floats, float]:
        theta = problems.start.copy()
        for _ in range(64):
            won = expit(theta[:, :, None] - theta[:, None, :])
            policy = softmax(theta)
            gradient = (2 * problems.pairs * (won - problems.preference)).sum(axis=2)
            gradient += problems.lam * (policy - problems.reference)
            hessian = -2 * problems.pairs * won * (1 - won) - problems.lam * policy[:, :, None] * policy[:, None, :]
            hessian[:, range(n), range(n)] -= hessian.sum(axis=2)
            # the first logit is held at 0, as a shift of all of them changes nothing
            step = np.linalg.solve(hessian[:, 1:, 1:], -gradient[:, 1:, None])[:, :, 0]
            size = np.abs(step).max(axis=1)
            theta[:, 1:] += step * np.minimum(1.0, LONGEST / np.maximum(size, STEP_TOLERANCE))[:, None]
            if size.max() < STEP_TOLERANCE:
                break
        return theta, float(np.mean(size < STEP_TOLERANCE))

    return run
