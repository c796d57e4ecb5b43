"""Damped Newton for objectives that are convex in the logits, a whole batch at a time.

If |D3 f[v,v,u]| <= M range(u) D2 f[v,v] (`Problem.concordance`), then along the Newton direction d the second
derivative grows by at most exp(t M range(d)). With r = M range(d), the full step therefore lowers f by at least
(1 - (exp(r) - 1 - r) / r^2) d'Hd, which is positive for r <= 1; beyond that the step t = log(1 + r) / r, which
minimises the upper bound on f, is taken. Either way every step descends, without a line search; what has not ended
after `PATIENCE` steps is searched along the line.
(Generalised self-concordance: Bach 2010, "Self-concordant analysis for logistic regression"; Sun and Tran-Dinh 2019.)
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..._types import Floats, Indices, Mask
from ...losses.base import PairObjective, RewardObjective
from ..apart_certificate import apart_error, known
from ..certificate import last_step
from ..derivatives import expand, log_softmax, softmax, value
from ..found import VANISHED, Found, judged
from ..laplacian import eliminate
from ..problem import Problem
from ..scores import policy_of_scores
from ..solution import Certificate, Status

MAX_STEPS = 200
TOLERANCE = 1e-8
"""Steps end when the next one, which `certificate.last_step` takes, would be shorter than this: the square of the last
one, times what the graph's unevenness makes of squares, which the last two steps tell. What that step leaves in turn is
of the order of its own square, and below rounding."""

ROUGH = 1e-12
REFINEMENTS = 3
"""Where the bound is larger, so many more steps are tried at most, as long as they halve it."""

KEPT = 0.9
"""What has ended is left out of the batch only when no more than this share is left to run: copying takes time too."""


PATIENCE = 30
"""Steps after which longer ones than the bound on curvature allows are tried, too, by what they make of the value."""


NAME = "newton"


def accepts(problem: Problem) -> bool:
    """Convex in logits or scores, with a known self-concordance."""
    convex = problem.facts.convex if problem.link is None else problem.facts.psis_convex
    given = isinstance(problem.objective, RewardObjective) and problem.log_optimal is not None  # a reward needs no fit
    return convex and problem.concordance is not None and not given


def solve(problem: Problem) -> Found:
    """Newton's method, and one more step that carries its own error bound."""
    x, steps, converged = newton(problem, start(problem))
    if problem.general or (problem.is_formula and not problem.facts.log_ratio_only):
        return _of_formula(problem, x, steps, converged)
    (x, error), steps = last_step(problem, x), steps + 1
    rough = np.flatnonzero(error > ROUGH)
    for _ in range(REFINEMENTS):
        if not len(rough):
            break
        # where parts hang together by a thread, the square of a step is not below rounding yet
        again, smaller = last_step(problem.take(rough), x[:, rough])
        before = error[rough]
        better = smaller < before
        x[:, rough[better]], error[rough[better]] = again[:, better], smaller[better]
        rough = rough[(smaller < before / 2) & (smaller > ROUGH)]
    found = policy_of_scores(problem, x, error, steps, converged)
    exists = np.zeros(problem.size, dtype=bool) if problem.exists is None else problem.exists
    unknown = np.isnan(found.bound) & (found.log_policy < np.log(VANISHED)).any(axis=0) & ~exists
    astray = (found.status == Status.FAILED) | unknown  # many starts can at least tell where the iterates are going
    found.passed_on[:] |= astray
    return dataclasses.replace(found, value=value(problem, x))


def _of_formula(problem: Problem, x: Floats, steps: Indices, converged: Mask) -> Found:
    """The end for losses that read more than log-ratios: the last step, and a bound where its rounding can be told."""
    local = expand(problem, x)
    elimination = eliminate(local.curvature)
    step = elimination.solve(-local.gradient)
    x, steps = x + np.where(elimination.positive_definite & np.isfinite(step).all(axis=0), step, 0.0), steps + 1
    found = judged(log_softmax(x), apart_error(problem, x), steps, converged)
    if not known(problem):
        unproven = (found.status == Status.BEST_FOUND) & np.isnan(found.bound)
        found.status[unproven], found.certificate[unproven] = Status.OPTIMAL, Certificate.CONDITIONS
        found.message[unproven] = "the minimiser, as the objective is convex; no error bound is known for it"
    exists = np.zeros(problem.size, dtype=bool) if problem.exists is None else problem.exists
    gone = (found.log_policy < np.log(VANISHED)).any(axis=0) & ~exists
    found.passed_on[:] = (found.status == Status.FAILED) | (np.isnan(found.bound) & gone)
    return found


