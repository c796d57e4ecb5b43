r"""Policies from scores s = mu(pi/pi_ref), by a one-dimensional root; the last axis is the batch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy.optimize import elementwise

from .._types import Floats, Indices, Mask
from ..divergences import Divergence, ReverseKL
from ..losses.base import RewardObjective
from .certificate import UNIT, policy_error
from .derivatives import log_softmax
from .found import Found, judged, named
from .problem import Problem


def policy_of_scores(
    problem: Problem,
    x: Floats,
    error: Floats,
    steps: Indices | None = None,
    converged: Mask | None = None,
) -> Found:
    """What is found with x (n, B): logits, or scores where the problem has a link.

    error: of x, (n, B), or (B,) for a bound on its range. Where no policy has the scores, other methods are to be
    tried.
    """
    if problem.link is None:
        spread = 2 * error.max(axis=0) if error.ndim == 2 else error
        log_policy = log_softmax(x)
        return judged(log_policy, policy_error(np.exp(log_policy), spread), steps, converged)
    log_policy, bound = from_scores(problem.link, problem.log_reference, x, error)
    found = judged(log_policy, bound, steps, converged)
    boundary = np.isneginf(log_policy)
    on_boundary = boundary.any(axis=0)
    if isinstance(problem.objective, RewardObjective):  # whose optimum is on the boundary then
        for column in np.flatnonzero(on_boundary):
            zero = named(problem, boundary, column)
            found.message[column] = f"the minimiser, on the boundary: responses {zero} have probability 0"
        return dataclasses.replace(found, reward=x * problem.lam)
    found.passed_on[:] = on_boundary
    return found


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
    if type(link) is ReverseKL:
        return _from_log_ratios(log_reference, scores, score_error)
    top, column = scores.argmax(axis=0), np.arange(scores.shape[1])
    gap = scores[top, column] - scores
    several = score_error.ndim == 2
    blur = score_error + (score_error[top, column] if several else 2 * UNIT * gap)
    blur[top, column] = 0.0
    roots = _Roots(link, log_reference, 0.5 - log_reference[top, column])
    y = roots.at(gap, np.zeros(len(column)))
    exponents = roots.log_u(y, gap)
    log_policy = log_reference + exponents
    log_policy -= _logsumexp(log_policy)
    policy = np.exp(log_policy)

    finite = np.where(policy > 0, exponents, 0.0)  # what has no mass has no rounding
    slack = 8 * UNIT * (policy * (4 + len(policy) + np.abs(log_reference) + np.abs(finite) + np.abs(y))).sum(axis=0)
    ends = []
    for sign in (1.0, -1.0):
        y_end = roots.at(gap + sign * blur, sign * 2 * slack)
        # the root is only as good as its own tolerance: check the inequality that the proof needs
        proven = sign * roots.log_sum(y_end, gap + sign * blur) >= slack
        with np.errstate(invalid="ignore"):
            reach = roots.log_u(y_end, gap - sign * blur)
            reach = reach + sign * 8 * UNIT * (
                2 + np.abs(log_reference) + np.abs(np.where(np.isfinite(reach), reach, 0.0))
            )
        ends.append(np.where(proven, np.exp(log_reference + reach), np.nan))
    upper, lower = ends
    bound = np.maximum(upper - policy, policy - lower).sum(axis=0)
    return log_policy, np.minimum(bound, 2.0)


@dataclass(frozen=True, eq=False)
class _Roots:
    """log S(y) of `from_scores`, as of y (B,) and gaps (n, B), and where it is at a level, between -1/2 and ``end``."""

    link: Divergence
    log_reference: Floats
    end: Floats

    def log_u(self, y: Floats, gaps: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.asarray(self.link.descend(y + 0.0 * gaps, gaps))

    def log_sum(self, y: Floats, gaps: Floats) -> Floats:
        return _logsumexp(self.log_reference + self.log_u(y, gaps))

    def at(self, gaps: Floats, level: Floats) -> Floats:
        def excess(y: Floats, index: Floats) -> Floats:
            at = index.astype(np.intp)
            own = dataclasses.replace(self, log_reference=self.log_reference[:, at])
            return own.log_sum(y, gaps[:, at]) - level[at]

        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            found = elementwise.find_root(
                excess,
                (np.full(len(level), -0.5), self.end),
                args=(np.arange(len(level), dtype=np.float64),),
                tolerances={"xatol": 0.0, "xrtol": UNIT, "fatol": 0.0, "frtol": 0.0},
                maxiter=200,
            )
        return np.asarray(found.x)


def _logsumexp(x: Floats) -> Floats:
    """log sum exp over the first axis; -inf entries count as nothing."""
    largest = x.max(axis=0)
    return largest + np.log(np.exp(x - largest).sum(axis=0))


def _from_log_ratios(log_reference: Floats, scores: Floats, score_error: Floats) -> tuple[Floats, Floats]:
    """`from_scores` for mu = log, where pi is pi_ref exp(scores), normalised.

    Errors e_i of the logits relative to the top response's move pi by at most 2 S / (1 - S) in 1-norm, S = sum pi_i
    (exp(e_i) - 1) over all others.
    """
    log_policy = log_softmax(log_reference + scores)
    policy = np.exp(log_policy)
    each = 2 * UNIT * (np.abs(log_reference) + np.abs(scores) + 1)
    each, spread = (each + score_error, 0.0) if score_error.ndim == 2 else (each, score_error)
    top, column = log_policy.argmax(axis=0), np.arange(scores.shape[1])
    each = each + each[top, column]
    each[top, column] = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        moved = (policy * np.expm1(each)).sum(axis=0)
        bound = policy_error(policy, np.broadcast_to(spread, moved.shape)) + 2 * moved / (1 - moved)
    return log_policy, np.where(moved < 0.5, np.minimum(bound, 2.0), np.nan)
