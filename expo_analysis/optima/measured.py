r"""How far the derivatives of a bare formula can be trusted: seen in how they change, not derived.

Nothing is known of the operations inside of a formula. If its slope f' is right to rounding, then
f'(x + d) - f'(x) is d times the mean curvature in between, for d of any size; what is left over is error. The largest
that is seen, over steps from a rounding to 1e-4 in both directions, is added to the rounding that any formula has. A
formula that cancels inside, or computes in single precision, is noticed by it. This is a measurement: a bound that
rests on it is as good as the claims of the formula's author.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._autograd import derivatives
from .._types import Floats
from . import formula
from .derivatives import log_roundings, log_softmax
from .problem import Problem

UNIT = float(np.finfo(np.float64).eps)
STEPS = (4e-16, 1e-13, 1e-10, 1e-7, 1e-4)
"""In units of max(1, |x|)."""


def formula_rounding(problem: Problem, x: Floats) -> tuple[Floats, Floats, Floats]:
    """For a formula of log-ratios: moduli of both derivatives, and the measured error of the first, (E, B)."""
    _, first, second = formula.in_log_ratio(problem, x)
    worst = np.zeros_like(first)
    m = np.asarray(problem.concordance)
    for size in STEPS:
        for sign in (1.0, -1.0):
            step = sign * size * np.maximum(1.0, np.abs(x))
            moved = x + step * ((1.0 + np.arange(problem.n)) / problem.n)[:, None]  # so that every log-ratio moves
            _, slope, bend = formula.in_log_ratio(problem, moved)
            edges = problem.edges
            d = (moved[edges.winner] - moved[edges.loser]) - (x[edges.winner] - x[edges.loser])
            curved = np.maximum(np.abs(second), np.abs(bend))
            smooth = np.abs(d) * curved * np.minimum(np.abs(m * d), 1.0) ** 2  # what curvature may change on the way
            left = np.abs(slope - first - d * (second + bend) / 2) - smooth
            rounding = 4e-16 * (np.abs(x[edges.winner]) + np.abs(x[edges.loser]) + 2) * curved
            # beyond a step of 1/M curvature may rise and fall in between, and tells nothing
            worst = np.maximum(worst, np.where(m * np.abs(d) <= 1, left - rounding, 0.0))
    return np.abs(first), np.abs(second), np.maximum(worst, 0.0)


def formula_rounding_of_ends(
    problem: Problem, log_policy: Floats
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats], Floats]:
    """For any formula, at log pi (n, B): errors of f_w and f_l, their moduli or M, and those of f_ww, f_wl, f_ll added.

    Each is (E, B).
    """
    loss, ends = formula.formula(problem), [log_policy[end] for end in problem.edges.ends]
    _, first, second = derivatives(loss, *ends)
    m = np.asarray(problem.concordance)
    bend = sum(np.abs(second[i][j]) for i in range(2) for j in range(2))
    worst = [np.zeros_like(ends[0]), np.zeros_like(ends[0])]
    for size in STEPS:
        for signs in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 1.0), (1.0, -1.0)):
            moved = [end + sign * size * np.maximum(1.0, np.abs(end)) for end, sign in zip(ends, signs, strict=True)]
            d = [there - end for there, end in zip(moved, ends, strict=True)]
            _, slopes, bends = derivatives(loss, *moved)
            reach = np.abs(d[0]) + np.abs(d[1])
            curved = bend + sum(np.abs(bends[i][j]) for i in range(2) for j in range(2))
            slack = reach * curved * np.minimum(m * reach, 1.0) ** 2
            slack = slack + 4e-16 * (np.abs(ends[0]) + np.abs(ends[1]) + 2) * curved
            for i in range(2):
                expected = sum(d[j] * (second[i][j] + bends[i][j]) / 2 for j in range(2))
                left = np.abs(slopes[i] - first[i] - expected) - slack
                worst[i] = np.maximum(worst[i], np.where(m * reach <= 1, left, 0.0))
    argument = 2 * UNIT * (np.abs(ends[0]) + np.abs(ends[1]) + 2) * bend
    sizes = tuple(np.maximum(m, np.abs(f)) for f in first)
    errors = tuple(8 * UNIT * size + argument + np.maximum(w, 0.0) for size, w in zip(sizes, worst, strict=True))
    return errors, sizes, bend  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class DivergenceRounding:
    """Of a divergence, lam included. bend: |A_ii|. at_responses: what rounding may add to its gradient. Both (n, B).

    total: |sum(a)|, (B,), by which an error of the normaliser enters the gradient.
    """

    bend: Floats
    at_responses: Floats
    total: Floats


def divergence_rounding(problem: Problem, x: Floats) -> DivergenceRounding:
    """For a regulariser that is no cross-entropy, at logits x (n, B): as `formula_rounding_of_ends`, term by term."""
    assert problem.divergence is not None
    derivatives, log_policy = problem.divergence.derivatives, log_softmax(x)
    first, second = derivatives(log_policy, problem.log_reference)
    worst = np.zeros_like(x)
    for size in STEPS:
        for sign in (1.0, -1.0):
            step = sign * size * np.maximum(1.0, np.abs(log_policy))
            moved = log_policy + step
            slope, bend = derivatives(moved, problem.log_reference)
            d, curved = moved - log_policy, np.abs(second) + np.abs(bend)
            slack = np.abs(d) * curved * np.minimum(np.abs(d), 1.0) ** 2 + 4e-16 * (np.abs(log_policy) + 2) * curved
            worst = np.maximum(worst, np.abs(slope - first - d * (second + bend) / 2) - slack)
    policy, total, first, second = np.exp(log_policy), np.abs(first.sum(axis=0)), np.abs(first), np.abs(second)
    logs = log_roundings(log_policy, x) + np.abs(problem.log_reference)
    own = worst + 2 * UNIT * logs * (first + second)
    shared = policy * (own.sum(axis=0) + 2 * UNIT * logs * first.sum(axis=0))
    return DivergenceRounding(problem.lam * second, problem.lam * (own + shared), problem.lam * total)
