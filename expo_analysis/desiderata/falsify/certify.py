r"""Proofs for losses whose optima nothing else proves: all global minimisers of a small problem, enclosed.

Branch and bound over all policies of two to four responses. The simplex is cut into boxes (`intervals.jets`), and the
loss's own code gives bounds on each (`intervals.tensors`): of its value, and of its slopes in the box's coordinates. A
box is dropped

* where its lower bound is above the value of a policy that is known; the bound is the better one of the plain bound,
  and of the value in the middle of the box less slope times distance (the mean value theorem);
* or where a slope cannot be 0, as a global minimiser is stationary (at kinks: 0 is a generalised slope there, and
  bounds hold all of these). What falls all the way as an infinite gap grows is kept.

All others are halved, until every policy that is left is within a target of the one that was found. Infinite boxes hold
the boundary of the simplex, so that nothing far out is missed: where a slope in a box is bounded away from 0, it is on
the box's part of the boundary too. What is left holds every global minimiser, and that a
loss has none is no way out: then the policies of as low a value are in there. Bounds are rounded outwards; the loss's
own constants, such as 1/(2 lambda), are taken as its code computes them, for which `SLACK` allows. [ours, elementary]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import log_expit

from ..._types import Floats, Indices
from ...bandit import Bandit
from ...losses import Objective
from ..subject import Optima, Subject
from .cases import Case, Measure, batch
from .intervals.jets import Boxes
from .intervals.objective import Bounded
from .intervals.rounding import ARITHMETIC, outward
from .intervals.tensors import Unknown

MOST = {2: 6_000, 3: 16_000, 4: 20_000}
"""Boxes that one search may look at, a second or two, by the number of responses; with more there is none."""

ROUNDS = 80
"""How often a stretch of two responses is halved: an infinite box then begins at 1e48."""

TARGETS = (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""How near the policies that are left should be, in 1-norm: as near as a claim needs."""

CERTAIN = 0.5
"""The share of an excess that should be certain before the search stops."""

SLACK = 1e-13
"""Relative to a value: the rounding of constants."""

FEW, FARTHEST = 64, 1e6
"""So few boxes are cut into more than two; and log-probabilities below these count as these."""


class Enclosure:
    """The search for one problem at one lambda, which can be carried on.

    boxes: what is left. radius: (B,), the largest 1-norm distance of a policy in each from the one that was found.
    least, upper: bounds of the infimum. spent: how many boxes were looked at.

    Args:
        objective: at its lambda. bandit: of one prompt. near: log pi of the policy that was found, (n,). share: of
        `MOST`, where several searches share it.

    Raises:
        Unknown: the loss has something that there are no bounds for.
    """

    def __init__(self, objective: Objective, bandit: Bandit, near: Floats, share: float = 1.0) -> None:
        n = bandit.n
        if n not in MOST:
            raise Unknown(f"{n} responses")
        self.most = MOST[n] * share
        self.value = Bounded(objective, bandit)
        self.near = np.maximum(near, near.max() - FARTHEST)
        self.near = self.near - np.log(np.exp(self.near).sum())
        self.upper = float(self.value(_point(self.near))[0][1][0])
        self.spent = 0
        orders = np.array(list(itertools.permutations(range(n)))).T
        corners = np.array(list(itertools.product((0.0, 1.0), repeat=n - 1))).T
        low = np.repeat(corners, orders.shape[1], axis=1)
        start = Boxes(low, np.where(low == 0, 1.0, np.inf), np.tile(orders, (1, corners.shape[1])))
        self.turn = np.zeros(start.size, dtype=np.intp)
        self.boxes, self.radius, self.least = start, np.full(start.size, np.inf), np.full(start.size, -np.inf)
        self._keep(start, self.turn)

    @np.errstate(all="ignore")
    def refine(self, target: float) -> bool:
        """Go on until every policy that is left is within ``target``; whether that was reached."""
        while (self.radius > target).any():
            wide = self.radius > target
            count = int(wide.sum())
            pieces = 2 if count > FEW else 4 if count > FEW / 8 else 8  # a few boxes take as long as one
            if self.spent + pieces * count > self.most:
                return False
            kept = (self.boxes.take(~wide), self.turn[~wide], self.radius[~wide], self.least[~wide])
            parts, turn = self.boxes.take(wide), self.turn[wide]
            for _ in range(pieces.bit_length() - 1):
                parts, turn = _halved(parts, turn)
            self._keep(parts, turn)
            self.boxes = _joined(kept[0], self.boxes)
            self.turn = np.concatenate([kept[1], self.turn])
            self.radius, self.least = np.concatenate([kept[2], self.radius]), np.concatenate([kept[3], self.least])
        return True

    @property
    def reach(self) -> float:
        """The largest distance of a policy that is left from the one that was found, in 1-norm; inf for none left."""
        return float(self.radius.max()) if len(self.radius) else np.inf

    @np.errstate(all="ignore")  # bounds may overflow, and are then infinite
    def _keep(self, boxes: Boxes, turn: Indices) -> None:
        """Look at boxes, and take those that may hold a minimiser for what is left."""
        self.spent += boxes.size
        low, middle, (falls, rises) = _bounds(self.value, boxes)
        self.upper = min(self.upper, float(middle.min()))
        stationary = ((falls <= 0) & ((rises >= 0) | np.isinf(boxes.high))).all(axis=0)
        kept = stationary & (low <= self.upper + SLACK * (1 + abs(self.upper)))
        self.boxes, self.turn, self.least = boxes.take(kept), turn[kept], low[kept]
        policies = self.boxes.policies
        here = np.exp(self.near)[:, None]
        self.radius = np.maximum(*(np.abs(x - here) for x in policies)).sum(axis=0) * (1 + 1e-12) + 1e-14


