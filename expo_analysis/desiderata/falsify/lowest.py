"""Is there a policy with a lower value? Asked on a grid over all policies, where the optimum itself is not proven."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from ..._types import Floats
from ...bandit import Bandit
from ..subject import Subject

AXES = {1: 20_001, 2: 201, 3: 41}
"""Points on each axis of the grid, by the number of axes; for more there is no grid."""

REACH = 40.0
"""How far grids reach, in logits, and in units of 1/lambda: where lambda is small, a loss of lambda times
log-ratios may be lowest that far out."""


def grid(centre: Floats, components: NDArray[Any] | None = None, reach: float = REACH) -> Floats:
    """log-policies (count, n) around ``centre`` (n,), log-ratios from -reach to reach, denser near the centre; empty
    for too many axes. Where ``components`` (n,) are given, all have the same mass in each of them."""
    labels = np.zeros(len(centre), dtype=int) if components is None else components
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    free = np.concatenate([group[:-1] for group in groups])
    if len(free) not in AXES:
        return np.empty((0, len(centre)))
    axis = reach * np.linspace(-1.0, 1.0, AXES[len(free)]) ** 3
    points = np.tile(centre, (len(axis) ** len(free), 1))
    points[:, free] += np.array(list(itertools.product(axis, repeat=len(free))))
    for group in groups:
        points[:, group] = log_softmax(points[:, group], axis=1) + logsumexp(centre[group])
    return points


def lowest_keeping(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> float:
    """The lowest value found among policies that keep the reference's mass in every component: on a grid around the
    shares that ``log_policy`` has within them, then on finer ones around the best point; nan where there is no grid."""
    labels, best, value = bandit.components, np.maximum(log_policy, -_farthest(lam)), np.nan
    for label in np.unique(labels):
        group = labels == label
        best = np.where(group, best - logsumexp(best[group]) + np.log(bandit.reference[group].sum()), best)
    reach = _farthest(lam)
    while reach > REACH / 20**4:
        points = grid(best, labels, reach)
        if len(points):
            values = subject.value(bandit, lam, points)
            best, value = points[np.nanargmin(values)], float(np.nanmin(values))
        reach /= 20
    return value


def lower_exists(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> tuple[bool, int]:
    """Whether some policy of the grids around the reference and around this one has a lower value, and how many were
    tried (0: none, and nothing is known)."""
    far = _farthest(lam)
    centres = (np.log(bandit.reference), np.maximum(log_policy, -far))
    points = np.concatenate([grid(centre, reach=reach) for centre in centres for reach in {REACH, far}])
    if not len(points):
        return False, 0
    own = float(subject.value(bandit, lam, log_policy))
    values = subject.value(bandit, lam, points)
    values = values[np.isfinite(values)]
    slack = 1e-12 * (1 + abs(own))
    return bool(not np.isfinite(own) or values.min() < own - slack), len(points)


def _farthest(lam: float) -> float:
    return REACH / min(lam, 1.0)
