r"""Proven distances between a computed optimum and the true one.

**From gradient to logits** [ours]. Let g and H be gradient and Hessian at the candidate theta, R the largest effective
resistance R_ij = (e_i - e_j)' H^+ (e_i - e_j), and |D3 f[v,v,u]| <= M range(u) D2 f[v,v] (`Claims.self_concordance`).
On the way from theta to the minimiser theta + d, H shrinks by at most exp(-M range(d)), so that range(d) <= r, where

    delta = M sqrt(R) sqrt(g' H^+ g) < 1,    r = -log(1 - delta) / M    (M = 0: r = sqrt(R) sqrt(g' H^+ g)).

delta < 1 also proves that a minimiser exists. The logits of the two then differ by at most r in range.

**After a Newton step** d [ours]. At theta + d the gradient is g + Hd, which is nothing but the rounding of d, and
what H changes on the way: at most (exp(s) - 1 - s) / s <= s exp(s) / 2 times sqrt(d'Hd), s = M range(d), as H grows
by at most exp(s). H shrinks by at most exp(-s). So one evaluation of the derivatives serves to take the last step and
to certify it.

**From logits to policies.** If log pi' - log pi has range at most r, then for every set S of responses with mass
a = pi(S), pi'(S) - pi(S) <= k(a) = a (1-a) (e^r - 1) / (1 + a (e^r - 1)). The maximum of k over all a in [0, 1] is
tanh(r/4), Hilbert's bound on the total variation; if pi has a response of mass m >= 1/2, no set has a mass strictly
between 1 - m and m, and the maximum over the rest is smaller. The 1-norm is twice the total variation. [ours]

**Rounding.** g is computed, so |g - g_true| must be added. Each pair's error is a current between its two responses,
which costs sqrt(R_ij) in the norm g' H^+ g; errors at single responses are currents to whichever hub makes the sum
smallest. Their sizes come from a first-order rounding analysis with unit roundoff u: an argument is known to
u (|theta_w| + |theta_l| + ...), a loss derivative that torch found to a few u times its own size or M, whichever is
larger, a sum of n terms to n u times the sum of moduli. Where the loss is a `Logistic`, both sigmas of a pair are known
to a few u times their size, besides what the argument brings, and kept and flipped to a few u times the sum of moduli
over both directions; as no sigma is above 1, the derivative is known to a few u times scale (|kept| + |flipped|) in
these sums. Second derivatives are taken to be off by 4 u times their size or M^2, or else scale^2 (|kept| + |flipped|),
and are reduced by that much.

**Squared errors** [ours]. Regression EXPO minimises F = sum over unordered pairs of m_ij (sigma(h_ij) - t_ij)^2,
which is not convex. But whatever is no worse than theta has every sigma(h_ij) within rho_ij = sqrt(F(theta) / m_ij)
of t_ij: a box in the log-ratios, outside of which F is larger. With v the least sigma (1 - sigma) and k the largest
|1 - 2 sigma| on a pair's interval, its second derivative there is at least 2 m v (v - rho k) if v > rho k. If that
holds for all pairs, F is strongly convex on the box, its minimiser there is the global one, and r = sqrt(R) sqrt(g'
H^+ g) with these lower bounds as H.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from .laplacian import Elimination, eliminate, ends, incidence, pairs, resistances
from .problem import Expansion, Problem, expand, softmax

Floats = NDArray[np.float64]

UNIT = float(np.finfo(np.float64).eps)  # twice the unit roundoff: room for the second-order terms


def logit_error(problem: Problem, theta: Floats) -> Floats:
    """r for each problem of the batch, shape (B,): a bound on range(theta - theta_true), nan where none is proven.

    For convex objectives of log-ratios with known self-concordance, with forward KL as the only regulariser.
    """
    return _certify(problem, theta, step=False)[1]


def last_step(problem: Problem, theta: Floats) -> tuple[Floats, Floats]:
    """The end of a Newton step from theta (n, B), and `logit_error` there, both from the derivatives at theta."""
    return _certify(problem, theta, step=True)


def _certify(problem: Problem, theta: Floats, step: bool) -> tuple[Floats, Floats]:
    claims = problem.objective.claims
    m = np.broadcast_to(np.asarray(claims.self_concordance, dtype=np.float64), theta.shape[1:])
    theta = theta - (theta.max(axis=0) + theta.min(axis=0)) / 2
    local = expand(problem, theta)
    terms = _pair_terms(problem, local, m)
    blur = 4 * UNIT * terms.bend_scale
    elimination = eliminate(np.maximum(local.curvature - blur, 0.0))
    gradient, stretch, change = local.gradient, np.zeros_like(m), np.zeros_like(m)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if step:
            direction = elimination.solve(gradient.mean(axis=0) - gradient)
            stretch = m * np.ptp(direction, axis=0)
            # a longer step proves nothing, and one over curvature that is all rounding even less: neither is taken
            short = (stretch <= 1) & elimination.positive_definite
            direction, stretch = np.where(short, direction, 0.0), np.where(short, stretch, 0.0)
            drop = incidence(problem.n).T @ direction
            change = stretch * np.exp(stretch) / 2 * np.sqrt(((local.curvature + blur) * drop**2).sum(axis=0))
            theta, gradient = theta + direction, gradient + incidence(problem.n) @ (local.curvature * drop)
        reach = np.exp(2 * stretch) * _reach(problem, theta, gradient, terms, elimination, change)
        delta = m * reach
        r = np.where(m > 0, -np.log1p(-np.where(delta < 1, delta, np.nan)) / np.where(m > 0, m, 1.0), reach)
    if step:
        r = r + UNIT * np.abs(theta).max(axis=0)
    return theta, np.where(np.isfinite(r), r, np.nan)


def regression_logit_error(problem: Problem, theta: Floats) -> Floats:
    """r for squared-error `RegressionEXPO`, as `logit_error`; see "Squared errors" in the module's docstring."""
    theta = theta - (theta.max(axis=0) + theta.min(axis=0)) / 2
    local = expand(problem, theta)
    target, mass = _targets(problem)
    high, low = pairs(problem.n)
    excess = (mass * (expit(theta[high] - theta[low]) - target) ** 2).sum(axis=0) * (1 + 1e-9) + UNIT**2
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = np.sqrt(excess / mass) + 8 * UNIT
        interval = np.stack([np.maximum(target - width, 0.0), np.minimum(target + width, 1.0)])
        slope = (interval * (1 - interval)).min(axis=0)
        margin = slope - width * np.abs(1 - 2 * interval).max(axis=0)
        convex = ((margin > 0) | (mass == 0)).all(axis=0)
        weights = np.where(mass > 0, 2 * mass * slope * np.maximum(margin, 0.0), 0.0)
        terms = _pair_terms(problem, local, np.ones(problem.size))
        reach = _reach(problem, theta, local.gradient, terms, eliminate(weights))
    return np.where(convex & np.isfinite(reach), reach, np.nan)


