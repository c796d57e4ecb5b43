"""Is there a policy with a lower value? Asked on a grid over all policies, where the optimum itself is not proven."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from ..bandit import Bandit
from .subject import Subject

Floats = NDArray[np.float64]

AXES = {2: 20_001, 3: 201, 4: 41}
"""Points on each axis of the grid, by the number of responses; for more there is no grid."""

REACH = 40.0


def grid(n: int, centre: Floats) -> Floats:
    """log-policies (count, n) around ``centre`` (n,), log-ratios to the last response from -REACH to REACH, denser near
    the centre; empty for n > 4."""
    if n not in AXES:
        return np.empty((0, n))
    axis = REACH * np.linspace(-1.0, 1.0, AXES[n]) ** 3
    offsets = np.array(list(itertools.product(axis, repeat=n - 1)))
    return log_softmax(centre + np.concatenate([offsets, np.zeros((len(offsets), 1))], axis=1), axis=1)


def lower_exists(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> tuple[bool, int]:
    """Whether some policy of the grids around the reference and around this one has a lower value, and how many were
    tried (0: none, and nothing is known)."""
    points = np.concatenate([grid(bandit.n, centre) for centre in (np.log(bandit.reference), _finite(log_policy))])
    if not len(points):
        return False, 0
    own = float(subject.value(bandit, lam, log_policy))
    values = subject.value(bandit, lam, points)
    values = values[np.isfinite(values)]
    slack = 1e-12 * (1 + abs(own))
    return bool(not np.isfinite(own) or values.min() < own - slack), len(points)


def _finite(log_policy: Floats) -> Floats:
    return np.maximum(log_policy, -REACH)
