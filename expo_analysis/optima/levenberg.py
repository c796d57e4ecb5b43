"""Levenberg-Marquardt with the exact Hessian, for objectives that need not be convex; a whole batch of runs at a time.

Weights are added to the Hessian until it is positive definite and the step lowers the objective, and taken away as
steps succeed. Where Newton's own steps do not become shorter, the run is on its way to infinity, and each step goes
twice as far as the last.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .._types import Floats, Indices, Mask
from .derivatives import expand, gradient_sizes, pair_derivatives, value
from .laplacian import Elimination, both_ends, eliminate, ends, pairs
from .problem import Problem

MAX_STEPS = 300
STEP_TOLERANCE = 1e-9
ROUNDED_STEP = 1e-5
LONGEST_STEP = 20.0
"""In units of the loss; a run that is farther out than this already may go as far again in one step."""
LIGHT = 1e-6
"""A response has far less curvature than others where it has less than this share of the largest."""
TINY = 1e-290
IDLE = 20
"""A run ends after this many steps since it last lowered the value by more than rounding. Stretched ones do not count:
they show where the infimum is, in a loss that falls exponentially until its values have no digits left to show it."""
UNDAMPED = 1e-14
STUCK = 1e12
"""Below the one, damping is none; above the other, no step lowers the value, and the run ends."""


@dataclass(frozen=True, eq=False)
class Ends:
    """Where runs ended.

    theta: logits (n, B). steps: (B,). converged: (B,), whether Newton's own step there is negligible and the Hessian
    positive definite. stationary: (B,), whether at least the gradient is negligible. value: of the objective, (B,).
    """

    theta: Floats
    steps: Indices
    converged: Mask
    stationary: Mask
    value: Floats


def levenberg(problem: Problem, theta: Floats, unit: Floats) -> Ends:
    """Run every column from its start.

    Lengths of steps are told in ``unit`` (B,), and damping in proportion to each response's own curvature: a response
    of hardly any probability has hardly any.
    """
    theta = theta - theta.mean(axis=0)
    size = theta.shape[1]
    steps, converged, values = np.zeros(size, dtype=np.intp), np.zeros(size, dtype=bool), np.full(size, np.inf)
    active, run = np.arange(size), _Runs.start(problem, theta.copy(), unit)
    for _ in range(MAX_STEPS):
        done = run.step()
        theta[:, active], values[active], converged[active] = run.at, run.height, done
        steps[active] += 1
        keep = ~(done | run.given_up)
        if not keep.any():
            break
        if not keep.all():
            active, run = active[keep], run.only(keep)
    at_minimum, stationary = _at_minimum(problem, theta, unit)
    return Ends(theta, steps, (converged | stationary) & at_minimum, stationary, values)


@dataclass(eq=False)
class _Runs:
    """The runs that have not ended: where each is, and what its next step depends on. All (B,) but for the first five.

    strength: of the regulariser, whose rounding values have too. mark: the value that was last lowered by more than
    rounding, and idle: the steps since. relative: the gradient in units of the curvature. last, stretch: the length of
    the last undamped step, and what the next one is multiplied by.
    """

    problem: Problem
    at: Floats
    gradient: Floats
    curvature: Floats
    degree: Floats
    height: Floats
    unit: Floats
    strength: Floats
    damping: Floats
    mark: Floats
    idle: Indices
    relative: Floats
    last: Floats
    stretch: Floats

    @classmethod
    def start(cls, problem: Problem, at: Floats, unit: Floats) -> _Runs:
        """Every run at its start."""
        size = at.shape[1]
        gradient, curvature, height = derivatives_at(problem, at)
        strength = problem.lam if problem.facts.regulariser is not None else np.zeros(size)
        far = np.full(size, np.inf)
        return cls(
            *(problem, at, gradient, curvature, _degrees(curvature), height, unit, strength),
            damping=np.ones(size),
            mark=height,
            idle=np.zeros(size, dtype=np.intp),
            relative=far,
            last=far,
            stretch=np.ones(size),
        )

    def only(self, keep: Mask) -> _Runs:
        """These runs alone."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "problem"}
        return _Runs(self.problem.take(keep), **{name: x.compress(keep, axis=-1) for name, x in arrays.items()})

    @property
    def given_up(self) -> Mask:
        """Runs that get no lower, (B,)."""
        at_rest = (np.abs(self.gradient) <= 1e-15 * self.degree).all(axis=0)
        return at_rest | (self.damping > STUCK) | (self.idle >= IDLE) | ~np.isfinite(self.height)

    @property
    def noise(self) -> Floats:
        """The rounding of values, (B,)."""
        return 4e-16 * len(self.at) * (np.abs(self.height) + self.strength)

    def step(self) -> Mask:
        """Try a step, and take it where it does not raise the value; whether it was Newton's own, and negligible."""
        direction, length, undamped, usable = self._direction()
        with np.errstate(all="ignore"):  # a trial point may be out of bounds; it is then rejected
            gradient, curvature, height = derivatives_at(self.problem, self.at + direction)
        # where less is to be gained than values can show, the derivatives know better
        floor = 4e-16 * len(self.at)
        gain = -(self.gradient * direction).sum(axis=0)
        allowed = np.where(
            length < 1e-5 * self.unit, np.maximum(self.noise, floor), np.where(gain <= self.noise, self.noise, 0.0)
        )
        accepted = usable & (height <= self.height + allowed)
        with np.errstate(invalid="ignore"):  # an infinite mark, which nothing fell from
            fell = accepted & (height < self.mark - floor * np.abs(self.mark))
        self.mark = np.where(fell, height, self.mark)
        self.at = self.at + np.where(accepted, direction, 0.0)
        self.gradient = np.where(accepted, gradient, self.gradient)
        self.curvature = np.where(accepted, curvature, self.curvature)
        self.height = np.where(accepted, height, self.height)
        self.degree = _degrees(self.curvature)
        # where values tell nothing, a gradient that falls faster than the curvature does
        with np.errstate(all="ignore"):
            relative = np.nan_to_num((np.abs(self.gradient) / self.degree).max(axis=0), nan=np.inf)
        nearer = relative < 0.9 * self.relative
        self.relative = np.fmin(self.relative, relative)
        self.idle = np.where(fell | nearer, 0, self.idle + ~(accepted & (self.stretch > 1)))
        short = np.maximum(STEP_TOLERANCE * np.minimum(self.unit, 1.0), 4e-16 * np.abs(self.at).max(axis=0))
        damping = np.where(accepted, self.damping / 8, np.maximum(self.damping, 1e-9) * 6)
        self.damping = np.where(damping < UNDAMPED, 0.0, damping)
        self.last = np.where(accepted, self.last, np.inf)
        self.stretch = np.where(accepted, self.stretch, 1.0)
        return np.asarray(accepted & (length <= short) & undamped)

    def _direction(self) -> tuple[Floats, Floats, Mask, Mask]:
        """The next step, its length, whether damping hardly shortens it, and whether there is one."""
        high, low = pairs(len(self.at))
        with np.errstate(all="ignore"):
            share = self.damping / np.maximum(self.degree.sum(axis=0), 1e-300)
            elimination = HeavyFirst.of(self.curvature + share * self.degree[high] * self.degree[low], self.degree)
            usable = elimination.positive_definite & np.isfinite(self.height)
            direction = np.where(usable, elimination.solve(-self.gradient), 0.0)
            direction -= direction.mean(axis=0)
            reach = np.ptp(direction, axis=0)
            usable &= np.isfinite(reach)
            # only a step that the damping does not shorten tells of a minimum, or that there is none nearby
            undamped = elimination.positive_definite & elimination.firm(self.damping)
            self.stretch = np.where(undamped & (reach > 0.7 * self.last), 2 * self.stretch, 1.0)
            self.last = np.where(undamped, reach, np.inf)
            longest = np.maximum(LONGEST_STEP * self.unit, np.ptp(self.at, axis=0))
            length = np.minimum(self.stretch * reach, longest)
            direction = np.where(usable & (reach > 0), direction * (length / reach), 0.0)
        return direction, length, undamped, usable


