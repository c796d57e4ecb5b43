r"""The error bound for convex losses that read log-probabilities apart, of which a self-concordance is known.

They may be bare formulas, or terms of statistics that are no log-ratio of a pair: of three responses, or of
coefficients that do not add up to 0. Their gradient g is by the chain rule of `derivatives.expand`, and its entries add
up to 0: let one response, the hub, have what the others leave. Then an error of size e_i of g_i is a current from i to
the hub j, and costs at most e_i sqrt(R_ij) in the norm sqrt(g' H^+ g).

Where no edge weight of H is negative, the elimination never subtracts. Elsewhere, as between a winner and the third
response that helps it, H is inverted as a dense matrix, less the Laplacian of what rounding may have added to the
weights; that is taken for a proof only where its condition number leaves half of the digits.

Derivatives of a psi are off by a few roundings of their own size or of `Psi.rounding`, and by their argument's error;
those of a bare formula are by torch, and what they are off by is measured (see `measured`). [ours]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .._types import Floats, Indices
from ..losses.data import evaluate
from ..losses.terms import Term, bound
from .certificate import (
    UNIT,
    PairRounding,
    exact_gradient,
    policy_error,
    radius,
    rounding_errors,
    target_rounding,
)
from .derivatives import Expansion, expand, log_roundings, log_softmax
from .laplacian import Elimination, both_ends, eliminate, incidence, pairs, resistances
from .measured import formula_rounding_of_ends
from .problem import Problem

CONDITION = 1e7
"""A larger one proves nothing: an inverse is known to about n UNIT times its condition, relative to its norm."""

INVERSE = 1e-7
"""Room for that, and for what it makes of resistances."""


def known(problem: Problem) -> bool:
    """Whether `rounding` can tell what rounding does to the derivatives."""
    plain = all(atom.plain for term in problem.general for _, atom in term.statistic.parts)
    return problem.facts.convex and problem.divergence is None and plain


def rounding(problem: Problem, x: Floats, local: Expansion) -> tuple[Floats, Floats]:
    """Errors of the gradient in the logits x (n, B), by response, and of the Hessian's weights, by `pairs`."""
    return _rounding_of_formula(problem, x) if problem.is_formula else _rounding_of_terms(problem, x, local)


def apart_error(problem: Problem, x: Floats) -> Floats:
    """A bound on the 1-norm distance of softmax(x), x (n, B), from the minimiser; nan where none is proven."""
    if not known(problem):
        return np.full(problem.size, np.nan)
    x = x - (x.max(axis=0) + x.min(axis=0)) / 2
    m = np.broadcast_to(np.asarray(problem.concordance, dtype=np.float64), x.shape[1:])
    local = expand(problem, x)
    per_response, blur = rounding(problem, x, local)
    inverse = _Inverse.of(local.curvature, blur)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        root = np.sqrt(inverse.resistance)
        cost = np.einsum("ijb,ib->jb", root, per_response)
        hub, column = np.nan_to_num(cost, nan=np.inf).argmin(axis=0), np.arange(problem.size)
        gradient = exact_gradient(problem, local)
        gradient[hub, column] = 0.0
        gradient[hub, column] = -gradient.sum(axis=0)
        norm = np.sqrt(np.maximum(inverse.squared(gradient), 0.0)) * (1 + 1e-6) + cost[hub, column]
        r = radius(m, root.max(axis=(0, 1)) * norm)
        r = r + 4 * UNIT * (np.abs(x).max(axis=0) + problem.n)  # log-softmax
    proven = np.isfinite(r)
    return np.where(proven, policy_error(np.exp(log_softmax(x)), np.where(proven, r, np.nan)), np.nan)


@dataclass(frozen=True, eq=False)
class _Inverse:
    """H^+ of a batch, from above. resistance: (n, n, B), infinite where nothing is proven.

    dense: of the problems ``signed`` (K,), with weights of both signs: (K, n-1, n-1), grounded at response 0.
    """

    elimination: Elimination
    signed: Indices
    dense: Floats
    resistance: Floats

    @classmethod
    def of(cls, curvature: Floats, blur: Floats) -> _Inverse:
        """Of the Laplacian of ``curvature``, by `pairs`, which rounding may have made too large by ``blur``."""
        least = curvature * (1 - 1e-6) - blur
        signed = np.flatnonzero((least < 0).any(axis=0))
        elimination = eliminate(np.maximum(least, 0.0))
        resistance = resistances(elimination)
        dense, resistance[..., signed] = _dense_inverse(least[:, signed], len(resistance))
        return cls(elimination, signed, dense, resistance)

    def squared(self, gradient: Floats) -> Floats:
        """g' H^+ g, (B,)."""
        found = (gradient * self.elimination.solve(gradient)).sum(axis=0)
        own = gradient[1:, self.signed]
        size = np.abs(self.dense).max(axis=(1, 2), initial=0.0) * np.abs(own).sum(axis=0) ** 2
        found[self.signed] = np.einsum("ik,kij,jk->k", own, self.dense, own) + INVERSE * size
        return np.asarray(found)


