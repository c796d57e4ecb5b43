"""Functions of lambda times scores: what is a score, and how a loss rises far out.

A score is mu(u), u = pi/pi_ref, mu = f' of a divergence of this package, which rises strictly (the logarithm for
reverse KL); for a loss without a reference it is log pi, or another increasing function of pi. Terms read x = lambda
times scores.

**Slopes far out.** Let ell be a statistic, linear in (x_w, x_l) but for min(x_w, 0), and psi have slopes s-, s+ at
both ends. Then psi(ell(t a, t b) - offset)/t tends to rho(ell(a, b)), rho(y) = s+ y for y > 0 and s- y for y < 0, as t
grows; the sum over terms with their weights is R(a, b), for a winner that goes to a and a loser that goes to b. Along
x = t v, the risk divided by t tends to sum over ordered pairs of W_ij R(v_i, v_j), W > 0 for both orders of each
compared pair. (Where ell(a, b) = 0 a limit from below is meant, and it is not negative, as |psi(m)| <= C (1 + |m|) from
below wherever R is not -inf.) `rises` says that R >= 0, and that R(a, b) + R(b, a) > 0 unless a and b are of the same
sign, neither of them 0, or both 0. R is positively homogeneous, and linear between the rays on which a statistic, a or
b is 0, so that it is enough to look at these.

If so, on a connected graph the set of x with risk at most C and min x <= 0 <= max x is bounded for every C: if not,
there are such x_k with |x_k| -> inf and x_k/|x_k| -> v, min v <= 0 <= max v, v != 0, and sum W_ij R(v_i, v_j) <= 0.
Then R(v_i, v_j) + R(v_j, v_i) = 0 on every compared pair, so that all v have the same sign, or all are 0; both
contradict. [ours]"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..._types import Floats
from ...divergences import DIVERGENCES, ReverseKL
from ...losses.psi import Hinge, Linear, Psi, Square
from ...losses.statistics import Atom, Linked, LogRatioToReference, Powered, Shortfall
from .in_lambda import InLambda
from .parts import Part

TINY = 1e-12
"""Coefficients that add up to less, relative to their size, add up to 0: 0.1 and 1 - 0.1 are rounded."""


class Link(NamedTuple):
    """A score's function. kind: which, to be compared. relative: whether it reads u = pi/pi_ref, or pi. lowest: its
    limit where that tends to 0."""

    kind: Any
    relative: bool
    lowest: float


def link_of(atom: Atom) -> Link | None:
    """The score that an atom is; None for none."""
    if isinstance(atom, LogRatioToReference | Shortfall):
        return Link(ReverseKL(), True, -np.inf)
    if isinstance(atom, Linked):
        # of another divergence nobody knows whether mu is level somewhere
        own = type(atom.divergence) in DIVERGENCES.values()
        return Link(atom.divergence, True, atom.divergence.mu_at_zero) if own else None
    if isinstance(atom, Powered):
        return Link(("powered", atom.alpha), False, -np.inf if atom.alpha >= 0 else 1 / atom.alpha)
    return Link("log", False, -np.inf) if type(atom) is Atom else None


def score_weight(part: Part) -> InLambda | None:
    """w(lambda) > 0 or < 0 of a part that is w(lambda) psi(lambda (sum of scores) - constant); None for another.

    Of a square, a straight line and a hinge a positive factor of the statistic can be taken out: so IPO's
    (hbar - 1/(2 lambda))^2 is (lambda hbar - 1/2)^2/lambda^2. What a straight line adds that does not depend on the
    policy is left out.
    """
    weight, offset, moving = part.weight, part.offset, dict(part.moving)
    coefficients = [c for c, _ in part.coefficients]
    degree = {Square: 2, Linear: 1, Hinge: 1}.get(type(part.psi))
    if degree is not None and any(c.per_lambda is None for c in coefficients):
        if not coefficients[0].sign:
            return None
        factor = InLambda.itself() / abs(coefficients[0])
        coefficients = [factor * c for c in coefficients]
        offset, weight = factor * offset, weight / factor**degree
        if isinstance(part.psi, Hinge):
            at = factor * moving.pop("at", InLambda.of_number(float(part.psi.at)))
            if at.constant is None:
                return None
    if isinstance(part.psi, Linear):
        offset = InLambda.of_number(0.0)
    still = not moving and offset.constant is not None and all(c.per_lambda is not None for c in coefficients)
    return weight if still and weight.sign else None


@dataclass(frozen=True)
class UnitTerm:
    """weight psi(winner x_w + loser x_l + short min(x_w, 0) - offset), numbers all of them."""

    psi: Psi
    weight: float
    winner: float
    loser: float
    short: float
    offset: float

    @classmethod
    def of(cls, part: Part) -> UnitTerm:
        """Of a part that does not depend on lambda."""
        sums = {"w": 0.0, "l": 0.0, "short": 0.0}
        for c, atom in part.coefficients:
            name = "short" if isinstance(atom, Shortfall) else atom.slot
            sums[name] += _number(c)
        return cls(part.psi, _number(part.weight), sums["w"], sums["l"], sums["short"], _number(part.offset))

    def margin(self, x_w: Any, x_l: Any) -> Any:
        """The statistic without its offset."""
        total = self.winner * x_w + self.loser * x_l + self.short * np.minimum(x_w, 0.0)
        size = abs(self.winner * x_w) + abs(self.loser * x_l) + abs(self.short * np.minimum(x_w, 0.0))
        return np.where(np.abs(total) <= TINY * size, 0.0, total)

    def value(self, x_w: Any, x_l: Any) -> Floats:
        """The term at scores."""
        return np.asarray(self.weight * self.psi.value(np.atleast_1d(self.margin(x_w, x_l) - self.offset)))

    def slope_at_zero(self, x_w: float, x_l: float) -> float:
        """The slope in t of the term at t (x_w, x_l), at t = 0 on the side of t > 0."""
        slope = self.psi.derivatives(np.atleast_1d(np.asarray(-self.offset)))[0]
        return float(np.asarray(self.weight * slope * self.margin(x_w, x_l))[0])

    @property
    def is_difference(self) -> bool:
        """Whether it reads x_w - x_l only."""
        size = abs(self.winner) + abs(self.loser)
        return self.short == 0 and abs(self.winner + self.loser) <= TINY * size

    def far(self, a: float, b: float) -> float:
        """weight rho(ell(a, b)); nan where the slopes are not known."""
        margin = float(self.margin(a, b))
        slopes = self.psi.slopes
        if slopes is None:
            return np.nan
        if margin == 0.0 or self.weight == 0.0:
            # psi may still fall without end as o(t), unless its slopes outwards are finite or rise
            sound = self.weight * float(np.min(slopes[1])) > -np.inf and self.weight * float(np.max(slopes[0])) < np.inf
            return 0.0 if sound else np.nan
        return self.weight * margin * float(np.asarray(slopes[1] if margin > 0 else slopes[0]))

    @property
    def rays(self) -> list[tuple[float, float]]:
        """Directions in which the statistic is 0, both ways."""
        found = [(-self.loser, self.winner), (self.loser, -self.winner)]
        bent = self.winner + self.short  # where x_w < 0
        return [*found, (-self.loser, bent), (self.loser, -bent)]


def rises(terms: Sequence[UnitTerm]) -> bool:
    """Whether a loss rises far out, as the module's docstring has it."""
    own = [ray for term in terms for ray in term.rays if any(ray)]
    rays = [*own, *((b, a) for a, b in own), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
    sizes = [np.hypot(*ray) for ray in rays]
    rays = [(a / size, b / size) for (a, b), size in zip(rays, sizes, strict=True)]
    if any(term.psi.slopes is None for term in terms):
        return False
    for a, b in rays:
        one, other = (sum(term.far(*ends) for term in terms) for ends in ((a, b), (b, a)))
        steep = sum(abs(t.weight) * (abs(t.winner) + abs(t.loser) + abs(t.short)) for t in terms)
        if not (one >= -TINY * steep and other >= -TINY * steep):
            return False
        if a * b <= 0 and not one + other > 1e-6 * TINY * steep:
            return False
    return True


def _number(x: InLambda) -> float:
    value = x.constant
    assert value is not None
    return value
