r"""Means of a sample of prompts, with intervals by the bootstrap.

Every measure is a ratio of sums over prompts, sum_x a_x / sum_x b_x: a mean over prompts where b_x = 1, a mean over
tokens or pairs where b_x counts these. What is resampled are the prompts, each with all of its samples and pairs, so
that an interval says how far other prompts of the same kind would give other numbers (percentile intervals: Efron and
Tibshirani 1993, ch. 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2000
RESAMPLED = "prompts, each with all of its samples and pairs"


class Sums(NamedTuple):
    """a_x and b_x of each prompt, shape (prompts,) each."""

    numerators: NDArray[np.float64]
    denominators: NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """An estimate and its interval; the interval is nan where one prompt is all there is."""

    estimate: float
    low: float
    high: float


def measures(
    sums: Mapping[str, Sums], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Measure]:
    """The measures of these sums, all of them by the same resampled prompts.

    A measure to which fewer than two prompts contribute has no interval.

    Raises:
        ValueError: where no prompt contributes, or numerators are not finite.
    """
    found = {}
    for name, (above, below) in sums.items():
        if not np.isfinite(above).all() or not below.sum() > 0:
            raise ValueError(f"{name} must be made of finite numbers, and of at least one")
        rng = np.random.default_rng(seed)
        estimate = float(above.sum() / below.sum())
        counted = np.flatnonzero(below)
        if len(counted) < 2:
            found[name] = Measure(estimate, np.nan, np.nan)
            continue
        above, below = above[counted], below[counted]
        ratios = np.empty(resamples)
        for start in range(0, resamples, 100):  # not all at once: prompts may be many
            size = min(100, resamples - start)
            times = rng.multinomial(len(counted), np.full(len(counted), 1 / len(counted)), size=size)
            ratios[start : start + size] = (times @ above) / (times @ below)
        low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
        found[name] = Measure(estimate, float(low), float(high))
    return found
