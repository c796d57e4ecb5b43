r"""Every term at its least at once: a closed form where margins can all be what each psi wants of its own, and a proof.

The terms' margins m_k are affine in log pi. Where the psi of each has one minimum, m*_k, least squares in log pi tell
whether some policy has m_k = m*_k for all k. With rounding it has |m_k - m*_k| <= rho_k, so that the objective is above
its terms' least values by eps = sum_k weight_k above_k rho_k^2 at most. Wherever it is no higher, |m_k - m*_k| <=
delta_k = sqrt(eps / (weight_k below_k)) (see `Well`), as long as these are below 1. If margins tell log pi up to a
constant, that set is bounded, so that a minimiser exists, and it lies within |A^+| (rho + delta) of the policy found,
A the matrix of the margins in log pi. [ours]

**Pairs need no curvature**, which underflows where sigmoids saturate. Let all terms be of log-ratios over connected
pairs, with |m_k - m*_k| <= rho_k at the policy found, and let d be the difference in logits of any other. If d has a
gap between two neighbours in size that is larger than rho_k/|scale_k| of every pair across it, then all these margins
are beyond m*_k on the side on which closing the gap lowers psi, and no other margin changes. So there is a minimiser,
and every minimiser is within (n - 1) max rho_k/|scale_k| in range. [ours]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp

from ..._types import Floats
from ...losses.data import evaluate
from ...losses.facts import of_log_ratio
from ...losses.psi import Well
from ...losses.terms import Term, bound
from ..certificate import UNIT, policy_error
from ..found import Found, judged
from ..problem import Problem

NAME = "closed_form"
ENOUGH = 1e-6
"""Error bounds and residuals above this are no closed form: the margins that the terms want do not fit together."""


LARGEST = 10**7
"""Of the dense matrix of a term's margins in log pi; beyond it other methods are faster, if they know the loss."""


def accepts(problem: Problem) -> bool:
    """Terms of log-probabilities, each with a `Well`, and nothing else."""
    terms = problem.facts.terms
    plain = all(atom.plain for term in terms for _, atom in term.statistic.parts)
    whole = problem.log_mass is None or problem.facts.log_ratio_only
    alone = problem.target is None and problem.divergence is None and problem.choices is None
    small = len(problem.edges.winner) * problem.n <= LARGEST
    known = plain and whole and alone and small
    return bool(terms.terms) and known and all(_well(problem, term) is not None for term in terms)


def solve(problem: Problem) -> Found:
    """The policy with the margins that the terms want, and a bound; passed on where there is none."""
    matrix = np.concatenate([_matrix(problem, term) for term in problem.facts.terms])
    inverse = np.linalg.pinv(matrix)
    known = np.linalg.matrix_rank(matrix) == problem.n - int(np.allclose(matrix.sum(axis=1), 0))
    start = problem.log_reference
    moved = np.concatenate([(well.at - m) / scale for m, scale, well, *_ in _margins(problem, start)])
    log_policy = start + inverse @ moved
    log_policy = log_policy - logsumexp(log_policy, axis=0)
    margins = _margins(problem, log_policy)
    error = np.fmin(_bound(margins, inverse), _by_gaps(problem, margins, log_policy))
    proven = known & (error < ENOUGH)
    found = judged(log_policy, np.where(proven, error + 4 * problem.n * UNIT, np.nan))
    found.message[proven] = "the minimiser, as every term is at its least there"
    found.passed_on[~proven] = True
    return found


def _bound(margins: list[tuple[Any, ...]], inverse: Floats) -> Floats:
    """Of the policy's distance from a minimiser, in 1-norm, (B,); inf where there is none."""
    rho, above, below, scale = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (np.abs(m - well.at) + 16 * UNIT * size, weight * well.above, weight * well.below, np.abs(scale))
                for m, scale, well, weight, size in margins
            ),
            strict=True,
        )
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        excess = np.where(rho <= 1, above * rho**2, np.inf).sum(axis=0) * (1 + 1e-9)
        delta = np.sqrt(excess / below)
        # d pi = pi (d theta - E d theta), and a mean distance from the mean is at most half the range
        moved = (np.abs(inverse) @ ((rho + delta) / scale)).max(axis=0) * (1 + 1e-9)
    return np.where((delta < 1).all(axis=0) & np.isfinite(moved), moved, np.inf)


def _by_gaps(problem: Problem, margins: list[tuple[Any, ...]], log_policy: Floats) -> Floats:
    """The bound of pairs, (B,); inf where some term is of no pair, some pair has no weight, or margins do not fit."""
    if not all(of_log_ratio(term.statistic) for term in problem.facts.terms):
        return np.full(problem.size, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = [np.abs(m - well.at) + 16 * UNIT * size for m, _, well, _, size in margins]
        gap = np.max(
            [(own / np.abs(scale)).max(axis=0) for own, (_, scale, *_) in zip(rho, margins, strict=True)], axis=0
        )
    # a bound that is small only as lam is large would be true, and the policy not the minimiser to rounding
    fits = np.max([own.max(axis=0) for own in rho], axis=0) < ENOUGH
    weighted = np.all([(weight > 0).all(axis=0) for *_, weight, _ in margins], axis=0)
    error = policy_error(np.exp(log_policy), (problem.n - 1) * gap + 4 * UNIT * np.abs(log_policy).max(axis=0))
    return np.where(fits & weighted & np.isfinite(error), error, np.inf)


def _margins(problem: Problem, log_policy: Floats) -> list[tuple[Floats, Floats, Well, Floats, Floats]]:
    """(m, scale, well, weight, size) of each term, (E, B) each; size is what the rounding of m is relative to."""
    found = []
    log_policy = log_policy if problem.log_mass is None else log_policy + problem.log_mass
    logs = {f"logp_{slot}": log_policy[end] for slot, end in problem.edges.by_slot.items()}
    datum, shape = {**problem.datum, **logs}, problem.weight.shape
    for term in problem.facts.terms:
        well, statistic = _well(problem, term), term.statistic
        assert well is not None
        scale, size = evaluate(statistic.scale, datum), statistic.size(datum) + np.abs(well.at)
        weight = problem.weight * evaluate(term.weight, datum)
        arrays = (np.broadcast_to(x, shape) for x in (statistic.value(datum), scale))
        spread = Well(*(np.broadcast_to(x, shape) for x in well))
        found.append((*arrays, spread, weight, np.broadcast_to(size, shape)))
    return found


def _matrix(problem: Problem, term: Term) -> Floats:
    """Of what the term's statistic combines, in log pi, (E, n)."""
    edges = problem.edges
    found = np.zeros((len(edges.winner), problem.n))
    for coefficient, atom in term.statistic.parts:
        np.add.at(found, (np.arange(len(found)), edges.by_slot[atom.slot]), coefficient)
    return found


def _well(problem: Problem, term: Term) -> Well | None:
    return bound(term.psi, problem.datum).well
