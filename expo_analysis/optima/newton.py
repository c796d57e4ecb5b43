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
TOLERANCE = 1e-10
"""Steps end when the next one, which `certificate.last_step` takes, would be shorter than this: the square of the last
one, times what the graph's unevenness makes of squares, which the last two steps tell."""


def newton(problem: Problem, start: Floats) -> tuple[Floats, NDArray[np.intp], NDArray[np.bool_]]:
    """Minimise from ``start`` (n, B). Returns logits (n, B), steps taken (B,) and whether each converged (B,)."""
    theta = start - start.mean(axis=0)
    steps = np.zeros(problem.size, dtype=np.intp)
    converged = np.zeros(problem.size, dtype=bool)
    active = np.arange(problem.size)
    part = problem
    smallest = np.full(problem.size, np.inf)
    stalled = np.zeros(problem.size, dtype=np.intp)
    for _ in range(MAX_STEPS):
        at = theta.take(active, axis=1)
        local = expand(part, at)
        direction = eliminate(local.curvature).solve(-local.gradient)
        direction -= direction.mean(axis=0)
        reach = np.ptp(direction, axis=0)
        scaled = np.broadcast_to(part.objective.claims.self_concordance, reach.shape) * reach
        with np.errstate(invalid="ignore", divide="ignore"):
            damping = np.where(scaled > 1.0, np.log1p(scaled) / scaled, 1.0)
        theta[:, active] = at + damping * direction
        steps[active] += 1
        # quadratics have no scale of their own: theirs is that of the logits
        size = np.where(scaled > 0, scaled, reach / (1.0 + np.ptp(at, axis=0)))
        with np.errstate(over="ignore", invalid="ignore"):  # far from a minimum steps may be as large as floats
            done = size * np.fmax(size, (size / smallest[active]) ** 2) <= TOLERANCE
        # rounding sets a floor on ill-conditioned problems: stop there, and let the certificate judge
        stalled[active] = np.where(size < smallest[active], 0, stalled[active] + 1)
        smallest[active] = np.fmin(smallest[active], size)
        converged[active] = done
        keep = ~(done | ((stalled[active] >= 5) & (size < 1e-2)) | ~np.isfinite(size))
        if not keep.any():
            break
        if not keep.all():
            active, part = active[keep], part.take(keep)
    return theta - theta.mean(axis=0), steps, converged
