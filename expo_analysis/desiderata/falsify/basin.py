"""Proof that descent from a policy is caught: a ring around it is higher, and a policy outside is lower.

In the gaps between the sorted log-probabilities (`intervals.jets`) the even policy is where all are 0, and the policies
with no gap above a radius are a neighbourhood of it, whose boundary is the ring: some gap is the radius. Interval
arithmetic on the loss's own code bounds the loss on both. Where it is higher on all of the ring than at the even
policy, the neighbourhood has a local minimum in it, and what falls all the way from the even policy stays there; where
it is higher in all of the neighbourhood than at some policy outside, that minimum is not the lowest. Other policies
have such neighbourhoods, too: those with gaps that are all within a radius of theirs. [ours, elementary]
"""

from __future__ import annotations

import itertools

import numpy as np

from ..._types import Floats, Indices
from ...bandit import Bandit
from ..subject import Subject
from .certify import SLACK, _bounds, _point
from .intervals.jets import Boxes
from .intervals.objective import Bounded

MOST = {2: 2_000, 3: 4_000, 4: 20_000, 5: 60_000}
"""Boxes that one proof may look at, a few seconds, by the number of responses; with more there is none."""


@np.errstate(all="ignore")  # bounds may overflow, and are then infinite
def is_caught(subject: Subject, bandit: Bandit, lam: float, radius: float, lowest: Floats) -> bool:
    """Whether a local minimum within ``radius`` of the even policy is proven, which is above ``lowest`` (log pi, (n,)).

    bandit: of one prompt, whose responses may be rotated (0 to 1, 1 to 2, ..., n - 1 to 0) without a change.
    """
    try:
        n = bandit.n
        orders = np.array([(0, *rest) for rest in itertools.permutations(range(1, n))]).T  # the others are rotations
        return _higher(subject, bandit, lam, [(np.zeros(n), _ring(orders, radius)), (lowest, _inside(orders, radius))])
    except Exception:  # a user's code may raise anything where it is given bounds
        return False


@np.errstate(all="ignore")
def is_trapped(subject: Subject, bandit: Bandit, lam: float, trap: Floats, radius: float, lowest: Floats) -> bool:
    """Whether a local minimum is proven to be where each gap is within ``radius`` of that of ``trap`` (log pi, (n,)),
    above ``lowest``. That has to be less than all gaps, so that all there are in one order."""
    order = np.argsort(-trap, kind="stable")
    gaps = -np.diff(trap[order])
    if not (gaps > radius).all():
        return False
    low, high = (np.repeat(x[:, None], 2 * len(gaps), axis=1) for x in (gaps - radius, gaps + radius))
    for k, gap in enumerate(gaps):
        low[k, 2 * k : 2 * k + 2] = high[k, 2 * k : 2 * k + 2] = gap - radius, gap + radius
    orders = np.repeat(order[:, None], low.shape[1], axis=1)
    inside = Boxes((gaps - radius)[:, None], (gaps + radius)[:, None], order[:, None])
    try:
        return _higher(subject, bandit, lam, [(trap, Boxes(low, high, orders)), (lowest, inside)])
    except Exception:  # a user's code may raise anything where it is given bounds
        return False


def ring(trap: Floats, radius: float, points: int = 101) -> Floats | None:
    """Policies on that neighbourhood's boundary, log pi (P, 3), of three responses; None where gaps are too small."""
    order = np.argsort(-trap, kind="stable")
    gaps = -np.diff(trap[order])
    if not (gaps > radius).all():
        return None
    t, one = np.linspace(-1.0, 1.0, points), np.ones(points)
    steps = np.concatenate([np.stack(side) for side in ((t, one), (t, -one), (one, t), (-one, t))], axis=1)
    logs = np.concatenate([np.zeros((1, steps.shape[1])), -np.cumsum(gaps[:, None] + radius * steps, axis=0)])
    logs = logs - np.log(np.exp(logs).sum(axis=0))
    return np.asarray(logs[np.argsort(order)].T)


def _higher(subject: Subject, bandit: Bandit, lam: float, claims: list[tuple[Floats, Boxes]]) -> bool:
    """Whether on all boxes the loss is proven to be above that at a policy (log pi), for each (policy, boxes)."""
    value, spent = Bounded(subject.at(lam), bandit), 0
    for policy, boxes in claims:
        level = float(value(_point(policy - np.log(np.exp(policy).sum())))[0][1][0])
        while boxes.size:
            spent += boxes.size
            if spent > MOST[bandit.n]:
                return False
            low = _bounds(value, boxes)[0]
            boxes = _split(boxes.take(~(low > level + SLACK * (1 + abs(level)))))
    return True


def _inside(orders: Indices, radius: float) -> Boxes:
    low = np.zeros((len(orders) - 1, orders.shape[1]))
    return Boxes(low, np.full_like(low, radius), orders)


def _ring(orders: Indices, radius: float) -> Boxes:
    """For every order, and every gap in turn: that one is the radius, the others are up to it."""
    axes, count = len(orders) - 1, orders.shape[1]
    low = np.repeat(np.diag(np.full(axes, radius)), count, axis=1)
    return Boxes(low, np.full_like(low, radius), np.tile(orders, (1, axes)))


def _split(boxes: Boxes) -> Boxes:
    """Both halves of every box, cut across its widest axis."""
    column = np.arange(boxes.size)
    widest = (boxes.high - boxes.low).argmax(axis=0)
    cut = (boxes.low[widest, column] + boxes.high[widest, column]) / 2
    first, second = boxes.high.copy(), boxes.low.copy()
    first[widest, column], second[widest, column] = cut, cut
    return Boxes(
        np.concatenate([boxes.low, second], axis=1),
        np.concatenate([first, boxes.high], axis=1),
        np.concatenate([boxes.order, boxes.order], axis=1),
    )