def _targets(problem: Problem) -> tuple[Floats, Floats]:
    """For squared-error regression the target of sigma(theta_i - theta_j), both orders of a pair taken together, and
    the weight of the pair; both in the order of `laplacian.pairs`."""
    lam = problem.objective.lam
    high, low = pairs(problem.n)
    mass = problem.edges.to_pair @ problem.weight
    wins = (mass + problem.edges.net @ problem.weight) / 2
    of_reference = expit(problem.log_reference[high] - problem.log_reference[low])
    return (wins / np.where(mass > 0, mass, 1.0) + lam * of_reference) / (1 + lam), mass


@dataclass(frozen=True)
class PairTerms:
    """What rounding does to the terms of each of `laplacian.pairs`; all (n(n-1)/2, B).

    slope: their derivative in theta_high - theta_low. bend: the sum of the moduli of second derivatives, by which an
    argument's error enters the slope. slope_scale, bend_scale: what the rounding of the first and of the second
    derivative is relative to.
    """

    slope: Floats
    bend: Floats
    slope_scale: Floats
    bend_scale: Floats


def _pair_terms(problem: Problem, local: Expansion, m: Floats) -> PairTerms:
    edges, weight, stated = problem.edges, problem.weight, problem.stated()
    if stated is not None:
        scaled = stated.scale * (edges.to_pair @ (weight * (np.abs(stated.kept) + np.abs(stated.flipped))))
        return PairTerms(local.slope, np.abs(local.bend), scaled, stated.scale * scaled)
    slope, bend = np.abs(local.slope), np.abs(local.bend)
    return PairTerms(
        slope=edges.net @ (weight * local.slope),
        bend=edges.to_pair @ (weight * bend),
        slope_scale=edges.to_pair @ (weight * np.maximum(m, slope)),
        bend_scale=edges.to_pair @ (weight * np.maximum(m**2, bend)),
    )


