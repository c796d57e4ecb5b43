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

from ...divergences import ChiSquare
from ..found import VANISHED, Found, named, texts
from ..laplacian import eliminate
from ..problem import Problem, expand, log_softmax, value
from ..solution import Certificate, Status
from .newton import preferred, start

Floats = NDArray[np.float64]

RANDOM_STARTS = 12
MAX_STEPS = 300
STEP_TOLERANCE = 1e-9
ROUNDED_STEP = 1e-5
LONGEST_STEP = 20.0
"""In logits; a run that is farther out than this already may go as far again in one step."""
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
    """Everything."""
    return True


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
    boundary = np.isin(status, (Status.OPTIMAL, Status.BEST_FOUND)) & ~searched.converged
    log_policy[:, boundary] = np.where(log_policy[:, boundary] < np.log(VANISHED), -np.inf, log_policy[:, boundary])
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
    if vanished and _boundary_optimum(problem.take(np.array([b])), found.theta[:, [b]]):
        text = f"the minimiser, on the boundary: responses {vanished} have probability 0 (KKT conditions hold)"
        return Status.OPTIMAL, Certificate.CONDITIONS, text
    if vanished:
        return (
            Status.NO_MINIMISER,
            Certificate.SEARCH,
            (
                f"no minimiser was reached: the lowest values are approached as the probability of responses {vanished} "
                f"tends to 0 ({agreeing}; not proven)"
            ),
        )
    text = f"no start converged in {found.steps[b]} steps; the policy is the best point reached"
    return Status.FAILED, Certificate.NONE, text


def _boundary_optimum(problem: Problem, theta: Floats) -> bool:
    """KKT conditions of f-DPO with chi-square, whose objective is convex in the policy on the closed simplex."""
    facts = problem.facts
    if not (facts.link is not None and facts.psis_convex and type(facts.link) is ChiSquare):
        return False
    theta = np.maximum(theta, theta.max(axis=0) - 400)  # small enough, but no underflow
    log_policy = log_softmax(theta)
    per_mass = expand(problem, theta).gradient / np.exp(log_policy)
    inside = log_policy >= np.log(VANISHED)
    scale = np.abs(per_mass).max()
    return bool((np.abs(per_mass[inside]) < 1e-8 * scale).all() and (per_mass[~inside] > 0).all())


def multistart(problem: Problem, guesses: list[Floats], seed: int = 0) -> LocalMinima:
    """Best of the ``guesses`` (logits, (n, B) each), and of starts drawn around the reference and far from it."""
    rng = np.random.default_rng(seed)
    n, batch = problem.log_reference.shape
    spread = np.linspace(0.5, 4.0, RANDOM_STARTS)
    random = [problem.log_reference + s * rng.standard_normal((n, 1)) for s in spread]
    starts = [problem.log_reference, *guesses, *random]
    count = len(starts)
    repeated = problem.take(np.tile(np.arange(batch), count))
    theta, *rest = _levenberg(repeated, np.concatenate(starts, axis=1))

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


