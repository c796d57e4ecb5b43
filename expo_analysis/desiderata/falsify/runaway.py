"""Does a loss fall without end towards the boundary of the simplex?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from ...bandit import Bandit
from ..subject import Subject
from .lowest import lower_exists


@dataclass(frozen=True)
class Fall:
    """Values that fall along theta = log pi_ref + tilt * direction, below everything on a grid of other policies."""

    direction: list[float]
    tilts: list[float]
    values: list[float]


def runs_away(subject: Subject, bandit: Bandit, lam: float) -> Fall | None:
    """A direction in which the loss keeps falling, one prompt; None where none was shown.

    The solver's limit says which responses keep their mass. On the way to it the values must fall at every step until
    they no longer change in floating point, and no policy on a grid may have a value below the last.
    """
    solution = subject.optima(bandit, [lam])
    kept = solution.log_policies[0, 0] > np.log(1e-6)
    if kept.all():
        return None
    direction = np.where(kept, 1.0, 0.0)
    tilts = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 300.0, 1e4]) / lam
    points = log_softmax(np.log(bandit.reference) + tilts[:, None] * direction, axis=1)
    values = subject.value(bandit, lam, points)
    if not np.isfinite(values).all() or (np.diff(values) > 1e-12 * (1 + np.abs(values[1:]))).any():
        return None  # it rises again, if only far out, where a small regulariser outweighs the rest
    far, tilts, values = points[-2], tilts[:-2], values[:-2]
    falling = np.diff(values) < 0
    length = len(falling) if falling.all() else int(np.argmin(falling))
    if length < 4:  # too few steps before rounding sets in
        return None
    if length < len(falling) and abs(values[length + 1] - values[length]) > 1e-12 * (1 + abs(values[length])):
        return None  # it rises again
    end = points[length]
    if lower_exists(subject, bandit, lam, far)[0] and lower_exists(subject, bandit, lam, end)[0]:
        return None
    return Fall(direction.tolist(), tilts[: length + 1].tolist(), values[: length + 1].tolist())
