"""Two responses, two minimisers: where the lowest of two wells changes as pi* moves. See `uniqueness` for the proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...losses import PairObjective
from ..falsify.certify import lies_above
from ..subject import Subject
from ..verdict import Counterexample
from .examples import equal

REFERENCES = (0.3, 0.02, 0.1, 0.004)
"""pi_ref of the first response."""
LAMS = (3.0, 0.3, 0.1, 1.0, 7.0)
CHANCES = np.linspace(0.02, 0.98, 49)
"""pi* of the first response."""
POINTS = 40.0 * np.linspace(-1.0, 1.0, 1601) ** 3
"""log pi_0/pi_1, less that of the reference."""
STEPS = (2e-3, 2e-4, 2e-5)
"""How far from a tie the one well must be proven to be the lower one, and the other on the other side."""
ZOOMS, FINE = 8, 401
MOST = 4
"""Ties that are looked at."""


@dataclass(frozen=True, eq=False)
class _Problem:
    """The risk of two responses as a function of t = log pi_0/pi_1 and p = pi*_0."""

    subject: Subject
    reference: float
    lam: float

    def bandit(self, p: float) -> Bandit:
        return Bandit([self.reference, 1 - self.reference], [p, 1 - p])

    def at(self, p: float, t: Floats) -> Floats:
        """(T,)."""
        with np.errstate(all="ignore"):
            return np.asarray(self.subject.value(self.bandit(p), self.lam, log_policies(t)))

    def lies_above(self, p: float, stretches: list[tuple[float, float]], point: float) -> bool:
        """Whether intervals prove all of some stretches of t to be above the value at a point, at pi*_0 = p."""
        turned = [(-high, -low) for low, high in stretches]  # intervals count log pi_1/pi_0
        return lies_above(self.subject, self.bandit(p), self.lam, turned, -point)

    def table(self, t: Floats) -> Floats:
        """(T, chances)."""
        count = len(CHANCES)
        many = Bandit(
            np.tile([self.reference, 1 - self.reference], (count, 1)), np.stack([CHANCES, 1 - CHANCES], axis=1)
        )
        with np.errstate(all="ignore"):
            return np.asarray(self.subject.value(many, self.lam, log_policies(t)[:, None]))


def log_policies(t: Floats) -> Floats:
    """(T, 2)."""
    return np.stack([-np.logaddexp(0.0, -t), -np.logaddexp(0.0, t)], axis=1)


def two_wells(subject: Subject) -> Counterexample | None:
    """A population of two responses with two minimisers, proven; None where none was found."""
    if not isinstance(subject.objective, PairObjective) or subject.objective.data:
        return None  # what reads rewards reads pi* too, and its risk is not affine in it
    tried = 0
    for lam in LAMS:
        for reference in REFERENCES:
            problem = _Problem(subject, reference, lam)
            for suspect in _jumps(problem):
                example = _tie(problem, *suspect)
                if example is not None or (tried := tried + 1) == MOST:
                    return example
    return None


def _jumps(problem: _Problem) -> Iterator[tuple[Floats, list[int], int, float, float]]:
    """Where the lowest point jumps across a ridge from one pi* to the next, as arguments of `_tie`."""
    t = np.log(problem.reference / (1 - problem.reference)) + POINTS / min(problem.lam, 1.0) ** 0.5
    values = problem.table(t)
    if not np.isfinite(values).all():
        return
    best = np.argmin(values, axis=0)
    inner = (best > 0) & (best < len(t) - 1)
    jumps = np.flatnonzero((np.abs(np.diff(best)) > 20) & inner[1:] & inner[:-1])
    for k in jumps.tolist():
        ends = sorted((int(best[k]), int(best[k + 1])))
        ridge = ends[0] + int(np.argmax(values[ends[0] : ends[1] + 1, k : k + 2].min(axis=1)))
        if ends[0] < ridge < ends[1]:
            yield t, ends, ridge, float(CHANCES[k]), float(CHANCES[k + 1])


def _tie(problem: _Problem, t: Floats, ends: list[int], ridge: int, first: float, last: float) -> Counterexample | None:
    barrier = float(t[ridge])
    spans = (float(t[max(ends[0] - 40, 0)]), barrier), (barrier, float(t[min(ends[1] + 40, len(t) - 1)]))
    share, one, other = 0.5, 0.0, 0.0
    for _ in range(ZOOMS):
        grids = [np.linspace(*span, FINE) for span in spans]
        both = np.stack([problem.at(p, np.concatenate(grids)) for p in (first, last)])
        left, right = both[:, :FINE], both[:, FINE:]
        for _ in range(ZOOMS):  # the risk is affine in pi*, so each step has the tie of two points exactly
            weights = np.array([1 - share, share])
            i, j = (int(np.argmin(weights @ rows)) for rows in (left, right))
            gaps = left[:, i] - right[:, j]
            if gaps[0] * gaps[1] >= 0:
                return None
            share = float(gaps[0] / (gaps[0] - gaps[1]))
        one, other = grids[0][i], grids[1][j]
        spans = _around(grids[0], i), _around(grids[1], j)
    p = first + share * (last - first)
    value = float(problem.at(p, np.array([one]))[0])
    if not _proven(problem, p, one, other, barrier):
        return None
    policies, grid = np.exp(log_policies(np.array([one, other]))), np.exp(log_policies(t[::8]))
    statement = (
        f"two responses with π* = ({p:.6g}, {1 - p:.6g}) and π_ref = ({problem.reference:g}, "
        f"{1 - problem.reference:g}) have two minimisers, π_1 = {policies[0, 0]:.6g} and {policies[1, 0]:.6g}, "
        f"with the value {value:.12g}"
    )
    kept = grid[(grid > 0).all(axis=1)]
    return equal(problem.subject, problem.bandit(p), problem.lam, policies, kept, statement)


def _around(grid: Floats, k: int) -> tuple[float, float]:
    return float(grid[max(k - 2, 0)]), float(grid[min(k + 2, len(grid) - 1)])


def _proven(problem: _Problem, p: float, one: float, other: float, barrier: float) -> bool:
    """Whether some pi* within `STEPS` of p has a minimiser next to ``one``, and another next to ``other``."""
    reach = (barrier - one) / 2, (other - barrier) / 2
    wells = [(x - r, x + r) for x, r in zip((one, other), reach, strict=True)]
    narrow = [(x - r / 4, x + r / 4) for x, r in zip((one, other), reach, strict=True)]
    if not problem.lies_above(p, _outside(narrow), one):
        return False  # there is a third well, and the tie is another one
    return any(_changes_wells(problem, (p - step, p + step), (one, other), wells) for step in STEPS)


def _changes_wells(
    problem: _Problem, chances: tuple[float, float], points: tuple[float, float], wells: list[tuple[float, float]]
) -> bool:
    """Whether all minimisers lie in two wells for every pi* between two, and in one and the other at the ends."""
    values = np.array([problem.at(p, np.array(points)) for p in chances])
    better = values.argmin(axis=1).tolist()
    if better[0] == better[1]:
        return False
    if not any(all(problem.lies_above(p, _outside(wells), x) for p in chances) for x in points):
        return False
    return all(problem.lies_above(p, [wells[1 - k]], points[k]) for p, k in zip(chances, better, strict=True))


def _outside(wells: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is neither in the one nor in the other."""
    (low, end), (start, high) = wells
    return [(-np.inf, low), (end, start), (high, np.inf)]