def _levenberg(problem: Problem, theta: Floats) -> tuple[Floats, NDArray[np.intp], Any, Any, Floats]:
    """Run every column from its start: logits, steps taken, whether converged, whether stationary, values."""
    n, size = theta.shape
    theta = theta - theta.mean(axis=0)
    steps = np.zeros(size, dtype=np.intp)
    converged, stationary = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    values = np.full(size, np.inf)
    active, part, at = np.arange(size), problem, theta.copy()
    unregularised = problem.facts.regulariser is None
    gradient, curvature, height = _at(part, at)
    damping = np.maximum(np.abs(curvature).max(axis=0), 1e-12)
    mark, idle = height, np.zeros(size, dtype=np.intp)
    last, stretch = np.full(size, np.inf), np.ones(size)
    for _ in range(MAX_STEPS):
        elimination = eliminate(curvature + damping / n)
        usable = elimination.positive_definite & np.isfinite(height)
        with np.errstate(all="ignore"):
            direction = np.where(usable, elimination.solve(-gradient), 0.0)
        direction -= direction.mean(axis=0)
        reach = np.ptp(direction, axis=0)
        usable &= np.isfinite(reach)
        # only a step that the damping does not shorten tells of a minimum, or that there is none nearby
        undamped = elimination.positive_definite & (elimination.pivots[1:].min(axis=0) > 100 * damping)
        stretch = np.where(undamped & (reach > 0.7 * last), 2 * stretch, 1.0)
        last = np.where(undamped, reach, np.inf)
        length = np.minimum(stretch * reach, np.maximum(LONGEST_STEP, np.ptp(at, axis=0)))
        with np.errstate(all="ignore"):  # a trial point may be out of bounds; it is then rejected
            direction = np.where(usable & (reach > 0), direction * (length / reach), 0.0)
            trial_gradient, trial_curvature, trial_height = _at(part, at + direction)
        # where less is to be gained than values can show, the derivatives know better
        noise = 4e-16 * n * (np.abs(height) + (0.0 if unregularised else part.lam))
        gain = -(gradient * direction).sum(axis=0)
        allowed = np.where(length < 1e-5, np.maximum(noise, 4e-16 * n), np.where(gain <= noise, noise, 0.0))
        accepted = usable & (trial_height <= height + allowed)
        fell = accepted & (trial_height < mark - 4e-16 * n * np.abs(mark))
        mark = np.where(fell, trial_height, mark)
        idle = np.where(fell, 0, idle + ~(accepted & (stretch > 1)))
        at += np.where(accepted, direction, 0.0)
        gradient = np.where(accepted, trial_gradient, gradient)
        curvature = np.where(accepted, trial_curvature, curvature)
        height = np.where(accepted, trial_height, height)
        scale = np.maximum(np.abs(curvature).max(axis=0), 1e-300)
        slope = np.abs(gradient).sum(axis=0)
        done = accepted & (length <= STEP_TOLERANCE) & undamped
        theta[:, active], values[active], converged[active] = at, height, done
        stationary[active] = done | (slope <= 1e-10 * np.maximum(scale, 1.0))
        steps[active] += 1
        damping = np.where(accepted, damping / 8, np.maximum(damping, 1e-9 * scale) * 6)
        damping = np.where(damping < 1e-14 * scale, 0.0, damping)
        last, stretch = np.where(accepted, last, np.inf), np.where(accepted, stretch, 1.0)
        keep = ~(done | (slope <= 1e-15 * scale) | (damping > 1e12 * scale) | (idle >= IDLE) | ~np.isfinite(height))
        if not keep.any():
            break
        if not keep.all():
            active, part = active[keep], part.take(keep)
            at, gradient, curvature = (x.compress(keep, axis=1) for x in (at, gradient, curvature))
            height, mark, idle, damping, last, stretch = (x[keep] for x in (height, mark, idle, damping, last, stretch))
    # where rounding stopped a run short, Newton's own step tells whether it is at a minimum all the same
    with np.errstate(all="ignore"):
        local = expand(problem, theta)
        elimination = eliminate(local.curvature)
        reach = np.ptp(elimination.solve(-local.gradient), axis=0)
        # the gradient sums to zero but for rounding, which must not hide a step: on a plateau it can
        rounding = np.abs(local.gradient.sum(axis=0)) + 2e-16 * np.abs(local.gradient).sum(axis=0)
        hidden = ~(rounding <= ROUNDED_STEP * elimination.pivots[1:].min(axis=0))
    converged |= stationary & elimination.positive_definite & (reach <= ROUNDED_STEP)
    converged &= ~hidden
    return theta, steps, converged, stationary, values


def _at(problem: Problem, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Gradient, curvature and value at theta, which are not finite where it is out of bounds."""
    with np.errstate(all="ignore"):
        local = expand(problem, theta)
        return local.gradient, local.curvature, value(problem, theta, local.losses)
