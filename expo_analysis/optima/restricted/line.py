r"""One parameter, any loss: the global minimum by branch and bound, proven.

Along t, w = column t, F is expanded at the centres c of intervals of half-length h, and T bounds |F'''| there (see
`enclosure`):

    F(c + s)  >=  F(c) + F'(c) s + F''(c) s^2/2 - T h^3/6,    |F'(c + s) - F'(c) - F''(c) s| <= T h^2/2.

An interval is dropped if F is above the lowest value seen, or F' has no zero on it; others are halved. What is left
in the end is one stretch on which F'' > T h, hence one stationary point, the global minimiser t*, and |t - t*| <=
|F'(t)| / min F'' near t. Far out, `tails` bounds F from below. Where that does not exclude a tail, policies on it are
as good as equal, and the bound of the policy is the largest distance within what is left. Rounding is added
everywhere. [ours]
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..._types import Floats, Indices, Mask
from ..certificate import UNIT, policy_error
from ..derivatives import log_softmax
from ..laplacian import pairs
from ..solution import Certificate, Status
from .cells import RewardCells
from .certificate import logit_rounding
from .enclosure import Line, enclosable, third_derivative
from .family import Family
from .found import RestrictedFound, one_found
from .tails import Tail, held, tail_least

ROUNDS, TINIEST = 80, 1e-13
MOST = 20_000
"""Intervals at a time; a problem that needs more is not settled."""
BREAKS, FARTHEST = 24, 750.0
"""First intervals on each side, and how far tails may begin, in units of what moves slowest."""


def accepts(family: Family) -> bool:
    """One parameter, and everything that the loss reads can be enclosed."""
    return bool((family.rank == 1).all()) and enclosable(family.cells)


@dataclass(frozen=True, eq=False)
class Points:
    """F, F' and F'' at some t (T,), and what rounding may do to each."""

    value: Floats
    slope: Floats
    bend: Floats
    value_noise: Floats
    slope_noise: Floats
    bend_noise: Floats


