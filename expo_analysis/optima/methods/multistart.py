"""Many starts of a damped Newton method, for objectives that are not known to be convex in the logits.

All starts of all problems run as one batch (see `optima.levenberg`). What comes out is the best local minimum found,
and is called no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import Floats, Indices, Mask
from ...losses.base import PairObjective
from ...losses.data import evaluate
from ..derivatives import log_softmax, value
from ..faces import has_closed_domain, minimum_on_face
from ..found import HIDDEN, VANISHED, Found, named, texts
from ..levenberg import TINY, derivatives_at, levenberg
from ..problem import Problem
from ..solution import Certificate, Status
from .newton import preferred, start

RANDOM_STARTS = 12
BLOCK = 1 << 16
"""Problems whose values are computed at a time."""
SCANNED, LOWEST, BISECTIONS = 100, 3, 40
"""Between two responses: half the points of the grid of log-ratios, how many of its turns are starts, and how exact."""
SAMPLED = 400
"""Between more: points at which the loss is looked at for starts, near and far; of these the lowest few again."""
SAME_VALUE = 1e-10
SAME_POLICY = 1e-6


@dataclass(frozen=True, eq=False)
class LocalMinima:
    """The best run for each problem.

    theta: logits (n, B). steps: (B,). converged: (B,), whether Newton's own step there is negligible and the Hessian
    positive definite. stationary: (B,), whether at least the gradient is negligible. starts: how many there were.
    agreeing: (B,), how many reached the same value. tied: (B,), whether some of these did so at another policy.
    """

    theta: Floats
    steps: Indices
    converged: Mask
    stationary: Mask
    starts: int
    agreeing: Indices
    tied: Mask


NAME = "multistart"


def accepts(problem: Problem) -> bool:
    """Every loss of pairs."""
    return isinstance(problem.objective, PairObjective)


def solve(problem: Problem) -> Found:
    """The lowest of many searches in the logits, and what can be said of it."""
    problem = problem.in_logits()
    searched = multistart(problem, [np.log(preferred(problem)), start(problem)])
    log_policy = log_softmax(searched.theta)
    size = problem.size
    status, certificate, message = texts(Status.FAILED, size), texts(Certificate.NONE, size), texts("", size)
    for b in range(size):
        gone, under = (named(problem, log_policy < np.log(least), b) for least in (VANISHED, TINY))
        face = None
        if gone and not searched.converged[b]:
            face = minimum_on_face(problem.take(np.array([b])), searched.theta[:, [b]])
        status[b], certificate[b], message[b] = _verdict(problem, searched, gone, under, b, face is not None)
        if face is not None and status[b] == Status.BEST_FOUND:
            log_policy[:, b] = face[:, 0]
    nothing = np.full(size, np.nan)
    return Found(log_policy, nothing, searched.steps, status, certificate, message, np.zeros(size, dtype=bool))


def _verdict(
    problem: Problem, found: LocalMinima, vanished: str, under: str, b: int, on_face: bool = False
) -> tuple[Status, Certificate, str]:
    agreeing = f"{found.agreeing[b]} of {found.starts} starts"
    if found.tied[b] and (found.converged[b] or (found.stationary[b] and not vanished)):
        text = f"several policies reach the lowest value found ({agreeing}); one of them is returned"
        return Status.NOT_UNIQUE, Certificate.SEARCH, text
    known = (problem.exists is not None and bool(problem.exists[b])) or has_closed_domain(problem.objective)
    if found.converged[b] and problem.facts.convex and vanished and not known:
        text = f"{HIDDEN}: responses {vanished} are next to impossible, and whether there is a minimiser is not known"
        return Status.BEST_FOUND, Certificate.CONDITIONS, text
    if found.converged[b] and problem.facts.convex:
        text = f"the minimiser, as the objective is convex ({agreeing}); no error bound is known for it"
        return Status.OPTIMAL, Certificate.CONDITIONS, text
    if found.converged[b]:
        text = f"the best local minimum found, reached by {agreeing}; not proven to be global"
        return Status.BEST_FOUND, Certificate.SEARCH, text
    if on_face:
        text = f"the best local minimum found, on the boundary: responses {vanished} have probability 0 ({agreeing})"
        return Status.BEST_FOUND, Certificate.SEARCH, text
    ended = f"({found.steps[b]} steps)"
    if known:
        why = f", as responses {under} have fallen below {TINY:g}, where derivatives underflow" if under else ""
        text = f"a minimiser exists, but no search ended at it {ended}{why}; the policy is the best point reached"
        return Status.FAILED, Certificate.NONE, text
    if vanished:
        text = (
            "no minimiser was reached: the lowest values are approached as the probability of responses "
            f"{vanished} tends to 0 ({agreeing}; not proven)"
        )
        return Status.NO_MINIMISER, Certificate.SEARCH, text
    text = (
        f"no search ended at a minimum {ended}: where they ended, the loss is flat to rounding or still falls; the "
        "policy is the best point reached"
    )
    return Status.FAILED, Certificate.NONE, text


def units(problem: Problem) -> Floats:
    """The size of logits at which the loss changes, (B,): (1 + |offset|) / scale of the steepest statistic."""
    scale, shift = np.full(problem.size, 1e-300), np.zeros(problem.size)
    for term in problem.facts.terms:
        values = (
            evaluate(x, problem.datum) for x in (term.statistic.scale, term.statistic.centre, term.statistic.offset)
        )
        own, centre, offset = (np.abs(np.asarray(x, dtype=np.float64)) for x in values)
        own, moved = (x.max(axis=0) if x.ndim == 2 else x for x in (own, own * centre + offset))
        scale, shift = np.maximum(scale, own), np.maximum(shift, moved)
    if not problem.facts.terms.terms:
        return np.ones(problem.size)
    return np.asarray((1 + shift) / scale)


def multistart(problem: Problem, guesses: list[Floats], seed: int = 0) -> LocalMinima:
    """Best of the ``guesses`` (logits, (n, B) each), and of starts drawn around the reference and far from it.

    Far is told in the loss's own `units`, and in logits too. More are the lowest points of a look around: between two
    responses at all log-ratios, else, where the loss may have several minima, at `SAMPLED` points.
    """
    rng = np.random.default_rng(seed)
    n, batch = problem.log_reference.shape
    unit = units(problem)
    own = [s * rng.standard_normal((n, 1)) * unit for s in np.linspace(0.5, 4.0, RANDOM_STARTS)]
    plain = [s * rng.standard_normal((n, 1)) for s in (1.0, 2.0, 4.0)] if (unit != 1).any() else []
    random = [problem.log_reference + move for move in (*own, *plain)]
    looked = _scan(problem, unit) if n == 2 else [] if problem.facts.convex else _sample(problem, unit, rng)
    starts = [problem.log_reference, *guesses, *random, *looked]
    count = len(starts)
    tiled = np.tile(np.arange(batch), count)
    ends = levenberg(problem.take(tiled), np.concatenate(starts, axis=1), unit[tiled])

    theta = ends.theta.reshape(n, count, batch)
    steps, converged, stationary, height = (
        x.reshape(count, batch) for x in (ends.steps, ends.converged, ends.stationary, ends.value)
    )
    # a run that did not converge may still show that the infimum lies elsewhere, so all runs compete
    best = np.where(np.isfinite(height), height, np.inf).argmin(axis=0)
    column = np.arange(batch)
    lowest = height[best, column]
    with np.errstate(invalid="ignore"):  # where all are infinite none is the same
        same = np.abs(height - lowest) <= SAME_VALUE * (1 + np.abs(lowest))
    better = same & converged
    best = np.where(better.any(axis=0), np.where(better, height, np.inf).argmin(axis=0), best)
    policies = np.exp(log_softmax(theta))
    elsewhere = same & (np.abs(policies - policies[:, best, column][:, None]).sum(axis=0) > SAME_POLICY)
    # a plateau is as low as a minimum next to nowhere: it counts where a minimiser is known, or where all is flat
    known = (same & stationary & (steps <= 1)).all(axis=0) | (False if problem.exists is None else problem.exists)
    return LocalMinima(
        theta=theta[:, best, column],
        steps=steps[best, column],
        converged=converged[best, column],
        stationary=stationary[best, column],
        starts=count,
        agreeing=same.sum(axis=0),
        tied=(elsewhere & (converged | (stationary & known))).any(axis=0),
    )


def _sample(problem: Problem, unit: Floats, rng: np.random.Generator) -> list[Floats]:
    """The lowest few of random points around the reference: logits drawn in the loss's units over four decades, and as
    many in logits."""
    n, batch = problem.log_reference.shape
    moves = rng.standard_normal((SAMPLED, n, 1)) * 10 ** rng.uniform(-1.5, 2.5, (SAMPLED, 1, 1))
    moved = problem.log_reference + np.concatenate([moves[::2] * unit, moves[1::2] * np.ones_like(unit)])
    with np.errstate(all="ignore"):
        blocks = [
            value(problem.take(np.tile(np.arange(batch), len(block))), np.moveaxis(block, 0, 1).reshape(n, -1))
            for block in np.array_split(moved, max(1, len(moved) * batch // BLOCK))
        ]
    heights = np.concatenate([block.reshape(-1, batch) for block in blocks])
    lowest = np.argsort(np.where(np.isfinite(heights), heights, np.inf), axis=0, kind="stable")[:LOWEST]
    return [np.moveaxis(moved, 0, 1)[:, rows, np.arange(batch)] for rows in lowest]


def _scan(problem: Problem, unit: Floats) -> list[Floats]:
    """Between two responses: logits where the slope in their log-ratio turns from falling to rising, the lowest few.

    A grid over all log-ratios tells the turns, bisection their places: slopes keep their digits where values have none.
    """
    points = np.sinh(np.linspace(-8.0, 8.0, SCANNED))  # from -1500 to 1500, most of them near 0
    grid = np.sort(np.concatenate([points[:, None] * unit, points[:, None] * np.ones_like(unit)]), axis=0)
    batch = grid.shape[1]
    column = np.arange(batch)

    def at(log_ratio: Floats) -> tuple[Floats, Floats]:
        """Slope in the log-ratio, and value, at (count, B) log-ratios over the reference's."""
        rows = log_ratio.reshape(-1, batch)
        many = problem.take(np.tile(column, len(rows)))
        moved = many.log_reference + np.stack([rows.reshape(-1), -rows.reshape(-1)]) / 2
        gradient, _, height = derivatives_at(many, moved)
        return gradient[0].reshape(rows.shape), np.where(np.isfinite(height), height, np.inf).reshape(rows.shape)

    slope, height = at(grid)
    turns = (slope[:-1] < 0) & (slope[1:] > 0)
    lowest = np.argsort(np.where(turns, np.minimum(height[:-1], height[1:]), np.inf), axis=0)[:LOWEST]
    low, high = grid[lowest, column], grid[lowest + 1, column]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        falls = at(middle)[0] < 0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return [problem.log_reference + np.stack([t, -t]) / 2 for t in (low + high) / 2]
