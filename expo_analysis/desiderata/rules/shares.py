"""Where losses of single responses' scores lead as lambda -> 0: mass is shared by slopes. [ours]

A loss reads x = lam log u, u = pi/pi_ref, and its risk is w(lam) F(x), w > 0, F convex, with a gradient that is
continuous near x*, and rising far out (`scores.rises`). Policies are the x with sum_i pi_ref,i exp(x_i/lam) = 1.

**Theorem.** Let x* be the one minimum of F over {x <= 0}, with max x* = 0, and let mu = -sum_i d_i F(x*) > 0.
Minimisers pi_lam, where there are some for small lambda, tend to the policy with pi_i = -d_i F(x*)/mu.

Proof. Policies have max x <= lam log(1/min pi_ref), and near x* there are some once lam is small: x* + s (1, ..., 1),
with 0 <= s <= lam log(1/min pi_ref). So F(x_lam) <= F(x*) + o(1), x_lam is bounded, and its limit points are minima of
F over {x <= 0}: x_lam -> x*. A minimum under one equation has d_i F(x_lam) = -m pi_i, as the derivative of the equation
in x_i is pi_i/lam; the sum over i gives m = -sum_i d_i F(x_lam) -> mu. So pi_i = -d_i F(x_lam)/m -> -d_i F(x*)/mu.

If two components of the gradient are negative at x* the limit is no point mass. By convexity x* <= 0 is the minimum
where the components at x_i = 0 are negative and the others 0: F(y) >= F(x*) + F'(x*)(y - x*) for all y <= 0. It is
the only one: then y_i = 0 where x*_i = 0, and F is strictly convex in what is left, which its second differences say.

BCO, NCA and SPPO have terms f(x_w) + g(x_l) with f'(0) = -g'(0): the gradient at x_i = 0 is in proportion to losses
less wins, and mass goes to the winners by their surplus. Of differences alone (DPO) sum_i d_i F = 0, and nothing
follows.

**With more beside it.** The same holds of w(lam) (F(x) + G_lam(x)) if the slopes of G_lam tend to 0 as lam does, at
all x at once: |G_lam(x) - G_lam(0)| <= e |x| keeps x_lam bounded, as F rises at least as a multiple of |x| far out, and
takes it to x*; and the slopes of F + G_lam at x_lam tend to those of F at x*. Cal-DPO has -log sigma(hbar) beside
(x_w - 1/2)^2/lam^2 and (x_l + 1/2)^2/lam^2, and the limit of SPPO.

A limit in proportion to slopes has nothing of pi*'s but who won how often: where it is not pi*, strong interpolation
fails."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from ..._types import Floats
from ...divergences import ReverseKL
from ..verdict import FAILS
from .formula import Formula
from .rule import Conclusion, Known, Rule
from .scores import UnitTerm, rises

OPTIMAL = np.array([[0.5, 0.4, 0.1], [0.45, 0.35, 0.2], [0.42, 0.36, 0.22]])
"""pi* of the problems that are tried, all pairs equally often; two responses win more often than they lose."""

CLEAR = 1e-3
"""Slopes are negative if they are below minus this, relative to the slopes of all pairs."""


def shares(formula: Formula, optimal: Floats) -> Floats | None:
    """The limit of optima as lambda -> 0 by the theorem, all pairs compared equally; None where it says nothing."""
    terms = _terms(formula)
    if terms is None:
        return None
    n = len(optimal)
    wins = optimal[:, None] / (optimal[:, None] + optimal[None, :]) * (1 - np.eye(n))

    def gradient(x: Floats) -> Floats:
        slopes = [sum(_slopes(term, x[:, None], x[None, :])[k] for term in terms) for k in (0, 1)]
        return np.asarray((wins * slopes[0]).sum(axis=1) + (wins * slopes[1]).sum(axis=0))

    def value(x: Floats) -> float:
        total = sum(term.value(*np.broadcast_arrays(x[:, None], x[None, :])) for term in terms)
        return float((wins * total).sum())

    found = minimize(value, np.full(n, -0.1), jac=gradient, bounds=[(None, 0.0)] * n, options={"ftol": 1e-15})
    least = np.where(found.x > -1e-9, 0.0, found.x)
    slope = gradient(least)
    size = CLEAR * (1 + np.abs(slope).sum())
    at_top = least == 0
    if not at_top.any() or (slope[at_top] > -size).any() or (np.abs(slope[~at_top]) > 1e-2 * size).any():
        return None
    if not _is_strict(value, least, ~at_top):
        return None
    return np.where(at_top, slope, 0.0) / slope[at_top].sum()


def _terms(formula: Formula) -> list[UnitTerm] | None:
    """The terms of log u without rewards that make F, if it is convex in x with smooth psis, and rises far out."""
    link, unit = formula.leading or (formula.link, formula.unit if formula.is_of_scores else None)
    if unit is None or link is None or len(unit) > 1 or link.kind != ReverseKL() or not link.relative:
        return None
    (terms,) = unit
    smooth = all(t.psi.convex and t.psi.self_concordance is not None and t.weight > 0 for t in terms)
    linear = all(t.short == 0 for t in terms)
    return terms if smooth and linear and rises(terms) else None


def _slopes(term: UnitTerm, x_w: Floats, x_l: Floats) -> tuple[Floats, Floats]:
    """Derivatives in x_w and x_l."""
    first = term.weight * term.psi.derivatives(term.winner * x_w + term.loser * x_l - term.offset)[0]
    return term.winner * first, term.loser * first


def _is_strict(value: object, x: Floats, free: Floats) -> bool:
    """Whether second differences are positive in all directions of the free responses' coordinates."""
    assert callable(value)
    places, step = np.flatnonzero(free), 1e-2
    for i in places:
        for j in places:
            direction = np.eye(len(x))[i] + (0 if i == j else np.eye(len(x))[j])
            bend = value(x + step * direction) + value(x - step * direction) - 2 * value(x)
            if not bend > 1e-9 * (1 + abs(value(x))):
                return False
    return True


def _weak(known: Known) -> Conclusion | None:
    for optimal in OPTIMAL:
        found = shares(known.formula, optimal)
        if found is not None and np.sort(found)[-2] > CLEAR:
            return Conclusion(FAILS, "as λ → 0 the optimum does not always tend to a point mass")
    return None


def _strong(known: Known) -> Conclusion | None:
    for optimal in OPTIMAL:
        found = shares(known.formula, optimal)
        if found is not None and np.abs(found - optimal).max() > CLEAR:
            return Conclusion(FAILS, "as λ → 0 the optimum tends to who won more often than lost, not to π*")
    return None


RULES = (
    Rule(
        "mass_is_shared_by_slopes",
        "weak_interpolation",
        "As λ → 0 a convex loss of λ times scores gives mass in proportion to its slopes at its best scores, and two "
        "may have some.",
        _weak,
    ),
    Rule(
        "mass_is_shared_by_slopes",
        "strong_interpolation",
        "As λ → 0 a convex loss of λ times scores gives mass in proportion to its slopes at its best scores, which is "
        "not π*.",
        _strong,
    ),
)
