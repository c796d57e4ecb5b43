"""Gradient flow on the logits, d theta/ds = -gradient, followed to its end.

One step solves the flow of the local quadratic exactly (the exponential Rosenbrock-Euler method of Hochbruck and
Ostermann, Acta Numerica 2010, of order two): theta - Q phi(s Lambda) Q' g with H = Q Lambda Q' and phi(s L) =
(1 - exp(-s L))/L. It has no trouble with stiffness, nor with negative curvature, and keeps every sum of logits that the
flow keeps, as g and H have no part in that direction. A step is taken if the gradient behind it is nearly that of the
quadratic; else a shorter one is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import log_softmax

from ..._types import Floats, Mask
from ...bandit import Bandit
from ..subject import Subject
from .curvature import Expansion, Local

STRIDE = 0.1
LARGEST_STRIDE = 4.0
STEPS = 140
STRAY = 0.05
"""How far the gradient may stray from what the local quadratic predicts, relative to its size before the step."""
FLOOR = 0.01
"""Of the first gradient: below that size, strays are no longer relative to it."""
STILL = 1e-6
"""A flow has ended where nothing is left to move by as much, whatever the time."""
LONGEST = 1e12
NOISE = 1e-12
"""Slopes along flat directions, relative to the first gradient, that are rounding."""


@dataclass(frozen=True)
class Flow:
    """Where the flow from pi_ref goes on P problems.

    times: at which policies were recorded, (S, P), never falling. log_policies: (S, P, n). ended: whether the last is
    the end of the flow.
    """

    times: Annotated[Floats, "steps problems"]
    log_policies: Annotated[Floats, "steps problems n"]
    ended: Annotated[Mask, "problems"]


@np.errstate(all="ignore")
def flow(subject: Subject, bandit: Bandit, lam: float, steps: int = STEPS, stray: float = STRAY) -> Flow:
    """The gradient flow from pi_ref on every prompt of a population, at most so many steps."""
    local = Local(subject, bandit, lam)
    theta = np.log(bandit.reference)
    time, stride, ended = np.zeros(len(theta)), np.full(len(theta), STRIDE), np.zeros(len(theta), dtype=bool)
    at = local.expand(theta)
    noise = NOISE * np.abs(at.gradient).max(axis=1)
    times, policies = [time], [log_softmax(theta, axis=1)]
    for _ in range(steps):
        usable = np.asarray(np.isfinite(at.hessian).all(axis=(1, 2)) & np.isfinite(at.gradient).all(axis=1))
        quadratic = _Quadratic.of(at, usable, noise)
        left = np.abs(quadratic.move(np.full(len(theta), LONGEST))).max(axis=1)
        ended = usable & ~quadratic.curves_down & (left < STILL)
        going = usable & ~ended
        if not going.any():
            break
        duration = quadratic.longest(stride)
        move = np.where(going[:, None], quadratic.move(duration), 0.0)
        ahead = local.expand(theta + move)
        predicted = at.gradient + np.einsum("pij,pj->pi", at.hessian, move)
        size = np.maximum(np.abs(at.gradient).max(axis=1), FLOOR / NOISE * noise)
        strays = np.abs(ahead.gradient - predicted).max(axis=1) / size
        taken = going & (strays <= stray)  # nan is not
        # at a kink the gradient jumps however short the step is: steps that lead down are taken there, very short ones
        taken |= going & (stride < 1e-3) & (ahead.value <= at.value)
        theta = np.where(taken[:, None], theta + move, theta)
        time = time + np.where(taken, duration, 0.0)
        at = Expansion(
            *(np.where(taken.reshape(-1, *[1] * (x.ndim - 1)), x, y) for x, y in zip(ahead, at, strict=True))
        )
        stride = np.clip(stride * np.where(~taken, 0.4, np.where(strays < stray / 3, 1.6, 1.0)), 1e-4, LARGEST_STRIDE)
        times.append(time)
        policies.append(log_softmax(theta, axis=1))
    return Flow(np.stack(times), np.stack(policies), ended)


@dataclass(frozen=True)
class _Quadratic:
    """The flow of local quadratics: curvatures and slopes (P, n) along the columns of ``along`` (P, n, n)."""

    curvature: Floats
    slope: Floats
    along: Floats

    @classmethod
    def of(cls, at: Expansion, usable: Mask, noise: Floats) -> _Quadratic:
        curvature, along = np.linalg.eigh(np.where(usable[:, None, None], at.hessian, 0.0))
        slope = np.einsum("pik,pi->pk", along, np.where(usable[:, None], at.gradient, 0.0))
        flat = np.abs(curvature) <= 1e-11 * np.abs(curvature).max(axis=1, keepdims=True)
        return cls(np.where(flat, 0.0, curvature), np.where(np.abs(slope) <= noise[:, None] * flat, 0.0, slope), along)

    @property
    def curves_down(self) -> Mask:
        return np.asarray((self.curvature < 0).any(axis=1))

    def move(self, duration: Floats) -> Floats:
        """-Q phi(s Lambda) Q' g, (P, n)."""
        x = np.clip(duration[:, None] * self.curvature, -600, None)
        # (1 - exp(-x)) / x, which is 1 at x = 0
        ratio = np.where(np.abs(x) < 1e-12, 1.0, -np.expm1(-x) / np.where(x == 0, 1.0, x))
        return np.asarray(-np.einsum("pik,pk->pi", self.along, duration[:, None] * ratio * self.slope))

    def longest(self, stride: Floats) -> Floats:
        """The longest of durations, each four times the one before, in which no logit moves by more than ``stride``."""
        unit = stride / np.maximum(np.abs(self.slope).sum(axis=1), 1e-300)
        best = np.minimum(unit / 4, LONGEST)
        for power in range(40):
            longer = np.minimum(unit * 4.0**power, LONGEST)
            fits = np.abs(self.move(longer)).max(axis=1) <= stride
            best = np.where(fits, np.maximum(best, longer), best)
            if not (fits & (longer < LONGEST)).any():
                break
        return np.asarray(best)
