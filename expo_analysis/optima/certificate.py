r"""Proven distances between a computed optimum and the true one.

**From gradient to logits** [ours]. Let g and H be gradient and Hessian at the candidate theta, R the largest effective
resistance R_ij = (e_i - e_j)' H^+ (e_i - e_j), and |D3 f[v,v,u]| <= M range(u) D2 f[v,v] (`Problem.concordance`).
On the way from theta to the minimiser theta + d, H shrinks by at most exp(-M range(d)), so that range(d) <= r, where

    delta = M sqrt(R) sqrt(g' H^+ g) < 1,    r = -log(1 - delta) / M    (M = 0: r = sqrt(R) sqrt(g' H^+ g)).

delta < 1 also proves that a minimiser exists. The logits of the two then differ by at most r in range.

**After a Newton step** d [ours]. At theta + d the gradient is g + Hd, which is nothing but the rounding of d, and
what H changes on the way: at most (exp(s) - 1 - s) / s <= s exp(s) / 2 times sqrt(d'Hd), s = M range(d), as H grows
by at most exp(s). H shrinks by at most exp(-s). So one evaluation of the derivatives serves to take the last step and
to certify it.

**The same by currents** [ours]. F_s = F - (1 - s) g'x has its minimum at theta for s = 0, and where F has for s = 1; on
the way the minimiser y moves by y' = -H(y)^+ g. H is the Laplacian of edge weights: psi'' of each pair, and T pi_i pi_j
where there is a cross-entropy of total weight T. Once y is rho in range away from theta they have shrunk by at most
exp(-k rho), k = M of the pair parts, and at least 2 beside a cross-entropy. Written as currents c_ij along pairs, g
makes a difference of potentials H^+ g of at most sum |c_ij| R_ij: by the maximum principle no two responses differ by
more than the ends of a pair that carries a current, and by Rayleigh's monotonicity R grows by at most exp(k rho). So
rho' <= exp(k rho) S with S = sum |c_ij| R_ij at theta, and

    k S < 1  proves that a minimiser exists, with  r = -log(1 - k S) / k    (k = 0: r = S).

Where a bridge of tiny weight carries a tiny current, its R is large, but nobody else's current meets it: S stays small
where the other bound, the product of two norms, does not. Currents are taken to be those of H at theta; what the
solver's rounding leaves out of them is below a part in a million of S, as it is n^2 units of rounding of it at most.

**From logits to policies.** If log pi' - log pi has range at most r, then for every set S of responses with mass
a = pi(S), pi'(S) - pi(S) <= k(a) = a (1-a) (e^r - 1) / (1 + a (e^r - 1)). The maximum of k over all a in [0, 1] is
tanh(r/4), Hilbert's bound on the total variation; if pi has a response of mass m >= 1/2, no set has a mass strictly
between 1 - m and m, and the maximum over the rest is smaller. The 1-norm is twice the total variation. [ours]

**Rounding.** g is computed, so |g - g_true| must be added. Each pair's error is a current between its two responses,
which costs sqrt(R_ij) in the norm g' H^+ g; errors at single responses are currents to whichever hub makes the sum
smallest. Their sizes come from a first-order rounding analysis with unit roundoff u: an argument is known to u (|x_w| +
|x_l| + ...), a derivative of psi to a few u times its own size or `Psi.rounding`, whichever is larger, a sum of n terms
to n u times the sum of moduli. What flows into a response is summed as if with twice the digits (two-sum, Knuth 1969):
where parts of the graph hang together by a thread, the small difference of large currents counts. What a step changes
is added to the pairs' currents before they are summed, for the same reason. Second derivatives are reduced by what may
be rounding in them. Derivatives of a bare formula, and of a divergence of somebody's own, are trusted no further than
they are seen to change smoothly (`expo_analysis.optima.measured`).

**Squared errors** [ours]. Regression EXPO minimises F = sum over unordered pairs of m_ij (sigma(h_ij) - t_ij)^2,
which is not convex. But whatever is no worse than theta has every sigma(h_ij) within rho_ij = sqrt(F(theta) / m_ij)
of t_ij: a box in the log-ratios, outside of which F is larger. With v the least sigma (1 - sigma) and k the largest
|1 - 2 sigma| on a pair's interval, its second derivative there is at least 2 m v (v - rho k) if v > rho k. If that
holds for all pairs, F is strongly convex on the box, its minimiser there is the global one, and r = sqrt(R) sqrt(g'
H^+ g) with these lower bounds as H.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from .._types import Floats
from ..losses.psi import SquaredSigmoid
from .derivatives import Expansion, expand, softmax
from .laplacian import Elimination, eliminate, ends, incidence, pairs, resistances_of_pairs
from .measured import divergence_rounding, formula_rounding
from .problem import Problem

UNIT = float(np.finfo(np.float64).eps)  # twice the unit roundoff: room for the second-order terms


def logit_error(problem: Problem, x: Floats) -> Floats:
    """r for each problem of the batch, shape (B,): a bound on range(x - x_true), nan where none is proven.

    For convex objectives of log-ratios with known self-concordance, beside a cross-entropy.
    """
    return _certify(problem, x, step=False)[1]


def last_step(problem: Problem, x: Floats) -> tuple[Floats, Floats]:
    """The end of a Newton step from x (n, B), and `logit_error` there, both from the derivatives at x."""
    return _certify(problem, x, step=True)


def _certify(problem: Problem, x: Floats, step: bool) -> tuple[Floats, Floats]:
    m = np.broadcast_to(np.asarray(problem.concordance, dtype=np.float64), x.shape[1:])
    x = x - (x.max(axis=0) + x.min(axis=0)) / 2
    local = expand(problem, x)
    rounding = PairRounding.of(problem, x)
    blur = 4 * UNIT * rounding.bend_scale
    other = None if problem.divergence is None else divergence_rounding(problem, x)
    if other is not None:
        policy, (high, low) = softmax(x), pairs(problem.n)
        blur = blur + 16 * UNIT * (policy[high] + policy[low]) * other.bend.sum(axis=0)
    weights = np.maximum(local.curvature - blur, 0.0)
    elimination = eliminate(weights)
    gradient, currents = exact_gradient(problem, local), local.slope
    stretch, change, drop = np.zeros_like(m), np.zeros_like(m), np.zeros_like(local.curvature)
    direction = np.zeros_like(x)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if step:
            direction = elimination.solve(gradient.mean(axis=0) - gradient)
            stretch = m * np.ptp(direction, axis=0)
            # a longer step proves nothing, and one over curvature that is all rounding even less: neither is taken
            short = (stretch <= 1) & elimination.positive_definite
            direction, stretch = np.where(short, direction, 0.0), np.where(short, stretch, 0.0)
            drop = incidence(problem.n).T @ direction
            change = stretch * np.exp(stretch) / 2 * np.sqrt(((local.curvature + blur) * drop**2).sum(axis=0))
            flow = local.curvature * drop
            x, currents = x + direction, local.slope + flow
            own = local.gradient - incidence(problem.n) @ local.slope  # exactly 0 where there are pairs alone
            gradient = own + sums_at_responses(currents)
        errors = Errors.of(problem, x, gradient, currents, rounding, weights, elimination)
        if step:  # what is added to a pair's current is rounded at the pair, and so at both ends alike
            at_pairs = errors.currents + 2 * UNIT * (np.abs(flow) + np.abs(currents))
            alone = errors.at_responses + np.where(own == 0, 0.0, UNIT * np.abs(local.gradient))
            errors = dataclasses.replace(errors, currents=at_pairs, at_responses=alone)
        if other is not None:
            errors = dataclasses.replace(errors, at_responses=errors.at_responses + other.at_responses)
        r = radius(m, np.exp(2 * stretch) * errors.reach(change))
        # by currents: what the step changes in those of a pair, and how much it may take from the pairs' weights
        k = np.maximum(m, 0.0 if problem.target is None else 2.0)
        moved = k * np.ptp(direction, axis=0)
        changed = np.abs((local.curvature + blur) * drop) * moved * np.exp(moved) / 2
        if other is None:
            r = np.fmin(r, radius(k, np.exp(moved) * errors.potential(changed)))
        else:  # nothing but its M is known of its Hessian, whose edges might be negative where rounding hides it
            r = np.where((local.curvature >= blur).all(axis=0), r, np.nan)
    if step:
        r = r + UNIT * np.abs(x).max(axis=0)
    return x, np.where(np.isfinite(r), r, np.nan)


def exact_gradient(problem: Problem, local: Expansion) -> Floats:
    """The gradient in the logits (or scores), (n, B), with what flows along pairs by `sums_at_responses`."""
    return local.gradient + (sums_at_responses(local.slope) - incidence(problem.n) @ local.slope)


def sums_at_responses(currents: Floats) -> Floats:
    """What flows into each response, (n, B), from currents (n(n-1)/2, B) into the high end of each pair.

    Summed with two-sum, so that the result is as exact as if it had been summed with twice the digits and then rounded.
    """
    size = currents.shape[1]
    n = round((1 + np.sqrt(1 + 8 * len(currents))) / 2)
    high, low = pairs(n)
    matrix = np.zeros((n, n, size))
    matrix[high, low], matrix[low, high] = currents, -currents
    total, error = np.zeros((n, size)), np.zeros((n, size))
    for term in matrix.swapaxes(0, 1):
        grown = total + term
        part = grown - total
        error += (total - (grown - part)) + (term - part)
        total = grown
    return total + error


def squared_error_bound(problem: Problem, x: Floats) -> Floats:
    """r where psi is a `SquaredSigmoid`, as `logit_error`; see "Squared errors" in the module's docstring."""
    x = x - (x.max(axis=0) + x.min(axis=0)) / 2
    local = expand(problem, x)
    target, mass = _targets(problem)
    high, low = pairs(problem.n)
    excess = (mass * (expit(x[high] - x[low]) - target) ** 2).sum(axis=0) * (1 + 1e-9) + UNIT**2
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = np.sqrt(excess / mass) + 8 * UNIT
        interval = np.stack([np.maximum(target - width, 0.0), np.minimum(target + width, 1.0)])
        slope = (interval * (1 - interval)).min(axis=0)
        margin = slope - width * np.abs(1 - 2 * interval).max(axis=0)
        convex = ((margin > 0) | (mass == 0)).all(axis=0)
        weights = np.where(mass > 0, 2 * mass * slope * np.maximum(margin, 0.0), 0.0)
        rounding, gradient = PairRounding.of(problem, x), exact_gradient(problem, local)
        reach = Errors.of(problem, x, gradient, local.slope, rounding, weights, eliminate(weights)).reach(0.0)
    return np.where(convex & np.isfinite(reach), reach, np.nan)