@dataclass(frozen=True, eq=False)
class OneLine:
    """A family of one problem, of rank 1."""

    family: Family

    @cached_property
    def seen(self) -> Indices:
        """The cells that count."""
        return np.flatnonzero(self.family.shares[0] > 0)

    @cached_property
    def shares(self) -> Floats:
        return self.family.shares[0, self.seen]

    @cached_property
    def column(self) -> Floats:
        """w = column t."""
        return self.family.basis[0, :, 0]

    @cached_property
    def f(self) -> Floats:
        """(n, C)."""
        return self.family.directions[0, self.seen, :, 0].T

    @cached_property
    def base(self) -> Floats:
        return self.family.base[:, self.seen]

    @cached_property
    def decay(self) -> float:
        return float(self.family.decay[0] * (self.column**2).sum())

    def tiled(self, count: int) -> Any:
        """The cells, ``count`` times."""
        return self.family.cells.take(np.tile(self.seen, count))

    def logits(self, t: Floats) -> tuple[Floats, Floats]:
        """Logits and f, (n, T C) each."""
        x = self.base[:, None] + self.f[:, None] * t[:, None]
        return x.reshape(len(self.f), -1), np.tile(self.f, len(t))

    def added(self, own: Floats) -> Floats:
        """(T C,) to (T,), by shares."""
        return np.asarray(own.reshape(-1, len(self.seen)) @ self.shares)

    @np.errstate(invalid="ignore", over="ignore", divide="ignore")
    def at(self, t: Floats) -> Points:
        """The objective and its derivatives at t (T,)."""
        x, f = self.logits(t)
        cells, column = self.tiled(len(t)), np.arange(x.shape[1])
        local, size = cells.expand(x), cells.gradient_size(x)
        high, low = pairs(len(x))
        f = f - f[x.argmax(axis=0), column]  # where most mass is, the gradient is what all others leave
        square = (f[high] - f[low]) ** 2
        moved = np.abs(f) * size
        off = UNIT * 3 * (np.abs(x).max(axis=0) + np.abs(f).max(axis=0) * np.repeat(np.abs(t), len(self.seen)))
        curved = (np.abs(local.curvature) * square).sum(axis=0) + np.abs(f).max(axis=0) * moved.sum(axis=0)
        value = cells.value(x)
        slope, bend = (f * local.gradient).sum(axis=0), (local.curvature * square).sum(axis=0)
        count = 8 + len(x)
        value_noise = (
            UNIT * count * 2 * np.abs(value) + UNIT * count * self._magnitude(cells, x) + off * size.sum(axis=0)
        )
        slope_noise = UNIT * count * moved.sum(axis=0) + off * curved / np.maximum(np.abs(f).max(axis=0), 1e-300)
        if isinstance(cells, RewardCells):  # a reward that is off by e moves each derivative by e times one of E[f]
            spread = np.ptp(f, axis=0)
            value_noise, slope_noise = value_noise + cells.error, slope_noise + 2 * cells.error * spread
            curved = curved + 4 * cells.error * spread**2 / (64 * UNIT * count)
        own = [self.added(y) for y in (value, slope, bend, value_noise, slope_noise, UNIT * 64 * count * curved)]
        quadratic = self.decay / 2 * t**2
        rounding = 4 * UNIT * self.decay * np.abs(t)
        added: tuple[Any, ...] = (
            quadratic,
            self.decay * t,
            self.decay,
            4 * UNIT * quadratic,
            rounding,
            4 * UNIT * self.decay,
        )
        return Points(*(a + b for a, b in zip(own, added, strict=True)))

    @staticmethod
    def _magnitude(cells: Any, x: Floats) -> Floats:
        """The sum of the moduli of what the value is a sum of, beside the value itself."""
        if isinstance(cells, RewardCells):
            return np.asarray((np.exp(log_softmax(x)) * np.abs(cells.reward)).sum(axis=0) * 2)
        log_policy, lam = log_softmax(x), cells.problem.lam
        regulariser = cells.problem.facts.regulariser
        if regulariser is None:
            return np.zeros(x.shape[1])
        return np.asarray(lam * np.abs(regulariser.terms(log_policy, cells.log_reference)).sum(axis=0))

    def third(self, centre: Floats, half: Floats) -> Floats:
        """A number above |F'''| on each interval, (T,)."""
        x, f = self.logits(centre)
        line = Line(x, f, np.repeat(half, len(self.seen)))
        return self.added(third_derivative(self.tiled(len(centre)), line))

    def tail(self, start: Floats, sign: float) -> Floats:
        """A number below F for all t with sign t >= start, (T,)."""
        count = len(start)
        base, f = (np.tile(x, count) for x in (self.base, sign * self.f))
        own = tail_least(self.tiled(count), Tail(base, f, np.repeat(start, len(self.seen))))
        return self.added(own) + self.decay / 2 * np.minimum(start, 1e150) ** 2  # whose square is a number

    @cached_property
    def units(self) -> tuple[float, float]:
        """The sizes of t that move logits by 1 at most, and what moves slowest by `FARTHEST`."""
        high, low = pairs(len(self.f))
        moves = np.abs(self.f[high] - self.f[low])
        scale = 1.0
        if not isinstance(self.family.cells, RewardCells):
            scales = [np.abs(np.asarray(s)).min() for _, _, s, _ in self.family.cells.problem.facts.bound]
            scale = float(min(1.0, *scales)) if scales else 1.0
        return 1 / moves.max(), FARTHEST / (scale * moves[moves > 1e-12 * moves.max()].min())


def solve(family: Family) -> RestrictedFound:
    """One problem's global minimum; passed on where more intervals than `MOST` would be needed."""
    line = OneLine(family)
    near, far = line.units
    grid = near * np.concatenate([[0.0], np.geomspace(1e-3, far / near, 200)])
    points = line.at(np.concatenate([grid, -grid]))
    ends, open_, best = [], [], float((points.value + points.value_noise).min())
    for sign in (1.0, -1.0):
        above = line.tail(grid, sign) > best
        ends.append(float(grid[above.argmax()]) if above.any() else float(grid[-1]))
        open_.append(not above.any())
    left = branch_and_bound(line, -max(ends[1], near), max(ends[0], near), near)
    if left is None:
        return one_found(family, np.zeros(1), passed_on=True)
    return _verdict(line, left, (open_[1], open_[0]))


