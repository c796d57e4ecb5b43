r"""Scalar losses psi(m) of a margin m, each with all that is known of it.

A `Psi` states once: its value, first and second derivative, slopes at both ends, curvature, self-concordance, straight
pieces, lower bound, and where the expected loss of a Bradley-Terry pair is least. What is known of a whole objective is
derived from these statements (`expo_analysis.losses.facts`), and they are tested against numbers.

Apply a psi to a statistic to get a term: ``Logistic()(0.1 * hbar)``; see `expo_analysis.losses.statistics`.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array
from ..numerics import by_torch, exp, log_sigmoid, log_sigmoids, namespace, sigmoid
from .data import Data

if TYPE_CHECKING:
    from .statistics import Statistic
    from .terms import Sum

Slopes = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Psi(ABC):
    """A loss psi of one number; see the module's docstring. Parameters are numbers, arrays, or `Data`.

    The defaults below claim nothing: a psi of which only the value is known works everywhere, without proofs.
    """

    def __call__(self, statistic: Statistic) -> Sum:
        """The term psi(statistic), to be added to others."""
        from .terms import Sum, Term

        return Sum((Term(self, statistic),))

    @abstractmethod
    def value(self, m: Array) -> Array:
        """psi(m), elementwise, numpy or torch."""

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        """psi'(m) and psi''(m) of a numpy array; by torch where a psi does not state them."""
        return by_torch(self.value, m)

    def slope_size(self, m: Array) -> Array:
        """The sum of the moduli of what psi'(m) is a sum of: its rounding is a few units of that."""
        return np.abs(self.derivatives(m)[0])

    @property
    def slopes(self) -> Slopes | None:
        """Limits of psi' at -inf and +inf; None where they are not known."""
        return None

    @property
    def convex(self) -> bool:
        """Whether psi is known to be convex."""
        return False

    @property
    def decreasing(self) -> bool:
        """Whether psi is known never to increase."""
        return self.convex and self.slopes is not None and _everywhere(self.slopes[1], lambda x: x <= 0)

    @property
    def increasing(self) -> bool:
        """Whether psi is known never to decrease."""
        return self.convex and self.slopes is not None and _everywhere(self.slopes[0], lambda x: x >= 0)

    @property
    def self_concordance(self) -> Any:
        """The least known M with |psi'''| <= M psi''; None where there is none, as for a psi with kinks."""
        return None

    @property
    def linear_pieces(self) -> tuple[tuple[Any, Any], ...] | None:
        """(slope, intercept) of each piece of a psi that is a maximum of straight lines; None for any other."""
        return None

    @property
    def lower_bound(self) -> Any:
        """The infimum of psi, or a number below it; -inf where it has none, None where that is not known."""
        return None

    @property
    def decay(self) -> tuple[float | None, float | None]:
        """Rates r at -inf and +inf at which psi nears a straight line, as exp(-r |m|); inf where it is one from some
        margin on, None where that is not known.
        """
        return None, None

    @property
    def log_odds_scale(self) -> float | None:
        """c, where E psi of a pair, p psi(m) + (1-p) psi(-m), is least at m = log(p/(1-p)) / c for every p; or None."""
        return None

    @property
    def rounding(self) -> tuple[Any, Any]:
        """What the rounding of psi' and psi'' is relative to, beside their own size: a few units of these at most."""
        m = self.self_concordance
        return (0.0, 0.0) if m is None else (m, m**2)

    @property
    def reads(self) -> frozenset[str]:
        """What the parameters read of a datum."""
        values = (getattr(self, f.name) for f in dataclasses.fields(self))
        return frozenset().union(*(value.reads for value in values if isinstance(value, Data)))


def seen_decay(function: Callable[[Array], Array], ends: Slopes) -> tuple[float, float]:
    """`Psi.decay` of a function at scale 1 whose slopes tend to ``ends``: flat (inf) where its slope is 0 far out, else 1.

    At +-40 a function that falls as exp(-|m|) still has a slope, in float64.
    """
    slopes = by_torch(function, np.array([-40.0, 40.0]))[0]
    limits = (float(np.max(np.asarray(end))) for end in ends)
    low, high = (math.inf if limit == 0 and slope == 0 else 1.0 for limit, slope in zip(limits, slopes, strict=True))
    return low, high