def _targets(problem: Problem) -> tuple[Floats, Floats]:
    """The target of sigma(x_high - x_low), both orders of a pair taken together, and the pair's weight, by `pairs`."""
    (part,) = problem.parts
    assert isinstance(part.psi, SquaredSigmoid)
    edges, weight = problem.edges, part.weight
    mass = edges.to_pair @ weight
    # a pair's weight times its target, from winners at the high end and from those at the low end
    hit = edges.upward @ (weight * part.psi.target) + edges.downward @ (weight * part.psi.miss)
    return hit / np.where(mass > 0, mass, 1.0), mass


@dataclass(frozen=True, eq=False)
class PairRounding:
    """What rounding does to the terms of each of `laplacian.pairs`; all (n(n-1)/2, B).

    bend: the sum of the moduli of second derivatives, by which an argument's error enters the slope. slope_scale,
    bend_scale: what the rounding of first and second derivatives is relative to. extra: further errors of the slope.
    """

    bend: Floats
    slope_scale: Floats
    bend_scale: Floats
    extra: Floats

    @classmethod
    def of(cls, problem: Problem, x: Floats, curvature: Floats | None = None) -> PairRounding:
        """At x (n, B). curvature: of the pair parts there, (n(n-1)/2, B), where it is known already."""
        edges, weight = problem.edges, problem.weight
        high, low = edges.pairs
        found: list[Any] = [None] * 4
        alone = len(problem.merged) == 1 and problem.choices is None and not (problem.parts or problem.is_formula)

        def add(*terms: Floats) -> None:
            for k, term in enumerate(terms):
                found[k] = term if found[k] is None else found[k] + term

        if problem.choices is not None:
            at = problem.at(x, problem.choices.relative)
            bend = problem.choices.derivatives(at)[1]
            known = np.abs(x) + np.abs(problem.log_reference) + 2.0
            add(0.0 * bend, 0.0 * bend, bend, 2 * UNIT * problem.choices.rounding(at, known))
        for merged in problem.merged:
            scaled = merged.slope * merged.size
            if curvature is None or not alone:
                curvature = merged.at_pairs(problem.at(x, merged.relative), high, low)[1]
            add(np.abs(curvature), scaled, merged.slope * scaled)
        for part in problem.parts:
            at = problem.at(x, part.relative)
            first, second = (
                np.abs(d) for d in problem.of_psi(part.psi, part.place, part.margin(at[edges.winner] - at[edges.loser]))
            )
            slope_scale, bend_scale = part.psi.rounding
            slope, weights = np.abs(part.slope), part.weight
            add(
                edges.to_pair @ (weights * slope**2 * second),
                edges.to_pair @ (weights * slope * np.maximum(first, slope_scale)),
                edges.to_pair @ (weights * slope**2 * np.maximum(second, bend_scale)),
                2 * UNIT * (edges.to_pair @ (weights * slope * second * np.abs(part.shift))),
            )
        if problem.is_formula:
            first, second, extra = formula_rounding(problem, x)
            m = np.asarray(problem.concordance)
            add(
                edges.to_pair @ (weight * second),
                edges.to_pair @ (weight * np.maximum(m, first)),
                edges.to_pair @ (weight * np.maximum(m**2, second)),
                edges.to_pair @ (weight * extra),
            )
        return cls(*(np.zeros((len(high), problem.size)) if each is None else each for each in found))


