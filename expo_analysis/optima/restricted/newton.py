"""Damped Newton over log-linear policies, for losses that are convex in the logits; a whole batch at a time.

The steps are those over all policies (`methods.newton`), with the largest change of a log-ratio for the range. A longer
step is taken where it lowers the value by as much as a straight line promises in part.
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats, Indices, Mask
from ..found import HIDDEN
from ..solution import Certificate, Status
from .cells import PairCells
from .certificate import certify
from .family import Family
from .found import RestrictedFound

MAX_STEPS = 200
TOLERANCE = 1e-14
"""Steps end when the square of the last one, times what unevenness makes of squares, is below this."""
PROMISED = 0.25
"""The share of the promised fall that a long step must keep."""


def accepts(family: Family) -> bool:
    """Convex in the logits, with a known self-concordance and no kinks."""
    return isinstance(family.cells, PairCells) and family.cells.certifiable


def concordance(family: Family) -> Floats:
    """M of each problem, (B,)."""
    m = np.broadcast_to(np.asarray(family.cells.problem.concordance, dtype=np.float64), family.base.shape[1:])
    return np.asarray(family.by_problem(m).max(axis=1))


def solve(family: Family, start: Floats) -> RestrictedFound:
    """From w = ``start`` (B, d): the minimisers with their bounds; what has none is passed on."""
    w, steps, converged = newton(family, start)
    found, proven = RestrictedFound.blank(family, w), certify(family, w, concordance(family))
    found.steps[:] = steps
    found.bounded(slice(None), proven)
    bounded = np.isfinite(np.where(family.shares > 0, proven.policies, 0.0)).all(axis=1)
    found.say(bounded, Status.OPTIMAL, Certificate.ERROR_BOUND, "the minimiser")
    found.say(~bounded & converged, Status.BEST_FOUND, Certificate.CONDITIONS, HIDDEN)
    found.message[~bounded & ~converged] = "Newton's method ran out of steps; w is its last iterate"
    found.passed_on[:] = ~bounded
    return found


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def newton(family: Family, start: Floats) -> tuple[Floats, Indices, Mask]:
    """Minimise from w = ``start`` (B, d). Returns w, steps taken (B,) and whether each converged (B,)."""
    found = start.copy()
    steps, converged = np.zeros(family.size, dtype=np.intp), np.zeros(family.size, dtype=bool)
    rows, part, w = np.arange(family.size), family, start
    smallest, stalled = np.full(family.size, np.inf), np.zeros(family.size, dtype=np.intp)
    for step in range(1, MAX_STEPS + 1):
        moved, size, full = _step(part, w)
        w = w + moved
        done = full & (size * np.fmax(size, (size / smallest) ** 2) <= TOLERANCE)
        stalled = np.where(size < smallest, 0, stalled + 1)
        smallest = np.fmin(smallest, size)
        ends = done | ((stalled >= 5) & (size < 1e-2)) | ~np.isfinite(size) | (step == MAX_STEPS)
        if ends.any():
            ended = rows[ends]
            found[ended], steps[ended], converged[ended] = w[ends], step, done[ends]
            if ends.all():
                break
            left = ~ends
            rows, part, w, smallest, stalled = rows[left], part.take(left), w[left], smallest[left], stalled[left]
    return found, steps, converged


def _step(family: Family, w: Floats) -> tuple[Floats, Floats, Mask]:
    """A step in w (B, d), its size in the loss's unit (B,), and whether curvature had full rank."""
    x = family.logits(w)
    local = family.cells.expand(x)
    gradient = family.gradient(w, local.gradient)
    root = family.root(np.maximum(local.curvature, 0.0))
    direction = -root.solve(gradient)
    m, reach = concordance(family), family.reach(direction)
    scaled = m * reach
    # quadratics have no scale of their own: theirs is that of the logits
    size = np.where(m > 0, scaled, reach / (1 + np.ptp(family.by_problem(x), axis=2).max(axis=1)))
    moved = family.weights(direction)
    long = scaled > 1
    if long.any():
        falls = family.value(w + moved) <= family.value(w, x) + PROMISED * (gradient * direction).sum(axis=1)
        damped = long & ~falls
        moved *= np.where(damped, np.log1p(scaled) / np.where(damped, scaled, 1.0), 1.0)[:, None]
    moved = np.where(np.isfinite(moved), moved, 0.0)
    return moved, size, root.sound
