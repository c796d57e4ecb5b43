"""Losses that score responses one by one, over all policies of two responses and what is left for a third: intervals.

x = (log pi_0, log pi_1) ranges over the open set exp x_0 + exp x_1 < 1; a third response, in no comparison, takes the
rest. With psis that are convex, psi' never falls, so that an interval of a margin gives one of psi', and intervals of x
give intervals of both partial derivatives of

    G(x) = sum over ordered pairs of weight psi(scale (sum_k c_k x_k) - shift).

Rounding is a few units of the moduli that are added up; `SLACK` of these is added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from ..._types import Floats
from ...bandit import Bandit
from ...losses import Objective, PairObjective
from ...losses.data import evaluate
from ...losses.psi import Psi
from ...losses.terms import bound
from ...optima.structure import data_of

SLACK = 1e-12
ROUNDS, MOST = 60, 40_000


@dataclass(frozen=True, eq=False)
class _Term:
    """weight psi(slope . x + at_zero), slope (2,)."""

    psi: Psi
    weight: float
    slope: Floats
    at_zero: float


@dataclass(frozen=True, eq=False)
class SingleScores:
    """G as a list of terms, of a bandit with three responses of which the first two are compared."""

    terms: tuple[_Term, ...]

    @classmethod
    def of(cls, objective: Objective, bandit: Bandit, lam: float) -> SingleScores | None:
        """None where some term is not convex, or reads what is no log-probability."""
        assert isinstance(objective, PairObjective)
        at = objective.with_lam(lam)
        facts, data = at.facts_at(None), data_of(at, bandit)
        found = []
        for i, j in ((0, 1), (1, 0)):
            wins = float(bandit.wins[i, j])
            datum = {name: np.asarray(values[0, i, j]) for name, values in data.items()}
            datum |= {"logp_w": np.asarray(0.0), "logp_l": np.asarray(0.0), "logp_t": np.asarray(0.0)}
            datum |= {"ref_logp_t": datum["ref_logp_w"]} if "ref_logp_w" in datum else {}
            for term in facts.terms if wins > 0 else ():
                statistic = term.statistic
                if not all(atom.plain for _, atom in statistic.parts):
                    return None
                psi = bound(term.psi, datum)
                scale, weight = (float(evaluate(x, datum)) for x in (statistic.scale, term.weight))
                slope = np.zeros(2)
                for c, atom in statistic.parts:
                    slope[j if atom.slot == "l" else i] += scale * c
                if weight < 0 or not psi.convex or psi.slopes is None:
                    return None
                found.append(_Term(psi, wins * weight, slope, float(statistic.value(datum))))
        return cls(tuple(found))

    def gradient(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Numbers below and above both partial derivatives on boxes low <= x <= high, (B, 2) each; low may be -inf."""
        below, above, size = np.zeros_like(low), np.zeros_like(low), np.zeros_like(low)
        for term in self.terms:
            up, down = np.maximum(term.slope, 0.0), np.minimum(term.slope, 0.0)
            with np.errstate(invalid="ignore"):
                parts = [np.where(s == 0, 0.0, s * x) for s, x in ((up, low), (down, high), (up, high), (down, low))]
            first = (parts[0] + parts[1]).sum(axis=1) + term.at_zero
            last = (parts[2] + parts[3]).sum(axis=1) + term.at_zero
            at_first, at_last = _slope(term.psi, first), _slope(term.psi, last)
            for k in range(2):
                if term.slope[k] == 0:
                    continue
                ends = term.weight * term.slope[k] * np.stack([at_first, at_last])
                below[:, k] += ends.min(axis=0)
                above[:, k] += ends.max(axis=0)
                size[:, k] += np.where(np.isfinite(ends), np.abs(ends), 0.0).max(axis=0)
        with np.errstate(invalid="ignore"):
            return below - SLACK * (1 + size), above + SLACK * (1 + size)

    def none_stationary(self) -> bool:
        """Whether it is proven that no policy with positive probabilities is stationary.

        Boxes are cut in s, x = -s/(1 - s), which has them all in the unit square.
        """
        low, high = np.zeros((1, 2)), np.ones((1, 2))
        for _ in range(ROUNDS):
            far, near = _logs(high), _logs(low)  # x falls in s
            inside = np.exp(far).sum(axis=1) < 1
            low, high, far, near = low[inside], high[inside], far[inside], near[inside]
            if not len(low):
                return True
            below, above = self.gradient(far, near)
            with np.errstate(invalid="ignore"):
                open_ = ~((below > 0) | (above < 0)).any(axis=1)
            low, high = low[open_], high[open_]
            if not len(low):
                return True
            if 2 * len(low) > MOST:
                return False
            low, high = _halves(low, high)
        return False

    @np.errstate(all="ignore")  # where it has no minimum
    def minimum_inside(self) -> tuple[Floats, Floats] | None:
        """A box (2,), (2,) around G's minimum over all x, proven to be a policy's with something left for the third;
        None where that is not proven.

        On each face of the box the derivative across it points outwards, so that the gradient is zero somewhere inside
        (Poincare and Miranda), and a stationary point of a convex function is its minimum.
        """
        if self._falls_for_ever():
            return None
        found = minimize(self._value, np.full(2, -1.0), jac=self._gradient, method="BFGS", options={"gtol": 1e-13})
        centre = np.asarray(found.x)
        for half in (1e-9, 1e-7, 1e-5, 1e-3):
            low, high = centre - half, centre + half
            if not np.exp(high).sum() < 1 - 1e-6:
                return None
            faces = []
            for k in range(2):
                for end, sign in ((low, -1.0), (high, 1.0)):
                    face_low, face_high = low.copy(), high.copy()
                    face_low[k] = face_high[k] = end[k]
                    below, above = self.gradient(face_low[None], face_high[None])
                    faces.append(above[0, k] < 0 if sign < 0 else below[0, k] > 0)
            if all(faces):
                return low, high
        return None

    def lowest(self, total: float) -> Floats:
        """Probabilities (2,) that add up to ``total`` with the lowest G, as numbers tell."""
        t = np.linspace(-40.0, 40.0, 8001)
        share = np.stack([-np.logaddexp(0, -t), -np.logaddexp(0, t)], axis=1) + np.log(total)
        values = np.zeros(len(share))
        for term in self.terms:
            margins = np.array([term.slope @ x for x in share]) + term.at_zero
            values = values + term.weight * np.asarray(term.psi.value(margins))
        return np.asarray(np.exp(share[np.argmin(values)]))

    def _falls_for_ever(self) -> bool:
        """Whether G is seen to fall all the way in some direction, by the limits of slopes: then it has no minimum."""
        for direction in np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]]):
            low, high, size = 0.0, 0.0, 1.0
            for term in self.terms:
                along = float(term.slope @ direction)
                if along != 0:
                    assert term.psi.slopes is not None
                    ends = [term.weight * along * float(slope) for slope in term.psi.slopes]
                    low, high, size = low + min(ends), high + max(ends), size + max(map(abs, ends))
            if high < -SLACK * size or low > SLACK * size:
                return True
        return False

    def _value(self, x: Floats) -> float:
        return float(
            sum(t.weight * np.asarray(t.psi.value(np.asarray([t.slope @ x + t.at_zero]))).sum() for t in self.terms)
        )

    def _gradient(self, x: Floats) -> Floats:
        slopes = (
            t.weight * t.psi.derivatives(np.asarray([t.slope @ x + t.at_zero]))[0][0] * t.slope for t in self.terms
        )
        return np.asarray(sum(slopes, start=np.zeros(2)))


def _slope(psi: Psi, m: Floats) -> Floats:
    """psi' at m (B,), which may be infinite."""
    assert psi.slopes is not None
    left, right = (float(x) for x in psi.slopes)
    finite = np.where(np.isfinite(m), m, 0.0)
    with np.errstate(over="ignore"):
        inside = np.broadcast_to(np.asarray(psi.derivatives(finite)[0], dtype=np.float64), m.shape)
    return np.where(np.isneginf(m), left, np.where(np.isposinf(m), right, inside))


def _logs(s: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.where(s < 1, -s / (1 - s), -np.inf)


def _halves(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Each box in two, across its longer side."""
    side = np.argmax(high - low, axis=1)
    row, middle = np.arange(len(low)), (low + high) / 2
    first, second = high.copy(), low.copy()
    first[row, side] = second[row, side] = middle[row, side]
    return np.concatenate([low, second]), np.concatenate([first, high])
