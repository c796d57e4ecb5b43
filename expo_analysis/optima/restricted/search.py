"""Many starts over log-linear policies, for losses of which no convexity is known; all of a batch at once.

Levenberg-Marquardt steps with the exact Hessian, in the moduli of its eigenvalues, which leads away from saddles. What
comes out is the lowest point found, and is called no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._types import Floats, Indices, Mask
from ..certificate import UNIT
from ..derivatives import log_softmax
from ..found import VANISHED
from ..methods.multistart import units
from ..solution import Certificate, Status
from .cells import PairCells, RewardCells
from .family import Family
from .found import RestrictedFound

MAX_STEPS = 300
LONGEST_STEP = 30.0
"""A step moves no logit by more than this, in the loss's unit."""
ROUNDING = 1e-15
"""A run ends with the step that promises to lower the value by no more than this, relative to it."""
NEGLIGIBLE = 1e-4
"""Newton's own step at a minimum moves no log-ratio by more, in the loss's unit."""
SAME_VALUE, SAME_POLICY = 1e-9, 1e-6
"""Starts that end so close in value, in nats, are said to agree."""
UNEVEN = 1e-3
"""Features' columns shorter than this share of the longest are brought to its length: squares of their ratios are as
small as rounding."""
RANDOM_STARTS, SCANNED, LOWEST = 12, 120, 6
"""Of one parameter, SCANNED values on each side are looked at, and searches start from the lowest of the dips."""


@dataclass(frozen=True, eq=False)
class Searched:
    """The best run of each problem: w (B, d), its value, whether it converged; how many of its starts agree.

    tied: whether some of these ended at another policy.
    """

    w: Floats
    value: Floats
    steps: Indices
    converged: Mask
    agreeing: Indices
    starts: Indices
    tied: Mask


def solve(family: Family, starts: list[Floats]) -> RestrictedFound:
    """The lowest of searches from w = ``starts``, (B, d) each, and what can be said of it."""
    searched = search(family, starts)
    found = RestrictedFound.blank(family, searched.w)
    found.steps[:], found.agreeing[:] = searched.steps, searched.agreeing / searched.starts
    convex = isinstance(family.cells, PairCells) and family.cells.problem.facts.convex
    log_policy = family.by_problem(log_softmax(family.logits(searched.w)))
    for b in range(family.size):
        agreeing = f"{searched.agreeing[b]} of {searched.starts[b]} starts"
        seen = family.shares[b] > 0
        vanished = bool((log_policy[b][seen] < np.log(VANISHED)).any())
        if searched.converged[b] and convex:
            text = f"the minimiser, as the objective is convex ({agreeing}); no error bound is known for it"
            found.say(b, Status.OPTIMAL, Certificate.CONDITIONS, text)
        elif searched.converged[b] and searched.tied[b]:
            text = f"several policies reach the lowest value found ({agreeing}); one of them is returned"
            found.say(b, Status.NOT_UNIQUE, Certificate.SEARCH, text)
        elif searched.converged[b]:
            text = f"the best local minimum found, reached by {agreeing}; not proven to be global"
            found.say(b, Status.BEST_FOUND, Certificate.SEARCH, text)
        elif vanished and keeps_minimisers(family):
            text = f"the lowest point found ({agreeing}), level to rounding; a minimiser exists, and may be elsewhere"
            found.say(b, Status.BEST_FOUND, Certificate.SEARCH, text)
        elif vanished:
            found.direction[b] = searched.w[b] / max(np.abs(searched.w[b]).max(), 1e-300)
            text = "no minimiser was reached: the lowest values are approached as w runs to infinity"
            text += f" ({agreeing}; not proven)"
            found.say(b, Status.NO_MINIMISER, Certificate.SEARCH, text)
        else:
            found.message[b] = (
                f"no search ended at a minimum ({searched.steps[b]} steps): where they ended, the loss is flat to "
                "rounding or still falls; w is the best point reached"
            )
    return found


def keeps_minimisers(family: Family) -> bool:
    """Whether theory says that there is a minimiser, for any features: of rewards, where f'(0+) = -inf. [ours]

    Policies of a class have limits, on faces of the simplex; from each some direction of w leads back, along which all
    that returns is of the order of e, its reward too, and D falls by -f'(e) e: faster than any multiple of e.
    """
    cells = family.cells
    return isinstance(cells, RewardCells) and cells.objective.regulariser.mu_at_zero == -np.inf


