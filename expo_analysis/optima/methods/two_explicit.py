r"""Two responses, logistic losses of h, and any divergence beside them: one root, wherever it lies. [ours]

With K_i the weight of "i beats the other", soft targets included, t = log pi_1/pi_0 and mu = f', stationarity in t,
divided by pi_0 pi_1, is

    G(t) = K_0 (1 + e^t) - K_1 (1 + e^-t) + lam (mu(u_1) - mu(u_0)) = 0,      u_i = pi_i / pi_ref,i.

If no K is negative, as robust losses may have it, every summand rises with t, so that there is one minimiser at most,
convex in the logits or not. Probabilities of 1e-300
and far less are no trouble, as G has none in it. Where f'(0+) is finite, G may have one sign throughout: then the
minimiser is on the boundary.

**Error bound.** G rises, so that signs of G at t - d and t + d that are beyond its rounding enclose the root.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import elementwise

from ..._types import Floats
from ...divergences import DIVERGENCES
from ...losses.statistics import is_number
from ...numerics import log_sigmoids
from ..certificate import UNIT, policy_error
from ..found import Found, judged, named
from ..problem import Problem

NAME = "auto"
FARTHEST = 1e290
"""Roots are looked for up to this log-ratio."""


def accepts(problem: Problem) -> bool:
    """Two responses, logistic parts of the policy's own log-ratio at scale 1, and a divergence of this package."""
    if problem.n != 2 or type(problem.divergence) not in DIVERGENCES.values() or problem.target is not None:
        return False
    alone = not (problem.parts or problem.general) and bool(problem.merged)
    return alone and all(is_number(part.slope, 1) and not part.relative for part in problem.merged)


@np.errstate(over="ignore", invalid="ignore")
def solve(problem: Problem) -> Found:
    """The root, and an interval that encloses it."""
    column = np.arange(problem.size, dtype=np.float64)
    low, high = -np.ones(problem.size), np.ones(problem.size)
    for sign, end in ((-1.0, low), (1.0, high)):
        while (open_ := (sign * _slope(problem, end)[0] < 0) & (np.abs(end) < FARTHEST)).any():
            end[open_] *= 4
    (lowest, noise_low), (highest, noise_high) = _slope(problem, low), _slope(problem, high)
    inside = (lowest <= 0) & (highest >= 0)

    def slope(t: Floats, index: Floats) -> Floats:
        return _slope(problem.take(index.astype(np.intp)), t)[0]

    found = elementwise.find_root(
        slope,
        (np.where(inside, low, -1.0), np.where(inside, high, 1.0)),
        args=(column,),
        tolerances={"xatol": 0.0, "xrtol": UNIT, "fatol": 0.0, "frtol": 0.0},
        maxiter=400,
    )
    boundary = (lowest > noise_low) | (highest < -noise_high)
    t = np.where(inside, found.x, np.where(lowest > 0, -np.inf, np.inf))
    log_policy = np.stack(log_sigmoids(t)[::-1])
    bound = policy_error(np.exp(log_policy), _enclosed(problem, np.where(inside, t, 0.0)))
    result = judged(log_policy, np.where(boundary, 0.0, bound))
    for b in np.flatnonzero(boundary):
        zero = named(problem, np.isneginf(log_policy), b)
        result.message[b] = f"the minimiser, on the boundary: responses {zero} have probability 0"
    falls = np.any([weight < 0 for weight in _weights(problem)[:2]], axis=0)  # somewhere: others are to look where
    result.passed_on[:] = falls | ~(inside | boundary) | np.isnan(result.bound)
    return result


def _enclosed(problem: Problem, t: Floats) -> Floats:
    """d with the root in [t - d, t + d], (B,); nan where none is seen below 1."""
    d = 4 * UNIT * (1 + np.abs(t))
    for _ in range(50):
        (above, noise_above), (below, noise_below) = _slope(problem, t + d), _slope(problem, t - d)
        proven = (above > noise_above) & (below < -noise_below)
        if proven.all():
            break
        d = np.where(proven, d, 2 * d)
    return np.where(proven & (d < 1), d, np.nan)


def _weights(problem: Problem) -> tuple[Floats, Floats, Floats]:
    """K_1 and K_0, and the sum of the moduli of what these are sums of, (B,) each."""
    kept, flipped = (sum(getattr(part.logistic, side)[0] for part in problem.merged) for side in ("kept", "flipped"))
    return kept, flipped, sum((part.size[0] for part in problem.merged), start=np.zeros(problem.size))


def _slope(problem: Problem, t: Floats) -> tuple[Floats, Floats]:
    """G at t, and what rounding may add to it, (B,) each."""
    assert problem.divergence is not None
    first, second, size = _weights(problem)
    up, down = (np.where(weight > 0, weight * (1 + np.exp(s * t)), 0.0) for weight, s in ((second, 1), (first, -1)))
    total, noise = up - down, 4 * UNIT * (up + down)
    cancels = size > (1 + 1e-9) * (first + second)  # each K is known to units of all that it is a sum of
    noise = noise + np.where(cancels, 4 * UNIT * size * (2 + np.exp(t) + np.exp(-t)), 0.0)
    for sign, log_pi, log_reference in zip((1, -1), log_sigmoids(t), problem.log_reference[::-1], strict=True):
        log_u = log_pi - log_reference
        mu, rise = problem.divergence.mu(log_u), problem.divergence.mu_derivatives(log_u)[0]
        total = total + sign * problem.lam * mu
        size = np.abs(mu) + rise * (np.abs(log_pi) + np.abs(log_reference) + 2)
        noise = noise + 8 * UNIT * problem.lam * size
    return total, noise
