"""Damped Newton for objectives that are convex in the logits, a whole batch at a time.

If |D3 f[v,v,u]| <= M range(u) D2 f[v,v] (``claims.self_concordance``), then along the Newton direction d the second
derivative grows by at most exp(t M range(d)). With r = M range(d), the full step therefore lowers f by at least
(1 - (exp(r) - 1 - r) / r^2) d'Hd, which is positive for r <= 1; beyond that the step t = log(1 + r) / r, which
minimises the upper bound on f, is taken. Either way every step descends, without a line search.
(Generalised self-concordance: Bach 2010, "Self-concordant analysis for logistic regression"; Sun and Tran-Dinh 2019.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .laplacian import eliminate
from .problem import Problem, expand

Floats = NDArray[np.float64]

MAX_STEPS = 200
TOLERANCE = 1e-8
"""Steps end when the next one, which `certificate.last_step` takes, would be shorter than this: the square of the last
one, times what the graph's unevenness makes of squares, which the last two steps tell. What that step leaves in turn is
of the order of its own square, and below rounding."""

KEPT = 0.9
"""What has ended is left out of the batch only when no more than this share is left to run: copying takes time too."""


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def newton(problem: Problem, start: Floats) -> tuple[Floats, NDArray[np.intp], NDArray[np.bool_]]:
    """Minimise from ``start`` (n, B). Returns logits (n, B), steps taken (B,) and whether each converged (B,)."""
    at = start - start.mean(axis=0)
    theta = np.empty_like(at)
    steps = np.zeros(problem.size, dtype=np.intp)
    converged = np.zeros(problem.size, dtype=bool)
    column = np.arange(problem.size)
    running = np.ones(problem.size, dtype=bool)
    part = problem
    smallest = np.full(problem.size, np.inf)
    stalled = np.zeros(problem.size, dtype=np.intp)
    for step in range(1, MAX_STEPS + 1):
        local = expand(part, at)
        elimination = eliminate(local.curvature)
        direction = elimination.solve(-local.gradient)
        reach = np.ptp(direction, axis=0)
        concordance = part.objective.claims.self_concordance
        scaled = concordance * reach
        # quadratics have no scale of their own: theirs is that of the logits
        size = scaled if np.any(concordance) else reach / (1.0 + np.ptp(at, axis=0))
        long = scaled > 1.0
        if long.any():
            direction *= np.where(long, np.log1p(scaled) / np.where(long, scaled, 1.0), 1.0)
        at = at + direction
        done = size * np.fmax(size, (size / smallest) ** 2) <= TOLERANCE
        # rounding sets a floor on ill-conditioned problems: stop there, and let the certificate judge
        stalled = np.where(size < smallest, 0, stalled + 1)
        smallest = np.fmin(smallest, size)
        ends = running & (done | ((stalled >= 5) & (size < 1e-2)) | ~np.isfinite(size) | (step == MAX_STEPS))
        if ends.any():
            ended = column[ends]
            theta[:, ended], steps[ended] = at.compress(ends, axis=1), step
            # where curvature underflows there is no step to take, which is no sign of a minimum
            converged[ended] = (done & elimination.positive_definite)[ends]
            running &= ~ends
            left = np.flatnonzero(running)
            if not len(left):
                break
            if len(left) <= KEPT * len(running):
                column, part, at = column[left], part.take(left), at.take(left, axis=1)
                smallest, stalled, running = smallest[left], stalled[left], running[left]
    return theta - theta.mean(axis=0), steps, converged