def start(problem: Problem) -> Floats:
    """Where to begin: scores at 0; log pi_ref where preferences refer to it; else what hardly needs mending for EXPO.

    Losses without any reference start at 0, where no pair is decided and their curvature is largest.
    """
    objective = problem.objective
    if problem.link is not None:
        return np.zeros_like(problem.log_reference)
    if problem.pull is None and problem.divergence is None:
        needs = isinstance(objective, PairObjective) and problem.facts.needs_reference
        return problem.log_reference if needs else np.zeros_like(problem.log_reference)
    lam = problem.lam
    return np.asarray(np.log((preferred(problem) + lam * problem.reference) / (1 + lam)))


def preferred(problem: Problem) -> Floats:
    """pi*, or for counts a rough guess at it: the share of wins, mixed with the reference."""
    if problem.log_optimal is not None:
        return softmax(problem.log_optimal)
    wins = problem.edges.to_winner @ problem.weight
    total = wins.sum(axis=0)
    return np.asarray((wins / np.where(total > 0, total, 1.0) + problem.reference) / 2)


def _lowest(problem: Problem, at: Floats, direction: Floats, least: Floats) -> Floats:
    """Of step lengths 1, ``least`` (B,) and between, those with the lowest values, (B,).

    M is that of the steepest part: where that part is saturated, curvature changes by far less than M allows.
    """
    lengths = np.stack([least, least**0.75, least**0.5, least**0.25, np.ones_like(least)])
    values = np.stack([value(problem, at + length * direction) for length in lengths])
    best = np.where(np.isfinite(values), values, np.inf).argmin(axis=0)
    return np.take_along_axis(lengths, best[None], axis=0)[0]


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def newton(problem: Problem, start: Floats) -> tuple[Floats, Indices, Mask]:
    """Minimise from ``start`` (n, B). Returns logits (n, B), steps taken (B,) and whether each converged (B,)."""
    at = start - start.mean(axis=0)
    theta = np.empty_like(at)
    steps = np.zeros(problem.size, dtype=np.intp)
    converged = np.zeros(problem.size, dtype=bool)
    column = np.arange(problem.size)
    running = np.ones(problem.size, dtype=bool)
    part = problem
    smallest = np.full(problem.size, np.inf)
    stalled = np.zeros(problem.size, dtype=np.intp)
    for step in range(1, MAX_STEPS + 1):
        local = expand(part, at)
        elimination = eliminate(local.curvature)
        direction = elimination.solve(-local.gradient)
        reach = np.ptp(direction, axis=0)
        concordance = part.concordance
        scaled = concordance * reach
        # quadratics have no scale of their own: theirs is that of the logits
        size = scaled if np.any(concordance) else reach / (1.0 + np.ptp(at, axis=0))
        long = scaled > 1.0
        if long.any():
            shorter = np.where(long, np.log1p(scaled) / np.where(long, scaled, 1.0), 1.0)
            direction *= shorter if step <= PATIENCE else _lowest(part, at, direction, shorter)
        at = at + np.where(np.isfinite(size), direction, 0.0)  # the last point that is one
        done = size * np.fmax(size, (size / smallest) ** 2) <= TOLERANCE
        # rounding sets a floor on ill-conditioned problems: stop there, and let the certificate judge
        stalled = np.where(size < smallest, 0, stalled + 1)
        smallest = np.fmin(smallest, size)
        ends = running & (done | ((stalled >= 5) & (size < 1e-2)) | ~np.isfinite(size) | (step == MAX_STEPS))
        if ends.any():
            ended = column[ends]
            theta[:, ended], steps[ended] = at.compress(ends, axis=1), step
            # where curvature underflows there is no step to take, which is no sign of a minimum
            converged[ended] = (done & elimination.positive_definite)[ends]
            running &= ~ends
            left = np.flatnonzero(running)
            if not len(left):
                break
            if len(left) <= KEPT * len(running):
                column, part, at = column[left], part.take(left), at.take(left, axis=1)
                smallest, stalled, running = smallest[left], stalled[left], running[left]
    return theta - theta.mean(axis=0), steps, converged