def radius(k: Floats, first: Floats) -> Floats:
    """-log(1 - k first) / k, and ``first`` itself for k = 0; nan where k first >= 1."""
    return np.where(k > 0, -np.log1p(-np.where(k * first < 1, k * first, np.nan)) / np.where(k > 0, k, 1.0), first)


@dataclass(frozen=True, eq=False)
class Errors:
    """The gradient at x, what rounding may add to it, and the resistances that it meets; all by `laplacian.pairs`.

    gradient: (n, B). potential_of: H^+ gradient, (n, B). resistance: (n(n-1)/2, B). currents: what flows along each
    pair by rounding of its own term. at_responses: (n, B), rounding that belongs to a response, and flows to a hub.
    """

    gradient: Floats
    potential_of: Floats
    weights: Floats
    resistance: Floats
    currents: Floats
    at_responses: Floats

    @classmethod
    def of(
        cls,
        problem: Problem,
        x: Floats,
        gradient: Floats,
        slope: Floats,
        rounding: PairRounding,
        weights: Floats,
        elimination: Elimination,
    ) -> Errors:
        """At x (n, B), for the Laplacian H of these ``weights``. slope: of the pairs, whose sums the gradient has."""
        gradient = gradient - gradient.mean(axis=0)
        resistance = resistances_of_pairs(elimination)
        currents, at_responses = rounding_errors(problem, x, slope, rounding)
        potential = elimination.solve(gradient)
        return cls(gradient, potential, weights, resistance, currents, at_responses)

    def reach(self, change: float | Floats) -> Floats:
        """sqrt(R) sqrt(g' H^+ g), (B,), with rounding, and any other ``change`` of g given in the norm sqrt(g' H^+ g).

        Leaves room for weights of H that are too large by a part in a million.
        """
        root = np.sqrt(self.resistance)
        norm = np.sqrt(np.maximum((self.gradient * self.potential_of).sum(axis=0), 0.0)) + change
        norm = norm * (1 + 1e-6) + (self.currents * root).sum(axis=0) + self._to_hub(root)
        return np.asarray((1 + 2e-6) * np.sqrt(self.resistance.max(axis=0)) * norm)

    def potential(self, changed: float | Floats) -> Floats:
        """sum |current| R, (B,): a bound on the range of H^+ g, also where H's weights are larger.

        A unit current between two responses makes no difference of potentials larger than that between them, R, and R
        falls as weights grow. The gradient flows as it does in H. changed: further currents, as moduli.
        """
        high, low = pairs(len(self.gradient))
        own = self.weights * np.abs(self.potential_of[high] - self.potential_of[low])
        flow = own * (1 + 1e-6) + self.currents + changed
        with np.errstate(invalid="ignore"):
            along = np.where(flow > 0, flow * self.resistance, 0.0).sum(axis=0)
        return np.asarray((1 + 2e-6) * (along + self._to_hub(self.resistance)))

    def _to_hub(self, cost: Floats) -> Floats:
        """What errors at single responses cost, (B,), if they flow to the hub that makes it least."""
        n = len(self.gradient)
        high, low = pairs(n)
        to_high, to_low = ends(n)
        # to a hub at one end of a pair flows what belongs to the other end
        to_hub = to_high @ (self.at_responses[low] * cost) + to_low @ (self.at_responses[high] * cost)
        return np.asarray(to_hub.min(axis=0))