def starts_of(family: Family, seed: int = 0) -> list[Floats]:
    """w = 0, and w drawn in the loss's own units; of one parameter the dips of a scan in their place; (B, d) each.

    A problem with fewer dips than another has nan in the place of the ones that it lacks.
    """
    rng = np.random.default_rng(seed)
    unit = _units(family)
    reach = np.array([max(float(np.ptp(one, axis=1).max()), 1e-300) for one in family.directions])
    scale = (unit / reach)[:, None]
    found = [np.zeros((family.size, family.d))]
    if (family.rank == 1).all():
        return found + _scanned(family, scale)
    for spread in np.linspace(0.5, 6.0, RANDOM_STARTS):
        drawn = rng.standard_normal((1, family.d))
        found.append(family.weights(spread * drawn * scale))
        if (unit != 1).any():
            found.append(family.weights(spread * drawn / reach[:, None]))
    return found


def _units(family: Family) -> Floats:
    if not isinstance(family.cells, PairCells):
        return np.ones(family.size)
    return np.asarray(family.by_problem(units(family.cells.problem)).max(axis=1))


def _scanned(family: Family, scale: Floats) -> list[Floats]:
    """Of one parameter: the lowest dips of the value on a grid, finer near 0."""
    points = np.sinh(np.linspace(-8, 8, 2 * SCANNED + 1))
    grid = [family.weights(np.pad(t * scale, ((0, 0), (0, family.d - 1)))) for t in points]
    rows = np.tile(np.arange(family.size), len(grid))
    with np.errstate(all="ignore"):
        value = family.take(rows).value(np.concatenate(grid)).reshape(len(grid), -1)
    value = np.where(np.isfinite(value), value, np.inf)
    padded = np.pad(value, ((1, 1), (0, 0)), constant_values=np.inf)
    dips = (value < padded[:-2]) & (value <= padded[2:])  # what is level counts once
    height = np.where(dips, value, np.inf)
    lowest, points_of, every = np.argsort(height, axis=0)[:LOWEST], np.stack(grid), np.arange(family.size)
    found = [np.where(dips[row, every, None], points_of[row, every], np.nan) for row in lowest]
    return [start for start in found if np.isfinite(start).any()]


def search(family: Family, starts: list[Floats]) -> Searched:
    """The lowest point of runs from the starts, (B, d) each, nan where a problem has fewer."""
    size, count = family.size, len(starts)
    begun = np.isfinite(starts).all(axis=2)
    rows = np.nonzero(begun)[1]
    many, unit = family.take(rows), _units(family)[rows]
    ends, steps, converged = _levenberg(many, np.asarray(starts)[begun], np.maximum(unit, 1.0))
    with np.errstate(all="ignore"):
        ends, converged, flat = _polished(many, ends, converged, unit)
        value = many.value(ends)
    policies = np.exp(many.by_problem(log_softmax(many.logits(ends)))).reshape(len(rows), -1)

    def by_start(found: Any, missing: Any) -> Any:
        whole = np.full((count, size, *found.shape[1:]), missing, dtype=found.dtype)
        whole[begun] = found
        return whole

    w, policies = by_start(ends, 0.0), by_start(policies, 0.0)
    value = by_start(np.where(np.isfinite(value), value, np.inf), np.inf)
    steps, converged, flat = by_start(steps, 0), by_start(converged, False), by_start(flat, False)
    best, every = value.argmin(axis=0), np.arange(size)
    same = begun & (value <= value[best, every] + SAME_VALUE)
    ended = same & converged
    best = np.where(ended.any(axis=0), np.where(ended, value, np.inf).argmin(axis=0), best)
    apart = np.abs(policies - policies[best, every]).sum(axis=2) > SAME_POLICY
    tied = (ended & (apart | flat)).any(axis=0)
    at = (best, every)
    return Searched(w[at], value[at], steps[at], converged[at], same.sum(axis=0), begun.sum(axis=0), tied)


def _column_units(family: Family) -> Floats:
    """What coordinates of z are told in, (B, d): 1, but of columns that are far shorter than the longest."""
    lengths = np.sqrt((family.directions**2).sum(axis=(1, 2)))
    share = lengths / np.maximum(lengths.max(axis=1, keepdims=True), 1e-300)
    return np.where((share < UNEVEN) & (share > 0) & ~family.dead, np.maximum(share, 1e-150), 1.0)


def _in_units(gradient: Floats, hessian: Floats, unit_of: Floats) -> tuple[Floats, Floats]:
    """Gradient and Hessian in coordinates that are `_column_units` times z."""
    return gradient / unit_of, hessian / (unit_of[:, :, None] * unit_of[:, None])