def _bounds(value: Bounded, boxes: Boxes) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
    """Of boxes: lower bounds of the value, upper bounds of that in the middle, and bounds of the slopes."""
    finite, half = boxes.finite, np.where(np.isfinite(boxes.high), boxes.high - boxes.low, 0.0) / 2
    middle = boxes.low + half
    (low, high), (falls, rises) = value(_joined(boxes, Boxes(middle, middle, boxes.order)))
    (low, least), (falls, rises) = np.split(low, 2), (x[:, : boxes.size] for x in (falls, rises))
    with np.errstate(invalid="ignore", over="ignore"):
        fall = (np.maximum(np.abs(falls), np.abs(rises)) * half).sum(axis=0) * (1 + 16 * ARITHMETIC)
        tight = outward(least - fall, least)[0]
    return np.where(finite, np.fmax(low, tight), low), high[boxes.size :], (falls, rises)


def enclose_minimisers(
    subject: Subject, bandit: Bandit, lam: float, near: Floats | None = None, target: float = 1e-6
) -> Enclosure | None:
    """Boxes that hold all global minimisers of a bandit of one prompt, within ``target`` of ``near`` (log pi).

    ``Enclosure.boxes.policies`` are bounds of the probabilities. Without ``near`` it is the policy that the solver
    finds. None where that was not reached: the loss has an operation without bounds, there are more than four
    responses, or other policies are as low, or nearly.
    """
    if near is None:
        near = subject.optima(bandit, [lam]).log_policies[0, 0]
    try:
        found = Enclosure(subject.at(lam), bandit, near)
    except Exception:  # a user's code may raise anything where it is given bounds
        return None
    return found if found.refine(target) and len(found.radius) else None


def certified(subject: Subject, measure: Measure, case: Case, optima: Optima) -> tuple[float, str]:
    """The excess of a case that is certain, and how it is known; empty words where none is.

    The policies that are left are brought as near as it takes for the claim to be violated by all of them, and nearer,
    while there are boxes to spend, until most of the excess is certain.
    """
    bandit, found = batch([case]), (np.nan, "")
    if bandit.n not in MOST or not optima.exists.all():
        return found
    apparent = float(measure.excess(optima, bandit)[0, 0])
    try:
        searches = [
            Enclosure(subject.at(lam), case.bandit, logs[0], min(1.0, 2 / len(case.lams)))
            for lam, logs in zip(case.lams, optima.log_policies, strict=True)
        ]
        for target in TARGETS:
            if not all(search.refine(target) for search in searches):
                break
            reach = np.array([search.reach for search in searches])
            if not np.isfinite(reach).all():
                break
            proven = replace(optima, bound=reach[:, None], status=np.full_like(optima.status, "optimal"))
            excess = float(measure.excess(proven, bandit)[0, 0])
            if excess > 0:
                boxes = sum(search.spent for search in searches)
                how = "certified by branch and bound: every minimiser is within"
                found = excess, f"{how} {reach.max():.0e} of the policy, in 1-norm ({boxes:,} boxes)"
                if excess >= CERTAIN * apparent:
                    break
    except Exception:  # a user's code may raise anything where it is given bounds
        return np.nan, ""
    return found