def rounding_errors(problem: Problem, x: Floats, slope: Floats, rounding: PairRounding) -> tuple[Floats, Floats]:
    """Rounding of the gradient: currents along pairs, (n(n-1)/2, B), and what belongs to single responses, (n, B)."""
    n = problem.n
    to_high, to_low = ends(n)
    net = np.abs(slope)
    # two-sum leaves a rounding of the result and of what the second digits hold
    per_response = 2 * UNIT * np.abs(incidence(n) @ slope) + (n * UNIT) ** 2 * (to_high @ net + to_low @ net)
    return pair_currents(problem, x, rounding), per_response + target_rounding(problem, x)


def pair_currents(problem: Problem, x: Floats, rounding: PairRounding) -> Floats:
    """What may flow along each pair of the problem's edges by the rounding of its own terms, (pairs, B)."""
    high, low = problem.edges.pairs
    relative = problem.is_formula and problem.facts.needs_reference
    relative |= any(part.relative for part in (*problem.merged, *problem.parts))
    size = np.abs(x) + (np.abs(problem.log_reference) + 2.0 if relative else 0.0)
    return 2 * UNIT * (4 * rounding.slope_scale + (size[high] + size[low]) * rounding.bend) + rounding.extra


def target_rounding(problem: Problem, x: Floats) -> Floats:
    """Rounding of a cross-entropy's gradient at each response, (n, B)."""
    if problem.target is None:
        return np.zeros_like(x)
    policy = softmax(x)
    share = policy * ((4 + problem.n + x.max(axis=0)) - x + np.abs(x))
    found = np.zeros_like(x)
    if problem.pull is not None:
        reference = problem.reference * (4 + np.abs(problem.log_reference))
        found = found + 2 * UNIT * problem.pull * (share + reference)
    if problem.likelihood is not None:
        terms = problem.n + len(problem.edges.winner)
        seen = problem.likelihood.sum(axis=0)
        found = found + 2 * UNIT * (seen * (share + terms * policy) + terms * problem.likelihood)
    return found


def policy_error(policy: Floats, r: Floats) -> Floats:
    """1-norm distance of any policy whose log-ratio to ``policy`` (n, B) has range at most r (B,); shape (B,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _policy_error(policy, r)


def _policy_error(policy: Floats, r: Floats) -> Floats:
    growth = np.expm1(np.minimum(r, 700.0))

    def gain(a: Floats) -> Floats:
        return a * (1 - a) * growth / (1 + a * growth)

    top = np.clip(policy.max(axis=0) - UNIT, 0.5, 1.0)
    peak = 1 / (1 + np.exp(r / 2))
    variation = np.maximum(gain(np.minimum(peak, 1 - top)), gain(np.maximum(peak, top)))
    rounding = 4 * UNIT * (policy * (4 + len(policy) + np.abs(np.log(np.maximum(policy, 1e-300))))).sum(axis=0)
    return np.minimum(2 * variation, 2.0) + rounding
