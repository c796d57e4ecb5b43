"""What a scalar loss states of itself (`Psi`), and a psi of one's own, with what its author knows (`Stated`)."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._autograd import slope_and_bend
from .._types import Array
from .data import Data

if TYPE_CHECKING:
    from .statistics import Statistic
    from .terms import Sum

Slopes = tuple[Any, Any]


class Well(NamedTuple):
    """Where a psi has its only minimum, m = ``at``, falling all the way to it and rising from it, and how steep it is.

    below min(|m - at|, 1)^2 <= psi(m) - psi(at) for every m, and psi(m) - psi(at) <= above (m - at)^2 where |m - at| is
    at most 1. Numbers, or arrays like the parameters of the psi.
    """

    at: Any
    below: Any
    above: Any


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
        return slope_and_bend(self.value, m)

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
        return self.convex and self.slopes is not None and everywhere(self.slopes[1], lambda x: x <= 0)

    @property
    def increasing(self) -> bool:
        """Whether psi is known never to decrease."""
        return self.convex and self.slopes is not None and everywhere(self.slopes[0], lambda x: x >= 0)

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
    def well(self) -> Well | None:
        """Its only minimum; None where it has none or several, or that is not known."""
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
    def is_least_at_log_odds_alone(self) -> bool:
        """Whether E psi of a pair is least at ``log_odds_scale``'s margin and nowhere else: psi is convex, and falls.

        psi'(-m) = e^(cm) psi'(m), as the minimum has it. A psi' that never falls, and is 0 somewhere, is then 0
        everywhere; so it is negative everywhere, and p psi'(m) - (1-p) psi'(-m) is 0 once.
        """
        known = self.log_odds_scale is not None and self.convex and self.slopes is not None
        return known and everywhere(self.slopes[0], lambda x: x < 0)  # type: ignore[index]

    @property
    def rounding(self) -> tuple[Any, Any]:
        """What the rounding of psi' and psi'' is relative to, beside their own size: a few units of these at most."""
        m = self.self_concordance
        return (0.0, 0.0) if m is None else (m, m * m)

    def least(self, low: Array, high: Array) -> Array:
        """A number below psi between ``low`` and ``high``, numpy arrays, also infinite; -inf if none is known."""
        bound = -math.inf if self.lower_bound is None else self.lower_bound
        found = np.broadcast_to(np.asarray(bound, dtype=np.float64), np.shape(low))
        start, end = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
        if self.convex or self.increasing:
            rises = np.isfinite(low) & (self.increasing or self.derivatives(start)[0] >= 0)
            found = np.where(rises, np.maximum(self.value(start), found), found)
        if self.convex or self.decreasing:
            falls = np.isfinite(high) & (self.decreasing or self.derivatives(end)[0] <= 0)
            found = np.where(falls, np.maximum(self.value(end), found), found)
        return found

    def most(self, low: Array, high: Array) -> Array:
        """A number above psi between ``low`` and ``high``, numpy arrays, also infinite; inf if none is known."""
        found = np.full(np.shape(low), math.inf)
        start, end = np.isfinite(low), np.isfinite(high)
        left, right = (self.value(np.where(known, x, 0.0)) for known, x in ((start, low), (end, high)))
        if self.convex:
            found = np.where(start & end, np.maximum(left, right), found)
        if self.decreasing:
            found = np.where(start, np.minimum(left, found), found)
        if self.increasing:
            found = np.where(end, np.minimum(right, found), found)
        return found

    def third(self, low: Array, high: Array) -> Array:
        """A number above |psi'''| between finite ``low`` and ``high``, numpy arrays; inf where none is known."""
        m = self.self_concordance
        if m is None:
            return np.full(np.shape(low), math.inf)
        bend = self.derivatives((low + high) / 2)[1]  # which grows by exp(m |step|) at most
        with np.errstate(over="ignore", invalid="ignore"):
            # a curvature that underflows in the middle says nothing of the ends; without any M there is none anywhere
            return np.where(bend > 0, m * bend * np.exp(m * (high - low) / 2), np.where(m > 0, math.inf, 0.0 * bend))

    @property
    def reads(self) -> frozenset[str]:
        """What the parameters read of a datum."""
        values = (getattr(self, f.name) for f in dataclasses.fields(self))
        return frozenset().union(*(value.reads for value in values if isinstance(value, Data)))


def seen_decay(function: Callable[[Array], Array], ends: Slopes) -> tuple[float, float]:
    """`Psi.decay` of a function at scale 1 whose slopes tend to ``ends``: flat (inf) where its slope is 0 far out.

    Elsewhere 0, as nothing is seen of how fast it nears its line. At +-40 a function that falls as exp(-|m|) still has
    a slope, in float64.
    """
    slopes = slope_and_bend(function, np.array([-40.0, 40.0]))[0]
    limits = (float(np.max(np.asarray(end))) for end in ends)
    low, high = (math.inf if limit == 0 and slope == 0 else 0.0 for limit, slope in zip(limits, slopes, strict=True))
    return low, high


def everywhere(values: Any, condition: Callable[[Any], Any]) -> bool:
    """Whether a condition holds of a number, or of every number of an array; unknown data count as no."""
    return not isinstance(values, Data) and bool(np.all(condition(np.asarray(values))))


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