@dataclass(frozen=True, eq=False)
class _Intervals:
    """Intervals (T,); F there is at least ``least``, at most ``ceiling`` at the centre, and what is said below.

    turns: whether F' may have a zero. convex: whether F'' > 0. level: whether F varies by no more than its rounding.
    """

    low: Floats
    high: Floats
    least: Floats
    ceiling: Floats
    turns: Mask
    convex: Mask
    level: Mask

    @classmethod
    def at(cls, line: OneLine, low: Floats, high: Floats) -> _Intervals:
        if not len(low):
            nothing, no = np.zeros(0), np.zeros(0, dtype=bool)
            return cls(nothing, nothing, nothing, nothing, no, no, no)
        centre, half = (low + high) / 2, (high - low) / 2
        at, third = line.at(centre), line.third(centre, half)
        inside = np.clip(-at.slope / np.where(at.bend > 0, at.bend, np.inf), -half, half)
        varies = np.abs(at.slope) * half + np.abs(at.bend) * half**2 / 2
        fall = np.where(at.bend > 0, at.slope * inside + at.bend * inside**2 / 2, -varies) - third * half**3 / 6
        steep = np.abs(at.slope) > np.abs(at.bend) * half + third * half**2 / 2 + at.slope_noise
        values = np.nan_to_num(at.value, nan=np.inf)
        return cls(
            low,
            high,
            np.nan_to_num(at.value + fall - at.value_noise, nan=-np.inf),
            values + at.value_noise,
            ~(steep & np.isfinite(third)),
            at.bend - third * half > at.bend_noise,
            varies + third * half**3 / 6 <= at.value_noise,  # both are 0 where a loss underflows
        )

    @property
    def centre(self) -> Floats:
        return (self.low + self.high) / 2

    def may_hold(self, ceiling: float) -> Mask:
        """Which may hold the minimiser, if F falls to ``ceiling`` somewhere."""
        return self.turns & (self.least <= ceiling)

    def take(self, kept: Mask) -> _Intervals:
        return _Intervals(*(getattr(self, f.name)[kept] for f in dataclasses.fields(self)))

    def joined(self, other: _Intervals) -> _Intervals:
        return _Intervals(*(np.r_[getattr(self, f.name), getattr(other, f.name)] for f in dataclasses.fields(self)))


@dataclass(frozen=True, eq=False)
class Left:
    """What may hold the minimiser: intervals (low, high), in order; whether F is strongly convex on them.

    best: where F is lowest. ends: of all that was looked at.
    """

    low: Floats
    high: Floats
    convex: Mask
    best: float
    steps: int
    ends: tuple[float, float]

    @classmethod
    def of(cls, intervals: _Intervals, best: float, steps: int, ends: tuple[float, float]) -> Left:
        order = np.argsort(intervals.low)
        return cls(intervals.low[order], intervals.high[order], intervals.convex[order], best, steps, ends)

    @property
    def contiguous(self) -> bool:
        """Whether this is one stretch."""
        return len(self.low) > 0 and bool(np.array_equal(self.low[1:], self.high[:-1]))


@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def branch_and_bound(line: OneLine, low: float, high: float, unit: float) -> Left | None:
    """What is left of [low, high]; None where it is too much."""
    outward = np.geomspace(1e-2, 1, BREAKS)
    cuts = np.unique(np.concatenate([low * outward, [0.0], high * outward, np.clip([-unit, unit], low, high)]))
    open_, level = _Intervals.at(line, cuts[:-1], cuts[1:]), _Intervals.at(line, cuts[:0], cuts[:0])
    ceiling, best = np.inf, 0.0
    for step in range(1, ROUNDS + 1):
        if open_.ceiling.min(initial=np.inf) < ceiling:
            ceiling, best = float(open_.ceiling.min()), float(open_.centre[open_.ceiling.argmin()])
        open_, level = open_.take(open_.may_hold(ceiling)), level.take(level.may_hold(ceiling))
        level, open_ = level.joined(open_.take(open_.level)), open_.take(~open_.level)
        left = Left.of(open_.joined(level), best, step, (low, high))
        settled = left.contiguous and left.convex.all()
        if settled or not (open_.high - open_.low > TINIEST * (np.abs(open_.centre) + unit)).any():
            return left if len(left.low) else None
        if 2 * len(open_.low) > MOST:
            return None
        middle = (open_.low + open_.high) / 2
        open_ = _Intervals.at(line, np.r_[open_.low, middle], np.r_[middle, open_.high])
    return left


UNPROVEN = "not proven to be global"
SAME = 1e-6
"""A stretch on which policies differ by less than this is one minimiser, as far as float64 tells."""


