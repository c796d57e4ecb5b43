r"""Scalar losses psi(m) of a margin m, each with all that is known of it.

A `Psi` states once: its value, first and second derivative, slopes at both ends, curvature, self-concordance, straight
pieces, lower bound, and where the expected loss of a Bradley-Terry pair is least. What is known of a whole objective is
derived from these statements (`expo_analysis.losses.facts`), and they are tested against numbers.

Apply a psi to a statistic to get a term: ``Logistic()(0.1 * hbar)``; see `expo_analysis.losses.statistics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import Array
from ..numerics import exp, log_sigmoid, log_sigmoids, namespace, sigmoid
from .stated import Psi, Slopes, Stated, Well, everywhere

__all__ = [
    "BernoulliKL",
    "Exponential",
    "Hinge",
    "Linear",
    "Logistic",
    "Modulated",
    "Psi",
    "Sigmoid",
    "Slopes",
    "Square",
    "SquaredSigmoid",
    "Stated",
    "TargetKL",
    "Well",
]


@dataclass(frozen=True, eq=False)
class Logistic(Psi):
    r"""-kept log sigma(m) - flipped log sigma(-m): logistic, with soft targets or label smoothing where flipped != 0.

    kept + flipped >= 0, as both label smoothings have it, makes it convex, with |psi'''| <= psi''.
    """

    kept: Any = 1.0
    flipped: Any = 0.0

    def value(self, m: Array) -> Array:
        if self._one_sided:
            return -log_sigmoid(m) if _is_one(self.kept) else -self.kept * log_sigmoid(m)
        won, lost = log_sigmoids(m)
        return -self.kept * won - self.flipped * lost

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        """flipped sigma(m) - kept sigma(-m) and (kept + flipped) sigma(m) sigma(-m).

        sigma(m) and sigma(-m) both come from the odds e^m, each to full relative accuracy.
        """
        odds = exp(m)
        against = 1 / (1 + odds)
        towards = odds * against
        return self.flipped * towards - self.kept * against, (self.kept + self.flipped) * (towards * against)

    def slope_size(self, m: Array) -> Array:
        return abs(self.flipped) * sigmoid(m) + abs(self.kept) * sigmoid(-m)

    @property
    def _one_sided(self) -> bool:
        return isinstance(self.flipped, (int, float)) and self.flipped == 0

    @property
    def slopes(self) -> Slopes:
        return -self.kept, self.flipped

    decay = (1.0, 1.0)

    @property
    def convex(self) -> bool:
        return everywhere(self.kept + self.flipped, lambda x: x >= 0)

    @property
    def self_concordance(self) -> Any:
        return 1.0 if self.convex else None

    @property
    def lower_bound(self) -> Any:
        if not (everywhere(self.kept, lambda x: x >= 0) and everywhere(self.flipped, lambda x: x >= 0)):
            return -math.inf
        both = np.asarray(self.kept) + self.flipped
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(both > 0, self.kept / both, 1.0)
        from scipy.special import entr

        return both * (entr(share) + entr(1 - share))

    @property
    def log_odds_scale(self) -> float | None:
        return 1.0 if self._one_sided and everywhere(self.kept, lambda x: x > 0) else None

    @property
    def rounding(self) -> tuple[Any, Any]:
        # no sigma is above 1, so that each derivative is known to a few units of |kept| + |flipped|
        size = abs(self.kept) + abs(self.flipped)
        return size, size


def _is_one(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == 1


@dataclass(frozen=True, eq=False)
class Square(Psi):
    """m^2."""

    def value(self, m: Array) -> Array:
        return m**2

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        return 2 * m, np.full_like(m, 2.0)

    slopes = (-math.inf, math.inf)
    decay = (0.0, 0.0)
    convex = True
    self_concordance = 0.0
    lower_bound = 0.0
    well = Well(0.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Hinge(Psi):
    """max(0, at - m), with derivative 0 at its kink."""

    at: Any = 1.0

    def value(self, m: Array) -> Array:
        short = self.at - m
        return namespace(m).where(short > 0, short, 0.0 * short)

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        return np.where(self.at - m > 0, -1.0, 0.0), np.zeros_like(m)

    slopes = (-1.0, 0.0)
    decay = (math.inf, math.inf)
    convex = True
    lower_bound = 0.0

    @property
    def linear_pieces(self) -> tuple[tuple[Any, Any], ...]:
        return (-1.0, self.at), (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Linear(Psi):
    """slope m: ``Linear(-1)`` of a log-probability is its negative log-likelihood."""

    slope: Any = -1.0

    def value(self, m: Array) -> Array:
        return self.slope * m

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        return self.slope + np.zeros_like(m), np.zeros_like(m)

    @property
    def slopes(self) -> Slopes:
        return self.slope, self.slope

    decay = (math.inf, math.inf)

    convex = True
    self_concordance = 0.0

    @property
    def linear_pieces(self) -> tuple[tuple[Any, Any], ...]:
        return ((self.slope, 0.0),)

    @property
    def lower_bound(self) -> Any:
        return 0.0 if isinstance(self.slope, (int, float)) and self.slope == 0 else -math.inf


@dataclass(frozen=True, eq=False)
class Sigmoid(Psi):
    """sigma(m) = 1 / (1 + exp(-m)): bounded, rising, convex on the left of 0 and concave on the right."""

    def value(self, m: Array) -> Array:
        return sigmoid(m)

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        up, down = sigmoid(m), sigmoid(-m)
        return up * down, up * down * (down - up)

    def third(self, low: Array, high: Array) -> Array:
        return _peak(low, high)

    slopes = (0.0, 0.0)
    decay = (1.0, 1.0)
    increasing = True
    decreasing = False
    lower_bound = 0.0


def _peak(low: Array, high: Array) -> Array:
    """The largest sigma(m) sigma(-m) from ``low`` to ``high``: no derivative of it is larger than it."""
    nearest = np.clip(0.0, low, high)
    return sigmoid(nearest) * sigmoid(-nearest)


def _flattest(goal: Array) -> Array:
    """The largest sigma' within 1 of the goal."""
    return _peak(goal - 1, goal + 1)


@dataclass(frozen=True, eq=False)
class Exponential(Psi):
    """exp(-m), the boosting loss; saturates far out instead of overflowing."""

    def value(self, m: Array) -> Array:
        return exp(-m)

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        value = exp(-m)
        return -value, value

    def third(self, low: Array, high: Array) -> Array:
        return exp(-low)

    slopes = (-math.inf, 0.0)
    decay = (0.0, 1.0)
    convex = True
    self_concordance = 1.0
    lower_bound = 0.0
    log_odds_scale = 2.0
    rounding = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class SquaredSigmoid(Psi):
    """(sigma(m) - target)^2 = (miss - sigma(-m))^2.

    ``target`` and ``miss``, 1 minus the target, are both given, as either may be tiny: on each side of m = 0 the one is
    used that keeps its digits there.
    """

    target: Any = 1.0
    miss: Any = 0.0

    def value(self, m: Array) -> Array:
        return self._gap(m) ** 2

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        up, down = sigmoid(m), sigmoid(-m)
        gap, bend = self._gap(m), up * down
        return 2 * gap * bend, 2 * bend * (bend + gap * (down - up))

    def slope_size(self, m: Array) -> Array:
        up, down = sigmoid(m), sigmoid(-m)
        return 2 * np.where(m < 0, self.target + up, self.miss + down) * up * down

    def _gap(self, m: Array) -> Array:
        return namespace(m).where(m < 0, sigmoid(m) - self.target, self.miss - sigmoid(-m))

    def least(self, low: Array, high: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            goal = np.log1p(-np.clip(self.miss, 0.0, 1.0)) - np.log(np.clip(self.miss, 0.0, 1.0))
        return self.value(np.clip(goal, low, high))

    def third(self, low: Array, high: Array) -> Array:
        gap = np.maximum(np.abs(self.miss), np.abs(1 - self.miss))
        return _peak(low, high) * (1.5 + 2 * gap)

    slopes = (0.0, 0.0)
    decay = (1.0, 1.0)
    lower_bound = 0.0
    rounding = (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class BernoulliKL(Psi):
    r"""KL(Bernoulli(sigma(m)) || Bernoulli(sigma(goal))): least, 0, at m = goal, and bounded."""

    goal: Any = 0.0

    def value(self, m: Array) -> Array:
        goal = self.goal + 0.0 * m
        kept = sigmoid(m) * (log_sigmoid(m) - log_sigmoid(goal))
        return kept + sigmoid(-m) * (log_sigmoid(-m) - log_sigmoid(-goal))

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        # d/dq is the log-odds of q, which are m, minus those of the goal
        up, down = sigmoid(m), sigmoid(-m)
        beyond = m - self.goal
        return up * down * beyond, up * down * ((down - up) * beyond + 1)

    def least(self, low: Array, high: Array) -> Array:
        return self.value(np.clip(self.goal, low, high))  # psi falls up to there, and rises from there on

    def third(self, low: Array, high: Array) -> Array:
        return _peak(low, high) * (2 + np.maximum(np.abs(low - self.goal), np.abs(high - self.goal)))

    @property
    def well(self) -> Well:
        # psi' = sigma'(m) (m - goal), and sigma' changes by a factor of at most e within 1 of the goal
        return Well(self.goal, _peak(self.goal, self.goal) / (2 * math.e), _flattest(self.goal) / 2)

    slopes = (0.0, 0.0)
    decay = (0.9, 0.9)  # as |m| exp(-|m|)
    lower_bound = 0.0


@dataclass(frozen=True, eq=False)
class TargetKL(Psi):
    r"""KL(Bernoulli(sigma(goal)) || Bernoulli(sigma(m))): logistic with the soft target sigma(goal), less its entropy.

    Convex, least, 0, at m = goal; the logistic loss -log sigma(m) for goal -> inf.
    """

    goal: Any = 0.0

    @property
    def _logistic(self) -> Logistic:
        return Logistic(sigmoid(self.goal), sigmoid(-self.goal))

    def value(self, m: Array) -> Array:
        goal = self.goal + 0.0 * m
        kept = sigmoid(goal) * (log_sigmoid(goal) - log_sigmoid(m))
        return kept + sigmoid(-goal) * (log_sigmoid(-goal) - log_sigmoid(-m))

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        return self._logistic.derivatives(m)

    def slope_size(self, m: Array) -> Array:
        return self._logistic.slope_size(m)

    @property
    def slopes(self) -> Slopes:
        # a finite goal holds both sides, however little of it float64 can tell
        tiny = np.where(np.isfinite(self.goal), np.finfo(np.float64).tiny, 0.0)
        return -np.maximum(sigmoid(self.goal), tiny), np.maximum(sigmoid(-self.goal), tiny)

    @property
    def well(self) -> Well:
        # psi'' = sigma'
        return Well(self.goal, _peak(self.goal, self.goal) / (2 * math.e), _flattest(self.goal) / 2)

    decay = (1.0, 1.0)
    convex = True
    self_concordance = 1.0
    lower_bound = 0.0


@dataclass(frozen=True, eq=False)
class Modulated(Psi):
    r"""(1 - k) (-log sigma(m)) + k exp(-m), k = sigma(m/tau): logistic left of 0, exponential right of it."""

    tau: Any = 0.05

    def value(self, m: Array) -> Array:
        # sigma(m/tau) exp(-m) as one exponential: for tau < 1 it is at most 1, though exp(-m) alone overflows
        return -sigmoid(-m / self.tau) * log_sigmoid(m) + exp(log_sigmoid(m / self.tau) - m)

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        up, down = sigmoid(m / self.tau), sigmoid(-m / self.tau)
        tail = exp(log_sigmoid(m / self.tau) - m)  # sigma(m/tau) e^-m
        loss, miss = -log_sigmoid(m), sigmoid(-m)
        turn = down / self.tau  # sigma' = turn sigma
        first = turn * (tail - up * loss) - down * miss - tail
        second = turn * (down - up) / self.tau * (tail - up * loss) + 2 * turn * (up * miss - tail)
        return first, second + down * miss * (1 - miss) + tail

    def least(self, low: Array, high: Array) -> Array:
        # left of 0 both factors of the logistic part fall, and the exponential part is positive
        end = np.minimum(high, 0.0)
        return np.where(high < 0, -sigmoid(-end / self.tau) * log_sigmoid(end), 0.0)

    def third(self, low: Array, high: Array) -> Array:
        turn, miss = _peak(low / self.tau, high / self.tau), sigmoid(-low)
        # k(1-k) and k times exp(-m): k is largest on the right, exp(-m) on the left
        tail = exp(log_sigmoid(high / self.tau) - low)
        turned = np.minimum(tail, turn * exp(-low))
        rate = 1 / self.tau
        logistic = _peak(low, high) * (1 + 3 * rate * turn) + rate**2 * turn * (3 * miss - rate * log_sigmoid(low))
        return logistic + tail + turned * rate * (3 + 3 * rate + rate**2)

    @property
    def slopes(self) -> Slopes:
        # on the left the exponential, sigma(m/tau) e^-m, is e^{|m| (1 - 1/tau)}
        return (-1.0 if self.tau <= 1 else -math.inf), 0.0

    @property
    def decay(self) -> tuple[float, float]:
        # on the right as e^-m; on the left as e^m, and as what the exponential leaves there
        return (0.9 if self.tau == 1 else max(0.0, min(1.0, 1 / self.tau - 1))), 1.0

    lower_bound = 0.0