def is_lower(subject: Subject, bandit: Bandit, lam: float, first: Floats, second: Floats) -> bool:
    """Whether the loss is proven to be lower at the first log-policy than at the second, by interval arithmetic."""
    try:
        value = Bounded(subject.at(lam), bandit)
        (_, high), (low, _) = (value(_point(x - np.log(np.exp(x).sum())))[0] for x in (first, second))
    except Exception:
        return False
    return bool(high[0] + SLACK * (1 + abs(high[0])) < low[0])


@np.errstate(all="ignore")  # bounds may overflow, and are then infinite
def is_trap(subject: Subject, bandit: Bandit, lam: float, trap: float, ridge: float, best: float) -> bool:
    """Whether no descent from ``trap`` reaches values as low as at ``best``: log pi_1/pi_0 of two responses.

    Proven where the value at the ridge between them is above the trap's, and everything on the trap's side of the
    ridge, out to infinity, is above the value at ``best``.
    """
    at_trap, at_ridge, at_best = (log_expit(np.array([-t, t])) for t in (trap, ridge, best))
    if not (is_lower(subject, bandit, lam, at_trap, at_ridge) and is_lower(subject, bandit, lam, at_best, at_trap)):
        return False
    end = (ridge, np.inf) if trap > ridge else (-np.inf, ridge)
    return lies_above(subject, bandit, lam, [end], best)


@np.errstate(all="ignore")  # bounds may overflow, and are then infinite
def lies_above(
    subject: Subject, bandit: Bandit, lam: float, stretches: Sequence[tuple[float, float]], point: float
) -> bool:
    """Whether the loss is proven to be higher than at a ``point`` on all ``stretches``, which may be infinite.

    All are log pi_1/pi_0 of two responses. On a stretch the loss is higher by a margin, and so is its infimum there.
    """
    try:
        value = Bounded(subject.at(lam), bandit)
        level = float(value(_point(log_expit(np.array([-point, point]))))[0][1][0])
        boxes, spent = _line(stretches), 0
        for _ in range(ROUNDS):
            spent += boxes.size
            if not boxes.size or spent > MOST[2]:
                break
            low = _bounds(value, boxes)[0]
            boxes = boxes.take(~(low > level + SLACK * (1 + abs(level))))
            boxes = _halved(boxes, np.zeros(boxes.size, dtype=np.intp))[0]
    except Exception:  # a user's code may raise anything where it is given bounds
        return False
    return not boxes.size


def log_ratios_of(boxes: Boxes) -> tuple[float, float]:
    """The least and the largest log pi_1/pi_0 in boxes of two responses."""
    first = boxes.order[0] == 1
    low, high = boxes.low[0], boxes.high[0]
    return float(np.where(first, low, -high).min()), float(np.where(first, high, -low).max())


def _line(stretches: Sequence[tuple[float, float]]) -> Boxes:
    """All policies of two responses with log pi_1/pi_0 on these stretches."""
    gaps: list[tuple[float, float, int]] = []
    for low, high in stretches:
        gaps += [(max(low, 0.0), high, 1)] if high > 0 else []
        gaps += [(max(-high, 0.0), -low, 0)] if low < 0 else []
    lows, highs, first = (np.array(x) for x in zip(*gaps, strict=True))
    return Boxes(lows[None].astype(float), highs[None].astype(float), np.stack([first, 1 - first]))


def _point(log_policy: Floats) -> Boxes:
    """The box of one policy, (n,)."""
    order = np.argsort(-log_policy, kind="stable")
    gaps = np.maximum(-np.diff(log_policy[order]), 0.0)[:, None]
    return Boxes(*outward(gaps, gaps), order[:, None]) if gaps.all() else Boxes(gaps, gaps, order[:, None])


def _halved(boxes: Boxes, turn: Indices) -> tuple[Boxes, Indices]:
    """Both halves of every box, cut across the axis whose turn it is; an infinite one at four times where it begins."""
    column = np.arange(boxes.size)
    low, high = boxes.low[turn, column], boxes.high[turn, column]
    cut = np.where(np.isfinite(high), (low + high) / 2, 4 * np.maximum(low, 0.25))
    first, second = boxes.high.copy(), boxes.low.copy()
    first[turn, column], second[turn, column] = cut, cut
    halves = Boxes(
        np.concatenate([boxes.low, second], axis=1),
        np.concatenate([first, boxes.high], axis=1),
        np.concatenate([boxes.order, boxes.order], axis=1),
    )
    return halves, np.tile((turn + 1) % len(boxes.low), 2)


def _joined(a: Boxes, b: Boxes) -> Boxes:
    low, high = np.concatenate([a.low, b.low], axis=1), np.concatenate([a.high, b.high], axis=1)
    return Boxes(low, high, np.concatenate([a.order, b.order], axis=1))