def _everywhere(values: Any, condition: Callable[[Any], Any]) -> bool:
    """Whether a condition holds of a number, or of every number of an array; unknown data count as no."""
    return not isinstance(values, Data) and bool(np.all(condition(np.asarray(values))))


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
        return _everywhere(self.kept + self.flipped, lambda x: x >= 0)

    @property
    def self_concordance(self) -> Any:
        return 1.0 if self.convex else None

    @property
    def lower_bound(self) -> Any:
        if not (_everywhere(self.kept, lambda x: x >= 0) and _everywhere(self.flipped, lambda x: x >= 0)):
            return -math.inf
        both = np.asarray(self.kept) + self.flipped
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(both > 0, self.kept / both, 1.0)
        from scipy.special import entr

        return both * (entr(share) + entr(1 - share))

    @property
    def log_odds_scale(self) -> float | None:
        return 1.0 if self._one_sided and _everywhere(self.kept, lambda x: x > 0) else None

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

    slopes = (0.0, 0.0)
    decay = (1.0, 1.0)
    increasing = True
    decreasing = False
    lower_bound = 0.0


@dataclass(frozen=True, eq=False)
class Exponential(Psi):
    """exp(-m), the boosting loss; saturates far out instead of overflowing."""

    def value(self, m: Array) -> Array:
        return exp(-m)

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        value = exp(-m)
        return -value, value

    slopes = (-math.inf, 0.0)
    decay = (0.0, 1.0)
    convex = True
    self_concordance = 1.0
    lower_bound = 0.0
    log_odds_scale = 2.0
    rounding = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class SquaredSigmoid(Psi):
    """(sigma(m) - (1 - miss))^2, written as (miss - sigma(-m))^2: ``miss``, 1 minus the target, may be tiny."""

    miss: Any = 0.0

    def value(self, m: Array) -> Array:
        return (self.miss - sigmoid(-m)) ** 2

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        up, down = sigmoid(m), sigmoid(-m)
        gap, bend = self.miss - down, up * down
        return 2 * gap * bend, 2 * bend * (bend + gap * (down - up))

    def slope_size(self, m: Array) -> Array:
        up, down = sigmoid(m), sigmoid(-m)
        return 2 * (self.miss + down) * up * down

    slopes = (0.0, 0.0)
    decay = (1.0, 1.0)
    lower_bound = 0.0
    rounding = (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class BernoulliKL(Psi):
    r"""KL((q, 1-q) || (1-eps, eps)), q = sigma(m): least at m = log((1-eps)/eps), and bounded."""

    eps: Any = 1e-3

    def value(self, m: Array) -> Array:
        kept = sigmoid(m) * (log_sigmoid(m) - math.log1p(-self.eps))
        return kept + sigmoid(-m) * (log_sigmoid(-m) - math.log(self.eps))

    def derivatives(self, m: Array) -> tuple[Array, Array]:
        # d/dq is the log-odds of q, which are m, minus those of 1 - eps
        up, down = sigmoid(m), sigmoid(-m)
        beyond = m - (math.log1p(-self.eps) - math.log(self.eps))
        return up * down * beyond, up * down * ((down - up) * beyond + 1)

    slopes = (0.0, 0.0)
    decay = (0.9, 0.9)  # as |m| exp(-|m|)
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

    slopes = (-1.0, 0.0)
    decay = (1.0, 1.0)
    lower_bound = 0.0


@dataclass(frozen=True, eq=False)
class Stated(Psi):
    """A psi given as a function of numpy arrays and torch tensors, with whatever its author knows of it.

    Example:
        >>> from expo_analysis.losses.psi import Stated
        >>> Stated(lambda m: m**4, convex=True, lower_bound=0.0).convex
        True
    """

    function: Callable[[Array], Array]
    slopes: Slopes | None = None
    convex: bool = False
    self_concordance: Any = None
    linear_pieces: tuple[tuple[Any, Any], ...] | None = None
    lower_bound: Any = None
    decay: tuple[float | None, float | None] = (None, None)
    log_odds_scale: float | None = None

    def value(self, m: Array) -> Array:
        return self.function(m)