def _polished(family: Family, w: Floats, converged: Mask, unit: Floats) -> tuple[Floats, Mask, Mask]:
    """Newton's own steps where runs ended, whether they ended at a minimum, and whether that is flat in some direction.

    Values tell w to half of float64's digits only; gradients tell it to all.
    """
    size, short, flat = (
        np.full(family.size, np.inf),
        np.zeros(family.size, dtype=bool),
        np.zeros(family.size, dtype=bool),
    )
    unit_of = _column_units(family)
    directions = family.directions / unit_of[:, None, None]
    reach_of_one = 2 * np.sqrt((directions**2).sum(axis=3)).max(axis=(1, 2))
    for _ in range(4):
        x = family.logits(w)
        local = family.cells.expand(x)
        gradient, hessian = _in_units(family.gradient(w, local.gradient), family.hessian(local), unit_of)
        noise = (
            16
            * UNIT
            * np.einsum(
                "bpnd,bpn->bd",
                np.abs(directions),
                family.by_problem(family.cells.gradient_size(x)) * family.shares[..., None],
            )
        )
        fine: Mask = np.asarray(np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1))
        values, vectors = np.linalg.eigh(np.where(fine[:, None, None], hessian, np.eye(family.d)))
        along, blur = (np.einsum("bde,bd->be", v, g) for v, g in ((vectors, gradient), (np.abs(vectors), noise)))
        level = np.abs(values) <= 1e-12 * np.abs(values).max(axis=1, keepdims=True)
        still = level & (np.abs(along) <= blur)
        step = np.where(still, 0.0, along / values)
        direction = np.where(family.dead, 0.0, -np.einsum("bde,be->bd", vectors, step)) / unit_of
        reach = family.reach(direction)
        convex = fine & ((values > 0) | still).all(axis=1)
        # rounding alone must not make a step of any length: on a plateau it does
        hidden = (np.where(still, 0.0, blur / np.maximum(values, 1e-300)) * np.abs(vectors).sum(axis=1)).max(axis=1)
        near = NEGLIGIBLE * np.maximum(unit, 1.0)
        short = convex & (reach <= near) & (hidden * reach_of_one <= near)
        flat = short & still.any(axis=1)
        better = short & (reach < size)
        w, size = np.where(better[:, None], w + family.weights(direction), w), np.where(better, reach, size)
    return w, short & converged, flat


@dataclass(eq=False)
class _Runs:
    """Where runs are: w, derivatives in z, values, damping."""

    family: Family
    w: Floats
    height: Floats
    damping: Floats
    unit: Floats

    def kept(self, left: Mask) -> _Runs:
        return _Runs(self.family.take(left), *(x[left] for x in (self.w, self.height, self.damping, self.unit)))


def _levenberg(family: Family, start: Floats, unit: Floats) -> tuple[Floats, Indices, Mask]:
    """Run from every start: w, steps, and whether the last step was negligible."""
    found, size = start.copy(), family.size
    steps, converged, active = np.zeros(size, dtype=np.intp), np.zeros(size, dtype=bool), np.arange(size)
    with np.errstate(all="ignore"):
        runs = _Runs(family, start, family.value(start), np.full(size, 1e-3), unit)
        for _ in range(MAX_STEPS):
            done, ended = _step(runs)
            found[active], converged[active] = runs.w, done
            steps[active] += 1
            if ended.all():
                break
            if ended.mean() > 0.3:
                active, runs = active[~ended], runs.kept(~ended)
    return found, steps, converged


def _step(runs: _Runs) -> tuple[Mask, Mask]:
    """One step of every run, in place: whether it was negligible, and whether the run ends."""
    family, w = runs.family, runs.w
    local = family.cells.expand(family.logits(w))
    unit_of = _column_units(family)
    gradient, hessian = _in_units(family.gradient(w, local.gradient), family.hessian(local), unit_of)
    usable: Mask = np.asarray(np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1))
    values, vectors = np.linalg.eigh(np.where(usable[:, None, None], hessian, np.eye(family.d)))
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-300)
    along = np.einsum("bde,bd->be", vectors, np.where(usable[:, None], gradient, 0.0))
    # |eigenvalues|: away from saddles; what is flat to rounding is left where it is
    flat = (np.abs(values) <= 1e-13 * scale) & (np.abs(along) <= 1e-13)
    quotient = np.where(flat, 0.0, along / (np.abs(values) + runs.damping[:, None] * scale))
    promised = (along * quotient).sum(axis=1) / 2
    direction = np.where(family.dead, 0.0, -np.einsum("bde,be->bd", vectors, quotient)) / unit_of
    longest = LONGEST_STEP * runs.unit
    moves = np.abs(np.einsum("bpnd,bd->bpn", family.directions, direction)).max(axis=(1, 2))
    direction *= (longest / np.maximum(moves, longest))[:, None]
    moved = w + family.weights(direction)
    trial = family.value(moved)
    rounding = ROUNDING * (1 + np.abs(runs.height))
    accepted = usable & (trial <= runs.height + np.where(promised <= rounding, 4 * rounding, 0.0))
    done = accepted & (promised <= rounding) & (runs.damping <= 1e-3)
    runs.w = np.where(accepted[:, None], moved, w)
    runs.height = np.where(accepted, trial, runs.height)
    damping = np.where(accepted, runs.damping / 10, np.maximum(runs.damping, 1e-12) * 8)
    runs.damping = np.where(damping < 1e-12, 0.0, damping)
    return done, done | (damping > 1e10) | ~usable