def _at_minimum(problem: Problem, theta: Floats, unit: Floats) -> tuple[Mask, Mask]:
    """Whether Newton's own step is negligible where runs ended, and not hidden in rounding; whether gradients vanish.

    On a plateau the gradient falls with the curvature, and a step as long as ever may be all rounding, or none of it.
    """
    near = ROUNDED_STEP * np.maximum(unit, 1.0)
    with np.errstate(all="ignore"):
        gradient, curvature, _ = derivatives_at(problem, theta)
        degree, noise = _degrees(curvature), gradient_noise(problem, theta)
        elimination = HeavyFirst.of(curvature, degree)
        reach = np.ptp(elimination.solve(-gradient), axis=0)
        # nor does it in numbers so small that they have lost their digits
        hidden = ((noise > near * degree) | (degree < TINY)).any(axis=0)
        stationary = (np.abs(gradient) <= np.maximum(1e-10 * degree, noise)).all(axis=0)
        reached = elimination.positive_definite & (reach <= near) & ~hidden
    return np.asarray(reached), np.asarray(stationary)


def gradient_noise(problem: Problem, theta: Floats) -> Floats:
    """What rounding may add to the gradient of `derivatives_at`, (n, B).

    The likeliest response's is what the others leave. There what flows between two others cancels, but for the rounding
    of sums that it is in: two hardly possible responses may well be compared far more often with one another.
    """
    n = problem.n
    between, own = gradient_sizes(problem, theta)
    noise = both_ends(n) @ between + own
    top, column = theta.argmax(axis=0), np.arange(theta.shape[1])
    high, low = pairs(n)
    at_top = (high[:, None] == top) | (low[:, None] == top)
    crossing = np.where(at_top, between, n * np.abs(pair_derivatives(problem, theta)[0]))
    own[top, column] = 0.0
    noise[top, column] = crossing.sum(axis=0) + own.sum(axis=0)
    return np.asarray(4e-16 * noise)