def _verdict(line: OneLine, left: Left, open_: tuple[bool, bool]) -> RestrictedFound:
    """What is known of the minimiser. open_: whether the objective may be as low beyond the lower and the upper end."""
    to_end = (open_[0] and left.low[0] <= left.ends[0], open_[1] and left.high[-1] >= left.ends[1])
    t, known = left.best, left.contiguous and open_ == to_end and not all(to_end)
    error = np.inf
    if known and not any(to_end) and left.convex.all():
        t, error = _root(line, left)
    bound = _bound(line, t, error, left, to_end)
    found = one_found(line.family, np.array([t]))
    found.steps[:] = left.steps
    if known and bound.max() < SAME and (not any(to_end) or _exists(line, to_end)):
        found.say(0, Status.OPTIMAL, Certificate.ERROR_BOUND, "the minimiser")
        found.bound[0] = bound
        if np.isfinite(error):
            found.weight_bound[0] = np.abs(line.column) * error + 4 * UNIT * np.abs(found.w[0])
    elif known and any(to_end):
        sign = 1.0 if to_end[1] else -1.0
        found.log_policy[:, line.seen] = _limit(line, sign)
        found.direction[0] = sign * line.column
        text = f"no minimiser was reached: the lowest values are approached as w runs to infinity along {_shown(found)}"
        found.say(0, Status.NO_MINIMISER, Certificate.SEARCH, f"{text} (not proven)")
    elif left.contiguous and open_ == to_end:
        found.say(0, Status.NOT_UNIQUE, Certificate.SEARCH, "to rounding, all w of a stretch have the lowest value")
    elif open_ == to_end:
        text = "several w reach the lowest value, as far as rounding can tell; one of them is returned"
        found.say(0, Status.NOT_UNIQUE, Certificate.SEARCH, text)
    else:
        found.say(0, Status.BEST_FOUND, Certificate.SEARCH, f"the lowest value found; {UNPROVEN}")
    return found


def _shown(found: RestrictedFound) -> str:
    return str(np.round(found.direction[0], 6).tolist())


def _root(line: OneLine, left: Left) -> tuple[float, float]:
    """The stationary point of a stretch of strong convexity, and a bound on its error."""
    centre, half = (left.low + left.high) / 2, (left.high - left.low) / 2
    at, third = line.at(centre), line.third(centre, half)
    bend = float((at.bend - third * half - at.bend_noise).min())
    t, error = np.clip(left.best, left.low[0], left.high[-1]), np.inf
    for _ in range(60):
        here = line.at(np.array([t]))
        step = float(here.slope[0] / here.bend[0]) if here.bend[0] > 0 else float(here.slope[0] / bend)
        t = float(np.clip(t - step, left.low[0], left.high[-1]))
        if abs(float(here.slope[0])) <= float(here.slope_noise[0]):
            break
    here = line.at(np.array([t]))
    slope = float(np.abs(here.slope[0]) + here.slope_noise[0])
    error = slope / bend if bend > 0 else np.inf
    for _ in range(2):  # nearby, third derivatives take less away
        nearby = float(here.bend[0] - line.third(np.array([t]), np.array([error]))[0] * error - here.bend_noise[0])
        error = min(error, slope / nearby) if nearby > 0 else error
    return t, error * (1 + 1e-9)


def _bound(line: OneLine, t: float, error: float, left: Left, to_end: tuple[bool, bool]) -> Floats:
    """The largest 1-norm distance of pi(t) from a policy of what is left, (P,)."""
    family = line.family
    w = family.weights(np.array([[t] + [0.0] * (family.d - 1)]))
    f = family.directions[0, :, :, 0].T
    policy = np.exp(log_softmax(family.logits(w)))
    blur = 2 * logit_rounding(family, w).max(axis=0)
    if not any(to_end):
        reach = min(error, max(left.high[-1] - t, t - left.low[0], 0.0))
        return policy_error(policy, np.ptp(f, axis=0) * reach + blur)
    # all mass but that of the likeliest is at most what it is at the inner end, and their shares do not change
    inner = left.low[0] if to_end[1] else left.high[-1]
    at_inner = np.exp(log_softmax(family.base + f * inner))
    signed = f if to_end[1] else -f
    rest = np.where(signed == signed.max(axis=0), 0.0, at_inner).sum(axis=0)
    return 2 * rest * (1 + 1e-9) + policy_error(policy, blur)


def _limit(line: OneLine, sign: float) -> Floats:
    """log pi as t runs to infinity, (n, C)."""
    signed = sign * line.f
    return log_softmax(np.where(signed == signed.max(axis=0), line.base, -np.inf))


def _exists(line: OneLine, to_end: tuple[bool, bool]) -> bool:
    """Whether a minimiser exists although the objective is as low far out, to rounding."""
    if line.decay > 0:
        return True
    return all(held(line.tiled(1), sign * line.f) for sign, end in zip((-1.0, 1.0), to_end, strict=True) if end)
