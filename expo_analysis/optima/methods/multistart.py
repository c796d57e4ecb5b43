"""Many starts of a damped Newton method, for objectives that are not known to be convex in the logits.

Levenberg-Marquardt with the exact Hessian: complete-graph weights are added until the Hessian is positive definite and
the step lowers the objective, and taken away as steps succeed. Where Newton's own steps do not become shorter, the run
is on its way to infinity, and each step goes twice as far as the last. All starts of all problems run as one batch.
What comes out is the best local minimum found, and is called no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...losses.base import PairObjective
from ...losses.data import evaluate
from ..found import VANISHED, Found, named, texts
from ..laplacian import Elimination, eliminate, ends, pairs
from ..problem import Problem, expand, gradient_size, log_softmax, value
from ..solution import Certificate, Status
from .newton import preferred, start

Floats = NDArray[np.float64]

RANDOM_STARTS = 12
MAX_STEPS = 300
STEP_TOLERANCE = 1e-9
ROUNDED_STEP = 1e-5
LONGEST_STEP = 20.0
"""In units of the loss; a run that is farther out than this already may go as far again in one step."""
LIGHT = 1e-6
"""A response has far less curvature than others where it has less than this share of the largest."""
TINY = 1e-290
SCANNED, LOWEST, BISECTIONS = 100, 3, 40
"""Between two responses: half the points of the grid of log-ratios, how many of its turns are starts, and how exact."""
IDLE = 20
"""A run ends after so many steps since it last lowered the value by more than rounding. Stretched ones do not count:
they show where the infimum is, in a loss that falls exponentially and soon has no digits left to fall by."""
SAME_VALUE = 1e-10
SAME_POLICY = 1e-6


@dataclass(frozen=True)
class LocalMinima:
    """The best run for each problem.

    theta: logits (n, B). steps: (B,). converged: (B,), whether Newton's own step there is negligible and the Hessian
    positive definite. stationary: (B,), whether at least the gradient is negligible. starts: how many there were.
    agreeing: (B,), how many reached the same value. tied: (B,), whether some of these did so at another policy.
    """

    theta: Floats
    steps: NDArray[np.intp]
    converged: NDArray[np.bool_]
    stationary: NDArray[np.bool_]
    starts: int
    agreeing: NDArray[np.intp]
    tied: NDArray[np.bool_]


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
        gone = named(problem, log_policy < np.log(VANISHED), b)
        status[b], certificate[b], message[b] = _verdict(problem, searched, gone, b)
    zero = np.array([status[b] == Status.BEST_FOUND and not searched.converged[b] for b in range(size)])
    log_policy[:, zero] = np.where(log_policy[:, zero] < np.log(VANISHED), -np.inf, log_policy[:, zero])
    nothing = np.full(size, np.nan)
    return Found(log_policy, nothing, searched.steps, status, certificate, message, np.zeros(size, dtype=bool))


def _verdict(problem: Problem, found: LocalMinima, vanished: list[int], b: int) -> tuple[Status, Certificate, str]:
    agreeing = f"{found.agreeing[b]} of {found.starts} starts"
    if found.tied[b] and (found.converged[b] or (found.stationary[b] and not vanished)):
        text = f"several policies reach the lowest value found ({agreeing}); one of them is returned"
        return Status.NOT_UNIQUE, Certificate.SEARCH, text
    if found.converged[b]:
        if problem.facts.convex:
            text = f"the minimiser, as the objective is convex ({agreeing}); no error bound is known for it"
            return Status.OPTIMAL, Certificate.CONDITIONS, text
        text = f"the best local minimum found, reached by {agreeing}; not proven to be global"
        return Status.BEST_FOUND, Certificate.SEARCH, text
    if vanished and _on_boundary(problem.take(np.array([b])), found.theta[:, [b]]):
        text = f"the best local minimum found, on the boundary: responses {vanished} have probability 0 ({agreeing})"
        return Status.BEST_FOUND, Certificate.SEARCH, text
    if problem.exists is not None and problem.exists[b]:
        text = f"a minimiser exists, but no search ended at it ({found.steps[b]} steps); the policy is the best point reached"
        return Status.FAILED, Certificate.NONE, text
    if vanished:
        return (
            Status.NO_MINIMISER,
            Certificate.SEARCH,
            (
                f"no minimiser was reached: the lowest values are approached as the probability of responses {vanished} "
                f"tends to 0 ({agreeing}; not proven)"
            ),
        )
    text = (
        f"no search ended at a minimum ({found.steps[b]} steps): where they ended, the loss is flat to rounding or still "
        "falls; the policy is the best point reached"
    )
    return Status.FAILED, Certificate.NONE, text


def _on_boundary(problem: Problem, theta: Floats) -> bool:
    """Whether a regulariser with a finite slope at 0 has a minimum at the face where responses have vanished.

    There the objective rises with the probability of each of them, and nothing is to be gained from moving the others.
    """
    regulariser = problem.facts.regulariser
    if regulariser is None or not np.isfinite(regulariser.mu_at_zero):
        return False
    theta = np.maximum(theta, theta.max(axis=0) - 400)  # small enough, but no underflow
    log_policy = log_softmax(theta)
    per_mass = expand(problem, theta).gradient / np.exp(log_policy)
    inside = log_policy >= np.log(VANISHED)
    scale = np.abs(per_mass).max()
    return bool((np.abs(per_mass[inside]) < 1e-8 * scale).all() and (per_mass[~inside] > 0).all())


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

    Far is told in the loss's own `units`, in logits too, and between two responses by looking at all log-ratios.
    """
    rng = np.random.default_rng(seed)
    n, batch = problem.log_reference.shape
    unit = units(problem)
    own = [s * rng.standard_normal((n, 1)) * unit for s in np.linspace(0.5, 4.0, RANDOM_STARTS)]
    plain = [s * rng.standard_normal((n, 1)) for s in (1.0, 2.0, 4.0)] if (unit != 1).any() else []
    random = [problem.log_reference + move for move in (*own, *plain)]
    starts = [problem.log_reference, *guesses, *random, *(_scan(problem, unit) if n == 2 else [])]
    count = len(starts)
    tiled = np.tile(np.arange(batch), count)
    theta, *rest = _levenberg(problem.take(tiled), np.concatenate(starts, axis=1), unit[tiled])

    theta = theta.reshape(n, count, batch)
    steps, converged, stationary, value = (x.reshape(count, batch) for x in rest)
    # a run that did not converge may still show that the infimum lies elsewhere, so all runs compete
    best = np.where(np.isfinite(value), value, np.inf).argmin(axis=0)
    column = np.arange(batch)
    lowest = value[best, column]
    same = np.abs(value - lowest) <= SAME_VALUE * (1 + np.abs(lowest))
    better = same & converged
    best = np.where(better.any(axis=0), np.where(better, value, np.inf).argmin(axis=0), best)
    policies = np.exp(log_softmax(theta))
    distance = np.abs(policies - policies[:, best, column][:, None]).sum(axis=0)
    return LocalMinima(
        theta=theta[:, best, column],
        steps=steps[best, column],
        converged=converged[best, column],
        stationary=stationary[best, column],
        starts=count,
        agreeing=same.sum(axis=0),
        tied=(same & stationary & (distance > SAME_POLICY)).any(axis=0),
    )


