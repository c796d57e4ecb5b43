r"""Closed forms, batched: the last axis is the batch, the first the responses of one piece.

The scores s = mu(u) of a QPO loss are known exactly from a Bradley-Terry population (lam s = log pi*) and, for IPO,
from a Laplacian solve. Policies follow from scores by the one-dimensional root of `from_scores`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import elementwise

from .._array import Array
from ..divergences import Divergence
from ..losses.base import Claims, PairObjective, QuasiconvexObjective
from ..losses.logistic import Logistic
from .certificate import UNIT
from .laplacian import eliminate, incidence
from .problem import Problem

Floats = NDArray[np.float64]


def bradley_terry_scores(optimal: Floats, lam: Floats) -> tuple[Floats, Floats]:
    """Scores s = log pi* / lam (n, B), which minimise each pair's E[-log sigma(lam (s_i - s_j))], and their error."""
    log_optimal = np.log(optimal)
    return log_optimal / lam, 2 * UNIT * (np.abs(log_optimal) + 1) / lam


@dataclass(frozen=True)
class ScoreObjective(PairObjective):
    """psi of a QPO loss as a function of the scores themselves: a convex problem on the comparison graph."""

    of: QuasiconvexObjective
    name: ClassVar[str] = "scores"

    def with_lam(self, lam: Any) -> ScoreObjective:
        return ScoreObjective(lam, self.of.with_lam(lam))

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        return self.of.psi(logp_w - logp_l)

    def logistic(self, ref_log_ratio: Array = None) -> Logistic | None:
        psi = self.of.stated(ref_log_ratio)
        return None if psi is None else dataclasses.replace(psi, relative=False)

    @property
    def claims(self) -> Claims:
        return Claims(True, False, False, True, self.of.psi_self_concordance)


def score_problem(problem: Problem, objective: QuasiconvexObjective) -> Problem:
    """The same pairs, with scores in the place of logits."""
    return dataclasses.replace(problem, objective=ScoreObjective(problem.objective.lam, objective))


def ipo_scores(problem: Problem) -> Floats:
    """Scores of IPO: the weighted least squares sum_j w_ij (s_i - s_j) = sum_j (wins_ij - wins_ji) / (2 lam)."""
    edges, weight = problem.edges, problem.weight
    surplus = incidence(problem.n) @ (edges.net @ weight)
    return eliminate(edges.to_pair @ weight).solve(surplus / (2 * problem.objective.lam))


def two_responses(wins: Floats, reference: Floats, strength: Floats, shrinks_target: bool) -> tuple[Floats, Floats]:
    """EXPO on two responses: log-policies (2, B) and their error bounds (B,). [ours]

    wins: (2, B), weights of "0 beats 1" and "1 beats 0". Compositional EXPO with regulariser strength lam m (m the mass
    of the two) gives (wins_i + lam m pi_ref,i) / (wins_0 + wins_1 + lam m); the regression form weighs the reference by
    lam times the pair's own weight (``shrinks_target``).
    """
    pull = strength * wins.sum(axis=0) if shrinks_target else strength
    policy = wins + pull * reference
    return np.log(policy / policy.sum(axis=0)), np.full(wins.shape[1], 16 * UNIT)


def from_scores(link: Divergence, log_reference: Floats, scores: Floats, score_error: Floats) -> tuple[Floats, Floats]:
    r"""The policy with mu(pi/pi_ref) = scores + const, and a proven bound on its 1-norm error.

    One root per problem: with y = log u of the top response, the others are u_i(y) = (f')^{-1}(f'(e^y) - gap_i), and
    S(y) = sum pi_ref,i u_i(y) = 1 has its root in [0, -log pi_ref,top]. S increases in y and falls with each gap, so
    solving once more with all gaps at their upper (lower) ends and S a few roundings above (below) one encloses the
    true policy.

    Args:
        log_reference, scores: (n, B). score_error: (n, B), or (B,) for a bound on the range of the scores' error.

    Returns:
        log pi (n, B), -inf on the boundary, and bound (B,), nan where the enclosure fails.
    """
    top = scores.argmax(axis=0)
    column = np.arange(scores.shape[1])
    gap = scores[top, column] - scores
    if score_error.ndim == 2:
        blur = score_error + score_error[top, column]
        blur[top, column] = 0.0
    else:
        blur = np.broadcast_to(score_error, gap.shape).copy()
        blur[top, column] = 0.0
        blur += 2 * UNIT * np.abs(gap)

    def log_u(y: Floats, gaps: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.asarray(link.descend(y + 0.0 * gaps, gaps))

    def root(gaps: Floats, level: Floats) -> Floats:
        def excess(y: Floats, index: Floats) -> Floats:
            at = index.astype(np.intp)
            return _logsumexp(log_reference[:, at] + log_u(y, gaps[:, at])) - level[at]

        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            found = elementwise.find_root(
                excess,
                (np.full(len(column), -0.5), 0.5 - log_reference[top, column]),
                args=(column.astype(np.float64),),
                tolerances={"xatol": 0.0, "xrtol": UNIT, "fatol": 0.0, "frtol": 0.0},
                maxiter=200,
            )
        return np.asarray(found.x)

    zero = np.zeros(len(column))
    y = root(gap, zero)
    exponents = log_u(y, gap)
    log_policy = log_reference + exponents
    log_policy -= _logsumexp(log_policy)
    policy = np.exp(log_policy)

    finite = np.where(policy > 0, exponents, 0.0)  # what has no mass has no rounding
    slack = 8 * UNIT * (policy * (4 + len(policy) + np.abs(log_reference) + np.abs(finite) + np.abs(y))).sum(axis=0)
    ends = []
    for sign in (1.0, -1.0):
        y_end = root(gap + sign * blur, sign * 2 * slack)
        # the root is only as good as its own tolerance: check the inequality that the proof needs
        proven = sign * _logsumexp(log_reference + log_u(y_end, gap + sign * blur)) >= slack
        with np.errstate(invalid="ignore"):
            reach = log_u(y_end, gap - sign * blur)
            reach = reach + sign * 8 * UNIT * (
                2 + np.abs(log_reference) + np.abs(np.where(np.isfinite(reach), reach, 0.0))
            )
        ends.append(np.where(proven, np.exp(log_reference + reach), np.nan))
    upper, lower = ends
    bound = np.maximum(upper - policy, policy - lower).sum(axis=0)
    return log_policy, np.minimum(bound, 2.0)


def _logsumexp(x: Floats) -> Floats:
    """log sum exp over the first axis; -inf entries count as nothing."""
    largest = x.max(axis=0)
    return largest + np.log(np.exp(x - largest).sum(axis=0))
