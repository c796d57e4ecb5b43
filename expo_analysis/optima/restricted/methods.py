"""Which method solves a family, and what becomes of problems that it passes on."""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ..derivatives import log_softmax
from ..solution import Certificate, Status
from . import kinked, line, linear, newton, search
from .cells import PairCells, RewardCells
from .existence import Runaway, UnknownSlopes, limit, runaway
from .family import Family
from .found import RestrictedFound

NAMES = ("auto", "newton", "multistart")


def solve_family(family: Family, method: str = "auto", starts: list[Floats] | None = None) -> RestrictedFound:
    """Every problem by the first method that accepts it.

    starts: of searches, (B, d) each, in the place of those that are drawn.

    Raises:
        ValueError: where a method is insisted on that does not accept the problems.
    """
    zero = np.zeros((family.size, family.d))
    if isinstance(family.cells, RewardCells):
        unknown = ~np.isfinite(np.where(family.shares > 0, family.by_problem(family.cells.error), 0.0))
        if unknown.any():
            found = RestrictedFound.blank(family, zero)
            where = np.flatnonzero(unknown.any(axis=0)).tolist()
            found.message[:] = (
                f"there is no reward to maximise: the comparisons of prompts {where} have no finite, unique fit"
            )
            return found
    if method in ("auto", "newton"):
        if newton.accepts(family):
            return _with_existence(family, newton.solve(family, zero))
        if kinked.accepts(family):
            return _with_kinks(family)
        if method == "newton":
            name = type(
                family.cells.problem.objective if isinstance(family.cells, PairCells) else family.cells.objective
            ).__name__
            raise ValueError(f"method 'newton' is not available for {name} over restricted policies; use 'auto'")
    found = RestrictedFound.blank(family, zero)
    found.passed_on[:] = True
    if method == "auto" and starts is None and line.accepts(family):
        for b in range(family.size):
            found.put([b], line.solve(family.take([b])))
    if found.passed_on.any():
        left = family.take(found.passed_on)
        drawn = search.starts_of(left) if starts is None else [start[found.passed_on] for start in starts]
        found.put(found.passed_on.copy(), search.solve(left, drawn))
    return _judged_open(family, found)


def _with_kinks(family: Family) -> RestrictedFound:
    """One problem at a time: what is piecewise linear, which depends on its decay, is a linear program."""
    zero = np.zeros((family.size, family.d))
    found = RestrictedFound.blank(family, zero)
    for b in range(family.size):
        one = family.take([b])
        away = _runaway(one)
        if away is not None:
            found.put([b], _lost(one, away))
        else:
            found.put([b], linear.solve(one) if linear.accepts(one) else kinked.solve(one, zero[:1]))
    return _judged_open(family, found)


def _runaway(one: Family) -> Runaway | None:
    try:
        return runaway(one)
    except UnknownSlopes:
        return None


def _with_existence(family: Family, found: RestrictedFound) -> RestrictedFound:
    """Where no bound proves that there is a minimiser, a linear program tells whether there is one."""
    for b in np.flatnonzero(found.passed_on):
        one = family.take([b])
        away = _runaway(one)
        if away is not None:
            found.put([b], _lost(one, away))
        elif found.status[b, 0] == Status.FAILED:
            found.message[b] = f"a minimiser exists, but {found.message[b]}"
    found.passed_on[:] = False
    return _judged_open(family, found)


def _lost(one: Family, away: Runaway) -> RestrictedFound:
    """The limit of minimising sequences of a problem without a minimiser."""
    direction = one.weights(np.pad(away.step, (0, one.d - len(away.step)))[None])[0]
    kept = np.ones(one.base.shape, dtype=bool)
    step: Runaway | None = away
    rest, w = one, np.zeros((1, one.d))
    for _ in range(one.d):
        if step is None:
            break
        rest, stay = limit(rest, step.step)
        kept &= stay
        if rest.rank[0] == 0 or step.unbounded:
            break
        inner = newton.solve(rest, w) if newton.accepts(rest) else kinked.solve(rest, w)
        w = inner.w
        step = _runaway(rest) if not np.isfinite(inner.bound[:, one.shares[0] > 0]).all() else None
    found = RestrictedFound.blank(one, w)
    found.log_policy[:] = log_softmax(np.where(kept, one.logits(w), -np.inf))
    found.direction[0] = direction / np.abs(direction).max()
    shown = np.round(found.direction[0], 6).tolist()
    text = f"no minimiser: the loss falls for ever as w runs along {shown}"
    text += ", and has no lower bound" if away.unbounded else ", which no comparison holds back"
    found.say(0, Status.NO_MINIMISER, Certificate.THEOREM, text + "; the policy is that limit")
    return found


def _judged_open(family: Family, found: RestrictedFound) -> RestrictedFound:
    """Say where data leave w open, and on which prompts policies vary with what is open."""
    for b in np.flatnonzero(family.rank < family.d):
        basis = family.basis[b, :, : family.rank[b]]
        left = family.features[b] - family.features[b] @ basis @ basis.T  # what no coordinate reaches
        left = left - left[:, :1]
        size = np.abs(family.features[b]).max()
        varies = np.abs(left).max(axis=(1, 2)) > 1e-9 * max(size, 1e-300)
        text = f"{family.d - family.rank[b]} directions of w are open, and w has the least norm"
        if varies.any():
            settled = np.isin(found.status[b], (Status.OPTIMAL, Status.BEST_FOUND))
            found.status[b] = np.where(varies & settled, Status.NOT_UNIQUE, found.status[b])
            found.certificate[b] = np.where(varies & settled, Certificate.THEOREM, found.certificate[b])
            text += (
                f"; on prompts {np.flatnonzero(varies).tolist()} policies vary with them"
                if family.shares.shape[1] > 1
                else "; the policy varies with them"
            )
        found.message[b] = f"{found.message[b]}; {text}" if found.message[b] else text
    return found
