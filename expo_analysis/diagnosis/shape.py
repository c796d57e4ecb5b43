"""What a loss wants of a pair: its value where nothing has moved, and how far it pulls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..losses import PairObjective
from ..numerics import softplus

DEPTH = 100.0
"""Nats below 0 of the log-probabilities that a loss is looked at: all are then far from certain."""

GRID = np.concatenate([np.geomspace(1e-6, 50.0, 400), np.geomspace(51.0, 1e7, 200)])
"""Log-ratios, in nats, at which its slope is looked at."""


@dataclass(frozen=True)
class Shape:
    """How a pair's loss depends on the log-ratio hbar by which the policy prefers its chosen response more than pi_ref.

    start: the loss at hbar = 0. reach: the hbar, in nats, at which its slope has fallen to half of that at 0: so far
    the loss pulls with force; inf where it never does, as with a straight line. logistic: s where the loss is
    log(1 + exp(-s hbar)), else None. reads_reference, explicit: whether the pair term reads pi_ref, and whether a
    regulariser stands beside it.
    """

    start: float
    reach: float
    logistic: float | None
    reads_reference: bool
    explicit: bool


def shape_of(objective: PairObjective) -> Shape | None:
    """The shape of a loss of pairs that reads nothing but log-probabilities; None for others."""
    if objective.data or objective.facts.couples_pairs:
        return None

    def value(h: Any) -> Any:
        half, base = np.asarray(h, dtype=float) / 2, np.full(np.shape(h), 0.0)
        shift = -DEPTH - np.abs(half)  # of both policies, so that no log-probability is positive
        return objective.pair_loss(shift + half, shift - half, base + shift, base + shift)

    width = 1e-4 * np.minimum(GRID, 1.0) + 1e-7
    with np.errstate(all="ignore"):
        slopes = (value(GRID + width) - value(GRID - width)) / (2 * width)
        first = float((value(np.array([1e-5])) - value(np.array([-1e-5])))[0] / 2e-5)
        past = np.flatnonzero(~(np.abs(slopes) > abs(first) / 2 * (1 + 1e-3)))
        scale = -2.0 * first
        near = np.array([-2.0, -0.5, 0.0, 0.5, 2.0]) / max(scale, 1e-12)
        logistic = scale > 0 and np.allclose(value(near), softplus(-scale * near), rtol=0, atol=1e-5)
    return Shape(
        start=float(value(np.zeros(1))[0]),
        reach=float(GRID[past[0]]) if first < 0 and len(past) else np.inf,
        logistic=scale if logistic else None,
        reads_reference=objective.facts.needs_reference,
        explicit=objective.regulariser is not None,
    )
