"""The smallest pair on which two losses differ, and the first extreme one on which one of them breaks down."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._types import Floats
from ..losses import PairObjective
from .compare import LOGPS, relative, values

ROUND = (-1.0, -2.0, -0.5)
"""Log-probabilities of the pairs that are tried, the plainest first."""

LAMS = (1.0, 0.5, 2.0)

VISIBLE = 1e-3
"""A relative difference that is seen in print."""

HUGE = 1e100
"""A loss above this is infinite for all purposes: ours saturates where it should be."""

EXTREMES = {
    "a log-ratio of 200": (-1.0, -101.0, -101.0, -1.0),
    "a log-ratio of -200": (-101.0, -1.0, -1.0, -101.0),
    "a log-ratio of 2000": (-1.0, -1001.0, -1001.0, -1.0),
    "a log-ratio of -2000": (-1001.0, -1.0, -1.0, -1001.0),
    "π_w = 1 - 1e-12": (-1e-12, -2.0, -1.0, -1.0),
    "π_l = 1 - 1e-12": (-2.0, -1e-12, -1.0, -1.0),
    "π_w = 1": (0.0, -2.0, -1.0, -1.0),
}
"""Pairs at the ends of the range: log-probabilities of winner and loser, then under the reference."""

Pair = dict[str, Any]


def smallest(theirs: PairObjective, ours: Callable[[float], PairObjective]) -> Pair | None:
    """The plainest pair and lambda at which losses visibly differ; where none is, that with the largest difference.

    Returns:
        lam, log-probabilities, what else is read, and both losses, ``theirs`` and ``ours``; None where all agree.
    """
    known = _plain_pairs(theirs)
    worst: tuple[float, Pair | None] = (0.0, None)
    for lam in LAMS:
        a, b = values(theirs.with_lam(lam), known), values(ours(lam), known)
        off = np.array([relative(a[k : k + 1], b[k : k + 1]) for k in range(len(a))])
        seen = np.flatnonzero(off > VISIBLE)
        k = int(seen[0]) if len(seen) else int(off.argmax())
        if off[k] > worst[0]:
            worst = float(off[k]), _pair(lam, known, k, theirs, a, b)
        if len(seen):
            break
    return worst[1]


def extreme(
    theirs: PairObjective, ours: Callable[[float], PairObjective], lam: float = 1.0, same: bool = True
) -> Pair | None:
    """The first of `EXTREMES` at which the implementation is not finite, or is far from ours; None where none is.

    same: whether both are the same loss elsewhere; otherwise only what is not finite counts.
    """
    known = {name: np.array([pair[k] for pair in EXTREMES.values()]) for k, name in enumerate(LOGPS)}
    count = len(EXTREMES)
    known |= {name: np.ones(count) for name in ("length_w", "length_l")}
    known |= {"reward_w": np.ones(count), "reward_l": np.zeros(count)}
    a, b = values(theirs.with_lam(lam), known), values(ours(lam), known)
    for k, what in enumerate(EXTREMES):
        broken = not math.isfinite(a[k]) or (same and relative(a[k : k + 1], b[k : k + 1]) > VISIBLE)
        if broken and abs(b[k]) < HUGE:
            return {"at": what, **_pair(lam, known, k, theirs, a, b)}
    return None


def _plain_pairs(theirs: PairObjective) -> dict[str, Floats]:
    """Pairs of round numbers, the plainest first."""
    lengths = ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0)) if "length_w" in theirs.data else ((1.0, 1.0),)
    rows = [(*logps, *pair) for logps in itertools.product(ROUND, repeat=4) for pair in lengths if len(set(logps)) < 3]
    rows.sort(key=lambda row: (len(set(row[:4])), sum(row[4:]), sum(ROUND.index(x) for x in row[:4])))
    table = np.array(rows[:90])
    names = (*LOGPS, "length_w", "length_l")
    known = {name: table[:, k].copy() for k, name in enumerate(names)}
    return known | {"reward_w": np.full(len(table), 1.0), "reward_l": np.full(len(table), 0.0)}


def _pair(lam: float, known: dict[str, Floats], k: int, theirs: PairObjective, a: Floats, b: Floats) -> Pair:
    data = {name: float(known[name][k]) for name in (*LOGPS, *theirs.data)}
    return {"lam": lam, **data, "theirs": float(a[k]), "ours": float(b[k])}