@dataclass(frozen=True, eq=False)
class HeavyFirst:
    """An elimination of the responses with most curvature last.

    The response that is eliminated last says nothing, as the others' gradients should add up to its own; and the others
    are found relative to it. Where it has far less curvature than they have, both would be lost in rounding.
    """

    order: Indices
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
    def positive_definite(self) -> Mask:
        return self.elimination.positive_definite

    def firm(self, damping: Floats) -> Mask:
        """Whether damping, a share of each response's degree, hardly changes its pivot, (B,)."""
        return np.asarray((self.elimination.pivots[1:] > 100 * damping * self.degree[1:]).all(axis=0))


def _degrees(curvature: Floats) -> Floats:
    """The sum of the moduli of each response's second derivatives with others, (n, B)."""
    n = round((1 + np.sqrt(1 + 8 * len(curvature))) / 2)
    to_high, to_low = ends(n)
    size = np.where(np.isfinite(curvature), np.abs(curvature), 0.0)
    return np.asarray(to_high @ size + to_low @ size)


def derivatives_at(problem: Problem, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Gradient, curvature and value at theta, which are not finite where it is out of bounds.

    The likeliest response's gradient is found as what the others leave: theirs may be far smaller than its rounding.
    """
    with np.errstate(all="ignore"):
        local = expand(problem, theta)
        top, column = theta.argmax(axis=0), np.arange(theta.shape[1])
        gradient = local.gradient.copy()
        gradient[top, column] = 0.0
        gradient[top, column] = -gradient.sum(axis=0)
        return gradient, local.curvature, value(problem, theta, local.losses)