def _dense_inverse(weights: Floats, n: int) -> tuple[Floats, Floats]:
    """The inverse of a Laplacian of ``weights`` (n(n-1)/2, K) without response 0, and resistances (n, n, K)."""
    to_pair = incidence(n).toarray()
    laplacian = np.einsum("ip,pk,jp->kij", to_pair, weights, to_pair, optimize=True)[:, 1:, 1:]
    finite = np.isfinite(laplacian).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], laplacian, np.eye(n - 1)))
    proven = finite & (values[:, 0] * CONDITION > values[:, -1])
    inverse = (vectors / np.where(proven[:, None], values, np.inf)[:, None, :]) @ vectors.swapaxes(1, 2)
    whole = np.zeros((len(inverse), n, n))
    whole[:, 1:, 1:] = inverse
    own = np.diagonal(whole, axis1=1, axis2=2)
    between = own[:, :, None] + own[:, None, :] - 2 * whole + INVERSE * own.max(axis=1)[:, None, None]
    between[:, np.arange(n), np.arange(n)] = 0.0
    return inverse, np.moveaxis(np.where(proven[:, None, None], between, np.inf), 0, -1)


def _rounding_of_terms(problem: Problem, x: Floats, local: Expansion) -> tuple[Floats, Floats]:
    """`rounding`, for terms."""
    edges, log_policy, (high, low) = problem.edges, log_softmax(x), pairs(problem.n)
    policy, of_pairs = np.exp(log_policy), PairRounding.of(problem, x)
    currents, own = rounding_errors(problem, x, local.slope, of_pairs)
    own = own + both_ends(problem.n) @ currents
    blur, size, bend = 4 * UNIT * of_pairs.bend_scale, np.zeros_like(x), np.zeros(problem.size)
    logs = log_roundings(log_policy, x)
    for term in problem.general:
        error, slopes, bends = _rounding_of_term(problem, term, log_policy, logs)
        for slot in slopes:
            own, size = own + edges.to(slot) @ error[slot], size + edges.to(slot) @ slopes[slot]
        for slot, other in itertools.combinations(slopes, 2):
            blur = blur + 16 * UNIT * (edges.between(slot, other) @ bends)
        bend = bend + bends.sum(axis=0)
    own = own + 2 * UNIT * (problem.n + len(edges.winner)) * size
    # what all share: the sum of a, and the rounding of pi
    shared = policy * (own.sum(axis=0) + 2 * UNIT * logs * size.sum(axis=0))
    cross_entropy = size.sum(axis=0) + (0.0 if problem.target is None else problem.target.sum(axis=0))
    blur = blur + 16 * UNIT * ((policy[high] + policy[low]) * bend + policy[high] * policy[low] * cross_entropy)
    return own + shared, blur


def _rounding_of_term(
    problem: Problem, term: Term, log_policy: Floats, logs: Floats
) -> tuple[dict[str, Floats], dict[str, Floats], Floats]:
    """Of weight psi(m): errors and moduli of the derivatives in log pi of each slot, and |d2| added, (E, B) each.

    logs: roundings by which log pi may be off.
    """
    ends, statistic, place = problem.edges.by_slot, term.statistic, problem.facts.terms.terms.index(term)
    datum = {**problem.datum, **{f"logp_{slot}": log_policy[end] for slot, end in ends.items()}}
    psi, scale = bound(term.psi, datum), np.abs(evaluate(statistic.scale, datum))
    weight = np.abs(problem.weight * evaluate(term.weight, datum))
    first, second = (np.abs(d) for d in problem.of_psi(psi, place, statistic.value(datum)))
    argument = 2 * statistic.size(datum) + scale * sum(abs(c) * logs[ends[atom.slot]] for c, atom in statistic.parts)
    slope, bend = psi.rounding
    second = np.maximum(second, bend)
    off = UNIT * (8 * np.maximum(first, slope) + argument * second)
    steps: dict[str, float] = {}
    for c, atom in statistic.parts:
        steps[atom.slot] = steps.get(atom.slot, 0.0) + abs(c)
    return (
        {slot: weight * scale * c * off for slot, c in steps.items()},
        {slot: weight * scale * c * first for slot, c in steps.items()},
        weight * (scale * scale) * second * sum(steps.values()) ** 2,
    )


def _rounding_of_formula(problem: Problem, x: Floats) -> tuple[Floats, Floats]:
    """`rounding`, for a bare formula."""
    edges, n, log_policy = problem.edges, problem.n, log_softmax(x)
    policy, weight = np.exp(log_policy), problem.weight
    error, size, bend = formula_rounding_of_ends(problem, log_policy)

    def at_ends(values: tuple[Floats, Floats]) -> Floats:
        return np.asarray(edges.to_winner @ (weight * values[0]) + edges.to_loser @ (weight * values[1]))

    count = n + len(edges.winner)
    own = at_ends(error) + 2 * UNIT * count * at_ends(size)
    # what all share: the sum of a, and the rounding of pi
    total = own.sum(axis=0) + 2 * UNIT * count * at_ends(size).sum(axis=0)
    logs = log_roundings(log_policy, x)
    per_response = own + policy * (total + 2 * UNIT * logs * at_ends(size).sum(axis=0))
    high, low = pairs(n)
    blur = edges.to_pair @ (weight * bend) + (policy[high] + policy[low]) * (weight * bend).sum(axis=0)
    return per_response + target_rounding(problem, x), 16 * UNIT * blur
