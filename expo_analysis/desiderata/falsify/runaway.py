"""Does a loss fall all the way to the boundary of the simplex, as far as numbers can tell?

They cannot tell for sure: that is for theorems (`expo_analysis.desiderata.rules.existence`). A loss of which nothing is
known but its values is followed to log-ratios of 1e150, where a coercive part, however small its factor, outgrows what
hides it nearer by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from ...bandit import Bandit
from ...losses import PairObjective
from ...losses.statistics import Atom, Linked, Powered
from ..subject import Subject
from .lowest import lower_exists

NEAR = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
FAR = 10.0 ** np.array([2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 35.0, 60.0, 100.0, 150.0])
SLOPES = np.array([10.0, 20.0, 40.0, 80.0, 160.0, 300.0])
"""Tilts, in units of 1/lambda: where values are followed, and where slopes are."""


@dataclass(frozen=True)
class Fall:
    """Values that fall along theta = log pi_ref + tilt * direction, below everything on a grid of other policies.

    far: the value at the last of the far tilts.
    """

    direction: list[float]
    tilts: list[float]
    values: list[float]
    far: float

    @property
    def towards(self) -> str:
        """Where the values go, in words."""
        last = self.values[-1]
        if self.far < min(-1e6, 10 * last):
            return "and has no lower bound, as far as numbers tell"
        return f"towards {self.far:.4g}, which no policy that was tried has"


def finite_at_zero(atom: Atom) -> bool:
    """Whether an atom is finite where the probability is 0; of one of somebody's own as its values have it."""
    if isinstance(atom, Linked | Powered) or type(atom).__module__ == Atom.__module__:
        return atom.finite_at_zero
    with np.errstate(all="ignore"):
        near, there = (float(np.asarray(atom.value(np.array([x]), np.array([-1.0])))[0]) for x in (-1e6, -1e12))
    return bool(np.isfinite(there) and abs(there - near) <= SETTLED * (1 + abs(near)))


SETTLED = 1e-9
"""By how much of it a number may change that has come to its limit."""


def ends_on_the_boundary(objective: PairObjective) -> bool:
    """Whether some margin stays finite there."""
    terms = objective.terms if objective.states_terms else None
    return any(finite_at_zero(getattr(a, "atom", a)) for term in terms or () for _, a in term.statistic.parts)


def runs_away(subject: Subject, bandit: Bandit, lam: float) -> Fall | None:
    """A direction in which the loss keeps falling, one prompt; None where none was shown.

    The solver's limit says which responses keep their mass. On the way to it the values must fall at every step until
    they no longer change in floating point, and their slope must be seen beyond; they must not rise by a single unit
    out to the largest numbers there are, and no policy on a grid may have a value below the last. With an explicit
    divergence, which is finite on the boundary or holds all off it, and with margins that are finite there, an optimum
    may lie there, and nothing is said.
    """
    objective = subject.objective
    if isinstance(objective, PairObjective) and (objective.regulariser is not None or ends_on_the_boundary(objective)):
        return None
    solution = subject.optima(bandit, [lam])
    kept = solution.log_policies[0, 0] > np.log(1e-6)
    if kept.all():
        return None
    direction = np.where(kept, 1.0, 0.0)
    tilts = np.concatenate([NEAR, FAR]) / lam
    points = log_softmax(np.log(bandit.reference) + tilts[:, None] * direction, axis=1)
    with np.errstate(all="ignore"):
        values = subject.value(bandit, lam, points)
    if not np.isfinite(values).all() or (np.diff(values) > 0).any():
        return None  # it rises again, if only far out, where a small part outweighs the rest
    near = values[: len(NEAR)]
    falling = np.diff(near) < 0
    length = len(falling) if falling.all() else int(np.argmin(falling))
    if length < 4:  # too few steps before rounding sets in
        return None
    steep = log_softmax(np.log(bandit.reference) + SLOPES[:, None] / lam * direction, axis=1)
    with np.errstate(all="ignore"):
        slopes = subject.gradient(bandit, lam, steep) @ direction
    if not (slopes < 0).all():
        return None  # level where a slope could still be seen: it is attained there, as with a margin that is clipped
    if lower_exists(subject, bandit, lam, points[len(NEAR)])[0]:
        return None
    return Fall(direction.tolist(), tilts[: length + 1].tolist(), near[: length + 1].tolist(), float(values[-1]))