def _scan(problem: Problem, unit: Floats) -> list[Floats]:
    """Between two responses: logits where the slope in their log-ratio turns from falling to rising, those lowest in value.

    A grid over all log-ratios tells the turns, bisection their places: slopes keep their digits where values have none.
    """
    points = np.sinh(np.linspace(-8.0, 8.0, SCANNED))  # from -1500 to 1500, most of them near 0
    grid = np.sort(np.concatenate([points[:, None] * unit, points[:, None] * np.ones_like(unit)]), axis=0)
    count, batch = grid.shape
    column = np.arange(batch)

    def at(log_ratio: Floats) -> tuple[Floats, Floats]:
        """Slope in the log-ratio, and value, at (count, B) log-ratios over the reference's."""
        rows = log_ratio.reshape(-1, batch)
        many = problem.take(np.tile(column, len(rows)))
        moved = many.log_reference + np.stack([rows.reshape(-1), -rows.reshape(-1)]) / 2
        gradient, _, height = _at(many, moved)
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


def _levenberg(problem: Problem, theta: Floats, unit: Floats) -> tuple[Floats, NDArray[np.intp], Any, Any, Floats]:
    """Run every column from its start: logits, steps taken, whether converged, whether stationary, values.

    Lengths of steps are told in ``unit`` (B,), and damping in proportion to each response's own curvature: a response
    of hardly any probability has hardly any.
    """
    n, size = theta.shape
    high, low = pairs(n)
    theta = theta - theta.mean(axis=0)
    steps = np.zeros(size, dtype=np.intp)
    converged = np.zeros(size, dtype=bool)
    values = np.full(size, np.inf)
    active, part, at, own = np.arange(size), problem, theta.copy(), unit
    strength = problem.lam if problem.facts.regulariser is not None else np.zeros(size)
    gradient, curvature, height = _at(part, at)
    degree = _degrees(curvature)
    damping = np.ones(size)
    mark, idle = height, np.zeros(size, dtype=np.intp)
    before = np.full(size, np.inf)
    last, stretch = np.full(size, np.inf), np.ones(size)
    for _ in range(MAX_STEPS):
        with np.errstate(all="ignore"):
            damped = curvature + damping / np.maximum(degree.sum(axis=0), 1e-300) * degree[high] * degree[low]
            elimination = HeavyFirst.of(damped, degree)
        usable = elimination.positive_definite & np.isfinite(height)
        with np.errstate(all="ignore"):
            direction = np.where(usable, elimination.solve(-gradient), 0.0)
            direction -= direction.mean(axis=0)
            reach = np.ptp(direction, axis=0)
            usable &= np.isfinite(reach)
            # only a step that the damping does not shorten tells of a minimum, or that there is none nearby
            undamped = elimination.positive_definite & elimination.firm(damping)
            stretch = np.where(undamped & (reach > 0.7 * last), 2 * stretch, 1.0)
            last = np.where(undamped, reach, np.inf)
            length = np.minimum(stretch * reach, np.maximum(LONGEST_STEP * own, np.ptp(at, axis=0)))
            # a trial point may be out of bounds; it is then rejected
            direction = np.where(usable & (reach > 0), direction * (length / reach), 0.0)
            trial_gradient, trial_curvature, trial_height = _at(part, at + direction)
        # where less is to be gained than values can show, the derivatives know better
        noise = 4e-16 * n * (np.abs(height) + strength)
        gain = -(gradient * direction).sum(axis=0)
        allowed = np.where(length < 1e-5 * own, np.maximum(noise, 4e-16 * n), np.where(gain <= noise, noise, 0.0))
        accepted = usable & (trial_height <= height + allowed)
        fell = accepted & (trial_height < mark - 4e-16 * n * np.abs(mark))
        mark = np.where(fell, trial_height, mark)
        at += np.where(accepted, direction, 0.0)
        gradient = np.where(accepted, trial_gradient, gradient)
        curvature = np.where(accepted, trial_curvature, curvature)
        height = np.where(accepted, trial_height, height)
        degree = _degrees(curvature)
        # where values tell nothing, a gradient that falls faster than the curvature does
        with np.errstate(all="ignore"):
            relative = np.nan_to_num((np.abs(gradient) / degree).max(axis=0), nan=np.inf)
        nearer = relative < 0.9 * before
        before = np.fmin(before, relative)
        idle = np.where(fell | nearer, 0, idle + ~(accepted & (stretch > 1)))
        short = np.maximum(STEP_TOLERANCE * np.minimum(own, 1.0), 4e-16 * np.abs(at).max(axis=0))
        done = accepted & (length <= short) & undamped
        theta[:, active], values[active], converged[active] = at, height, done
        steps[active] += 1
        damping = np.where(accepted, damping / 8, np.maximum(damping, 1e-9) * 6)
        damping = np.where(damping < 1e-14, 0.0, damping)
        last, stretch = np.where(accepted, last, np.inf), np.where(accepted, stretch, 1.0)
        at_rest = (np.abs(gradient) <= 1e-15 * degree).all(axis=0)
        keep = ~(done | at_rest | (damping > 1e12) | (idle >= IDLE) | ~np.isfinite(height))
        if not keep.any():
            break
        if not keep.all():
            active, part = active[keep], part.take(keep)
            at, gradient, curvature, degree = (x.compress(keep, axis=1) for x in (at, gradient, curvature, degree))
            height, mark, idle, damping, before = (x[keep] for x in (height, mark, idle, damping, before))
            last, stretch, own, strength = (x[keep] for x in (last, stretch, own, strength))
    at_minimum, stationary = _at_minimum(problem, theta, unit)
    return theta, steps, (converged | stationary) & at_minimum, stationary, values


