"""Confidence intervals of estimated log-ratios, one by one or all at once, from their covariances."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from .._checks import check_number
from .._types import Floats
from .inference import covariance, log_ratios

if TYPE_CHECKING:
    from .solution import Solution

DRAWS, MOST = 1 << 15, 200
"""Draws by which the largest of correlated normal variables is known, and of how many variables at most."""


def conf_int(
    solution: Solution,
    alpha: float,
    responses: Iterable[Hashable] | None,
    against: Hashable | None,
    kind: str,
    simultaneous: bool,
) -> Floats:
    """(k, 2); see `Solution.conf_int`."""
    check_number("alpha", alpha, 0.0, 1.0)
    chosen = None if responses is None else list(responses)
    found = covariance(solution, chosen, against, kind)
    error = np.sqrt(np.diag(found))
    reach = error * (critical_value(found, alpha) if simultaneous else -ndtri(alpha / 2))
    centre = log_ratios(solution, solution.log_policy, chosen, against)
    return np.stack([centre - reach, centre + reach], axis=1)


def critical_value(covariances: Floats, alpha: float) -> float:
    """The 1 - alpha quantile of max |z_i|, z normal with the correlations of these covariances (k, k).

    From draws, always the same ones, and never above Sidak's value for independent z, which is the largest that any
    correlations have; of more than `MOST` variables it is Sidak's. (Sidak 1967; Hothorn, Bretz and Westfall 2008.)
    """
    error = np.sqrt(np.diag(covariances))
    free = error > 0  # a response against itself is known
    k = int(free.sum())
    sidak = float(-ndtri(-np.expm1(np.log1p(-alpha) / max(k, 1)) / 2))
    if not 1 < k <= MOST:
        return sidak
    correlation = covariances[np.ix_(free, free)] / np.outer(error[free], error[free])
    z = np.random.default_rng(0).normal(size=(DRAWS, k)) @ factor_of(correlation).T
    return min(sidak, float(np.quantile(np.abs(z).max(axis=1), 1 - alpha)))


def factor_of(covariances: Floats) -> Floats:
    """A with A A' the covariances (k, k), regular or not."""
    values, vectors = np.linalg.eigh(covariances)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
