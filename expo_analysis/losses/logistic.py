"""Logistic losses of a log-ratio, stated once as data: their values and derivatives follow from the statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import Array, exp, log_sigmoid, log_sigmoids


@dataclass(frozen=True)
class Logistic:
    r"""-kept log sigma(scale m) - flipped log sigma(-scale m), as a function of a margin m.

    The parameters are numbers, or arrays that broadcast against m. ``relative`` tells what a pair loss means by m: the
    log-ratio hbar relative to the reference, or the policy's own log-ratio h.
    """

    scale: Any = 1.0
    kept: Any = 1.0
    flipped: Any = 0.0
    relative: bool = False

    def __call__(self, margin: Array) -> Array:
        """The loss, of the shape of ``margin``."""
        logits = self._logits(margin)
        if isinstance(self.flipped, (int, float)) and self.flipped == 0:
            return -self.kept * log_sigmoid(logits)
        won, lost = log_sigmoids(logits)
        return -self.kept * won - self.flipped * lost

    def derivatives(self, margin: Array) -> tuple[Array, Array]:
        r"""First and second derivative in m, with x = scale m:

        scale [flipped sigma(x) - kept sigma(-x)] and scale^2 (kept + flipped) sigma(x) sigma(-x).

        sigma(x) and sigma(-x) both come from the odds e^x, each to full relative accuracy.
        """
        odds = exp(self._logits(margin))
        against = 1 / (1 + odds)
        towards = odds * against
        slope = self.flipped * towards - self.kept * against
        bend = (self.kept + self.flipped) * (towards * against)
        return (slope, bend) if self._unscaled else (self.scale * slope, self.scale**2 * bend)

    @property
    def _unscaled(self) -> bool:
        return isinstance(self.scale, float) and self.scale == 1

    def _logits(self, margin: Array) -> Array:
        return margin if self._unscaled else self.scale * margin

    def take(self, columns: Any) -> Logistic:
        """The same at these positions of the last axis, where the parameters are numpy arrays."""
        scale, kept, flipped = (
            np.take(x, columns, axis=-1) if np.ndim(x) else x for x in (self.scale, self.kept, self.flipped)
        )
        return Logistic(scale, kept, flipped, self.relative)