def _reach(
    problem: Problem,
    theta: Floats,
    gradient: Floats,
    terms: PairTerms,
    elimination: Elimination,
    change: float | Floats = 0.0,
) -> Floats:
    """sqrt(R) sqrt(g' H^+ g) for the Laplacian H that was eliminated; shape (B,).

    Includes the rounding of g, and any other ``change`` of g, given in the norm sqrt(g' H^+ g), and leaves room for
    weights of H that are too large by a part in a million.
    """
    resistance = resistances(elimination)[pairs(problem.n)]
    gradient = gradient - gradient.mean(axis=0)
    potential = elimination.solve(gradient)
    norm = (np.sqrt(np.maximum((gradient * potential).sum(axis=0), 0.0)) + change) * (1 + 1e-6)
    norm = norm + _rounding_norm(problem, theta, terms, np.sqrt(resistance))
    return (1 + 2e-6) * np.sqrt(resistance.max(axis=0)) * norm


def _rounding_norm(problem: Problem, theta: Floats, terms: PairTerms, root: Floats) -> Floats:
    """A bound on sqrt(e' H^+ e) for the rounding error e of the gradient, shape (B,).

    root: square roots of the effective resistances between the `laplacian.pairs`.
    """
    n = problem.n
    high, low = pairs(n)
    to_high, to_low = ends(n)
    size = np.abs(theta) + (np.abs(problem.log_reference) + 2.0 if problem.objective.claims.needs_reference else 0.0)
    argument = size[high] + size[low]
    from_pairs = 2 * UNIT * ((4 * terms.slope_scale + argument * terms.bend) * root).sum(axis=0)

    net = np.abs(terms.slope)
    per_response = n * UNIT * (to_high @ net + to_low @ net)
    if problem.objective.regulariser is not None:
        policy, reference = softmax(theta), problem.reference
        top = theta.max(axis=0)
        rounding = policy * ((4 + n + top) - theta + np.abs(theta)) + reference * (4 + np.abs(problem.log_reference))
        per_response = per_response + 2 * UNIT * problem.strength * rounding
    # to a hub at one end of a pair flows what belongs to the other end
    to_hub = to_high @ (per_response[low] * root) + to_low @ (per_response[high] * root)
    return from_pairs + to_hub.min(axis=0)


def policy_error(policy: Floats, r: Floats) -> Floats:
    """1-norm distance of any policy whose log-ratio to ``policy`` (n, B) has range at most r (B,); shape (B,)."""
    growth = np.expm1(r)

    def gain(a: Floats) -> Floats:
        return a * (1 - a) * growth / (1 + a * growth)

    top = np.clip(policy.max(axis=0) - UNIT, 0.5, 1.0)
    peak = 1 / (1 + np.exp(r / 2))
    variation = np.maximum(gain(np.minimum(peak, 1 - top)), gain(np.maximum(peak, top)))
    rounding = 4 * UNIT * (policy * (4 + len(policy) + np.abs(np.log(np.maximum(policy, 1e-300))))).sum(axis=0)
    return np.minimum(2 * variation, 2.0) + rounding
