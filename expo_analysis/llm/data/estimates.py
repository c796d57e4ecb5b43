r"""Means over prompts of what random responses give, with their standard errors.

Prompts are taken as fixed, and responses as random: standard errors say how far the same prompts would give other
numbers with other responses, sqrt(sum_x s_x^2 / k) / P with s_x^2 the sample variance of the k responses to prompt x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts of means over responses; the error is nan with one response to each prompt."""

    mean: float
    standard_error: float


def estimate(values: ArrayLike) -> Estimate:
    """The mean of values of shape (prompts, k), and its standard error.

    Raises:
        ValueError: for another shape, or values that are not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"values must be finite and of shape (prompts, responses), got shape {array.shape}")
    prompts, k = array.shape
    error = np.sqrt((array.var(axis=1, ddof=1) / k).sum()) / prompts if k > 1 else np.nan
    return Estimate(float(array.mean()), float(error))


def expected_reward(rewards: ArrayLike) -> Estimate:
    """E_x E_{y ~ pi(.|x)} r(x, y), from rewards of shape (prompts, k) of responses drawn from pi."""
    return estimate(rewards)
