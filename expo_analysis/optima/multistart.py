"""Many starts of a damped Newton method, for objectives that are not known to be convex in the logits.

Levenberg-Marquardt with the exact Hessian: complete-graph weights are added until the Hessian is positive definite and
the step lowers the objective, and taken away as steps succeed. All starts of all problems run as one batch. What comes
out is the best local minimum found, and is called no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .laplacian import eliminate
from .problem import Expansion, Problem, expand, log_softmax, value

Floats = NDArray[np.float64]

RANDOM_STARTS = 12
MAX_STEPS = 300
STEP_TOLERANCE = 1e-9
ROUNDED_STEP = 1e-5
LONGEST_STEP = 20.0
SAME_VALUE = 1e-10
SAME_POLICY = 1e-6
VANISHED = 1e-12
"""A probability below this at the end of the best run is taken to be on its way to zero, and named in the message."""


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
    active = np.arange(size)
    part = problem
    with np.errstate(all="ignore"):
        here, height = expand(part, theta), value(part, theta)
    damping = np.maximum(np.abs(here.curvature).max(axis=0), 1e-12)
    for _ in range(MAX_STEPS):
        elimination = eliminate(here.curvature + damping / n)
        usable = elimination.positive_definite & np.isfinite(height)
        with np.errstate(all="ignore"):
            direction = np.where(usable, elimination.solve(-here.gradient), 0.0)
        direction -= direction.mean(axis=0)
        reach = np.ptp(direction, axis=0)
        usable &= np.isfinite(reach)
        direction = np.where(usable, direction * (LONGEST_STEP / np.maximum(reach, LONGEST_STEP)), 0.0)
        with np.errstate(all="ignore"):  # a trial point may be out of bounds; it is then rejected
            there = theta.take(active, axis=1) + direction
            trial, trial_height = expand(part, there), value(part, there)
        noise = 4e-16 * np.maximum(1.0, np.abs(height)) * n
        accepted = usable & (trial_height <= height + np.where(reach < 1e-5, noise, 0.0))
        theta[:, active] += np.where(accepted, direction, 0.0)
        steps[active] += 1
        here, height = _choose(accepted, trial, here), np.where(accepted, trial_height, height)
        values[active] = height
        scale = np.maximum(np.abs(here.curvature).max(axis=0), 1e-300)
        slope = np.abs(here.gradient).sum(axis=0)
        # only a step that the damping does not shorten tells of a minimum
        done = accepted & (reach <= STEP_TOLERANCE) & elimination.positive_definite
        done &= elimination.pivots[1:].min(axis=0) > 100 * damping
        converged[active] = done
        stationary[active] = done | (slope <= 1e-10 * np.maximum(scale, 1.0))
        damping = np.where(accepted, damping / 8, np.maximum(damping, 1e-9 * scale) * 6)
        damping = np.where(damping < 1e-14 * scale, 0.0, damping)
        keep = ~(done | (slope <= 1e-15 * scale) | (damping > 1e12 * scale) | ~np.isfinite(height))
        if not keep.any():
            break
        if not keep.all():
            active, part, damping, height = active[keep], part.take(keep), damping[keep], height[keep]
            here = Expansion(*(array.compress(keep, axis=-1) for array in vars(here).values()))
    # where rounding stopped a run short, Newton's own step tells whether it is at a minimum all the same
    with np.errstate(all="ignore"):
        local = expand(problem, theta)
        elimination = eliminate(local.curvature)
        reach = np.ptp(elimination.solve(-local.gradient), axis=0)
    converged |= stationary & elimination.positive_definite & (reach <= ROUNDED_STEP)
    return theta, steps, converged, stationary, values


def _choose(condition: NDArray[np.bool_], new: Expansion, old: Expansion) -> Expansion:
    """Column by column the new expansion where the condition holds, else the old one."""
    pairs = zip(vars(new).values(), vars(old).values(), strict=True)
    return Expansion(*(np.where(condition, a, b) for a, b in pairs))