def _at_minimum(problem: Problem, theta: Floats, unit: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether Newton's own step is negligible where runs ended, and does not hide in rounding; whether gradients vanish.

    On a plateau the gradient falls with the curvature, and a step as long as ever may be all rounding, or none of it.
    """
    near = ROUNDED_STEP * np.maximum(unit, 1.0)
    with np.errstate(all="ignore"):
        gradient, curvature, _ = _at(problem, theta)
        degree, noise = _degrees(curvature), 4e-16 * gradient_size(problem, theta)
        top, column = theta.argmax(axis=0), np.arange(theta.shape[1])
        noise[top, column] = 0.0
        noise[top, column] = noise.sum(axis=0)  # as its gradient is what the others leave
        elimination = HeavyFirst.of(curvature, degree)
        reach = np.ptp(elimination.solve(-gradient), axis=0)
        # nor does it in numbers so small that they have lost their digits
        hidden = ((noise > near * degree) | (degree < TINY)).any(axis=0)
        stationary = (np.abs(gradient) <= np.maximum(1e-10 * degree, noise)).all(axis=0)
        reached = elimination.positive_definite & (reach <= near) & ~hidden
    return np.asarray(reached), np.asarray(stationary)


@dataclass(frozen=True)
class HeavyFirst:
    """An elimination of the responses with most curvature last.

    The response that is eliminated last says nothing, as the others' gradients should add up to its own; and the others
    are found relative to it. Where it has far less curvature than they have, both would be lost in rounding.
    """

    order: NDArray[np.intp]
    degree: Floats
    elimination: Elimination

    @classmethod
    def of(cls, weights: Floats, degree: Floats) -> HeavyFirst:
        n, size = degree.shape
        order = np.argsort(-degree, axis=0, kind="stable")
        if not (degree[0] < LIGHT * degree.max(axis=0)).any():
            order = np.broadcast_to(np.arange(n)[:, None], degree.shape)
            return cls(order, degree, eliminate(weights))
        matrix = np.zeros((n, n, size))
        high, low = pairs(n)
        matrix[high, low] = matrix[low, high] = weights
        matrix = np.take_along_axis(np.take_along_axis(matrix, order[:, None], 0), order[None], 1)
        return cls(order, np.take_along_axis(degree, order, 0), eliminate(matrix[high, low]))

    def solve(self, rhs: Floats) -> Floats:
        """x (n, B) with H x = rhs, up to a common shift."""
        found = np.empty_like(rhs)
        ordered = self.elimination.solve(np.take_along_axis(rhs, self.order, 0))
        np.put_along_axis(found, self.order, ordered, 0)
        return found

    @property
    def positive_definite(self) -> NDArray[np.bool_]:
        return self.elimination.positive_definite

    def firm(self, damping: Floats) -> NDArray[np.bool_]:
        """Whether damping, a share of each response's degree, hardly changes its pivot, (B,)."""
        return np.asarray((self.elimination.pivots[1:] > 100 * damping * self.degree[1:]).all(axis=0))


def _degrees(curvature: Floats) -> Floats:
    """The sum of the moduli of each response's second derivatives with others, (n, B)."""
    n = round((1 + np.sqrt(1 + 8 * len(curvature))) / 2)
    to_high, to_low = ends(n)
    size = np.where(np.isfinite(curvature), np.abs(curvature), 0.0)
    return np.asarray(to_high @ size + to_low @ size)


def _at(problem: Problem, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Gradient, curvature and value at theta, which are not finite where it is out of bounds.

    Derivatives at the likeliest response are found as what the others leave: theirs may be far smaller than its rounding.
    """
    with np.errstate(all="ignore"):
        local = expand(problem, theta)
        top, column = theta.argmax(axis=0), np.arange(theta.shape[1])
        gradient = local.gradient.copy()
        gradient[top, column] = 0.0
        gradient[top, column] = -gradient.sum(axis=0)
        return gradient, local.curvature, value(problem, theta, local.losses)
