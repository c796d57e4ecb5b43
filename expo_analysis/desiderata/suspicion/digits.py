r"""How many digits a loss has: its values where its arguments are moved by a rounding, and by more.

A formula that is right to rounding changes by its slope times the step, for steps of any size, but for some units of
rounding of its value and of its arguments. What is left over beyond these was lost inside: by large numbers that
cancel, (log pi_w + c) - (log pi_l + c), or in float32. Error bounds, and the sizes at which a violation counts, rest on
it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..._types import Floats
from ...losses import PairObjective
from ...losses.data import LOG_PROBABILITIES
from .points import LARGEST, SHAPE, pairs_to_try

UNIT = float(np.finfo(np.float64).eps)

STEPS = 2.0 ** -np.arange(51.0, 23.0, -3.0)
"""Parts of an argument."""

FEW = 16.0
"""Units of rounding that a formula may lose and be believed."""

NONE = 4.0
"""Units of rounding up to which values and slopes are compared as if none were lost (see `lines`)."""

TOO_MANY = 1e7
"""Units of rounding beyond which no verdict is given: that leaves fewer than nine digits."""


@dataclass(frozen=True)
class Digits:
    """What rounding does to a loss.

    lost: the largest error that was seen, in units of rounding of the value and of what its arguments add to it.
    single: whether that is as of float32.
    """

    lost: float
    single: bool

    @property
    def right(self) -> int:
        """How many of the sixteen digits are right."""
        return max(0, int(-np.log10(UNIT * max(self.lost, 1.0))))


def digits_of(own: PairObjective) -> Digits:
    """How many digits a loss has at its lambda, on pairs from plain to unlikely ones."""
    points = pairs_to_try(own, SHAPE[0], seed=2)
    value, slopes, sizes = _at(own, points)
    times, worst, stuck, moves = len(STEPS), 0.0, 0, 0
    for which in (0, 1):
        moved = [x.expand(times, *SHAPE).reshape(-1, SHAPE[1]) for x in points]
        moved[which] = (points[which] + torch.tensor(STEPS)[:, None, None] * points[which]).reshape(-1, SHAPE[1])
        there, slope, size = (x.reshape(times, *SHAPE) for x in _picked(_at(own, moved), which))
        step = moved[which].numpy().reshape(times, *SHAPE) - points[which].numpy()
        first = slopes[which]
        with np.errstate(all="ignore"):
            turned = np.maximum.accumulate(np.abs(slope - first), axis=0)
            straight = turned <= 1e-6 * np.abs(first)  # longer steps tell of a formula that bends, not of its digits
            straight[0] = True
            left = there - value - step * (first + slope) / 2
            # a slope that is wrong leaves more the longer the step is: that is another mistake
            longest = straight.sum(axis=0)[None] - 1
            wrong = np.take_along_axis(left, longest, 0) / np.take_along_axis(step, longest, 0)
            scale = UNIT * (np.maximum(sizes, size) + np.abs(wrong) * (1 + np.abs(points[which].numpy())))
            off = np.where(longest > 0, np.abs(left - step * wrong), np.abs(left))
            off = np.where(straight, off - np.abs(step) * np.take_along_axis(turned, longest, 0), 0.0) / scale
        usual = (np.abs(value) < LARGEST) & (np.abs(first) < LARGEST) & np.isfinite(off)
        worst = max(worst, float(off[usual].max(initial=0.0)))
        # by a part of 2^-27 to 2^-33, what float32 does not see and float64 does
        tiny = usual & straight & (STEPS < 2.0**-26)[:, None, None] & (np.abs(step * first) > 1e3 * scale)
        stuck += int((there == value)[tiny].sum())
        moves += int(tiny.sum())
    return Digits(worst, moves > 0 and stuck > 0.5 * moves and worst > 1e5)


def _picked(found: tuple[Floats, list[Floats], Floats], which: int) -> tuple[Floats, Floats, Floats]:
    value, slopes, size = found
    return value, slopes[which], size


def _at(own: PairObjective, points: list[torch.Tensor]) -> tuple[Floats, list[Floats], Floats]:
    """Values, slopes in log pi_w and log pi_l, and the size of all that is rounded."""
    given = [x.clone().requires_grad_(k < len(LOG_PROBABILITIES)) for k, x in enumerate(points)]
    logs = given[: len(LOG_PROBABILITIES)]
    found = own.pair_loss(*given)
    live = found.requires_grad
    slopes = torch.autograd.grad(found.sum(), logs, allow_unused=True) if live else (None,) * len(logs)
    numbers = [np.zeros(tuple(x.shape)) if g is None else g.numpy() for g, x in zip(slopes, logs, strict=True)]
    value = found.detach().numpy()
    size = 1 + np.abs(value)
    for slope, x in zip(numbers, logs, strict=True):
        size = size + np.abs(slope) * (1 + np.abs(x.detach().numpy()))
    return value, numbers[:2], size


def lambda_is_single(objective: PairObjective) -> bool:
    """Whether lambda is rounded to float32, as ``torch.tensor(self.lam)`` does."""
    points = pairs_to_try(objective, SHAPE[0], seed=2)
    for lam in (0.013, 0.37, 1.7, 30.0):
        # between two numbers of float32, so that rounding to them does not see a thousand-millionth
        base = float(np.float32(lam)) * (1 + 2.0**-26)
        moves = [objective.with_lam(base * (1 + step)).pair_loss(*points).detach() for step in (0, 2.0**-30, 1e-5)]
        if not torch.equal(moves[0], moves[1]) or torch.equal(moves[0], moves[2]):
            return False
    return True
